"""The page through which a file comes in: upload, columns, preview of every change, and only then the import."""

import json
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Response, abort, current_app, flash, g, redirect, request
from flask_admin import expose
from flask_babel import gettext
from werkzeug.datastructures import MultiDict

from models import fields as declared
from models import importing, journal, policy, references, sheets, values
from models.base import Model
from models.choices import N_
from models.errors import RuleBroken
from models.fields import Field

from . import cells, language, pages
from .exports import _TYPES
from .extensions import db

MAX_MB = 32
SAMPLES = 3
SHOWN = 50
KEPT_SECONDS = 24 * 3600
ENCODINGS = ("utf-8", "gb18030", "big5", "utf-16")
_CARRIED = ("file", "sheet", "header_row", "encoding", "mode", "create_missing")


@dataclass(frozen=True)
class MapColumn:
    index: int
    header: str
    samples: list[str]
    field: str
    guess: bool


@dataclass(frozen=True)
class Settable:
    """A field that one value may be given to for every row."""

    key: str
    label: str
    kind: str
    required: bool
    value: str
    choices: list[tuple[str, str]]
    lookup_url: str
    current: tuple[str, str] | None


class Upload:
    """A file on its way in, kept under a name of our own until it is imported or a day has passed."""

    def __init__(self, token: str) -> None:
        folder = Path(current_app.config["INSTANCE"]) / "uploads"
        folder.mkdir(parents=True, exist_ok=True)
        self.token, self.data_path, self.about_path = token, folder / token, folder / f"{token}.json"

    @classmethod
    def keep(cls, data: bytes, name: str, table: str) -> "Upload":
        kept = cls(secrets.token_urlsafe(24))
        kept._drop_old()
        kept.data_path.write_bytes(data)
        kept.about_path.write_text(json.dumps({"name": name, "user": g.principal.user_id, "table": table}))
        return kept

    @classmethod
    def open(cls, token: str, table: str) -> "Upload":
        """The file behind *token*, if the person at work sent it for this very list; 404 otherwise."""
        if not token.replace("-", "").replace("_", "").isalnum() or len(token) > 64:
            abort(404)
        kept = cls(token)
        if not kept.about_path.exists():
            abort(404)
        about = json.loads(kept.about_path.read_text())
        if about["user"] != g.principal.user_id or about["table"] != table:
            abort(404)
        return kept

    @property
    def name(self) -> str:
        return str(json.loads(self.about_path.read_text())["name"])

    def sheets(self, encoding: str | None) -> list[sheets.Sheet]:
        return sheets.read(self.data_path.read_bytes(), self.name, encoding=encoding or None)

    def drop(self) -> None:
        self.data_path.unlink(missing_ok=True)
        self.about_path.unlink(missing_ok=True)

    def _drop_old(self) -> None:
        for path in self.data_path.parent.iterdir():
            if time.time() - path.stat().st_mtime > KEPT_SECONDS:
                path.unlink(missing_ok=True)


class Reading:
    """How one upload is read: its sheet, header, mapping and fixed values, as the form says or as guessed."""

    def __init__(self, model: type[Model], given: MultiDict[str, str]) -> None:
        self.model, self.given, self.labels = model, given, language.Spellings()
        self.upload = Upload.open(given.get("file", ""), model.__tablename__)
        self.encoding = given.get("encoding", "") if given.get("encoding") in ENCODINGS else ""
        self.all = self.upload.sheets(self.encoding)
        self.index = min(_whole(given.get("sheet")) or self._first(), len(self.all) - 1)
        self.sheet = self.all[self.index]
        self.header = self._header()
        self.mapping = self._mapping()
        self.fixed = {k.removeprefix("set."): v for k, v in given.items() if k.startswith("set.") and v.strip()}
        modes = {m.value: m for m in importing.Mode}
        self.mode = modes.get(given.get("mode", ""), importing.Mode.BOTH)
        self.create_missing = given.get("create_missing") == "1"

    def _first(self) -> int:
        return next((n for n, sheet in enumerate(self.all) if not sheet.hidden and sheet.rows), 0)

    def _header(self) -> sheets.Header:
        wanted = _whole(self.given.get("header_row"))
        if wanted:
            for number, row in self.sheet.rows:
                if number == wanted:
                    return sheets.Header(number, number, [str(c).strip() if c is not None else "" for c in row])
        return sheets.find_header(self.sheet, importing.known_titles(self.model, self.labels))

    def _mapping(self) -> dict[int, str]:
        if any(key.startswith("map.") for key in self.given) and "reread" not in self.given:
            told = {_whole(k.removeprefix("map.")): v for k, v in self.given.items() if k.startswith("map.") and v}
            return {index: key for index, key in told.items() if index is not None}
        offered = {f.key for f in self.offered()}
        guessed = importing.guess_mapping(self.model, self.header.titles, self.labels)
        return {index: key for index, key in guessed.items() if key in offered}

    def offered(self) -> list[Field]:
        """The fields a file may bring, as far as the person sees them."""
        return [
            f for f in importing.importable_fields(self.model) if policy.decide(g.principal, "view", self.model, f.key)
        ]

    def body(self) -> Iterable[sheets.Row]:
        return sheets.body(self.sheet, self.header)

    def fixed_values(self) -> dict[str, Any]:
        """The fixed values with records in place of their numbers, as the page's pickers send them."""
        told: dict[str, Any] = dict(self.fixed)
        for key, raw in self.fixed.items():
            spec = declared.field_map(self.model).get(key)
            if spec is not None and spec.target is not None and raw.isascii() and raw.isdigit() and len(raw) < 10:
                record = db.session.get(spec.target, int(raw))
                if record is not None:
                    told[key] = references.key_text(record)
        return told

    def plan(self) -> importing.Plan:
        return importing.make_plan(
            db.session(), self.model, self.header.titles, self.body(), self.mapping, labels=self.labels,
            fixed=self.fixed_values(), mode=self.mode, create_missing=self.create_missing,
        )  # fmt: skip

    def carried(self) -> list[tuple[str, str]]:
        """Everything that has been decided, for the next step's form or address."""
        told = [("file", self.upload.token), ("sheet", str(self.index)), ("header_row", str(self.header.first_row_no)),
                ("encoding", self.encoding), ("mode", self.mode.value), ("create_missing", "1" if self.create_missing else "")]  # fmt: skip
        told += [(f"map.{index}", key) for index, key in self.mapping.items()]
        told += [(f"set.{key}", value) for key, value in self.fixed.items()]
        return [(name, value) for name, value in told if value]


def _whole(raw: str | None) -> int | None:
    return int(raw) if raw and raw.isascii() and raw.isdigit() and len(raw) < 9 else None


class Imports:
    """The part of a generated view that takes files in."""

    model: type[Model]

    @expose("/import/", methods=("GET", "POST"))
    def import_upload(self) -> Any:
        """Step 1: the file."""
        policy.require(g.principal, "import", self.model)
        errors: list[str] = []
        needs_password = False
        if request.method == "POST":
            try:
                return self._receive()
            except sheets.PasswordNeeded as broken:
                needs_password, errors = True, [language.tell(broken)]
            except RuleBroken as broken:
                errors = [language.tell(broken)]
        told = self._wizard(
            1, errors=errors, needs_password=needs_password, action_url=self.at("import_upload"),  # type: ignore[attr-defined]
            template_url=self.at("import_template"), max_mb=MAX_MB, accept=".xlsx,.xls,.ods,.csv,.tsv,.txt",  # type: ignore[attr-defined]
        )  # fmt: skip
        return self.render("admin/import/upload.html", wizard=told, crumb=gettext("Import")), 422 if errors else 200  # type: ignore[attr-defined]

    def _receive(self) -> Any:
        sent = request.files.get("file")
        if sent is None or not sent.filename:
            raise RuleBroken(N_("Choose a file first."))
        data = sent.read(MAX_MB * 1024 * 1024 + 1)
        if len(data) > MAX_MB * 1024 * 1024:
            raise RuleBroken(N_("The file is larger than %(limit)s MB: split it."), limit=MAX_MB)
        password = request.form.get("password")
        if password:
            data = sheets.decrypted(data, password)
        sheets.read(data, sent.filename)
        kept = Upload.keep(data, sent.filename[-200:], self.model.__tablename__)
        return redirect(self.at("import_map", file=kept.token))  # type: ignore[attr-defined]

    @expose("/import/map/", methods=("GET", "POST"))
    def import_map(self) -> Any:
        """Step 2: which column is which field; step 3 follows when it is sent: what would change."""
        policy.require(g.principal, "import", self.model)
        given = request.form if request.method == "POST" else request.args
        try:
            reading = Reading(self.model, given)
        except RuleBroken as broken:
            flash(language.tell(broken), "error")
            return redirect(self.at("import_upload"))  # type: ignore[attr-defined]
        if request.method == "POST" and "reread" not in given:
            try:
                return self._preview(reading, reading.plan())
            except RuleBroken as broken:
                return self._map_page(reading, [language.tell(broken)]), 422
        return self._map_page(reading, [])

    def _map_page(self, reading: Reading, errors: list[str]) -> Any:
        offered = reading.offered()
        mapped, fixed = set(reading.mapping.values()), set(reading.fixed)
        missing = [gettext(f.label) for f in offered if f.required and f.key not in mapped | fixed]
        told = self._wizard(
            2,
            errors=errors,
            action_url=self.at("import_map"),  # type: ignore[attr-defined]
            back_url=self.at("import_upload"),  # type: ignore[attr-defined]
            hidden=[("file", reading.upload.token)],
            sheets=[(n, s.name, s.hidden, n == reading.index) for n, s in enumerate(reading.all)],
            header_row=reading.header.first_row_no,
            header_choices=[
                (n, f"{n}：{_line(row)}") for n, row in reading.sheet.rows[:12] if any(c not in (None, "") for c in row)
            ],
            encoding=reading.encoding,
            encodings=("", *ENCODINGS) if reading.upload.name.lower().endswith((".csv", ".tsv", ".txt")) else (),
            columns=_map_columns(reading),
            fields=[(f.key, gettext(f.label), f.required) for f in offered],
            settable=[
                self._settable(reading, f)
                for f in offered
                if f.key not in mapped and f.kind != "json" and f.attr != "id"
            ],
            fixed=[(key, value) for key, value in reading.fixed.items()],
            missing=missing,
            modes=[(m.value, gettext(m.label), m is reading.mode) for m in importing.Mode],
            create_missing=reading.create_missing,
            create_missing_label=gettext(
                "Make departments, posts and the like that the file names and the house lacks"
            ),
        )
        return self.render("admin/import/map.html", wizard=told, crumb=gettext("Import"))  # type: ignore[attr-defined]

    def _settable(self, reading: Reading, f: Field) -> Settable:
        raw = reading.fixed.get(f.key, "")
        current = None
        if f.target is not None and raw.isascii() and raw.isdigit() and len(raw) < 10:
            record = db.session.get(f.target, int(raw))
            current = (raw, language.title(record)) if record is not None else None
        choices = [(m.value, gettext(m.label)) for m in f.choices] if f.choices is not None else []
        if f.kind == "bool":
            choices = [("yes", gettext("Yes")), ("no", gettext("No"))]
        url = pages.address(self.model, "ajax_lookup", name=f.key) if f.target is not None else ""
        return Settable(f.key, gettext(f.label), f.kind, f.required, raw, choices, url, current)

    def _preview(self, reading: Reading, plan: importing.Plan) -> Any:
        counts = plan.counts
        can_apply = not plan.errors and bool(counts.new or counts.changed)
        carried = reading.carried()
        told = self._wizard(
            3,
            action_url=self.at("import_apply"),  # type: ignore[attr-defined]
            back_url=self.at("import_map", **dict(carried)),  # type: ignore[attr-defined]
            hidden=[*carried, ("digest", plan.digest())],
            counts=_counts(counts),
            sample=[self._sample(plan, row) for row in plan.sample(SHOWN)],
            errors=[self._row_error(error) for error in plan.errors[:SHOWN]],
            error_count=len(plan.errors),
            error_file_url=self.at("import_errors", **dict(carried)),  # type: ignore[attr-defined]
            can_apply=can_apply,
            why_not=gettext("Nothing is written while a single row has a problem: mend the file, or take the rows out.")
            if plan.errors
            else gettext("The file says what stands here already: there is nothing to import."),
            remarks=[language.sentence(r.text, r.params) for r in plan.remarks],
        )
        return self.render(
            "admin/import/preview.html", wizard=told, crumb=gettext("Import")
        ), 422 if plan.errors else 200  # type: ignore[attr-defined]

    def _sample(self, plan: importing.Plan, row: importing.RowPlan) -> tuple[Any, ...]:
        changed = row.record_id is not None
        kind, tone = (gettext("Changed"), "blue") if changed else (gettext("New"), "green")
        before = row.before or {}
        shown = [
            (
                gettext(declared.field(plan.model, key).label),
                self._told(plan.model, key, before.get(key)),
                self._told(plan.model, key, value),
            )
            for key, value in row.values.items()
        ]
        title = language.join(
            row.values.get(n) for n in plan.model.__title__ if declared.field(plan.model, n).target is None
        )
        if (
            not title
            and row.record_id is not None
            and (record := db.session.get(plan.model, row.record_id)) is not None
        ):
            title = language.title(record)
        return kind, tone, row.row_no, title, shown

    def _told(self, model: type[Model], key: str, value: Any) -> Any:
        spec = declared.field(model, key)
        if spec.target is not None:
            if isinstance(value, int):
                record = db.session.get(spec.target, value)
                return language.title(record) if record is not None else f"#{value}"
            if isinstance(value, importing.RowPlan):
                return gettext("the record of row %(row)s", row=value.row_no)
            return getattr(value, "text", None) or (cells.EMPTY if value is None else str(value))
        if isinstance(value, str) and "•" in value:
            return value
        if value not in (None, "") and policy.level_of(g.principal, spec) is not policy.Level.PLAIN:
            return values.mask(spec.kind, value)
        return cells.formatter(spec)(value)

    def _row_error(self, error: importing.RowError) -> tuple[int, str, str, str]:
        column = gettext(error.column) if error.column else ""
        return error.row_no, column, "" if error.raw is None else str(error.raw)[:120], language.tell(error.reason)

    @expose("/import/apply/", methods=("POST",))
    def import_apply(self) -> Any:
        """Step 4: import exactly what was shown, as one operation; refused when anything moved meanwhile."""
        policy.require(g.principal, "import", self.model)
        reading = Reading(self.model, request.form)
        plan = reading.plan()
        if plan.errors or plan.digest() != request.form.get("digest"):
            flash(gettext("The data moved since this was shown: look at it again."), "warning")
            return self._preview(reading, plan)
        counts = plan.counts
        try:
            journal.begin(
                db.session(), journal.Act.IMPORT, table=self.model.__tablename__,
                detail={"file": reading.upload.name, "new": counts.new, "changed": counts.changed},
            )  # fmt: skip
            importing.apply(db.session(), plan)
            db.session.commit()
        except importing.ImportRefused as refused:
            db.session.rollback()
            plan.errors[:] = refused.errors
            return self._preview(reading, plan)
        reading.upload.drop()
        told = self._wizard(4, counts=_counts(counts), list_url=self.at("index_view"))  # type: ignore[attr-defined]
        return self.render("admin/import/result.html", wizard=told, crumb=gettext("Import"))  # type: ignore[attr-defined]

    @expose("/import/errors/")
    def import_errors(self) -> Any:
        """The rows that cannot be imported, as they were sent, with their reasons: to be mended and sent again."""
        policy.require(g.principal, "import", self.model)
        reading = Reading(self.model, request.args)
        data = importing.error_file(reading.plan(), reading.labels)
        return _download(data, gettext("Rows to mend") + ".xlsx")

    @expose("/import/template/")
    def import_template(self) -> Any:
        """An empty workbook with the right columns."""
        policy.require(g.principal, "import", self.model)
        data = importing.template(self.model, language.Spellings())
        return _download(data, gettext("Template %(noun)s", noun=gettext(declared.label_of(self.model))) + ".xlsx")

    def _wizard(self, step: int, **told: Any) -> dict[str, Any]:
        noun = gettext(declared.label_of(self.model))
        return {"title": gettext("Import %(noun)s", noun=noun), "step": step, "errors": [], **told}


def _download(data: bytes, name: str) -> Response:
    from urllib.parse import quote

    return Response(
        data,
        content_type=_TYPES["xlsx"],
        headers={"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}"},
    )


def _counts(counts: importing.Counts) -> list[tuple[str, int, str]]:
    told = [
        (gettext("New"), counts.new, "green"),
        (gettext("Changed"), counts.changed, "blue"),
        (gettext("Unchanged"), counts.unchanged, "neutral"),
    ]
    if counts.skipped:
        told.append((gettext("Left out"), counts.skipped, "amber"))
    return [*told, (gettext("With problems"), counts.errors, "red" if counts.errors else "neutral")]


def _line(row: list[Any]) -> str:
    return " | ".join(str(c) for c in row if c not in (None, ""))[:60]


def _map_columns(reading: Reading) -> list[MapColumn]:
    rows = []
    for row in reading.body():
        rows.append(row[1])
        if len(rows) == SAMPLES:
            break
    found = []
    for index, title in enumerate(reading.header.titles):
        samples = [str(r[index])[:40] for r in rows if index < len(r) and r[index] not in (None, "")]
        if title or samples:
            found.append(MapColumn(index, title, samples, reading.mapping.get(index, ""), index in reading.mapping))
    return found

"""Who may do what, found out by doing it through the screens: ``python -m tests.admin_views.matrix`` writes matrix.csv.

One row per table and verb, one column per person. A cell names the farthest kind of record that the person reaches
with the verb, by what happened when they tried from far to near; it is empty where they reach none:

    f  of another branch, or of none     o  others of one's branch     d  of one's department
    t  one's team's                      m  one's own                  s  shared by all branches
"""

import csv
import io
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import Flask

from admin_views import access as signing_in
from admin_views.extensions import db
from models import clock, fields, policy, workflow
from models.access import UserAccount
from models.base import BranchScoped, Model
from models.fields import Field
from models.organisation import Department
from models.staff import Staff
from tests.admin_views import reading
from tests.admin_views.conftest import NOW, Browser, load_demo, looking, make_app
from tests.cast import AUDITOR, CAST, KEYHOLDER, Person

FILE = Path(__file__).with_name("matrix.csv")
PEOPLE = (*CAST, AUDITOR)
KINDS = "sfodtm"  # from far to near

# What policy says when it refuses, in English; everything else that is refused is refused by a rule.
NOT_GRANTED = ("may not “", "No role has been granted", "expressly barred")
REFUSALS = (
    *NOT_GRANTED, "lies outside what", "does not see “", "does not exist or is out of your sight",
    "names a record that does not exist or that you may not see", "There is no record no.", "you may not see it",
)  # fmt: skip


def transitions(model: type[Model]) -> list[workflow.Transition]:
    return [t for t in workflow.transitions_of(model) if not t.by_clock]


def verbs(model: type[Model]) -> list[str]:
    return [*policy.VERBS, *(t.name for t in transitions(model))]


# -- whose a record is, worked out without asking policy ---------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where a person stands."""

    staff: int | None
    branch: int | None
    department: int | None
    team: frozenset[int]


@dataclass
class Facts:
    """Which records there are, and where each belongs."""

    places: dict[str, Place] = field(default_factory=dict)
    branches: dict[type[Model], dict[int, int | None]] = field(default_factory=dict)
    departments: dict[type[Model], dict[int, int | None]] = field(default_factory=dict)
    owners: dict[type[Model], dict[int, frozenset[int]]] = field(default_factory=dict)
    states: dict[tuple[type[Model], str], dict[int, Any]] = field(default_factory=dict)

    def kind(self, model: type[Model], record_id: int, place: Place) -> str:
        """The letter of a record for somebody."""
        if model.__shared__:
            return "s"
        owners = self.owners[model].get(record_id, frozenset())
        if place.staff in owners:
            return "m"
        if owners & place.team:
            return "t"
        branch = self.branches[model][record_id]
        if branch is None or branch != place.branch:
            return "f"
        return "d" if self.departments[model].get(record_id, 0) == place.department else "o"

    def samples(
        self, model: type[Model], place: Place, transition: workflow.Transition | None = None
    ) -> dict[str, int]:
        """One record of each kind; one from which *transition* starts where there is one."""
        found: dict[str, int] = {}
        ids = list(self.branches[model])
        if transition is not None:
            states = self.states[model, transition.field]
            ids.sort(key=lambda n: states[n] not in transition.sources)
        for record_id in ids:
            found.setdefault(self.kind(model, record_id, place), record_id)
        return dict(sorted(found.items(), key=lambda item: KINDS.index(item[0])))


def gather(app: Flask) -> Facts:
    """The facts of a house, read past all narrowing."""
    facts = Facts()
    with looking(app) as session:
        columns = {m: {f.attr: getattr(m, f.attr) for f in fields.fields_of(m)} for m in fields.models()}
        rows = {
            m: {
                r[0]: dict(zip(c, r[1:], strict=True))
                for r in session.execute(sa.select(m.id, *c.values()).order_by(m.id))
            }
            for m, c in columns.items()
        }
        for model, records in rows.items():
            facts.branches[model] = {n: _branch(rows, model, n) for n in records}
            held = "department_id" in columns[model]
            facts.departments[model] = {n: r["department_id"] for n, r in records.items()} if held else {}
            facts.owners[model] = {n: frozenset(_owners(rows, model, n)) for n in records}
            for state in workflow.state_columns(model):
                facts.states[model, state] = {n: r[state] for n, r in records.items()}
    for account in rows[UserAccount].values():
        facts.places[account["login"]] = _place(rows, account["staff_id"])
    return facts


def _branch(rows: Any, model: type[Model], record_id: int) -> int | None:
    if issubclass(model, BranchScoped):
        return int(rows[model][record_id]["branch_id"])
    if model.__tablename__ == "branch":
        return record_id
    if model.__part_of__ is None:
        return None
    whole = fields.field(model, model.__part_of__)
    return _branch(rows, whole.target, rows[model][record_id][whole.attr])


def _owners(rows: Any, model: type[Model], record_id: int) -> Iterator[int]:
    paths = model.__owner__
    if not paths and model.__part_of__ is not None:  # a part is its whole's owner's
        whole = fields.field(model, model.__part_of__)
        yield from _owners(rows, whole.target, rows[model][record_id][whole.attr])
    for path in paths:
        at, number = model, record_id
        for name in path.split("."):
            if name == "self" or number is None:
                continue
            link = fields.field(at, name)
            at, number = link.target, rows[at][number][link.attr]
        if number is not None:
            yield number


def _place(rows: Any, staff_id: int | None) -> Place:
    if staff_id is None:
        return Place(None, None, None, frozenset())
    me, staff = rows[Staff][staff_id], rows[Staff]
    headed = {n for n, d in rows[Department].items() if d["head_id"] == staff_id}
    team = {n for n, s in staff.items() if s["manager_id"] == staff_id or s["department_id"] in headed}
    return Place(staff_id, me["branch_id"], me["department_id"], frozenset(team - {staff_id}))


# -- a house that can be put back --------------------------------------------------------------------------------


class House:
    """An app with everybody signed in; ``restore`` undoes whatever was done since."""

    def __init__(self, demo: Path, folder: Path) -> None:
        self.path, self.kept = folder / "kanghu.db", folder / "kept.db"
        shutil.copy(demo, self.path)
        self.app = make_app(f"sqlite:///{self.path}", folder)
        self.facts = gather(self.app)
        self.browsers = {p: Browser(self.app, p) for p in (*PEOPLE, KEYHOLDER)}
        for browser in self.browsers.values():
            browser.client.set_cookie("lang", "en")
        self._let_go()
        shutil.copy(self.path, self.kept)
        self.kept_count = self.last = self.count()
        self.kept_rights = self._ask("SELECT last FROM serial WHERE series = 'access'")

    def restore(self) -> None:
        if self._ask("SELECT last FROM serial WHERE series = 'access'") != self.kept_rights:
            signing_in._principals.clear()
        self._let_go()
        shutil.copy(self.kept, self.path)
        self.last = self.kept_count

    def _let_go(self) -> None:
        with self.app.app_context():
            db.engine.dispose()
        self._ask("PRAGMA wal_checkpoint(TRUNCATE)")

    def _ask(self, statement: str, *values: Any) -> Any:
        connection = sqlite3.connect(self.path)
        try:
            return connection.execute(statement, values).fetchone()[0]
        finally:
            connection.close()

    def has_changed(self) -> bool:
        """Whether anything was done since the house was put back."""
        return self.count() != self.kept_count

    def version(self, table: str, number: int) -> str:
        return str(self._ask(f"SELECT version FROM {table} WHERE id = ?", number))

    def count(self) -> int:
        """The number of operations there were; exports are not counted, for they change nothing."""
        return int(self._ask("SELECT count(*) FROM operation WHERE kind <> 'export'"))


# -- trying ------------------------------------------------------------------------------------------------------


class Attempts:
    """One person tries every verb on one model; what was done is undone at the end."""

    def __init__(self, house: House, person: Person, model: type[Model]) -> None:
        self.house, self.model, self.table = house, model, model.__tablename__
        self.browser, self.place = house.browsers[person], house.facts.places[person.login]
        # The heaviest pages are asked for by every third person, in turn.
        self.in_turn = (PEOPLE.index(person) + fields.models().index(model)) % 3 == 0
        self.unseen: set[int] = set()
        self.samples = house.facts.samples(model, self.place)
        self.at = f"/admin/{self.table}"
        self.problems: list[str] = []

    def cells(self) -> dict[str, str]:
        """The letters of every verb."""
        found = dict.fromkeys(verbs(self.model), "")
        found["view"] = self._view()
        if not found["view"] and self._is_closed():
            return found
        if self.in_turn:
            self._list()
        for verb in ("export", "import", "edit", "create"):
            found[verb] = getattr(self, f"_{verb}")()
        for t in transitions(self.model):
            found[t.name] = self._fire(t)
        found["delete"] = self._farthest(lambda number: self.browser.post(f"{self.at}/delete/?id={number}"))
        if self.house.has_changed():
            self.house.restore()
        return found

    def _complain(self, what: str) -> None:
        self.problems.append(f"{self.browser.person.login} at {self.table}: {what}")

    def _expect(self, code: int, address: str) -> None:
        answered = self.browser.get(f"{self.at}/{address}").status_code
        if answered != code:
            self._complain(f"{address} answers {answered} instead of {code}")

    def _farthest(self, attempt: Callable[[int], Any], samples: dict[str, int] | None = None) -> str:
        """The farthest kind that policy lets through; when a verb is not granted at all, no nearer one is tried."""
        for kind, number in (self.samples if samples is None else samples).items():
            answer = attempt(number)
            if answer is not None and self._done(answer):
                return kind
            if answer is not None and answer.status_code == 403 and any(words in answer.text for words in NOT_GRANTED):
                break
        return ""

    def _view(self) -> str:
        """A record's page opens, or is not there; then nothing can be done to it either, and it is tried no more."""
        for kind, number in list(self.samples.items()):
            code = self.browser.get(f"{self.at}/{'details' if self.in_turn else 'menu'}/?id={number}").status_code
            if code == 200:
                return kind
            if code == 403:
                break
            self._expect(404, f"details/?id={number}")
            for door in ("edit", "delete"):
                code = self.browser.post(f"{self.at}/{door}/?id={number}", {"id": number}).status_code
                if code != 404:
                    self._complain(f"POST {door}/?id={number} answers {code} instead of 404")
            self.unseen.add(self.samples.pop(kind))
        return ""

    def _is_closed(self) -> bool:
        """Whether the model is closed to the person; then it is so at every door."""
        if self.browser.get(f"{self.at}/").status_code != 403:
            return False
        number = next(iter(self.samples.values()), 0)
        self._expect(403, "export/csv/")
        door = {0: "new/", 1: f"edit/?id={number}", 2: f"delete/?id={number}"}[len(self.browser.person.login) % 3]
        code = self.browser.post(f"{self.at}/{door}").status_code
        if code != 403:
            self._complain(f"POST {door} answers {code} though the model is closed")
        return True

    def _list(self) -> None:
        """The list shows the farthest record that is seen, and not one that is not."""
        for number in [*list(self.unseen)[:1], *list(self.samples.values())[:1]]:
            listed = reading.rows(self.browser.get(f"{self.at}/?id={number}").text)
            if listed != ([] if number in self.unseen else [number]):
                self._complain(f"asked for #{number}, the list shows {listed}")

    def _edit(self) -> str:
        return self._farthest(self._edit_one)

    def _edit_one(self, number: int) -> Any:
        changed = self._one_edit(number, last=True)
        sent = changed | {"version": self.house.version(self.table, number)}
        return self.browser.post(f"{self.at}/edit/?id={number}", sent) if changed else None

    def _one_edit(self, number: int, last: bool = False) -> dict[str, str]:
        """One field with another value: the first that may be changed, or the last."""
        form = self._form(number)
        for f in reversed(_harmless(self.model)) if last else _harmless(self.model):
            other = _other_value(f, form.value(f.key), form.options.get(f.key, []))
            if other is not None:
                return {f.key: other}
        return {}

    def _form(self, number: int) -> reading.Form:
        return _form_of(self.house, self.model, number)

    def _create(self) -> str:
        return self._farthest(lambda number: self.browser.post(f"{self.at}/new/", self._twin(number)))

    def _twin(self, number: int) -> list[tuple[str, str]]:
        """What the form of a new record would post that is like *number* but for what must differ."""
        apart = _must_differ(self.model)
        pairs = []
        for name, value in self._form(number).pairs:
            f = fields.field_map(self.model).get(name)
            if f is None or name in {"version", "csrf_token"}:
                continue
            pairs.append((name, _apart(f, value) if f.attr in apart else value))
        return pairs

    def _export(self) -> str:
        for kind, number in self.samples.items():
            answer = self.browser.get(f"{self.at}/export/csv/?id={number}")
            if answer.status_code != 200:
                return ""
            if answer.data.decode("utf-8-sig").count("\r\n") > 1:
                return kind
        return ""

    def _import(self) -> str:
        if self.browser.get(f"{self.at}/import/").status_code == 403:
            return ""
        return self._farthest(self._import_one)

    def _import_one(self, number: int) -> Any:
        """A file that changes one field of one record, taken through every page."""
        changed = self._one_edit(number)
        if not changed:
            return None
        ((key, value),) = changed.items()
        data = f"Record no.,{key}\r\n{number},{value}\r\n".encode()
        sent = {"csrf_token": self.browser.token, "file": (io.BytesIO(data), "one.csv")}
        uploaded = self.browser.client.post(f"{self.at}/import/", data=sent)
        if uploaded.status_code != 302:
            return uploaded
        mapped = {"file": uploaded.headers["Location"].rpartition("=")[2], "map.0": "id", "map.1": key}
        preview = self.browser.post(f"{self.at}/import/map/", mapped)
        if preview.status_code != 200:
            return preview
        return self.browser.post(f"{self.at}/import/apply/", reading.main_form(preview.text).pairs)

    def _fire(self, transition: workflow.Transition) -> str:
        def fire(number: int) -> Any:
            asked = _arguments(self.house, self.model, transition.name, number)
            sent = {"name": transition.name, "id": str(number), "apply": "1", **asked}
            return self.browser.post(f"{self.at}/action/", sent)

        samples = self.house.facts.samples(self.model, self.place, transition)
        return self._farthest(fire, {kind: number for kind, number in samples.items() if kind in self.samples})

    def _done(self, answer: Any) -> bool:
        """Whether policy let it through: then it happened, or a rule spoke."""
        said = " ".join(self.browser.told()) if answer.status_code == 302 else answer.text
        through = answer.status_code in {200, 302, 422} and not _refused(said)
        operations = self.house.count()
        if answer.status_code >= 500 or (operations != self.house.last and not through):
            self._complain(
                f"{answer.request.method} {answer.request.path} answers {answer.status_code}, done: {operations != self.house.last}"
            )
        self.house.last = operations
        return through


def _refused(said: str) -> bool:
    return any(refusal in said for refusal in REFUSALS)


@cache
def _form_of(house: House, model: type[Model], number: int) -> reading.Form:
    page = house.browsers[KEYHOLDER].get(f"/admin/{model.__tablename__}/edit/?id={number}")
    return reading.main_form(page.text)


@cache
def _harmless(model: type[Model]) -> list[Field]:
    """Fields without secrecy that may be changed alone, plain texts first."""
    order = ["note", "text", "name", "number", "money", "day", "choice", "bool", "instant", "code"]
    usable = [
        f for f in fields.own_fields(model) if f.writable and f.kind in order and not f.secrecy and not f.column.unique
    ]
    return sorted(usable, key=lambda f: order.index(f.kind))


def _other_value(f: Field, present: str | None, options: list[str]) -> str | None:
    """Another value for a field, as a form posts it."""
    if f.kind == "choice":
        return next((value for value in options if value not in {"", present}), None)
    if f.kind == "day":
        return str(date.fromisoformat(present) + timedelta(days=1)) if present else "2026-03-01"
    if f.kind == "instant":
        return (
            f"{datetime.fromisoformat(present) + timedelta(minutes=1):%Y-%m-%dT%H:%M}"
            if present
            else "2026-03-01T10:00"
        )
    if f.kind in {"number", "money"}:
        return str(int(float(present)) + 1) if present else "1"
    if f.kind == "bool":
        return "" if present == "y" else "y"
    return f"{present or ''}改"


@cache
def _must_differ(model: type[Model]) -> frozenset[str]:
    """Columns that no two records may share, alone or together: of each set the one that is easiest to change."""
    table = model.__table__
    sets = [[c.name for c in u.columns] for u in table.constraints if isinstance(u, sa.UniqueConstraint)]
    sets += [[c.name for c in i.columns] for i in table.indexes if i.unique]
    known = {f.column.name: f for f in fields.fields_of(model)}
    order = ["code", "text", "name", "id_number", "number", "day", "instant"]
    chosen = set()
    for names in sets:
        usable = sorted((known[n] for n in names if known[n].kind in order), key=lambda f: order.index(f.kind))
        chosen |= {usable[0].attr} if usable else set()
    return frozenset(chosen)


def _apart(f: Field, value: str) -> str:
    if f.serial or f.kind == "id_number":
        return ""
    if f.kind in {"day", "instant", "number"}:
        return _other_value(f, value, []) or value
    return f"{value}-2"


def _arguments(house: House, model: type[Model], name: str, number: int) -> dict[str, str]:
    """Something plausible for everything a transition asks for."""
    return {p.name: _argument(house, model, p, number) for p in workflow.parameters_of(model, name) if p.required}


def _argument(house: House, model: type[Model], p: workflow.Parameter, number: int) -> str:
    if p.kind == "choice":
        return str(next(iter(p.type)).value)
    if p.kind == "relation":
        branch = house.facts.branches[model][number]
        there = [n for n, b in house.facts.branches[p.type].items() if b == branch and n != number]
        return str(there[0] if there else next(iter(house.facts.branches[p.type]), 1))
    return {
        "bool": "y", "number": "1", "money": "1", "percent": "5", "day": str(clock.today()),
        "instant": "2026-03-02T10:00",
    }.get(p.kind, "说明")  # fmt: skip


# -- the table ---------------------------------------------------------------------------------------------------


def fill(house: House) -> tuple[dict[tuple[str, str], dict[str, str]], list[str]]:
    """The matrix as it is: (table, verb) -> login -> letters; and what contradicted itself on the way."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    problems: list[str] = []
    for model in fields.models():
        for person in PEOPLE:
            attempts = Attempts(house, person, model)
            for verb, letters in attempts.cells().items():
                found.setdefault((model.__tablename__, verb), {})[person.login] = letters
            problems += attempts.problems
    return found, problems


def write(found: dict[tuple[str, str], dict[str, str]], file: Any) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["table", "verb", *(p.login for p in PEOPLE)])
    for (table, verb), row in found.items():
        writer.writerow([table, verb, *(row[p.login] for p in PEOPLE)])


def read() -> dict[tuple[str, str], dict[str, str]]:
    with FILE.open(newline="") as file:
        return {(row.pop("table"), row.pop("verb")): row for row in csv.DictReader(file)}


def main() -> None:
    clock.start_from(NOW)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        load_demo(make_app(f"sqlite:///{folder / 'demo.db'}", folder))
        found, problems = fill(House(folder / "demo.db", folder))
    with FILE.open("w", newline="") as file:
        write(found, file)
    print(f"{len(found)} rows written to {FILE.name}")
    for problem in problems:
        print(problem)


if __name__ == "__main__":
    main()

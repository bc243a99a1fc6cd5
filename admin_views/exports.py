"""A list as a file: what the address lists, with the columns the person sees, masks staying masks."""

import tempfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from flask import Response, abort, g, request, stream_with_context
from flask_admin import expose
from flask_babel import force_locale, get_locale, gettext

from models import clock, database, exporting, journal, policy, references, values
from models import fields as declared
from models.base import Model
from models.fields import Field
from models.policy import Level

from . import language, listing
from .extensions import db

_TYPES = {"csv": "text/csv", "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"}
_PIECE = 1 << 16


class Exports:
    """The part of a generated view that writes files."""

    model: type[Model]

    @expose("/export/<export_type>/")
    def export(self, export_type: str) -> Any:
        """The whole list as CSV or XLSX, streamed; who took it is written into the journal first."""
        policy.require(g.principal, "export", self.model)
        if export_type not in _TYPES:
            abort(404)
        query = listing.read(self.model, g.principal, request.args)
        detail = {
            "type": export_type,
            "address": request.query_string.decode()[:400],
            "rows": listing.count(db.session(), query)[0],
        }
        with database.writing():
            journal.note(db.session(), journal.Act.EXPORT, table=self.model.__tablename__, detail=detail)
            db.session.commit()
        body = self._pieces(export_type, query, db.engine, g.principal, get_locale())
        headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(self._file_name(export_type))}"}
        return Response(body, headers=headers, content_type=f"{_TYPES[export_type]}; charset=utf-8")

    def _file_name(self, export_type: str) -> str:
        noun = gettext(declared.label_of(self.model))
        return f"{noun}_{clock.today():%Y%m%d}.{export_type}"

    def _pieces(self, export_type: str, query: listing.Query, engine: Any, who: Any, locale: Any) -> Iterator[bytes]:
        """The file in pieces, read in a session of its own: the request's has ended when they are sent."""
        labels = language.Spellings()
        name = gettext(declared.label_of(self.model))

        def pieces() -> Iterator[bytes]:
            with force_locale(locale), database.reading(), database.open_session(engine, who) as session:
                columns, rows = export_rows(session, query, labels)
                if export_type == "csv":
                    yield from exporting.write_csv(columns, rows, labels)
                    return
                with tempfile.TemporaryFile() as file:
                    exporting.write_xlsx(columns, rows, file, labels, name=name)
                    file.seek(0)
                    while piece := file.read(_PIECE):
                        yield piece

        return stream_with_context(pieces())  # type: ignore[no-any-return]


def export_rows(
    session: database.HouseSession, query: listing.Query, labels: Any
) -> tuple[list[exporting.Column], Iterator[list[Any]]]:
    """The columns and the rows of an export: every field the session's subject sees, masks staying masks."""
    who = session.info["principal"]
    shown = tuple(f for f in exporting.exported_fields(query.model) if policy.level_of(who, f) is not Level.HIDDEN)
    selection = listing.Selection(query.model, shown, references.paths_to_text)
    readers = [_reader(f, selection, who, labels) for f in shown]
    rows = ([read(row) for read in readers] for row in listing.stream(session, query, selection))
    return exporting.columns_of(shown, labels), rows


def _reader(f: Field, selection: listing.Selection, who: Any, labels: Any) -> Any:
    """A function from a row of the selection to what the file says for *f*."""
    path = selection.paths[f.key]
    level = policy.level_of(who, f)
    if level in {Level.MASKED, Level.REVEAL}:
        return lambda row: None if row[path.start] in (None, "") else values.mask(f.kind, row[path.start])
    if f.target is not None:
        target = f.target
        return lambda row: (
            None if row[path.start] is None else references.text_from_paths(target, row[path.start + 1 : path.stop])
        )
    if f.choices is not None:
        told = {member: labels.show(member.label) for member in f.choices}
        return lambda row: told.get(row[path.start])
    return lambda row: row[path.start]

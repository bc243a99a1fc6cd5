"""CSV files of the seed -> records, by the same engine that imports people's files."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from .. import importing, sheets
from ..base import Model


def load_table(session: Session, model: type[Model], path: Path, mode: importing.Mode = importing.Mode.ADD) -> int:
    """Write the rows of a CSV file whose titles are field keys, and return how many did something.

    Rows that match a record by its natural key are left alone, unless *mode* is UPDATE.
    """
    return _write(session, _plan(session, model, path, mode))


def load_parts(session: Session, model: type[Model], whole: str, path: Path, known: Collection[int]) -> int:
    """Write the rows that are parts of a record not *known* before, and return how many.

    What belongs to a record that was there already is left as people made it.
    """
    plan = _plan(session, model, path, importing.Mode.ADD)
    plan.created = [row for row in plan.created if row.values[whole] not in known]
    return _write(session, plan)


def _plan(session: Session, model: type[Model], path: Path, mode: importing.Mode) -> importing.Plan:
    table = importing.open_table(sheets.read(path.read_bytes(), path.name), model)
    titles = table.header.titles
    return importing.make_plan(session, model, titles, table.rows, dict(enumerate(titles)), mode=mode)


def _write(session: Session, plan: importing.Plan) -> int:
    counts = importing.apply(session, plan)
    return counts.new + counts.changed


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a CSV file by title, blank cells as None: for facts that are no records yet."""
    sheet = sheets.read(path.read_bytes(), path.name)[0]
    header = sheets.find_header(sheet, [])
    return [dict(zip(header.titles, cells, strict=False)) for _, cells in sheets.body(sheet, header)]


def add_all(session: Session, records: Iterable[Model]) -> None:
    """Add new records and flush them.

    On SQLite they are numbered first: without, SQLAlchemy 2.1 inserts them one by one to learn their numbers.
    """
    by_model: dict[type[Model], list[Model]] = {}
    for record in records:
        by_model.setdefault(type(record), []).append(record)
    if session.get_bind().dialect.name == "sqlite":
        for model, some in by_model.items():
            if len(some) > 1:
                last = session.connection().execute(select(func.max(model.__table__.c.id))).scalar() or 0
                for number, record in enumerate(some, start=last + 1):
                    record.id = number
    session.add_all(record for some in by_model.values() for record in some)
    session.flush()

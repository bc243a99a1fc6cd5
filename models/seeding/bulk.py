"""Rows by the thousand: the fastest door of each database, with what the search needs."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import select
from sqlalchemy.orm import Session

from .. import search
from ..base import Base, Model
from ..fields import Field, field
from ..flush import count_up
from ..search import SearchToken

_TOKEN = ("table", "record_id", "token", "weight", "secrecy", "behind_mask")


class Bulk:
    """Inserts rows of one table past rules and journal: COPY on PostgreSQL, one prepared statement on SQLite."""

    def __init__(self, session: Session, model: type[Base], columns: Sequence[str]) -> None:
        self.session, self.table, self.columns = session, model.__table__, tuple(columns)
        dialect = session.get_bind().dialect
        self.is_postgresql = dialect.name == "postgresql"
        self._binders = [_binder(self.table.c[name].type, dialect) for name in columns]

    def insert(self, rows: Iterable[Sequence[Any]]) -> None:
        binders = self._binders
        bound = (
            [value if bind is None else bind(value) for bind, value in zip(binders, row, strict=True)] for row in rows
        )
        names = ", ".join(f'"{name}"' for name in self.columns)
        driver: Any = self.session.connection().connection.driver_connection
        if self.is_postgresql:
            with driver.cursor() as cursor, cursor.copy(f'COPY "{self.table.name}" ({names}) FROM STDIN') as copy:
                for row in bound:
                    copy.write_row(row)
        else:
            marks = ", ".join("?" * len(self.columns))
            driver.executemany(f'INSERT INTO "{self.table.name}" ({names}) VALUES ({marks})', bound)

    def take_ids(self, count: int) -> range:
        """Record numbers that nobody else will be given."""
        connection = self.session.connection()
        if not self.is_postgresql:  # whoever writes holds the only lock
            first = (connection.execute(select(sa.func.max(self.table.c.id))).scalar() or 0) + 1
            return range(first, first + count)
        sequence = sa.func.pg_get_serial_sequence(self.table.name, "id")
        first = connection.execute(select(sa.func.nextval(sequence))).scalar_one()
        connection.execute(select(sa.func.setval(sequence, first + count - 1)))
        return range(first, first + count)


def _binder(type_: Any, dialect: sa.Dialect) -> Callable[[Any], Any] | None:
    """What the dialect makes of a Python value, remembered: the same days and choices come again and again."""
    bind = type_.dialect_impl(dialect).bind_processor(dialect)
    return None if bind is None else lru_cache(200_000)(bind)


class Records(Bulk):
    """Inserts records of a model: numbered, stamped, found by the search."""

    def __init__(self, session: Session, model: type[Model], columns: Sequence[str]) -> None:
        super().__init__(session, model, ("id", *columns, "created_at", "updated_at", "version"))
        self.model: type[Model] = model
        self._tokens = Bulk(session, SearchToken, _TOKEN)
        found = [f for f in search.searchable_fields(model) if f.attr in columns]
        self._searched = [(self.columns.index(f.attr), f) for f in found]

    def add(self, rows: list[tuple[Any, ...]], stamps: Iterable[Any]) -> range:
        """Insert *rows*, made at *stamps*, and return their record numbers."""
        ids = self.take_ids(len(rows))
        records = [(id_, *row, at, at, 1) for id_, row, at in zip(ids, rows, stamps, strict=True)]
        self.insert(records)
        # Sorted, they go into the index side by side.
        self._tokens.insert(sorted(self._found_by(records), key=lambda token: str(token[2])))
        return ids

    def serials(self, name: str, count: int) -> range:
        """The next *count* numbers of a series, such as client numbers."""
        last = count_up(self.session.connection(), f"{self.model.__tablename__}.{name}", count)
        return range(last - count + 1, last + 1)

    def numbers(self, name: str, serials: Iterable[int], year: int) -> list[str]:
        """*serials* as the series writes them: C000123."""
        pattern = str(field(self.model, name).serial)
        return [pattern.format(n=n, year=year) for n in serials]

    def _found_by(self, records: Iterable[Sequence[Any]]) -> Iterator[tuple[Any, ...]]:
        table = str(self.model.__tablename__)  # SQLAlchemy keeps a str of its own, which drivers adapt one by one
        for record in records:
            seen = set()
            for n, f in self._searched:
                for text, weight, behind_mask in _texts(f, record[n]) if record[n] else ():
                    if (text, f.secrecy) not in seen:
                        seen.add((text, f.secrecy))
                        yield table, record[0], text, weight, f.secrecy, behind_mask


@lru_cache(100_000)
def _names(f: Field, value: str) -> tuple[tuple[str, int, bool], ...]:
    return tuple((t.text[: search.TOKEN_LENGTH], t.weight, t.behind_mask) for t in search.tokens_of(f, value) if t.text)


def _texts(f: Field, value: str) -> tuple[tuple[str, int, bool], ...]:
    """The tokens of one value; names repeat, numbers do not."""
    return _names(f, value) if f.kind == "name" else _names.__wrapped__(f, value)


@contextmanager
def roomy_cache(session: Session) -> Iterator[None]:
    """Inside the block SQLite keeps 128 MB of pages at hand: indexes of millions grow in all places at once."""
    if session.get_bind().dialect.name != "sqlite":
        yield
        return
    connection = session.connection()
    before = connection.exec_driver_sql("PRAGMA cache_size").scalar_one()
    connection.exec_driver_sql("PRAGMA cache_size = -131072")
    try:
        yield
    finally:
        session.connection().exec_driver_sql(f"PRAGMA cache_size = {int(before)}")

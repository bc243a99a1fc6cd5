"""Engines and sessions: one way to open each, with the kit's listeners attached to every session."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Session

from . import flush, journal, narrowing, policy, search
from .policy import Subject

_reading: ContextVar[bool] = ContextVar("reading_only", default=False)


def connect(url: str | sa.URL, **options: Any) -> sa.Engine:
    """An engine for an SQLite or PostgreSQL address, set up for safety first."""
    address = sa.make_url(url)
    if address.get_backend_name() == "sqlite":
        if address.database in (None, "", ":memory:"):
            options.setdefault("poolclass", sa.pool.StaticPool)
        options["connect_args"] = {
            "check_same_thread": False,
            "timeout": 10,
            **options.get("connect_args", {}),
        }
    else:
        limits = "-c statement_timeout=120000 -c lock_timeout=10000"
        options["connect_args"] = {"options": limits, **options.get("connect_args", {})}
        options.setdefault("pool_pre_ping", True)
    engine = sa.create_engine(address, **options)
    prepare(engine)
    return engine


def prepare(engine: sa.Engine) -> None:
    """Set up the connections of *engine*: durable and strict on SQLite; PostgreSQL is so by itself."""
    if engine.dialect.name == "sqlite" and not event.contains(engine, "connect", _strict_sqlite):
        event.listen(engine, "connect", _strict_sqlite)
        event.listen(engine, "begin", _begin_sqlite)


def _strict_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy begins: the driver's own habit is to begin late
    cursor = connection.cursor()
    # WAL with NORMAL would lose acknowledged writes at a power cut.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    # A transaction that reads first and writes later fails at once when another wrote between:
    # writers take the lock at their start and wait for it.
    connection.exec_driver_sql("BEGIN" if _reading.get() else "BEGIN IMMEDIATE")


@contextmanager
def reading() -> Iterator[None]:
    """Inside the block, new SQLite transactions only read, and so wait for nobody."""
    token = _reading.set(True)
    try:
        yield
    finally:
        _reading.reset(token)


@contextmanager
def writing() -> Iterator[None]:
    """Inside the block, new SQLite transactions may write; needed inside reading() alone."""
    token = _reading.set(False)
    try:
        yield
    finally:
        _reading.reset(token)


class HouseSession(Session):
    """A session whose reads are narrowed and whose writes are permitted, checked and journaled."""

    def bulk_save_objects(self, *_objects: Any, **_options: Any) -> NoReturn:
        raise RuntimeError("bulk_save_objects() and its kin skip permissions, rules and journal: use add_all()")

    bulk_insert_mappings = bulk_update_mappings = bulk_save_objects


# In this order: what is seen; what is changed, who may, what holds, what happened, how it is found.
narrowing.attach(HouseSession)
flush.attach_first(HouseSession)
policy.attach(HouseSession)
flush.attach(HouseSession)
journal.attach(HouseSession)
search.attach(HouseSession)


def open_session(engine: sa.Engine, principal: Subject) -> HouseSession:
    """A session on *engine* in which *principal* is at work."""
    session = HouseSession(engine)
    session.info["principal"] = principal
    return session

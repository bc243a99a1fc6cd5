"""Rules are tested on models alone: no Flask, an SQLite database in memory, the kit's listeners attached."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from models.base import Base
from models.policy import System


@pytest.fixture
def session() -> Iterator[Session]:
    """A session on an empty database, acting for the system."""
    engine = models.database.connect("sqlite://")
    Base.metadata.create_all(engine)
    with models.database.open_session(engine, System("tests")) as session:
        yield session
    engine.dispose()


@contextmanager
def as_staff(session: Session, staff: "models.staff.Staff") -> Iterator[None]:
    """Inside the block *staff* is at work, with every right: rights are tested elsewhere, rules here."""
    session.flush()
    before = session.info["principal"]
    session.info["principal"] = System("tests", staff_id=staff.id)
    try:
        yield
    finally:
        session.info["principal"] = before


__all__ = ["as_staff", "sa", "session"]

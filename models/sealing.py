"""The chain over the journal: sealing it link by link, and proving that nobody altered it since."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from .clock_source import now
from .journal import Change, Operation, Seal, digest

_ADVISORY_LOCK = 815_001  # PostgreSQL: one hand seals at a time, writers wait for nothing
GENESIS = "0" * 64


@dataclass(frozen=True)
class Verdict:
    """What ``verify`` found: problems, how many operations are sealed, which are not yet, and the last link."""

    problems: tuple[str, ...]
    sealed: int
    unsealed: tuple[int, ...]
    head: str

    @property
    def sound(self) -> bool:
        return not self.problems


def seal(session: Session, limit: int = 10_000) -> int:
    """Chain the operations that are not sealed yet, in order, and return how many; the caller commits."""
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
    last = connection.execute(sa.select(Seal.no, Seal.link).order_by(Seal.no.desc()).limit(1)).first()
    no, link = (last.no, last.link) if last is not None else (0, GENESIS)
    sealed = sa.exists().where(Seal.operation_uid == Operation.uid)
    waiting = (
        sa.select(Operation.id, Operation.uid, Operation.digest).where(~sealed).order_by(Operation.id).limit(limit)
    )
    moment, rows = now(), []
    operations = connection.execute(waiting).all()
    changes = _change_numbers(connection, [operation.id for operation in operations])
    for operation in operations:
        no += 1
        link = _link(link, _Standing(operation.id, operation.uid, operation.digest, changes[operation.id]), moment)
        rows.append({"no": no, "operation_uid": operation.uid, "link": link, "sealed_at": moment})
    if rows:
        connection.execute(sa.insert(Seal.__table__), rows)
    return len(rows)


def _change_numbers(connection: sa.Connection, operations: list[int]) -> dict[int, list[int]]:
    """The row numbers of each operation's changes, in order."""
    found: dict[int, list[int]] = defaultdict(list)
    for start in range(0, len(operations), 500):
        some = operations[start : start + 500]
        told = sa.select(Change.operation_id, Change.id).where(Change.operation_id.in_(some)).order_by(Change.position)
        for operation_id, number in connection.execute(told):
            found[operation_id].append(number)
    return found


def _link(before: str, operation: "_Standing", sealed_at: datetime) -> str:
    """Binds what was done, where it stands in the tables and when it was sealed to the link before."""
    told = [before, operation.uid, operation.digest, operation.number, operation.changes, sealed_at.isoformat()]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def verify(session: Session, noted: str | None = None) -> Verdict:
    """Recompute every digest and every link; each problem names the operation it lies in.

    noted -- a head written down elsewhere: without it nobody can tell that the youngest links were cut off
    """
    connection = session.connection()
    problems: list[str] = []
    standing = {one.uid: one for one in _standing(connection, problems)}
    sealed, heads = _follow(connection, standing, problems)
    problems += _strays(connection)
    if noted is not None and noted not in heads:
        problems.append(f"the head {noted} is not in the chain: operations sealed before it was noted are missing")
    unsealed = tuple(one.number for uid, one in standing.items() if uid not in sealed)
    return Verdict(tuple(problems), len(sealed), unsealed, heads[-1])


@dataclass(frozen=True, slots=True)
class _Standing:
    """One operation as it stands in the tables now."""

    number: int
    uid: str
    digest: str
    changes: list[int]


def _standing(connection: sa.Connection, problems: list[str]) -> Iterator[_Standing]:
    """Every operation that can be read, its content compared with its digest, a few hundred at a time."""
    for numbers in _pages(connection, Operation.__table__.c.id):
        operations, unreadable = _read(connection, Operation.__table__.c.id, numbers)
        changes, torn = _read(connection, Change.__table__.c.operation_id, numbers, Change.__table__.c.position)
        problems += [f"operation {number}: its record cannot be read" for number in unreadable]
        problems += [f"operation {number}: its changes cannot be read" for number in torn]
        for number, (operation,) in operations.items():
            told = changes.get(number, [])
            if number not in torn and digest(operation, told) != operation["digest"]:
                problems.append(f"operation {number}: its content does not match its digest")
            yield _Standing(number, operation["uid"], operation["digest"], [change["id"] for change in told])


def _follow(
    connection: sa.Connection, standing: dict[str, _Standing], problems: list[str]
) -> tuple[set[str], list[str]]:
    """Walk the chain; give which operations it seals and every head it ever had."""
    sealed, heads, expected = set(), [GENESIS], 1
    for numbers in _pages(connection, Seal.__table__.c.no):
        seals, unreadable = _read(connection, Seal.__table__.c.no, numbers)
        problems += [f"seal {number}: cannot be read" for number in unreadable]
        for number, (row,) in seals.items():
            found = standing.get(row["operation_uid"])
            name = f"operation {found.number}" if found is not None else f"operation {row['operation_uid']}"
            if number != expected:
                problems.append(f"seal {number}, of {name}: stands where seal {expected} should")
            if found is None:
                problems.append(f"seal {number}: {name}, which it seals, is gone")
            elif _link(heads[-1], found, row["sealed_at"]) != row["link"]:
                problems.append(f"seal {number}: {name} is not what was sealed, or a seal before it is missing")
            sealed.add(row["operation_uid"])
            heads.append(row["link"])
            expected = number + 1
    return sealed, heads


def _pages(connection: sa.Connection, key: sa.Column[Any], size: int = 300) -> Iterator[list[int]]:
    page = connection.execute(sa.select(key).order_by(key).limit(size)).scalars().all()
    while page:
        yield list(page)
        page = connection.execute(sa.select(key).where(key > page[-1]).order_by(key).limit(size)).scalars().all()


_UNREADABLE = (LookupError, ValueError, TypeError, ArithmeticError, sa.exc.DBAPIError)


def _read(
    connection: sa.Connection, key: sa.Column[Any], numbers: list[int], *order: sa.Column[Any]
) -> tuple[dict[int, list[dict[str, Any]]], list[int]]:
    """The rows whose *key* is one of *numbers*, by it; and the numbers whose rows are spoilt beyond reading."""
    found: dict[int, list[dict[str, Any]]] = {}
    try:
        rows = connection.execute(sa.select(key.table).where(key.in_(numbers)).order_by(key, *order)).mappings()
        for row in rows:
            found.setdefault(row[key], []).append(dict(row))
    except _UNREADABLE:
        if len(numbers) == 1:
            return {}, numbers
        middle = len(numbers) // 2
        left, left_out = _read(connection, key, numbers[:middle], *order)
        right, right_out = _read(connection, key, numbers[middle:], *order)
        return left | right, left_out + right_out
    return found, []


def _strays(connection: sa.Connection) -> list[str]:
    """Changes that belong to no operation."""
    orphans = sa.select(Change.id, Change.operation_id).where(Change.operation_id.not_in(sa.select(Operation.id)))
    return [f"change {row.id}: its operation {row.operation_id} is gone" for row in connection.execute(orphans)]

"""The chain over the journal: sealing it link by link, and proving that nobody altered it since."""

import hashlib
from dataclasses import dataclass
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
    sealed = sa.select(Seal.operation_uid)
    waiting = sa.select(Operation.uid, Operation.digest).where(Operation.uid.not_in(sealed)).order_by(Operation.id)
    rows = []
    for uid, own in connection.execute(waiting.limit(limit)):
        no, link = no + 1, _link(link, uid, own)
        rows.append({"no": no, "operation_uid": uid, "link": link, "sealed_at": now()})
    if rows:
        connection.execute(sa.insert(Seal.__table__), rows)
    return len(rows)


def _link(before: str, uid: str, own: str) -> str:
    return hashlib.sha256(f"{before}{uid}{own}".encode()).hexdigest()


def verify(session: Session) -> Verdict:
    """Recompute every digest and every link; each problem names the operation it lies in."""
    connection = session.connection()
    problems: list[str] = []
    digests: dict[str, str] = {}
    ids: dict[str, int] = {}
    for operation, changes in _operations(connection):
        digests[operation["uid"]], ids[operation["uid"]] = operation["digest"], operation["id"]
        if digest(operation, changes) != operation["digest"]:
            problems.append(f"operation {operation['id']}: its content does not match its digest")
    link, sealed, expected = GENESIS, set(), 1
    for no, uid, told in connection.execute(sa.select(Seal.no, Seal.operation_uid, Seal.link).order_by(Seal.no)):
        if no != expected:
            problems.append(f"seal {expected} is missing")
        if uid not in digests:
            problems.append(f"seal {no}: the operation it seals is gone")
        elif _link(link, uid, digests[uid]) != told:
            problems.append(f"seal {no}: operation {ids[uid]} is not what was sealed")
        link, expected = told, no + 1
        sealed.add(uid)
    unsealed = tuple(number for uid, number in ids.items() if uid not in sealed)
    return Verdict(tuple(problems), len(sealed), unsealed, link)


def _operations(connection: sa.Connection) -> Any:
    """Each operation as a mapping with its changes in order, a few hundred operations at a time."""
    last = 0
    while True:
        page = connection.execute(
            sa.select(Operation.__table__).where(Operation.id > last).order_by(Operation.id).limit(300)
        ).mappings().all()  # fmt: skip
        if not page:
            return
        rows = connection.execute(
            sa.select(Change.__table__)
            .where(Change.operation_id.between(page[0]["id"], page[-1]["id"]))
            .order_by(Change.operation_id, Change.position)
        )
        by_operation: dict[int, list[dict[str, Any]]] = {}
        for row in rows.mappings():
            by_operation.setdefault(row["operation_id"], []).append(dict(row))
        for operation in page:
            yield dict(operation), by_operation.pop(operation["id"], [])
        last = page[-1]["id"]

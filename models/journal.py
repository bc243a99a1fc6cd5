"""The journal: who changed what, when, as which role, why; written by the flush itself.

One Operation per act of a person or of the clock, one Change per record it touched, in the same
transaction as the change. Each operation carries a digest of itself and its changes; sealing
chains the digests, so that altering, adding or removing one later is found by ``verify()``.
"""

import hashlib
import json
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ForeignKey, String, event
from sqlalchemy.orm import Mapped, Session, mapped_column
from sqlalchemy.orm.base import NO_VALUE

from .base import Base, Instant, Json, Model
from .choices import N_, Choice
from .clock_source import now
from .fields import Field, fields_of

WITHHELD = "•••"  # stands in the journal for a secret's value
_UNRECORDED = {"version", "updated_at"}


class Act(Choice):
    """What kind of act an operation was."""

    CREATE = "create", N_("Created"), "green"
    EDIT = "edit", N_("Edited"), "blue"
    CELL = "cell", N_("Edited in the list"), "blue"
    TRANSITION = "transition", N_("Moved on"), "blue"
    RECYCLE = "recycle", N_("Moved to the recycle bin"), "red"
    RESTORE = "restore", N_("Restored"), "green"
    IMPORT = "import", N_("Imported"), "amber"
    EXPORT = "export", N_("Exported"), "amber"
    REVEAL = "reveal", N_("Revealed"), "amber"
    LOGIN = "login", N_("Signed in")
    LOGOUT = "logout", N_("Signed out")
    REFUSED = "refused", N_("Refused"), "red"
    CLOCK = "clock", N_("By the clock")
    UNDO = "undo", N_("Undone"), "amber"
    SEED = "seed", N_("Loaded with the house")
    SCRIPT = "script", N_("By a script")


class Operation(Base):
    """One act: of a person, of the clock, of a script. Rows are only ever added."""

    id: Mapped[int] = mapped_column(primary_key=True)
    uid: Mapped[str] = mapped_column(String(32), unique=True)
    at: Mapped[Instant] = mapped_column(index=True)
    kind: Mapped[Act]
    label: Mapped[str | None] = mapped_column(String(120))
    actor: Mapped[str] = mapped_column(String(80), index=True)
    actor_name: Mapped[str] = mapped_column(String(80))
    role: Mapped[str | None] = mapped_column(String(80))
    table: Mapped[str | None] = mapped_column(String(60))
    record_id: Mapped[int | None]
    source: Mapped[str | None] = mapped_column(String(255))
    address: Mapped[str | None] = mapped_column(String(60))
    reason: Mapped[str | None] = mapped_column(sa.Text)
    detail: Mapped[Json | None]
    changed: Mapped[int] = mapped_column(default=0)
    undoes_id: Mapped[int | None] = mapped_column(ForeignKey("operation.id"))
    digest: Mapped[str] = mapped_column(String(64))


class Change(Base):
    """What one operation did to one record: values before and after, field by field."""

    __table_args__ = (sa.Index("ix_change_table_record_id", "table", "record_id", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    operation_id: Mapped[int] = mapped_column(ForeignKey(Operation.id), index=True)
    position: Mapped[int]
    table: Mapped[str] = mapped_column(String(60))
    record_id: Mapped[int]
    title: Mapped[str] = mapped_column(String(255))
    action: Mapped[str] = mapped_column(String(10))  # create, edit, delete
    version: Mapped[int]  # the record's version after the change
    before: Mapped[Json]
    after: Mapped[Json]


class Seal(Base):
    """One link of the chain: the digest of an operation bound to the link before it."""

    no: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    operation_uid: Mapped[str] = mapped_column(String(32), unique=True)
    link: Mapped[str] = mapped_column(String(64))
    sealed_at: Mapped[Instant]


_KEPT = (Operation, Change, Seal)


# -- what the present act is ------------------------------------------------------------------------


@dataclass
class Context:
    """What is known of the act under way; kept in ``session.info["act"]`` until it is committed."""

    kind: Act = Act.SCRIPT
    label: str | None = None
    table: str | None = None
    record_id: int | None = None
    reason: str | None = None
    detail: Any = None
    undoes_id: int | None = None


@dataclass
class _Entry:
    table: str
    record_id: int
    title: str
    action: str
    version: int
    before: dict[str, Any]
    after: dict[str, Any]


@dataclass
class _Ledger:
    """Changes not yet written, by record; a layer per savepoint."""

    layers: list[tuple[Any, dict[tuple[str, int], _Entry]]] = field(default_factory=lambda: [(None, {})])
    released: list[Any] = field(default_factory=list)  # savepoints that keep what they did
    written: bool = False

    def note(self, entry: _Entry) -> None:
        layer = self.layers[-1][1]
        key = (entry.table, entry.record_id)
        layer[key] = _merge(layer[key], entry) if key in layer else entry

    def entries(self) -> list[_Entry]:
        return _net([layer for _, layer in self.layers])

    def close(self, savepoint: Any) -> None:
        """Fold the savepoint's layer into the one below it, or forget it when it was rolled back."""
        for index, (owner, layer) in enumerate(self.layers):
            if owner is savepoint:
                del self.layers[index]
                if savepoint in self.released:
                    _fold(self.layers[index - 1][1], layer)
                return


def _fold(below: dict[tuple[str, int], _Entry], layer: dict[tuple[str, int], _Entry]) -> None:
    for key, entry in layer.items():
        below[key] = _merge(below[key], entry) if key in below else entry


def _net(layers: list[dict[tuple[str, int], _Entry]]) -> list[_Entry]:
    """What all layers come to, without records that ended as they began."""
    merged: dict[tuple[str, int], _Entry] = {}
    for layer in layers:
        _fold(merged, layer)
    return [e for e in merged.values() if e.action and (e.action != "edit" or e.before)]


def _merge(first: _Entry, then: _Entry) -> _Entry:
    """One entry for two that follow each other on one record; its action is empty when nothing is left of both."""
    if not then.action:
        return first
    existed, exists = first.action in {"edit", "delete"}, then.action != "delete"
    before = {**then.before, **first.before} if existed else {}
    after = {**(first.after if first.action != "delete" else {}), **then.after} if exists else {}
    if existed and exists:  # where only one of both images is whole, what it lacks is None
        names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        before, after = {n: before.get(n) for n in names}, {n: after.get(n) for n in names}
    elif exists:
        after = {name: value for name, value in after.items() if value is not None}
    action = {(True, True): "edit", (True, False): "delete", (False, True): "create"}.get((existed, exists), "")
    return _Entry(then.table, then.record_id, then.title, action, then.version, before, after)


def begin(session: Session, kind: Act, **about: Any) -> None:
    """Say what the act under way is (see Context); it holds until the next commit or rollback."""
    session.info["act"] = Context(kind=kind, **about)


def note(session: Session, kind: Act, **about: Any) -> None:
    """Write an operation that changes no record: a login, a look at a masked value, an export."""
    _insert_operation(session, Context(kind=kind, **about), [])


# -- listening to the flush ---------------------------------------------------------------------------


def attach(session_class: type[Session]) -> None:
    event.listen(session_class, "before_flush", _refuse_rewriting)
    event.listen(session_class, "after_flush", _after_flush)
    event.listen(session_class, "before_commit", _before_commit)
    event.listen(session_class, "after_commit", _after_commit)
    event.listen(session_class, "after_transaction_create", _open_layer)
    event.listen(session_class, "after_transaction_end", _close_layer)
    event.listen(session_class, "do_orm_execute", _refuse_bulk)


def _ledger(session: Session) -> _Ledger:
    found = session.info.get("ledger")
    if found is None:
        found = session.info["ledger"] = _Ledger()
    return found


def _refuse_rewriting(session: Session, _context: Any, _instances: Any) -> None:
    if any(isinstance(obj, _KEPT) for obj in (*session.new, *session.dirty, *session.deleted)):
        raise RuntimeError("the journal is written by the flush alone, and only ever added to")


def _after_flush(session: Session, _context: Any) -> None:
    ledger = _ledger(session)
    created = [_created(obj) for obj in session.new if isinstance(obj, Model)]
    edited = [entry for obj in session.dirty if isinstance(obj, Model) and (entry := _edited(obj)) is not None]
    deleted = [_deleted(obj) for obj in session.deleted if isinstance(obj, Model)]
    for entry in (*created, *edited, *deleted):
        if ledger.written:
            raise RuntimeError(
                f"{entry.table} {entry.record_id} was changed after the journal of this commit was written"
            )
        ledger.note(entry)


def _created(obj: Model) -> _Entry:
    after = {f.attr: plain(f, obj.__dict__.get(f.attr)) for f in _recorded(type(obj))}
    return _entry(obj, "create", {}, {k: v for k, v in after.items() if v is not None})


def _edited(obj: Model) -> _Entry | None:
    committed, present = sa.inspect(obj).committed_state, obj.__dict__
    before, after = {}, {}
    for f in _recorded(type(obj)):
        if f.attr in committed and committed[f.attr] != present.get(f.attr):
            if committed[f.attr] is NO_VALUE:
                raise RuntimeError(f"{f} was written inside the flush: its relation needs back_populates")
            before[f.attr], after[f.attr] = plain(f, committed[f.attr]), plain(f, present.get(f.attr))
    return _entry(obj, "edit", before, after) if before else None


def _deleted(obj: Model) -> _Entry:
    image = {f.attr: plain(f, obj.__dict__.get(f.attr)) for f in _recorded(type(obj))}
    return _entry(obj, "delete", {k: v for k, v in image.items() if v is not None}, {})


def _recorded(model: type[Model]) -> Iterator[Field]:
    return (f for f in fields_of(model) if f.attr not in _UNRECORDED)


def _entry(obj: Model, action: str, before: dict[str, Any], after: dict[str, Any]) -> _Entry:
    return _Entry(type(obj).__tablename__, obj.id, _title(obj), action, obj.version, before, after)


def _title(obj: Model) -> str:
    """The record's title from what is loaded: a journal entry never causes a query."""
    parts = []
    for name in type(obj).__title__:
        value = obj.__dict__.get(name)
        parts.append(_title(value) if isinstance(value, Model) else value)
    return " · ".join(str(getattr(p, "label", p)) for p in parts if p is not None)[:255]


def plain(f: Field, value: Any) -> Any:
    """*value* as it stands in the journal: JSON's own types; secrets withheld."""
    if value is None or value is NO_VALUE:
        return None
    if f.kind == "secret":
        return WITHHELD
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    return value


def _before_commit(session: Session) -> None:
    if session.in_nested_transaction():
        return
    session.flush()
    ledger = _ledger(session)
    entries = ledger.entries()
    act = session.info.pop("act", None) or Context()
    if entries:
        _insert_operation(session, act, entries)
    ledger.written = True


def _after_commit(session: Session) -> None:
    savepoint, ledger = session.get_nested_transaction(), _ledger(session)
    if savepoint is not None:
        ledger.released.append(savepoint)
    elif not ledger.written and ledger.entries():
        raise RuntimeError("committed without a journal: a savepoint was still open when its transaction was committed")


def _insert_operation(session: Session, act: Context, entries: list[_Entry]) -> None:
    who = session.info.get("principal")
    about = session.info.get("request", {})
    single = entries[0] if len(entries) == 1 else None
    row = {
        "uid": uuid.uuid4().hex, "at": now(), "kind": act.kind, "label": act.label,
        "actor": getattr(who, "login", "nobody"), "actor_name": getattr(who, "name", "nobody"),
        "role": getattr(who, "role_codes", None), "table": act.table or (single.table if single else None),
        "record_id": act.record_id or (single.record_id if single else None),
        "source": about.get("source"), "address": about.get("address"), "reason": act.reason,
        "detail": json.loads(json.dumps(act.detail, default=str)),  # as it will be read back
        "changed": len(entries), "undoes_id": act.undoes_id,
    }  # fmt: skip
    changes = [{"position": i, **vars(entry)} for i, entry in enumerate(entries)]
    for name, value in row.items():
        if type(value) is str:
            row[name] = _fitting(value, getattr(Operation.__table__.c[name].type, "length", None))
    row["digest"] = digest(row, changes)
    connection = session.connection()
    operation_id = connection.execute(sa.insert(Operation.__table__).values(**row)).inserted_primary_key[0]  # type: ignore[index]
    if changes:
        for change in changes:
            change["operation_id"] = operation_id
        connection.execute(sa.insert(Change.__table__), changes)
    session.info["last_operation_id"] = operation_id


_DIGESTED = ("uid", "at", "kind", "label", "actor", "actor_name", "role", "table", "record_id", "source", "address",
             "reason", "detail", "changed", "undoes_id")  # fmt: skip
_DIGESTED_CHANGE = ("position", "table", "record_id", "title", "action", "version", "before", "after")


def digest(operation: dict[str, Any], changes: list[dict[str, Any]]) -> str:
    """SHA-256 over everything an operation and its changes say, in canonical JSON."""
    told = hashlib.sha256()
    told.update(_canonical([_json_value(operation[name]) for name in _DIGESTED]))
    for change in changes:
        told.update(_canonical([change[name] for name in _DIGESTED_CHANGE]))
    return told.hexdigest()


def _fitting(text: str, length: int | None) -> str:
    """*text* without what no database keeps, no longer than its column: no act is lost for a name too long."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text)[:length]


def _json_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return value.value if isinstance(value, Enum) else value


def _canonical(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode(errors="surrogatepass")


def _open_layer(session: Session, transaction: Any) -> None:
    if transaction.nested:
        _ledger(session).layers.append((transaction, {}))


def _close_layer(session: Session, transaction: Any) -> None:
    if transaction.nested:
        _ledger(session).close(transaction)
    elif transaction.parent is None:  # whether committed, rolled back or simply closed
        session.info.pop("ledger", None)
        session.info.pop("act", None)


def _refuse_bulk(execution: Any) -> None:
    if not (execution.is_insert or execution.is_update or execution.is_delete):
        return
    statement = getattr(execution.statement, "element", execution.statement)  # from_statement() wraps its own
    if getattr(statement.table, "name", "") in {kept.__tablename__ for kept in _KEPT}:
        raise RuntimeError("the journal is written by the flush alone, and only ever added to")
    if not execution.execution_options.get("unjournaled"):
        raise RuntimeError(
            "a bulk INSERT, UPDATE or DELETE skips rules and journal: change records one by one,"
            " or pass execution_options={'unjournaled': 'why'}"
        )


@contextmanager
def dry_run(session: Session) -> Iterator[list[_Entry]]:
    """Do the block for real inside a savepoint, hand out what it changed, and take it all back.

    The list is filled when the block ends; attribute objects loaded inside are expired.
    """
    told: list[_Entry] = []
    savepoint = session.begin_nested()
    try:
        yield told
        session.flush()
        told.extend(_net([_ledger(session).layers[-1][1]]))
    finally:
        savepoint.rollback()

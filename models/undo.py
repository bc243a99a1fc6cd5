"""Taking an operation back: every record it touched goes back to what it was, as one new operation."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from .base import Model
from .choices import N_
from .errors import Label, RuleBroken
from .fields import Field, field_map, label_of, model_named, references_to
from .flush import restoring
from .journal import WITHHELD, Act, Change, Operation, begin, plain


def undo(session: Session, operation: Operation) -> int:
    """Take *operation* back and return how many records went back; the caller commits.

    Refuses as a whole when any of its records was changed since, naming the record and the field,
    and when an operation was undone already. Which of two later values to keep is a person's
    decision, asked by the screen that comes with it.
    """
    if _is_taken_back(session, operation.id):
        raise RuleBroken(N_("This operation was taken back already."))
    changes = session.scalars(
        sa.select(Change).where(Change.operation_id == operation.id).order_by(Change.position.desc())
    ).all()
    if not changes:
        raise RuleBroken(N_("This operation changed no record, so there is nothing to take back."))
    with session.begin_nested(), restoring(session):
        with session.no_autoflush:
            for change in changes:
                _take_back(session, change)
            _refuse_if_needed(session)
        session.flush()
        for change in changes:
            _refuse_if_pointing_nowhere(session, change)
    begin(session, Act.UNDO, undoes_id=operation.id, label=operation.label)
    return len(changes)


def _is_taken_back(session: Session, operation_id: int) -> bool:
    """Whether an undo of it stands; one that was undone itself does not."""
    undos = session.scalars(sa.select(Operation.id).where(Operation.undoes_id == operation_id)).all()
    return any(not _is_taken_back(session, number) for number in undos)


def _take_back(session: Session, change: Change) -> None:
    model = model_named(change.table)
    record = session.get(model, change.record_id, execution_options={"include_deleted": True})
    if change.action == "delete":
        _refuse_if_taken(session, model, change)
        session.add(_revived(model, change))
        return
    if record is None:
        raise RuleBroken(N_("“%(record)s” is no longer there or out of your reach."), record=change.title)
    if record.deleted_at is not None and "deleted_at" not in change.after:
        raise RuleBroken(N_("“%(record)s” is in the recycle bin: restore it first."), record=change.title)
    _refuse_if_changed_since(record, change)
    if change.action == "create":
        session.delete(record)
        return
    for name, told in change.before.items():
        if told != WITHHELD:
            setattr(record, name, parsed(field_map(model)[name], told))


def _refuse_if_taken(session: Session, model: type[Model], change: Change) -> None:
    own = model.__table__.c.id
    if session.connection().execute(sa.select(own).where(own == change.record_id)).first():
        raise RuleBroken(N_("“%(record)s” is there already."), record=change.title)


def _refuse_if_needed(session: Session) -> None:
    """What is about to be deleted must not be what another record stands on, not even one in the recycle bin."""
    leaving: list[Model] = [record for record in session.deleted if isinstance(record, Model)]
    for record in leaving:
        for model, field in references_to(type(record)):
            table = model.__table__
            pointing = sa.select(table.c.id).where(table.c[field.column.name] == record.id)
            going = [other.id for other in leaving if isinstance(other, model)]
            staying = session.connection().execute(pointing.where(table.c.id.not_in(going))).scalars().first()
            if staying is not None:
                raise RuleBroken(
                    N_("“%(record)s” is needed by %(noun)s %(names)s: void or change that first."),
                    record=str(record), noun=Label(label_of(model)), names=f"#{staying}",
                )  # fmt: skip


def _refuse_if_pointing_nowhere(session: Session, change: Change) -> None:
    """A value of before must not point at a record that went to the recycle bin since."""
    for name, told in change.before.items():
        field = field_map(model_named(change.table))[name]
        if field.target is None or told is None or change.before.get("deleted_at") is not None:
            continue
        there = field.target.__table__
        found = sa.select(there.c.id).where(there.c.id == told, there.c.deleted_at.is_(None))
        if session.connection().execute(found).first() is None:
            raise RuleBroken(
                N_("“%(what)s” of “%(record)s” was a record that is no longer there: restore that first."),
                field=field.key, what=Label(field.label), record=change.title,
            )  # fmt: skip


def _refuse_if_changed_since(record: Model, change: Change) -> None:
    for name, told in change.after.items():
        field = field_map(type(record))[name]
        if told != WITHHELD and plain(field, getattr(record, name)) != told:
            raise RuleBroken(
                N_("“%(what)s” of “%(record)s” was changed since: it is no longer what this operation made it."),
                field=field.key, what=Label(field.label), record=change.title,
            )  # fmt: skip


def _revived(model: type[Model], change: Change) -> Model:
    record = model()
    for name, told in change.before.items():
        if told != WITHHELD:
            setattr(record, name, parsed(field_map(model)[name], told))
    return record


def parsed(field: Field, told: Any) -> Any:
    """The value that stands in the journal as *told*."""
    if told is None:
        return None
    if field.choices is not None:
        return field.choices.from_value(told)
    kind = field.column.type
    if isinstance(kind, sa.Numeric):
        return Decimal(told)
    if field.kind == "instant":
        return datetime.fromisoformat(told)
    if field.kind == "day":
        return date.fromisoformat(told)
    return told

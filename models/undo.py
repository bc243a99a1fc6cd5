"""Taking an operation back: every record it touched goes back to what it was, as one new operation."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from .base import Model
from .choices import N_
from .errors import RuleBroken
from .fields import Field, field_map, model_named
from .flush import restoring
from .journal import WITHHELD, Act, Change, Operation, begin, plain


def undo(session: Session, operation: Operation) -> int:
    """Take *operation* back and return how many records went back; the caller commits.

    Refuses as a whole when any of its records was changed since, naming the record and the field,
    and when an operation was undone already. Which of two later values to keep is a person's
    decision, asked by the screen that comes with it.
    """
    if session.scalar(sa.select(Operation.id).where(Operation.undoes_id == operation.id)):
        raise RuleBroken(N_("This operation was taken back already."))
    changes = session.scalars(
        sa.select(Change).where(Change.operation_id == operation.id).order_by(Change.position.desc())
    ).all()
    if not changes:
        raise RuleBroken(N_("This operation changed no record, so there is nothing to take back."))
    begin(session, Act.UNDO, undoes_id=operation.id, label=operation.label)
    with restoring(session), session.no_autoflush:
        for change in changes:
            _take_back(session, change)
        session.flush()
    return len(changes)


def _take_back(session: Session, change: Change) -> None:
    model = model_named(change.table)
    record = session.get(model, change.record_id, execution_options={"include_deleted": True})
    if change.action == "delete":
        session.add(_revived(model, change))
        return
    if record is None:
        raise RuleBroken(N_("“%(record)s” is no longer there or out of your reach."), record=change.title)
    _refuse_if_changed_since(record, change)
    if change.action == "create":
        session.delete(record)
        return
    for name, told in change.before.items():
        if told != WITHHELD:
            setattr(record, name, parsed(field_map(model)[name], told))


def _refuse_if_changed_since(record: Model, change: Change) -> None:
    for name, told in change.after.items():
        field = field_map(type(record))[name]
        if told != WITHHELD and plain(field, getattr(record, name)) != told:
            raise RuleBroken(
                N_("“%(what)s” of “%(record)s” was changed since: it is no longer what this operation made it."),
                field=field.key, what=field.label, record=change.title,
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

"""The history of a record, read from the journal and shown as far as its reader may see."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from flask_babel import gettext
from markupsafe import Markup
from sqlalchemy.orm import Session

from models import policy, values
from models.base import Model
from models.fields import Field, field_map
from models.journal import WITHHELD, Act, Change, Operation
from models.policy import Level, Subject
from models.undo import parsed

from . import cells, language

PAGE = 50
_ICONS = {"create": "circle-plus", "edit": "pencil", "delete": "trash"}


@dataclass(frozen=True)
class Entry:
    """One operation's part in the life of a record."""

    when: datetime
    when_text: str
    who: str
    role: str
    what: str
    icon: str
    tone: str
    reason: str | None
    changes: list[tuple[str, Markup, Markup]]


def entries(session: Session, record: Model, subject: Subject | None, limit: int = PAGE) -> list[Entry]:
    """The latest operations that touched *record*, newest first."""
    found = session.execute(
        sa.select(Change, Operation)
        .join(Operation, Operation.id == Change.operation_id)
        .where(Change.table == type(record).__tablename__, Change.record_id == record.id)
        .order_by(Change.id.desc())
        .limit(limit)
    )
    return [_entry(session, type(record), change, operation, subject) for change, operation in found]


def _entry(
    session: Session, model: type[Model], change: Change, operation: Operation, subject: Subject | None
) -> Entry:
    return Entry(
        when=operation.at,
        when_text=language.show(operation.at),
        who=operation.actor_name,
        role=operation.role or "",
        what=_what(operation),
        icon=_ICONS.get(change.action, "history") if operation.kind is not Act.TRANSITION else "arrow-right",
        tone=operation.kind.tone,
        reason=operation.reason,
        changes=_shown_changes(session, model, change, subject),
    )


def _what(operation: Operation) -> str:
    kind = gettext(operation.kind.label)
    return f"{kind}：{gettext(operation.label)}" if operation.label else kind


def _shown_changes(
    session: Session, model: type[Model], change: Change, subject: Subject | None
) -> list[tuple[str, Markup, Markup]]:
    if change.action == "create":
        return []
    shown = []
    for name in dict.fromkeys((*change.before, *change.after)):
        field = field_map(model).get(name)
        if field is None or (policy.level_of(subject, field) is Level.HIDDEN and field.kind != "secret"):
            continue
        before, after = change.before.get(name), change.after.get(name)
        shown.append(
            (gettext(field.label), _value(session, field, before, subject), _value(session, field, after, subject))
        )
    return shown


def _value(session: Session, field: Field, told: Any, subject: Subject | None) -> Markup:
    if told is None:
        return cells.EMPTY
    if told == WITHHELD or field.kind == "secret":
        return Markup(WITHHELD)
    if policy.level_of(subject, field) is not Level.PLAIN:
        return Markup("{}").format(values.mask(field.kind, told))
    if field.target is not None:
        related = session.get(field.target, told)
        return Markup("{}").format(language.title(related) if related is not None else f"#{told}")
    return cells.formatter(field)(parsed(field, told))


def replaced_since(session: Session, record: Model, version: int) -> dict[str, Any]:
    """What stood in the record when its version was *version* and was replaced since, by attribute."""
    model = type(record)
    later = session.scalars(
        sa.select(Change)
        .where(Change.table == model.__tablename__, Change.record_id == record.id, Change.version > version)
        .order_by(Change.id)
    )
    found: dict[str, Any] = {}
    for change in later:
        found = {**change.before, **found}
    return {attr: parsed(field_map(model)[attr], told) for attr, told in found.items() if attr in field_map(model)}


def last_editor(session: Session, record: Model) -> tuple[str, datetime] | None:
    """Who changed the record last, and when."""
    found = session.execute(
        sa.select(Operation.actor_name, Operation.at)
        .join(Change, Change.operation_id == Operation.id)
        .where(Change.table == type(record).__tablename__, Change.record_id == record.id)
        .order_by(Change.id.desc())
        .limit(1)
    ).first()
    return (found[0], found[1]) if found is not None else None

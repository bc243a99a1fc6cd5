"""The recycle bin: what is deleted goes there with its parts, and comes back from there."""

from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.orm import Session, object_session

from .base import Model
from .choices import N_
from .clock_source import now
from .errors import Label, RuleBroken
from .fields import label_of, parts_of, references_to

_NAMED = 3


def recycle(record: Model) -> int:
    """Put *record* and its parts into the bin and return how many records went; the caller commits.

    Refuses while another record points at it, naming some of them: they would lose what they stand on.
    """
    session = _session_of(record)
    going = [record, *_parts(session, record)]
    for one in going:
        _refuse_if_needed(session, one, going)
    moment = now()
    for one in going:
        one.deleted_at = moment
    return len(going)


def restore(record: Model) -> int:
    """Bring *record* back with the parts that went with it; the caller commits."""
    session, moment = _session_of(record), record.deleted_at
    if moment is None:
        raise RuleBroken(N_("“%(record)s” is not in the recycle bin."), record=str(record))
    back = [record, *(part for part in _parts(session, record, deleted=True) if part.deleted_at == moment)]
    for one in back:
        one.deleted_at = None
    return len(back)


def _session_of(record: Model) -> Session:
    session = object_session(record)
    assert session is not None, f"{record!r} is in no session"
    return session


def _parts(session: Session, record: Model, deleted: bool = False) -> Iterator[Model]:
    for model, field in parts_of(type(record)):
        column = model.__table__.c[field.column.name]
        found = sa.select(model).where(column == record.id).execution_options(include_deleted=deleted)
        for part in session.scalars(found).all():
            yield part
            yield from _parts(session, part, deleted)


def _refuse_if_needed(session: Session, record: Model, going: list[Model]) -> None:
    leaving = {(type(one), one.id) for one in going}
    for model, field in references_to(type(record)):
        column = model.__table__.c[field.column.name]
        # Rows out of the person's sight hold the record just as firmly: they are counted, not named.
        pointing = session.execute(
            sa.select(model.id)
            .where(column == record.id, model.deleted_at.is_(None))
            .limit(_NAMED + len(going))
            .execution_options(unscoped="what needs it")
        ).scalars()
        staying = [number for number in pointing if (model, number) not in leaving]
        if staying:
            raise RuleBroken(
                N_("“%(record)s” is needed by %(noun)s %(names)s: void or change that first."),
                record=str(record), noun=Label(label_of(model)), names="、".join(f"#{number}" for number in staying[:_NAMED]),
            )  # fmt: skip

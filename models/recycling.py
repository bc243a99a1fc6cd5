"""The recycle bin: what is deleted goes there with its parts, and comes back from there."""

from collections import defaultdict
from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.orm import Session, object_session

from .base import Model
from .choices import N_
from .clock_source import now
from .errors import Label, RuleBroken
from .fields import Field, label_of, parts_of, references_to, relations_of

_NAMED = 3


def recycle(record: Model) -> int:
    """Put *record* and its parts into the bin and return how many records went; the caller commits.

    Refuses while another record points at it, naming some of them: they would lose what they stand on.
    """
    session = _session_of(record)
    session.flush()
    if record.deleted_at is not None:
        raise RuleBroken(N_("“%(record)s” is in the recycle bin already."), record=str(record))
    going = [record, *_parts(session, record)]
    _refuse_if_needed(session, going)
    moment = now()
    for one in going:
        one.deleted_at = moment
    return len(going)


def restore(record: Model) -> int:
    """Bring *record* back with the parts that went with it; the caller commits.

    Refuses while something it points at is in the bin, its whole above all.
    """
    session, moment = _session_of(record), record.deleted_at
    session.flush()
    if moment is None:
        raise RuleBroken(N_("“%(record)s” is not in the recycle bin."), record=str(record))
    back = [record, *(part for part in _parts(session, record, deleted=True) if part.deleted_at == moment)]
    for one in back:
        _refuse_if_pointing_into_bin(session, one, back)
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


def _refuse_if_needed(session: Session, going: list[Model]) -> None:
    leaving: dict[type[Model], dict[int, Model]] = defaultdict(dict)
    for one in going:
        leaving[type(one)][one.id] = one
    for target, records in leaving.items():
        for model, field in references_to(target):
            for number, whom in _pointing(session, model, field, list(records)):
                if number not in leaving[model]:
                    raise RuleBroken(
                        N_("“%(record)s” is needed by %(noun)s %(names)s: void or change that first."),
                        record=str(records[whom]), noun=Label(label_of(model)),
                        names=_names(session, model, field, whom, leaving[model]),
                    )  # fmt: skip


def _pointing(session: Session, model: type[Model], field: Field, ids: list[int]) -> Iterator[tuple[int, int]]:
    """The records of *model* that are in use and point at one of *ids* by *field*, and at which."""
    table = model.__table__
    link = table.c[field.column.name]
    for start in range(0, len(ids), 500):
        # Rows out of the person's sight hold the record just as firmly: they are counted, not named.
        some = sa.select(table.c.id, link).where(link.in_(ids[start : start + 500]), table.c.deleted_at.is_(None))
        for row in session.connection().execute(some.order_by(table.c.id)):
            yield row[0], row[1]


def _names(session: Session, model: type[Model], field: Field, whom: int, leaving: dict[int, Model]) -> str:
    staying = [number for number, _ in _pointing(session, model, field, [whom]) if number not in leaving]
    return "、".join(f"#{number}" for number in staying[:_NAMED])


def _refuse_if_pointing_into_bin(session: Session, record: Model, back: list[Model]) -> None:
    coming = {(type(one), one.id) for one in back}
    for field in relations_of(type(record)):
        key = getattr(record, field.attr)
        assert field.target is not None
        if key is None or (field.target, key) in coming:
            continue
        there = field.target.__table__
        binned = sa.select(there.c.id).where(there.c.id == key, there.c.deleted_at.is_not(None))
        if session.connection().execute(binned).first():
            raise RuleBroken(
                N_("“%(what)s” of “%(record)s” is in the recycle bin: restore that first."),
                field=field.key, what=Label(field.label), record=str(record),
            )  # fmt: skip

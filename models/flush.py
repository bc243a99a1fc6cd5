"""What must hold before anything reaches the database, whatever door it came through.

Values are tidied and checked by their kind, states are left to transitions, numbers are given,
derived columns set, and each record's own ``check()`` asked: at every flush, in this order.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Mapped, Session, mapped_column
from sqlalchemy.orm.base import NO_VALUE

from . import values
from .base import Base, Model
from .choices import N_
from .clock_source import now
from .errors import Label, RuleBroken
from .fields import Field, fields_of, own_fields
from .workflow import ruled, state_columns

INTEGER_LIMIT = 2**31 - 1


class Serial(Base):
    """The last number given in one series, such as contract numbers."""

    series: Mapped[str] = mapped_column(sa.String(60), primary_key=True)
    last: Mapped[int]


def attach(session_class: type[Session]) -> None:
    event.listen(session_class, "before_flush", _before_flush)


@contextmanager
def restoring(session: Session) -> Iterator[None]:
    """Inside the block states may be set as they were: undo and loading a house's past."""
    session.info["restoring"] = True
    try:
        yield
    finally:
        session.info.pop("restoring", None)


def _before_flush(session: Session, _context: Any, _instances: Any) -> None:
    touched = [obj for obj in (*session.new, *session.dirty) if isinstance(obj, Model)]
    _give_numbers(session, touched)
    for obj in touched:
        changed = changed_fields(obj)
        if not changed and obj not in session.new:
            continue
        if not session.info.get("restoring"):
            _guard_state(session, obj)
            for field in changed:
                _settle(obj, field)
            obj.derive()
            _require(obj)
            obj.check()


def changed_fields(obj: Model) -> list[Field]:
    """The fields of *obj* that differ from the database; of a new record, those that have a value."""
    state = sa.inspect(obj)
    if not state.persistent:
        return [f for f in fields_of(type(obj)) if state.dict.get(f.attr) is not None]
    before = state.committed_state
    return [f for f in fields_of(type(obj)) if f.attr in before and before[f.attr] != state.dict.get(f.attr)] + [
        f
        for f in fields_of(type(obj))
        if f.target is not None and f.key in before and f.attr not in before and _points_elsewhere(obj, f)
    ]


def _points_elsewhere(obj: Model, field: Field) -> bool:
    """Whether a relation was given another record whose key is not yet copied into the column."""
    given = obj.__dict__.get(field.key)
    return (None if given is None else given.__dict__.get("id", NO_VALUE)) != obj.__dict__.get(field.attr)


def _guard_state(session: Session, obj: Model) -> None:
    if ruled(session):
        return
    state = sa.inspect(obj)
    for name in state_columns(type(obj)):
        column = state.mapper.columns[name]
        if state.persistent:
            moved = name in state.committed_state and state.committed_state[name] != state.dict.get(name)
        else:
            start = default_of(column)
            moved = state.dict.get(name) not in (None, start)
        if moved:
            raise _state_is_typed(obj, name)


def default_of(column: sa.Column[Any]) -> Any:
    """The plain value a column starts with; None when it has none or works it out."""
    default = column.default
    return default.arg if isinstance(default, sa.ColumnDefault) and default.is_scalar else None


def _state_is_typed(obj: Model, name: str) -> RuleBroken:
    label = next(f.label for f in fields_of(type(obj)) if f.attr == name)
    return RuleBroken(
        N_("“%(what)s” moves by the buttons of the record alone, each with its own rule: it cannot be typed."),
        field=name,
        what=Label(label),
    )


def _settle(obj: Model, field: Field) -> None:
    """Tidy and check one value by its kind."""
    value = obj.__dict__.get(field.attr)
    if value is None:
        return
    habit = values.kind(field.kind)
    if habit.tidy is not None:
        tidy = habit.tidy(value)
        if tidy != value:
            setattr(obj, field.attr, tidy)
            value = tidy
    try:
        check_value(field, value)
    except RuleBroken as broken:
        broken.field = broken.field or field.key
        raise


def check_value(field: Field, value: Any) -> None:
    """Raise RuleBroken when *value* cannot stand in *field*: kind, length, range, decimal places."""
    if value is None:
        return
    habit = values.kind(field.kind)
    if habit.check is not None:
        habit.check(value)
    if isinstance(value, str) and field.length is not None and len(value) > field.length:
        raise RuleBroken(
            N_("“%(what)s” holds %(length)s characters; %(limit)s fit: shorten it."),
            field=field.key, what=Label(field.label), length=len(value), limit=field.length,
        )  # fmt: skip
    if isinstance(value, Decimal):
        _check_decimal(field, value)
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) > INTEGER_LIMIT:
        raise _out_of_range(field, value)


def _check_decimal(field: Field, value: Decimal) -> None:
    column = field.column.type
    if not value.is_finite():
        raise _out_of_range(field, value)
    if not isinstance(column, sa.Numeric) or column.precision is None or column.scale is None:
        return
    if abs(value) >= Decimal(10) ** (column.precision - column.scale):
        raise _out_of_range(field, value)
    if value != round(value, column.scale):
        raise RuleBroken(
            N_("“%(what)s” is %(value)s: at most %(places)s decimal places fit."),
            field=field.key, what=Label(field.label), value=value, places=column.scale,
        )  # fmt: skip


def _out_of_range(field: Field, value: Any) -> RuleBroken:
    return RuleBroken(
        N_("“%(what)s” is %(value)s, which is out of any sensible range."),
        field=field.key,
        what=Label(field.label),
        value=value,
    )


def _require(obj: Model) -> None:
    for field in own_fields(type(obj)):
        if field.required and obj.__dict__.get(field.attr) is None and obj.__dict__.get(field.key) is None:
            if sa.inspect(obj).persistent and field.attr not in sa.inspect(obj).committed_state:
                continue
            raise RuleBroken(N_("“%(what)s” is missing: fill it in."), field=field.key, what=Label(field.label))


# -- numbers ----------------------------------------------------------------------------------------


def _give_numbers(session: Session, touched: Iterable[Model]) -> None:
    waiting: dict[Field, list[Model]] = defaultdict(list)
    for obj in touched:
        for field in fields_of(type(obj)):
            if field.serial is not None and obj.__dict__.get(field.attr, _unset(obj)) in (None, ""):
                waiting[field].append(obj)
    for field, records in waiting.items():
        first = _reserve(session, field, len(records))
        for offset, obj in enumerate(records):
            setattr(obj, field.attr, str(field.serial).format(n=first + offset, year=now().year))


def _unset(obj: Model) -> object:
    """What an absent value means: nothing given in a new record, not loaded in a kept one."""
    return NO_VALUE if sa.inspect(obj).persistent else None


def _reserve(session: Session, field: Field, count: int) -> int:
    """Take *count* numbers of the field's series and return the first; waits for whoever takes some too."""
    connection = session.connection()
    table, series = Serial.__table__, f"{field.model.__tablename__}.{field.attr}"
    taken = connection.execute(
        sa.update(table).where(table.c.series == series).values(last=table.c.last + count).returning(table.c.last)
    ).scalar()
    if taken is None:
        connection.execute(sa.insert(table).values(series=series, last=count))
        taken = count
    first = int(taken) - count + 1
    if _in_use(connection, field, first, count):
        # Numbers typed or imported by hand may be ahead of the series: go on behind them.
        highest = connection.execute(sa.select(sa.func.max(field.model.__table__.c.id))).scalar() or 0
        connection.execute(sa.update(table).where(table.c.series == series).values(last=max(taken, highest) + 1000))
        return _reserve(session, field, count)
    return first


def _in_use(connection: sa.Connection, field: Field, first: int, count: int) -> bool:
    column = field.model.__table__.c[field.attr]
    wanted = [str(field.serial).format(n=n, year=now().year) for n in range(first, first + count)]
    for start in range(0, count, 500):
        if connection.execute(sa.select(column).where(column.in_(wanted[start : start + 500])).limit(1)).first():
            return True
    return False

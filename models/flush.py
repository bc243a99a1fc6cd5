"""What must hold before anything reaches the database, whatever door it came through.

Relations and their columns are made to say the same, then policy judges, then values are tidied and
checked by their kind, states are left to transitions, numbers are given, derived columns set, and each
record's own ``check()`` asked: at every flush, in this order.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapped, Session, mapped_column
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.base import NO_VALUE

from . import values
from .base import Base, Model
from .choices import N_
from .clock_source import now
from .errors import Label, RuleBroken
from .fields import Field, field_map, fields_of, own_fields, relations_of
from .workflow import judging, ruled, state_columns

INTEGER_LIMIT = 2**31 - 1
MOST_DIGITS = 18


class Serial(Base):
    """The last number given in one series, such as contract numbers."""

    series: Mapped[str] = mapped_column(sa.String(60), primary_key=True)
    last: Mapped[int]


def attach_first(session_class: type[Session]) -> None:
    """Before anybody judges a change: see that it is told whole."""
    event.listen(session_class, "before_flush", _make_whole)


def attach(session_class: type[Session]) -> None:
    event.listen(session_class, "before_flush", _before_flush)


@contextmanager
def restoring(session: Session) -> Iterator[None]:
    """Inside the block states and derived values may be set as they were: undo and loading a house's past."""
    session.info["restoring"] = True
    try:
        yield
    finally:
        session.info.pop("restoring", None)


def _make_whole(session: Session, _context: Any, _instances: Any) -> None:
    for obj in (*session.new, *session.dirty):
        if isinstance(obj, Model):
            _align_relations(session, obj)
    fetch_unloaded(session)


def _align_relations(session: Session, obj: Model) -> None:
    """Copy the key of a related record that was given into its column; forget one that a typed key replaced."""
    state = sa.inspect(obj)
    for field in relations_of(type(obj)):
        if field.key in state.committed_state:
            given = obj.__dict__.get(field.key)
            key = None if given is None else given.__dict__.get("id", NO_VALUE)
            if given is not None and key in (None, NO_VALUE):
                # It is new as well: the flush gives both their keys, over the old one, which must be known by then.
                # A key that was never set since the record was made reads as None and is not kept by reading it.
                set_committed_value(obj, field.attr, getattr(obj, field.attr))
                continue
            if key != obj.__dict__.get(field.attr, NO_VALUE if state.persistent else None):
                setattr(obj, field.attr, key)
        elif field.attr in state.committed_state and field.key in obj.__dict__ and state.persistent:
            related = obj.__dict__[field.key]
            if (None if related is None else related.id) != obj.__dict__.get(field.attr):
                session.expire(obj, [field.key])


def fetch_unloaded(session: Session) -> None:
    """Read the old values that nobody loaded before they were overwritten, while they still stand there."""
    waiting: dict[type[Model], dict[Model, list[str]]] = defaultdict(dict)
    deleted = session.deleted
    for obj in (*session.dirty, *deleted):
        if isinstance(obj, Model) and (unknown := _unknown(obj, obj in deleted)):
            waiting[type(obj)][obj] = unknown
    for model, records in waiting.items():
        names = list(dict.fromkeys(name for unknown in records.values() for name in unknown))
        kept = _kept_values(session, model, names, [sa.inspect(obj).identity[0] for obj in records])  # type: ignore[index]
        for obj, unknown in records.items():
            state, told = sa.inspect(obj), kept.get(sa.inspect(obj).identity[0], {})  # type: ignore[index]
            for name in unknown:
                if name in told:
                    (state.dict if obj in deleted else state.committed_state)[name] = told[name]


def _unknown(obj: Model, deleted: bool) -> list[str]:
    state = sa.inspect(obj)
    if deleted:
        return [p.key for p in state.mapper.column_attrs if p.key not in state.dict]
    return [k for k, old in state.committed_state.items() if old is NO_VALUE and k in state.mapper.column_attrs]


def _kept_values(session: Session, model: type[Model], names: list[str], ids: list[int]) -> dict[int, dict[str, Any]]:
    """The values that stand in the database under *names*, by record."""
    columns = [model.__table__.c[field_map(model)[name].column.name] for name in names]
    own, found = model.__table__.c.id, {}
    for start in range(0, len(ids), 500):
        some = sa.select(own, *columns).where(own.in_(ids[start : start + 500]))
        for row in session.connection().execute(some):
            found[row[0]] = dict(zip(names, row[1:], strict=True))
    return found


def _before_flush(session: Session, _context: Any, _instances: Any) -> None:
    done: set[Model] = set()
    # A rule may touch or make further records: they are looked at as well.
    while touched := [o for o in (*session.new, *session.dirty) if isinstance(o, Model) and o not in done]:
        done.update(touched)
        _give_numbers(session, touched)
        for obj in touched:
            _settle_record(session, obj)
    fetch_unloaded(session)


def _settle_record(session: Session, obj: Model) -> None:
    changed = changed_fields(obj)
    kept = sa.inspect(obj).persistent
    if not changed and kept:
        return
    if kept and any(f.attr == "id" for f in changed):
        raise ValueError(f"the key of {obj!r} never changes")
    restored = bool(session.info.get("restoring"))
    if not restored:
        _guard_state(session, obj)
    for field in changed:
        _settle(obj, field)
    with judging(session):
        _forget_unseen(session, obj)
        _complete(session, obj, kept)
        if not restored:
            obj.derive()
        for field in changed_fields(obj):
            _settle(obj, field)
        _require(obj)
        obj.check()


def _forget_unseen(session: Session, obj: Model) -> None:
    """Let go of relations that look empty only because their record is out of the person's sight: rules read them."""
    state, told = sa.inspect(obj), obj.__dict__
    for field in relations_of(type(obj)) if state.persistent else ():
        loaded = field.key in told and field.key not in state.committed_state
        if loaded and told[field.key] is None and told.get(field.attr) is not None:
            session.expire(obj, [field.key])


def _complete(session: Session, obj: Model, kept: bool) -> None:
    """Give a new record its plain defaults, and relations the records that their keys name: rules see both."""
    state, told = sa.inspect(obj), obj.__dict__
    for field in () if kept else fields_of(type(obj)):
        if told.get(field.attr) is None and not field.column.nullable:
            default = default_of(field.column)
            if default is not None:
                setattr(obj, field.attr, default)
    for field in relations_of(type(obj)):
        key, known = told.get(field.attr), told.get(field.key)
        if field.key in state.committed_state or (kept and field.attr not in state.committed_state):
            continue  # the relation itself was given, or loads by itself
        if (known.__dict__.get("id") if known is not None else None) != key:
            related = _named(session, field, key)
            # Set, so that the other side's collection knows it too; but None would empty the key of a record
            # that is there and only out of sight.
            if related is not None or key is None:
                setattr(obj, field.key, related)


def _named(session: Session, field: Field, key: int | None) -> Any:
    """The record that *key* names, be it as new as the one that points at it; None when it is out of sight."""
    assert field.target is not None
    found = session.get(field.target, key) if key is not None else None
    return found or next((o for o in session.new if isinstance(o, field.target) and o.__dict__.get("id") == key), None)


def changed_fields(obj: Model) -> list[Field]:
    """The fields of *obj* that differ from the database; of a new record, those that have a value."""
    state = sa.inspect(obj)
    if not state.persistent:
        return [f for f in fields_of(type(obj)) if state.dict.get(f.attr) is not None]
    before = state.committed_state
    return [f for f in fields_of(type(obj)) if f.attr in before and before[f.attr] != state.dict.get(f.attr)] + [
        f for f in relations_of(type(obj)) if f.key in before and f.attr not in before and _points_elsewhere(obj, f)
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
    try:
        tidy = _tidied(field, value)
        if tidy is not value:
            setattr(obj, field.attr, tidy)
        check_value(field, tidy)
    except RuleBroken as broken:
        broken.field = broken.field or field.key
        raise


def _tidied(field: Field, value: Any) -> Any:
    habit = values.kind(field.kind)
    if habit.tidy is not None:
        return habit.tidy(value)
    if field.choices is not None and not isinstance(value, field.choices):
        return _chosen(field, value)
    return _exact(field, value)


def _exact(field: Field, value: Any) -> Any:
    """Numbers with a fixed number of places stand with just so many; those a rule worked out are rounded to them."""
    column = field.column.type
    if not isinstance(column, sa.Numeric) or not column.asdecimal or column.scale is None or isinstance(value, bool):
        return value
    number = Decimal(str(value)) if isinstance(value, (int, float)) else value
    if not isinstance(number, Decimal) or not number.is_finite() or number.adjusted() > MOST_DIGITS:
        return number
    exact = number.quantize(Decimal(1).scaleb(-column.scale), ROUND_HALF_UP)
    return exact if field.derived or exact == number else number


def _chosen(field: Field, value: Any) -> Any:
    assert field.choices is not None
    try:
        return field.choices.from_value(value)
    except (ValueError, TypeError):
        raise RuleBroken(
            N_("“%(value)s” is none of the choices of “%(what)s”: take one from the list."),
            field=field.key, what=Label(field.label), value=value,
        ) from None  # fmt: skip


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
    connection, series = session.connection(), f"{field.model.__tablename__}.{field.attr}"
    first = count_up(connection, series, count) - count + 1
    if not _in_use(connection, field, first, count):
        return first
    # Numbers typed or imported by hand may be ahead of the series: go on behind them.
    highest = connection.execute(sa.select(sa.func.max(field.model.__table__.c.id))).scalar() or 0
    count_up(connection, series, max(0, highest - first - count + 1) + 1000)
    return _reserve(session, field, count)


def count_up(connection: sa.Connection, series: str, by: int = 1) -> int:
    """Raise the last number of *series* and return it; whoever comes second waits for the first to commit."""
    table = Serial.__table__
    raised = sa.update(table).where(table.c.series == series).values(last=table.c.last + by).returning(table.c.last)
    last = connection.execute(raised).scalar()
    if last is None:  # two may begin a series at once
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        connection.execute(dialect.insert(table).values(series=series, last=0).on_conflict_do_nothing())
        last = connection.execute(raised).scalar_one()
    return int(last)


def _in_use(connection: sa.Connection, field: Field, first: int, count: int) -> bool:
    column = field.model.__table__.c[field.attr]
    wanted = [str(field.serial).format(n=n, year=now().year) for n in range(first, first + count)]
    for start in range(0, count, 500):
        if connection.execute(sa.select(column).where(column.in_(wanted[start : start + 500])).limit(1)).first():
            return True
    return False

"""A list as an address: filters, search, sort, columns and page are its query string, and nothing else.

Pages are found by key, not by counting: the cursor of a page is the last row's sort value and its
record number, so that the millionth row costs what the first does and no row is shown twice.
"""

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased
from werkzeug.datastructures import MultiDict

from models import clock, search
from models.base import Model
from models.choices import N_
from models.errors import RuleBroken
from models.fields import Field, field_map, fields_of, list_fields, own_fields, title_paths
from models.journal import plain
from models.policy import Level, Subject, level_of
from models.undo import parsed

COUNT_CAP = 1000
SIZES = (20, 50, 100)
RESERVED = {"search", "sort", "desc", "after", "before", "size", "cols"}
_TEXT_KINDS = {"code", "name", "text", "note", "email", "phone", "id_number"}
_RANGE_KINDS = {"number", "money", "percent", "day", "instant"}


class NotUnderstood(RuleBroken):
    """The address asks for something that does not exist here: answered 400, never with a wider list."""


@dataclass(frozen=True)
class Filter:
    """One condition of the address: ``status=draft,signed``, ``amount.min=10``, ``note.empty=yes``."""

    field: Field
    op: str  # is, has, min, max, empty
    raw: str
    condition: sa.ColumnElement[bool]

    @property
    def arg(self) -> str:
        return self.field.key if self.op in {"is", "has"} else f"{self.field.key}.{self.op}"


@dataclass
class Query:
    """What an address asks of a model's list, understood and permitted."""

    model: type[Model]
    subject: Subject | None
    filters: list[Filter] = dataclass_field(default_factory=list)
    q: str = ""
    sort: Field | None = None
    desc: bool = True
    size: int = SIZES[1]
    after: str | None = None
    before: str | None = None
    columns: tuple[Field, ...] = ()

    def args(self, **changes: Any) -> dict[str, Any]:
        """The query string of this list, with *changes*; None takes an argument away."""
        told: dict[str, Any] = {f.arg: f.raw for f in self.filters}
        if self.q:
            told["search"] = self.q
        if self.sort is not None:
            told |= {"sort": self.sort.key} | ({"desc": "1"} if self.desc else {})
        if self.size != SIZES[1]:
            told["size"] = self.size
        if self.columns != visible_list_fields(self.model, self.subject):
            told["cols"] = ",".join(f.key for f in self.columns)
        return {k: v for k, v in (told | changes).items() if v is not None}


def visible_fields(model: type[Model], subject: Subject | None) -> tuple[Field, ...]:
    """The fields of *model* that *subject* sees at least masked."""
    return tuple(f for f in own_fields(model) if level_of(subject, f) is not Level.HIDDEN)


def visible_list_fields(model: type[Model], subject: Subject | None) -> tuple[Field, ...]:
    return tuple(f for f in list_fields(model) if level_of(subject, f) is not Level.HIDDEN)


def open_fields(model: type[Model], subject: Subject | None) -> dict[str, Field]:
    """The fields one may filter and sort by: only those seen in full, for a mask is found out by halving."""
    return {
        f.key: f
        for f in fields_of(model)
        if f.kind not in {"secret", "json"} and level_of(subject, f).depth >= Level.REVEAL.depth and _offered(f)
    }


def _offered(f: Field) -> bool:
    return not f.system or f.attr in {"id", "created_at", "updated_at"}


def read(model: type[Model], subject: Subject | None, args: MultiDict[str, str]) -> Query:
    """Understand the query string of a list, or raise NotUnderstood naming the argument."""
    known = open_fields(model, subject)
    query = Query(model, subject, columns=visible_list_fields(model, subject))
    for name, given in args.lists():
        if name in RESERVED:
            continue
        key, _, op = name.partition(".")
        if key not in known:
            raise NotUnderstood(N_("This list has no filter “%(name)s”."), name=name[:60])
        raw = ",".join(given) if known[key].choices is not None else given[-1]
        if raw != "":
            query.filters.append(_filter(known[key], op, raw[:400]))
    query.q = args.get("search", "").strip()[:100]
    query.size = _size(args.get("size"))
    query.columns = _columns(model, subject, ",".join(args.getlist("cols"))) or query.columns
    if args.get("sort"):
        query.sort = known.get(args["sort"])
        if query.sort is None or (not query.sort.sortable and query.sort.attr not in {"created_at", "updated_at"}):
            raise NotUnderstood(N_("This list cannot be sorted by “%(name)s”."), name=args["sort"][:60])
        query.desc = args.get("desc") == "1"
    query.after, query.before = args.get("after"), args.get("before")
    return query


def _size(raw: str | None) -> int:
    if raw is None:
        return SIZES[1]
    if raw not in {str(n) for n in SIZES}:
        raise NotUnderstood(N_("A page holds %(sizes)s rows."), sizes=", ".join(map(str, SIZES)))
    return int(raw)


def _columns(model: type[Model], subject: Subject | None, raw: str | None) -> tuple[Field, ...]:
    if not raw:
        return ()
    visible = {f.key: f for f in visible_fields(model, subject)}
    wanted = list(dict.fromkeys(raw.split(",")))
    unknown = [name for name in wanted if name not in visible]
    if unknown:
        raise NotUnderstood(N_("This list has no column “%(name)s”."), name=unknown[0][:60])
    return tuple(visible[name] for name in wanted)


# -- filters ------------------------------------------------------------------------------------------


def _filter(f: Field, op: str, raw: str) -> Filter:
    column = getattr(f.model, f.attr)
    if op == "empty":
        return Filter(f, op, raw, _is_empty(f, column, raw))
    if op in {"min", "max"} and f.kind in _RANGE_KINDS:
        return Filter(f, op, raw, _bound(f, column, op, raw))
    if op == "":
        if f.kind in _TEXT_KINDS:
            return Filter(f, "has", raw, column.icontains(raw, autoescape=True))
        return Filter(f, "is", raw, _equals(f, column, raw))
    raise NotUnderstood(N_("“%(name)s” has no filter of this kind."), name=f"{f.key}.{op}"[:60])


def _is_empty(f: Field, column: Any, raw: str) -> sa.ColumnElement[bool]:
    if raw not in {"yes", "no"}:
        raise _not_read(f, raw)
    return column.is_(None) if raw == "yes" else column.is_not(None)  # type: ignore[no-any-return]


def _equals(f: Field, column: Any, raw: str) -> sa.ColumnElement[bool]:
    if f.choices is not None:
        wanted = raw.split(",")
        known = {member.value for member in f.choices}
        if not set(wanted) <= known:
            raise _not_read(f, raw)
        return column.in_([f.choices.from_value(value) for value in wanted])  # type: ignore[no-any-return]
    if f.kind == "bool":
        if raw not in {"yes", "no"}:
            raise _not_read(f, raw)
        return column.is_(raw == "yes")  # type: ignore[no-any-return]
    if f.kind == "day":
        return column == _day(f, raw)  # type: ignore[no-any-return]
    if f.kind == "instant":
        day = _day(f, raw)
        return sa.and_(column >= _start_of(day), column < _start_of(day + timedelta(days=1)))
    return column == _number(f, raw)  # type: ignore[no-any-return]


def _bound(f: Field, column: Any, op: str, raw: str) -> sa.ColumnElement[bool]:
    if f.kind == "instant":
        day = _day(f, raw)
        return column >= _start_of(day) if op == "min" else column < _start_of(day + timedelta(days=1))  # type: ignore[no-any-return]
    value = _day(f, raw) if f.kind == "day" else _number(f, raw)
    return column >= value if op == "min" else column <= value  # type: ignore[no-any-return]


def _day(f: Field, raw: str) -> date:
    try:
        day = date.fromisoformat(raw)
    except ValueError:
        raise _not_read(f, raw) from None
    if not date(1, 1, 3) < day < date(9999, 12, 29):
        raise _not_read(f, raw)
    return day


def _start_of(day: date) -> datetime:
    return datetime.combine(day, time.min, clock.HOUSE_ZONE)


def _number(f: Field, raw: str) -> int | Decimal:
    try:
        value = Decimal(raw)
    except InvalidOperation:
        raise _not_read(f, raw) from None
    if not value.is_finite() or (abs(value) > 2**31 - 1 and f.scale is None) or abs(value) > Decimal("1e12"):
        raise _not_read(f, raw)
    if f.scale is None:
        if value != int(value):
            raise _not_read(f, raw)
        return int(value)
    return value


def _not_read(f: Field, raw: str) -> NotUnderstood:
    return NotUnderstood(N_("“%(value)s” is no value to filter “%(name)s” by."), value=raw[:60], name=f.key)


# -- the statement --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Path:
    """Where in a row of the statement a field's parts stand."""

    field: Field
    start: int
    stop: int


class Selection:
    """The columns of a statement: record number, version, title and the fields wanted, relations by *parts*.

    parts -- the dotted paths that stand for a related record: its title for pages, its key for files
    """

    def __init__(
        self, model: type[Model], fields: Iterable[Field], parts: Callable[[type[Model]], tuple[str, ...]] = title_paths
    ) -> None:
        self.model = model
        self.columns: list[Any] = [model.id, model.version]
        self._joins: dict[str, Any] = {}
        self._parts = parts
        self.paths = {f.key: self._add(f) for f in fields}
        title = [self._resolve(path) for path in title_paths(model)]
        self.title = slice(len(self.columns), len(self.columns) + len(title))
        self.columns += title

    def _add(self, f: Field) -> Path:
        start = len(self.columns)
        self.columns.append(getattr(self.model, f.attr))
        if f.target is not None:
            self.columns += [self._resolve(f"{f.key}.{path}") for path in self._parts(f.target)]
        return Path(f, start, len(self.columns))

    def _resolve(self, path: str) -> Any:
        *relations, name = path.split(".")
        entity: Any = self.model
        walked = ""
        for relation in relations:
            walked = f"{walked}.{relation}"
            if walked not in self._joins:
                target = aliased(field_map(sa.inspect(entity).mapper.class_)[relation].target)
                self._joins[walked] = (target, getattr(entity, relation).of_type(target))
            entity = self._joins[walked][0]
        return getattr(entity, field_map(sa.inspect(entity).mapper.class_)[name].attr)

    def statement(self) -> sa.Select[Any]:
        told = sa.select(*self.columns)
        for _, relation in self._joins.values():
            told = told.join(relation, isouter=True)
        return told


def narrowed(query: Query, statement: sa.Select[Any]) -> sa.Select[Any]:
    """*statement* with the filters and the search of *query*, in its order, with no page cut out of it."""
    statement, ranked = _restricted(query, statement)
    return statement.order_by(*_order(query, ranked, backwards=False))


def _restricted(query: Query, statement: sa.Select[Any]) -> tuple[sa.Select[Any], Any]:
    """*statement* with filters and search, and the ranking of what the search found."""
    for condition in query.filters:
        statement = statement.where(condition.condition)
    found = search.hits(query.subject, query.model, query.q) if query.q else None
    if found is None:
        return statement, None
    ranked = found.subquery()
    return statement.join(ranked, ranked.c.record_id == query.model.id), ranked


def _order(query: Query, ranked: Any, backwards: bool) -> list[Any]:
    column, desc = _sort_column(query, ranked)
    down = desc != backwards
    keys = [column, query.model.id] if column is not None else [query.model.id]
    return [key.desc() if down else key.asc() for key in keys]


def _sort_column(query: Query, ranked: Any) -> tuple[Any, bool]:
    if query.sort is not None and query.sort.attr != "id":
        return getattr(query.model, query.sort.attr), query.desc
    if query.sort is not None:
        return None, query.desc
    return (ranked.c.score, True) if ranked is not None else (None, True)


@dataclass(frozen=True)
class Page:
    """One page of rows as the selection lays them out, and the cursors of its neighbours."""

    rows: list[Any]
    previous: str | None
    following: str | None


def page(session: Session, query: Query, selection: Selection) -> Page:
    """The page of *query* that its cursor asks for: one statement, however large the table."""
    statement, ranked = _restricted(query, selection.statement())
    column, desc = _sort_column(query, ranked)
    backwards = bool(query.before)
    cursor = query.before or query.after
    if cursor:
        statement = statement.where(_beyond(session, query, column, desc != backwards, cursor))
    if column is not None:
        statement = statement.add_columns(column.label("sorted_by"))
    rows = list(session.execute(statement.order_by(*_order(query, ranked, backwards)).limit(query.size + 1)))
    more = len(rows) > query.size
    rows = rows[: query.size]
    if backwards:
        rows.reverse()
    keyed = column is not None
    first = _cursor(query, rows[0], keyed) if rows else None
    last = _cursor(query, rows[-1], keyed) if rows else None
    has_previous, has_following = (more, True) if backwards else (bool(query.after), more)
    return Page(rows, first if has_previous else None, last if has_following else None)


def _cursor(query: Query, row: Any, keyed: bool) -> str:
    told: list[Any] = [row[0]]
    if keyed:
        value = row[-1]
        told.append(plain(query.sort, value) if query.sort is not None else int(value))
    return base64.urlsafe_b64encode(json.dumps(told).encode()).decode().rstrip("=")


def _beyond(session: Session, query: Query, column: Any, down: bool, cursor: str) -> sa.ColumnElement[bool]:
    """The rows that come after the cursor when reading downwards or upwards."""
    pk, value = _read_cursor(query, column, cursor)
    own = query.model.id
    past_pk = own < pk if down else own > pk
    if column is None:
        return past_pk
    if query.sort is None or not query.sort.column.nullable:
        here, there = sa.tuple_(column, own), sa.tuple_(sa.literal(value, column.type), sa.literal(pk))
        return here < there if down else here > there
    # Each database's own order of NULL is kept, so that its indexes serve: PostgreSQL puts it highest, SQLite lowest.
    nulls_ahead = (session.get_bind().dialect.name == "postgresql") != down
    if value is None:
        rest = sa.and_(column.is_(None), past_pk)
        return rest if nulls_ahead else sa.or_(rest, column.is_not(None))
    past = sa.or_(column < value if down else column > value, sa.and_(column == value, past_pk))
    return sa.or_(past, column.is_(None)) if nulls_ahead else past


def _read_cursor(query: Query, column: Any, cursor: str) -> tuple[int, Any]:
    try:
        told = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        pk = told[0]
        if type(pk) is not int or not 0 <= pk <= 2**31 - 1 or len(told) != (1 if column is None else 2):
            raise ValueError
        if column is None:
            return pk, None
        if query.sort is None:
            return pk, int(told[1])
        return pk, parsed(query.sort, told[1])
    except (ValueError, TypeError, IndexError, KeyError, ArithmeticError):
        raise NotUnderstood(N_("This page of the list does not exist: start from the first one.")) from None


def count(session: Session, query: Query) -> tuple[int, bool]:
    """How many rows the list has, counted up to a thousand; and whether there are more."""
    statement, _ = _restricted(query, sa.select(query.model.id))
    counted = session.scalar(sa.select(sa.func.count()).select_from(statement.limit(COUNT_CAP + 1).subquery())) or 0
    return min(counted, COUNT_CAP), counted > COUNT_CAP


def stream(session: Session, query: Query, selection: Selection, batch: int = 1000) -> Iterator[Any]:
    """Every row of the list in its order, a batch at a time."""
    statement = narrowed(query, selection.statement()).execution_options(yield_per=batch)
    yield from session.execute(statement)

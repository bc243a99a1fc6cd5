"""Reads are narrowed here: what lies outside the subject's reach, and what is recycled, is in no SELECT.

SQLAlchemy puts a model's condition wherever a statement meets the model as an entity. The few shapes it does
not reach (SQL text, bare tables, a relation to its own model asked with ``has()``) are refused by name: a
programmer's error, rather than an answer that is too wide.
"""

from collections.abc import Iterable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Mapper, Session
from sqlalchemy.orm.util import LoaderCriteriaOption
from sqlalchemy.sql import visitors
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import AliasedReturnsRows, Join, Select
from sqlalchemy.sql.util import ClauseAdapter, surface_selectables

from .base import Base
from .fields import by_table
from .policy import Subject, System, criterion
from .workflow import sees_all

_ENTITY = "parententity"  # how the ORM marks what it knows as a part of a model
_RULE = System("rule")


def attach(session_class: type[Session]) -> None:
    event.listen(session_class, "do_orm_execute", _narrow)


def _narrow(execution: Any) -> None:
    """Hide rows outside the subject's reach, and recycled ones, from every SELECT of the session.

    Execution options: ``unscoped`` (why) shows every row, ``include_deleted`` the recycled ones too.
    """
    options, statement = execution.execution_options, execution.statement
    if execution.is_column_load or options.get("unscoped"):
        return
    if _is_text(statement) and not options.get("unjournaled"):
        raise _cannot_narrow("SQL text shows every row", "select a model's attributes")
    if not execution.is_select:
        return
    tables = _tables_of(statement, by_sqlalchemy=execution.is_relationship_load)
    # A rule must not take what its user cannot see for what is not there.
    subject = _RULE if sees_all(execution.session) else execution.session.info.get("principal")
    deleted_too = bool(options.get("include_deleted"))
    rules = [rule for name in sorted(tables) if (rule := _rule(subject, name, deleted_too)) is not None]
    if rules:
        execution.statement = statement.options(*rules)


def _is_text(statement: Any) -> bool:
    element = getattr(statement, "element", statement)  # from_statement() wraps its own
    return isinstance(element, (sa.TextClause, sa.TextualSelect))


# -- what a statement reads -------------------------------------------------------------------------------


def _tables_of(statement: Executable, by_sqlalchemy: bool) -> set[str]:
    """The tables of Base that *statement* reads; by_sqlalchemy -- written by SQLAlchemy, which needs no look."""
    sources: set[Any] = set(_joined_eagerly(statement))
    entities: set[Any] = set()
    bare: set[Any] = set()
    for element in visitors.iterate(statement):  # type: ignore[arg-type]
        if isinstance(element, sa.Column):
            sources.add(element.table)
        elif isinstance(element, sa.FromClause):
            sources.add(element)
        elif isinstance(element, UpdateBase):
            raise RuntimeError("a SELECT that writes skips rules and journal: change records one by one")
        if isinstance(element, Select) and not by_sqlalchemy:
            _look_at(element, entities, bare)
    for source in bare - entities:
        raise _bare(source)
    return {name for source in sources if (name := _name_of(source)) in Base.metadata.tables}


def _name_of(source: Any) -> str:
    """The table behind a FROM element; an empty text when there is none."""
    while isinstance(source, AliasedReturnsRows):
        source = source.element
    return source.name if isinstance(source, sa.Table) else ""


def _cannot_narrow(what: str, instead: str) -> RuntimeError:
    return RuntimeError(f"{what}: {instead}, or pass execution_options={{'unscoped': 'why'}}")


def _bare(source: Any) -> RuntimeError:
    return _cannot_narrow(f"the bare table {_name_of(source)} shows every row", "select the model or its attributes")


def _look_at(select: Any, entities: set[Any], bare: set[Any]) -> None:
    """Note what one SELECT knows as models and what not, refuse what cannot be narrowed, mend what can."""
    entity = None
    for element in _surface(select._raw_columns):
        if _ENTITY in element._annotations:
            entity = entity or element._annotations[_ENTITY]
            entities.add(_source_of(element))
        elif _is_bare(element):
            raise _bare(_source_of(element))
    if entity is not None and not select._propagate_attrs:
        # select(func.max(Staff.name).filter(…)): SQLAlchemy 2.1 does not see the entity inside such a function.
        select._set_propagate_attrs({"compile_state_plugin": "orm", "plugin_subject": entity})
    for source in (*select._from_obj, *(target for target, *_ in select._setup_joins)):
        entities.update(_look_at_source(source))
    for element in _surface(select._where_criteria):
        if _ENTITY in element._annotations:
            entities.add(_source_of(element))
        elif _is_bare(element):
            bare.add(_source_of(element))


def _surface(elements: Iterable[Any]) -> Iterator[Any]:
    """The elements and what they are made of, but nothing of the SELECTs among them."""
    waiting = list(elements)
    while waiting:
        element = waiting.pop()
        yield element
        if isinstance(element, FunctionElement) or not isinstance(element, (sa.SelectBase, sa.FromClause)):
            waiting.extend(element.get_children())


def _source_of(element: Any) -> Any:
    return element.table if isinstance(element, sa.Column) else element


def _look_at_source(source: Any) -> Iterator[Any]:
    """The models among what a FROM names; refuses what cannot be narrowed."""
    if not isinstance(source, sa.FromClause):
        return  # a relation: join(Contract.client)
    for part in _leaves(source):
        if isinstance(part, Join) and part.isouter and any(map(_name_of, _leaves(part.right))):
            # The condition would go to WHERE, where it drops the rows that joined nothing.
            raise _cannot_narrow("select_from(outerjoin()) loses rows when narrowed", "use select().outerjoin()")
        if _is_bare(part):
            raise _bare(part)
        entity = part._annotations.get(_ENTITY)
        if isinstance(part, AliasedReturnsRows) and entity is not None and not entity.is_aliased_class:
            # SQLAlchemy 2.1 would put the condition on the outer row instead of on the related one.
            raise _cannot_narrow(
                f"has() and any() of a relation from {_name_of(part)} to itself are not narrowed",
                "use relation.of_type(aliased(Model))",
            )
        if entity is not None:
            yield part


def _leaves(source: Any) -> Iterator[Any]:
    """A FROM, and what it joins."""
    yield from surface_selectables(source)  # type: ignore[no-untyped-call]


def _is_bare(element: Any) -> bool:
    """Whether *element* is a model's table, alias or column that the ORM does not know as the model's."""
    source = _source_of(element)
    if _ENTITY in element._annotations or not isinstance(source, (sa.Table, AliasedReturnsRows)):
        return False
    return _name_of(source) in by_table()


def _joined_eagerly(statement: Any) -> Iterator[sa.Table]:
    """Tables that loader options join in: they are not in the statement yet."""
    for option in getattr(statement, "_with_options", ()):
        if getattr(option, "strategy", None) == (("lazy", "joined"),):  # joinedload("*")
            yield from Base.metadata.tables.values()
        for element in getattr(option, "context", ()):
            if ("lazy", "joined") in (getattr(element, "strategy", None) or ()):
                yield from (part.mapper.local_table for part in element.path if isinstance(part, Mapper) or _insp(part))


def _insp(part: Any) -> bool:
    return bool(getattr(part, "is_aliased_class", False))


# -- the conditions ---------------------------------------------------------------------------------------


class _Rule(LoaderCriteriaOption):
    """The condition on one model, put wherever SQLAlchemy meets it.

    TODO when SQLAlchemy adapts an expression to every alias it joins: use with_loader_criteria() itself.
    Up to 2.1 the criteria of an ON clause speak of the table instead of its alias, and only criteria that
    propagate to lazy loads (which are narrowed here anyway) reach joinedload().
    """

    _traverse_internals = LoaderCriteriaOption._traverse_internals

    def __init__(self, model: type[Base], condition: sa.ColumnElement[bool], propagate_to_loaders: bool = False):
        super().__init__(
            model, condition, include_aliases=True, propagate_to_loaders=propagate_to_loaders,
        )  # fmt: skip
        self._joining = self if propagate_to_loaders else _Rule(model, condition, propagate_to_loaders=True)

    def get_global_criteria(self, attributes: dict[Any, Any]) -> None:
        super(_Rule, self._joining).get_global_criteria(attributes)

    def _resolve_where_criteria(self, ext_info: Any) -> sa.ColumnElement[bool]:
        condition = super()._resolve_where_criteria(ext_info)
        if not ext_info.is_aliased_class:
            return condition
        adapted: sa.ColumnElement[bool] = ClauseAdapter(ext_info.selectable).traverse(condition)
        return adapted


_rules: WeakKeyDictionary[Any, dict[tuple[str, bool], _Rule | None]] = WeakKeyDictionary()
_NOBODY = System("nobody")


def _rule(subject: Subject | None, table: str, deleted_too: bool) -> _Rule | None:
    """The condition on *table* for *subject*; None when every row may be seen."""
    known = _rules.setdefault(subject if subject is not None else _NOBODY, {})
    if (table, deleted_too) not in known:
        known[table, deleted_too] = _make_rule(subject, table, deleted_too)
    return known[table, deleted_too]


def _make_rule(subject: Subject | None, table: str, deleted_too: bool) -> _Rule | None:
    model = by_table().get(table)
    if model is None:  # what the kit keeps for itself: nobody's to see when nobody is signed in
        return _Rule(_kept_in(table), sa.false()) if subject is None else None
    conditions: list[sa.ColumnElement[bool]] = [] if deleted_too else [model.deleted_at.is_(None)]
    scope = criterion(subject, model)
    if scope is not None:
        conditions.append(scope)
    return _Rule(model, sa.and_(*conditions)) if conditions else None


def _kept_in(table: str) -> type[Base]:
    return next(m.class_ for m in Base.registry.mappers if m.class_.__tablename__ == table)

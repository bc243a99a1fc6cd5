"""Who may do what to which rows and fields: the only module that answers it.

Permissions are not declared, they follow from the models: ``<table>.<verb>`` for each verb below
and for each transition. A role holds permissions, each with the widest scope it reaches; a
person holds roles, each bounded by a scope of its own. What reaches a row is the narrower of the
two. An explicit deny beats every allow, and what nobody granted is closed.

Reads are narrowed and writes are judged in the session, below every view.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from datetime import date
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Session, object_session, with_loader_criteria
from sqlalchemy.sql import visitors

from .base import BranchScoped, Model
from .choices import N_, Choice
from .errors import Forbidden, Label, Labels
from .fields import Field, by_table, field_map, fields_of, label_of, models
from .flush import Serial, changed_fields, default_of
from .workflow import ask_before_firing, ruled, transition_named, transitions_of

VERBS = ("view", "create", "edit", "delete", "import", "export")


class Scope(Choice):
    """How far a permission reaches; each holds those before it."""

    OWN = "own", N_("Own records")
    TEAM = "team", N_("Own and team's records")
    DEPARTMENT = "department", N_("Department")
    BRANCH = "branch", N_("Branch")
    GROUP = "group", N_("All branches")

    @property
    def width(self) -> int:
        return list(Scope).index(self)


class Level(Choice):
    """How much of a secret field is seen; each holds those before it."""

    HIDDEN = "hidden", N_("Hidden")
    MASKED = "masked", N_("Masked")
    REVEAL = "reveal", N_("Masked, shown on request and recorded")
    PLAIN = "plain", N_("Shown")

    @property
    def depth(self) -> int:
        return list(Level).index(self)


@dataclass(frozen=True)
class Reach:
    """One way in which a permission reaches rows."""

    scope: Scope
    branch_id: int | None = None
    department_id: int | None = None


@dataclass(frozen=True, eq=False)
class HeldRole:
    """A role as one person holds it."""

    code: str
    label: str
    scope: Scope
    branch_id: int | None
    department_id: int | None
    allows: Mapping[str, Scope]
    denies: frozenset[str]
    levels: Mapping[str, Level]  # "client.identity" -> how much is seen


@dataclass(frozen=True, eq=False)
class Principal:
    """A person at work, as plain data: loaded once, then asked often.

    holders -- for each permission the labels of the roles that have it: who could help
    """

    login: str
    name: str
    user_id: int
    staff_id: int | None
    roles: tuple[HeldRole, ...]
    holders: Mapping[str, tuple[str, ...]] = dataclass_field(default_factory=dict)
    subtitle: str = ""

    unrestricted = False

    @property
    def role_codes(self) -> str:
        return "+".join(r.code for r in self.roles)


@dataclass(frozen=True, eq=False)
class System:
    """The machine at work under a name: seeding, the clock, sign-in, a test. It may do everything."""

    name: str
    staff_id: int | None = None

    unrestricted = True
    role_codes = "SYSTEM"

    @property
    def login(self) -> str:
        return f"system:{self.name}"


Subject = Principal | System


@dataclass(frozen=True)
class Decision:
    """An answer and why: *rule* names what decided, *reason* is a msgid with *params* for people."""

    allowed: bool
    rule: str
    reason: str = ""
    params: Mapping[str, Any] = dataclass_field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.allowed

    def refuse(self, field: str | None = None) -> Forbidden:
        return Forbidden(self.reason, field=field, **self.params)


def permission(model: type[Model], verb: str) -> str:
    return f"{model.__tablename__}.{verb}"


def permissions() -> list[str]:
    """Every permission there is, in the order of the models."""
    return [
        permission(m, verb)
        for m in models()
        for verb in (*VERBS, *(t.name for t in transitions_of(m) if not t.by_clock))
    ]


def secrecy_classes(model: type[Model]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f.secrecy for f in fields_of(model) if f.secrecy))


# -- decisions ---------------------------------------------------------------------------------------


def decide(subject: Subject | None, verb: str, target: type[Model] | Model, field: str | None = None) -> Decision:
    """Whether *subject* may do *verb* to *target*, a model or one record, or to one *field* of it.

    For a field the verbs are view and edit.
    """
    model = target if isinstance(target, type) else type(target)
    if subject is None:
        return Decision(False, "signed_out", N_("Sign in first."))
    if subject.unrestricted:
        return Decision(True, "system")
    assert isinstance(subject, Principal)
    if field is not None:
        return _decide_field(subject, verb, model, field_map(model)[field])
    reaches = reaches_of(subject, permission(model, verb))
    if not reaches:
        return _not_granted(subject, model, verb)
    if isinstance(target, Model) and not covers(subject, reaches, target):
        return Decision(
            False, "row_scope", N_("“%(record)s” lies outside what your role %(roles)s reaches: %(scope)s."),
            {"record": str(target), "roles": _role_labels(subject), "scope": _widest(reaches)},
        )  # fmt: skip
    return Decision(True, permission(model, verb))


def _not_granted(subject: Principal, model: type[Model], verb: str) -> Decision:
    wanted = permission(model, verb)
    denied = any(wanted in role.denies for role in subject.roles)
    spec = transition_named(model, verb)
    params = {
        "roles": _role_labels(subject),
        "act": Label(spec.label if spec is not None else VERB_LABELS[verb]),
        "noun": Label(label_of(model)),
        "helpers": Labels(subject.holders.get(wanted, ())),
    }
    if denied:
        return Decision(
            False, "deny", N_("Your role %(roles)s is expressly barred from “%(act)s” of %(noun)s."), params
        )
    if not subject.holders.get(wanted):
        return Decision(False, "nobody", N_("No role has been granted “%(act)s” of %(noun)s."), params)
    return Decision(
        False,
        "not_granted",
        N_("Your role %(roles)s may not “%(act)s” %(noun)s. These roles may: %(helpers)s."),
        params,
    )


VERB_LABELS = {
    "view": N_("View"), "create": N_("Create"), "edit": N_("Edit"), "delete": N_("Delete"), "import": N_("Import"),
    "export": N_("Export"),
}  # fmt: skip


def _role_labels(subject: Principal) -> Labels:
    return Labels(role.label for role in subject.roles)


def _widest(reaches: Iterable[Reach]) -> Scope:
    return max((r.scope for r in reaches), key=lambda scope: scope.width)


def _decide_field(subject: Principal, verb: str, model: type[Model], field: Field) -> Decision:
    level = level_of(subject, field)
    if level is Level.HIDDEN:
        return Decision(
            False, "field_secrecy", N_("Your role %(roles)s does not see “%(what)s”."),
            {"roles": _role_labels(subject), "what": Label(field.label)},
        )  # fmt: skip
    if verb == "view":
        return Decision(True, "field")
    if not field.writable:
        reason = (
            N_("“%(what)s” moves by the buttons of the record alone, each with its own rule: it cannot be typed.")
            if field.state
            else N_("“%(what)s” is worked out by the system: it cannot be typed.")
        )
        return Decision(False, "field_kept", reason, {"what": Label(field.label)})
    return Decision(True, "field")


def level_of(subject: Subject | None, field: Field) -> Level:
    """How much of *field* the subject sees; Level.PLAIN for fields without secrecy."""
    if subject is None or field.kind == "secret":
        return Level.HIDDEN
    if subject.unrestricted or field.secrecy is None:
        return Level.PLAIN
    assert isinstance(subject, Principal)
    name = f"{field.model.__tablename__}.{field.secrecy}"
    held = [role.levels[name] for role in subject.roles if name in role.levels]
    return max(held, key=lambda level: level.depth, default=Level.HIDDEN)


_reaches: WeakKeyDictionary[Principal, dict[str, tuple[Reach, ...]]] = WeakKeyDictionary()


def reaches_of(subject: Principal, wanted: str) -> tuple[Reach, ...]:
    """The ways in which the permission *wanted* reaches rows for *subject*; none means no."""
    known = _reaches.setdefault(subject, {})
    if wanted not in known:
        known[wanted] = _find_reaches(subject, wanted)
    return known[wanted]


def _find_reaches(subject: Principal, wanted: str) -> tuple[Reach, ...]:
    if any(wanted in role.denies for role in subject.roles):
        return ()
    found = []
    for role in subject.roles:
        if wanted in role.allows:
            scope = min(role.allows[wanted], role.scope, key=lambda s: s.width)
            found.append(Reach(scope, role.branch_id, role.department_id))
    return tuple(dict.fromkeys(found))


# -- rows --------------------------------------------------------------------------------------------


def covers(subject: Principal, reaches: Iterable[Reach], record: Model) -> bool:
    """Whether any of *reaches* holds the record: the same rule as ``criterion``, asked of one record."""
    return any(_covers(subject, reach, record) for reach in reaches)


def _covers(subject: Principal, reach: Reach, record: Model) -> bool:
    model = type(record)
    if reach.scope is Scope.GROUP or model.__shared__:
        return True
    if reach.scope in {Scope.OWN, Scope.TEAM} and model.__owner__:
        return any(_is_ones_own(subject, reach.scope, owner) for owner in _owners(record))
    if model.__part_of__ is not None:
        whole = _related(record, model.__part_of__)
        return whole is not None and _covers(subject, reach, whole)
    if reach.scope is Scope.DEPARTMENT and "department_id" in field_map(model):
        return reach.department_id is not None and _value(record, "department_id") == reach.department_id
    if reach.scope in {Scope.BRANCH, Scope.DEPARTMENT}:
        column = _branch_attr(model)
        return column is not None and reach.branch_id is not None and _value(record, column) == reach.branch_id
    return False


def _branch_attr(model: type[Model]) -> str | None:
    """The attribute that holds the branch a record belongs to."""
    if issubclass(model, BranchScoped):
        return "branch_id"
    return "id" if model.__tablename__ == "branch" else None


def _value(record: Model, attr: str) -> Any:
    """A column's value, taken from the related record while its key is not yet copied."""
    value = getattr(record, attr)
    if value is None and attr.endswith("_id"):
        related = _related(record, attr.removesuffix("_id"))
        return related.id if related is not None else None
    return value


def _related(record: Model, name: str) -> Any:
    session = object_session(record)
    if session is None:
        return getattr(record, name)
    with session.no_autoflush:
        related = getattr(record, name)
        if related is None and (key := getattr(record, field_map(type(record))[name].attr)) is not None:
            related = session.get(field_map(type(record))[name].target, key)  # type: ignore[arg-type]
        return related


def _owners(record: Model) -> Iterator[Any]:
    for path in type(record).__owner__:
        owner: Any = record
        for name in path.split("."):
            owner = owner if name == "self" or owner is None else _related(owner, name)
        if owner is not None:
            yield owner


def _is_ones_own(subject: Principal, scope: Scope, owner: Any) -> bool:
    if subject.staff_id is None:
        return False
    if owner.id == subject.staff_id:
        return True
    if scope is Scope.OWN:
        return False
    headed = owner.department is not None and owner.department.head_id == subject.staff_id
    return owner.manager_id == subject.staff_id or headed


def criterion(subject: Subject | None, model: type[Model], verb: str = "view") -> sa.ColumnElement[bool] | None:
    """The rows of *model* that *subject* reaches with *verb*, as an SQL condition; None means all."""
    if subject is None:
        return sa.false()
    if subject.unrestricted:
        return None
    assert isinstance(subject, Principal)
    return _any(_condition(subject, reach, model) for reach in reaches_of(subject, permission(model, verb)))


def _any(conditions: Iterable[sa.ColumnElement[bool] | None]) -> sa.ColumnElement[bool] | None:
    found = []
    for condition in conditions:
        if condition is None:
            return None
        found.append(condition)
    return sa.or_(sa.false(), *found)


def _condition(subject: Principal, reach: Reach, model: type[Model]) -> sa.ColumnElement[bool] | None:
    if reach.scope is Scope.GROUP or model.__shared__:
        return None
    table = model.__table__
    if reach.scope in {Scope.OWN, Scope.TEAM} and model.__owner__:
        return sa.or_(sa.false(), *(_owned(subject, reach.scope, model, path) for path in model.__owner__))
    if model.__part_of__ is not None:
        link = field_map(model)[model.__part_of__]
        assert link.target is not None
        inner = _condition(subject, reach, link.target)
        return None if inner is None else table.c[link.column.name].in_(_ids(link.target, inner))
    if reach.scope is Scope.DEPARTMENT and "department_id" in table.c:
        return table.c.department_id == reach.department_id
    attr = _branch_attr(model)
    if reach.scope in {Scope.BRANCH, Scope.DEPARTMENT} and attr is not None and reach.branch_id is not None:
        return table.c[attr] == reach.branch_id
    return sa.false()


def _ids(model: type[Model], condition: sa.ColumnElement[bool]) -> sa.Select[Any]:
    return sa.select(model.__table__.c.id).where(condition).correlate(None)


def _owned(subject: Principal, scope: Scope, model: type[Model], path: str) -> sa.ColumnElement[bool]:
    """Rows whose owner at *path* is the subject, or one of the subject's team."""
    if subject.staff_id is None:
        return sa.false()
    names = [name for name in path.split(".") if name != "self"]
    if not names:
        return _mine(subject, scope, model.__table__.c.id)
    link = field_map(model)[names[0]]
    if len(names) == 1:
        return _mine(subject, scope, model.__table__.c[link.column.name])
    assert link.target is not None
    inner = _owned(subject, scope, link.target, ".".join(names[1:]))
    return model.__table__.c[link.column.name].in_(_ids(link.target, inner))


def _mine(subject: Principal, scope: Scope, staff_id: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    if scope is Scope.OWN:
        return staff_id == subject.staff_id
    staff, department = by_table()["staff"].__table__.alias(), by_table()["department"].__table__.alias()
    headed = sa.select(department.c.id).where(department.c.head_id == subject.staff_id)
    team = sa.select(staff.c.id).where(
        sa.or_(
            staff.c.id == subject.staff_id,
            staff.c.manager_id == subject.staff_id,
            staff.c.department_id.in_(headed),
        )
    )
    return staff_id.in_(team)


# -- in the session: reads ----------------------------------------------------------------------------


def attach(session_class: type[Session]) -> None:
    event.listen(session_class, "do_orm_execute", _narrow)
    event.listen(session_class, "before_flush", _judge_writes)
    event.listen(session_class, "after_flush", _stamp_access)


ask_before_firing(lambda session, verb, record: require(session.info.get("principal"), verb, record))


def require(subject: Subject | None, verb: str, target: type[Model] | Model) -> None:
    """Raise Forbidden with its reason when *subject* may not do *verb* to *target*."""
    decision = decide(subject, verb, target)
    if not decision:
        raise decision.refuse()


@contextmanager
def acting(session: Session, subject: Subject) -> Iterator[None]:
    """Inside the block *subject* is at work in the session. Start with an empty one: rows loaded
    under another's rights would stay within reach."""
    before = session.info.get("principal")
    session.info["principal"] = subject
    try:
        yield
    finally:
        session.info["principal"] = before


_options: WeakKeyDictionary[Any, dict[tuple[str, bool], Any]] = WeakKeyDictionary()
_NOBODY = System("nobody")


def _narrow(execution: Any) -> None:
    """Hide rows outside the subject's reach, and recycled ones, from every SELECT of the session.

    Execution options: ``unscoped`` (why) shows every row, ``include_deleted`` the recycled ones too.
    """
    if not execution.is_select or execution.is_column_load:
        return
    if execution.execution_options.get("unscoped"):
        return
    statement = execution.statement
    tables = _tables_in(statement)
    subject = execution.session.info.get("principal")
    deleted_too = bool(execution.execution_options.get("include_deleted"))
    names = by_table() if getattr(statement, "_with_options", ()) else by_table().keys() & tables
    options = [o for name in names if (o := _option(subject, name, deleted_too)) is not None]
    if options:
        execution.statement = statement.options(*options)


def _tables_in(statement: Any) -> set[str]:
    found = set()
    for element in visitors.iterate(statement):
        table = getattr(element, "table", element)
        if isinstance(table, sa.Table):
            found.add(table.name)
        elif isinstance(table, sa.sql.expression.Alias) and isinstance(table.element, sa.Table):
            found.add(table.element.name)
    return found


def _option(subject: Subject | None, table: str, deleted_too: bool) -> Any:
    known = _options.setdefault(subject if subject is not None else _NOBODY, {})
    if (table, deleted_too) not in known:
        model = by_table()[table]
        conditions: list[sa.ColumnElement[bool]] = [] if deleted_too else [model.__table__.c.deleted_at.is_(None)]
        scope = criterion(subject, model)
        if scope is not None:
            conditions.append(scope)
        known[table, deleted_too] = (
            with_loader_criteria(model, sa.and_(*conditions), include_aliases=True, propagate_to_loaders=False)
            if conditions
            else None
        )
    return known[table, deleted_too]


# -- in the session: writes ---------------------------------------------------------------------------


def _judge_writes(session: Session, _context: Any, _instances: Any) -> None:
    subject = session.info.get("principal")
    if subject is None:
        if any(isinstance(obj, Model) for obj in (*session.new, *session.dirty, *session.deleted)):
            raise Forbidden(N_("Nobody is signed in, so nothing can be written."))
        return
    if subject.unrestricted or ruled(session):
        return
    pointed_at: dict[type[Model], dict[Any, Field]] = defaultdict(dict)
    for obj in (*session.new, *session.dirty):
        if isinstance(obj, Model):
            _judge(session, subject, obj, pointed_at)
    for obj in session.deleted:
        if isinstance(obj, Model):
            require(subject, "delete", obj)
    _judge_pointers(session, pointed_at)


def _judge(session: Session, subject: Principal, obj: Model, pointed_at: dict[type[Model], dict[Any, Field]]) -> None:
    changed = changed_fields(obj)
    new = obj in session.new
    if not changed and not new:
        return
    verb = "create" if new else "delete" if any(f.attr == "deleted_at" for f in changed) else "edit"
    require(subject, verb, obj)
    _judge_move(subject, verb, obj, new)
    for field in changed:
        if field.system or (new and field.state):
            continue
        decision = _decide_field(subject, "edit", type(obj), field)
        if not decision and not (new and obj.__dict__.get(field.attr) == default_of(field.column)):
            raise decision.refuse(field.key)
        if field.target is not None and not field.target.__shared__:
            key = obj.__dict__.get(field.attr)
            if key is not None:
                pointed_at[field.target][key] = field


def _judge_move(subject: Principal, verb: str, obj: Model, new: bool) -> None:
    """A record may not be moved out of reach, nor pulled in from outside: its old branch must be in reach too."""
    attr = _branch_attr(type(obj))
    old = sa.inspect(obj).committed_state.get(attr) if attr else None
    if new or not isinstance(old, int):
        return
    reaches = reaches_of(subject, permission(type(obj), verb))
    if not any(r.scope is Scope.GROUP or r.branch_id == old for r in reaches):
        raise Forbidden(N_("“%(record)s” belongs to another branch."), record=str(obj))


def _judge_pointers(session: Session, pointed_at: dict[type[Model], dict[Any, Field]]) -> None:
    """A relation may point only at records the person can see: found by one narrowed query per model."""
    for target, keys in pointed_at.items():
        wanted = list(keys)
        seen: set[Any] = set()
        for start in range(0, len(wanted), 500):
            with session.no_autoflush:
                seen.update(session.scalars(sa.select(target.id).where(target.id.in_(wanted[start : start + 500]))))
        for key in wanted:
            if key not in seen and not any(isinstance(o, target) and o.__dict__.get("id") == key for o in session.new):
                raise Forbidden(
                    N_("“%(what)s” names a record that does not exist or that you may not see: choose it from the list."),
                    field=keys[key].key, what=Label(keys[key].label),
                )  # fmt: skip


ACCESS_SERIES = "access"
_DECIDING = {"user_account", "role", "role_permission", "role_grant", "staff", "department"}


def _stamp_access(session: Session, _context: Any) -> None:
    """Note that rights may have changed, so that no request goes on with yesterday's principal."""
    touched = (type(obj).__tablename__ for obj in (*session.new, *session.dirty, *session.deleted))
    if not _DECIDING.intersection(touched):
        return
    table, connection = Serial.__table__, session.connection()
    risen = sa.update(table).where(table.c.series == ACCESS_SERIES).values(last=table.c.last + 1)
    if connection.execute(risen).rowcount == 0:
        connection.execute(sa.insert(table).values(series=ACCESS_SERIES, last=1))


def in_force(valid_from: date | None, valid_to: date | None, on: date) -> bool:
    """Whether a grant holds on the day *on*; both ends counted."""
    return (valid_from is None or valid_from <= on) and (valid_to is None or on <= valid_to)

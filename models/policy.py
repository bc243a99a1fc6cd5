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
from sqlalchemy.orm import Session, object_session
from sqlalchemy.orm.util import identity_key

from .base import BranchScoped, Model
from .choices import N_, Choice
from .errors import Forbidden, Label, Labels
from .fields import Field, by_table, field_map, fields_of, label_of, models
from .flush import changed_fields, count_up, default_of
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
    spec = transition_named(model, verb)
    if spec is not None and spec.by_clock:
        return Decision(False, "by_clock", N_("“%(act)s” happens by the clock alone."), {"act": Label(spec.label)})
    reaches = reaches_of(subject, permission(model, verb))
    if not reaches:
        return _not_granted(subject, model, verb)
    if isinstance(target, Model) and not covers(subject, reaches, target):
        return _out_of_reach(subject, reaches, target)
    return Decision(True, permission(model, verb))


def _out_of_reach(subject: Principal, reaches: Iterable[Reach], record: Model) -> Decision:
    return Decision(
        False, "row_scope", N_("“%(record)s” lies outside what your role %(roles)s reaches: %(scope)s."),
        {"record": str(record), "roles": _role_labels(subject), "scope": _widest(reaches)},
    )  # fmt: skip


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
    return Decision(True, "field") if field.writable else _kept_by_the_system(field)


def _kept_by_the_system(field: Field) -> Decision:
    reason = (
        N_("“%(what)s” moves by the buttons of the record alone, each with its own rule: it cannot be typed.")
        if field.state
        else N_("“%(what)s” is worked out by the system: it cannot be typed.")
    )
    return Decision(False, "field_kept", reason, {"what": Label(field.label)})


def level_of(subject: Subject | None, field: Field) -> Level:
    """How much of *field* the subject sees; Level.PLAIN for fields without secrecy."""
    if subject is None or field.kind == "secret":
        return Level.HIDDEN
    if subject.unrestricted or field.secrecy is None:
        return Level.PLAIN
    assert isinstance(subject, Principal)
    table = field.model.__tablename__
    if any(f"{table}.sees.{field.secrecy}" in role.denies for role in subject.roles):
        return Level.HIDDEN
    name = f"{table}.{field.secrecy}"
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


@dataclass(frozen=True)
class _Kept:
    """The keys of a record as the database has them, read past the narrowing to judge by and for nothing else."""

    model: type[Model]
    values: Mapping[str, Any]


def covers(subject: Principal, reaches: Iterable[Reach], record: Model) -> bool:
    """Whether any of *reaches* holds the record: the same rule as ``criterion``, asked of one record."""
    return any(_covers(subject, reach, record, object_session(record)) for reach in reaches)


def _covers(subject: Principal, reach: Reach, record: Model | _Kept, session: Session | None) -> bool:
    model = _model_of(record)
    if reach.scope is Scope.GROUP or model.__shared__:
        return True
    if reach.scope in {Scope.OWN, Scope.TEAM} and model.__owner__:
        return any(_is_ones_own(subject, reach.scope, owner, session) for owner in _owners(record, session))
    if model.__part_of__ is not None:
        whole = _related(record, model.__part_of__, session)
        return whole is not None and _covers(subject, reach, whole, session)
    if reach.scope is Scope.DEPARTMENT and "department_id" in field_map(model):
        return reach.department_id is not None and bool(_value(record, "department_id") == reach.department_id)
    if reach.scope in {Scope.BRANCH, Scope.DEPARTMENT}:
        column = _branch_attr(model)
        return column is not None and reach.branch_id is not None and bool(_value(record, column) == reach.branch_id)
    return False


def _branch_attr(model: type[Model]) -> str | None:
    """The attribute that holds the branch a record belongs to."""
    if issubclass(model, BranchScoped):
        return "branch_id"
    return "id" if model.__tablename__ == "branch" else None


def _model_of(record: Model | _Kept) -> type[Model]:
    return record.model if isinstance(record, _Kept) else type(record)


def _value(record: Model | _Kept, attr: str) -> Any:
    """A key column as it will be written: from the related record when one was given, else from the column."""
    if isinstance(record, _Kept):
        return record.values[attr]
    name = field_map(type(record))[attr].key
    given = record.__dict__.get(name)
    replaced = name in sa.inspect(record).committed_state or record.__dict__.get(attr) is None
    return given.id if attr != name and given is not None and replaced else getattr(record, attr)


def _related(record: Model | _Kept, name: str, session: Session | None) -> Any:
    """The related record, whether the subject sees it or not; None when there is none."""
    field = field_map(_model_of(record))[name]
    key = _value(record, field.attr)
    if isinstance(record, Model) and (key is None or session is None):
        return record.__dict__.get(field.key)  # it is as new as the record itself
    if key is None or session is None or field.target is None:
        return None
    known = session.identity_map.get(identity_key(field.target, key))
    return known if known is not None else _kept(session, field.target, key)


def _kept(session: Session, model: type[Model], key: int) -> _Kept | None:
    keys = {f.attr: f.column for f in fields_of(model) if f.attr == "id" or f.column.foreign_keys}
    row = session.connection().execute(sa.select(*keys.values()).where(model.__table__.c.id == key)).first()
    return _Kept(model, dict(zip(keys, row, strict=True))) if row is not None else None


def _owners(record: Model | _Kept, session: Session | None) -> Iterator[Any]:
    for path in _model_of(record).__owner__:
        owner: Any = record
        for name in path.split("."):
            owner = owner if name == "self" or owner is None else _related(owner, name, session)
        if owner is not None:
            yield owner


def _is_ones_own(subject: Principal, scope: Scope, owner: Model | _Kept, session: Session | None) -> bool:
    if subject.staff_id is None:
        return False
    if _value(owner, "id") == subject.staff_id:
        return True
    if scope is Scope.OWN:
        return False
    department = _related(owner, "department", session)
    heads = department is not None and _value(department, "head_id") == subject.staff_id
    return bool(heads or _value(owner, "manager_id") == subject.staff_id)


def criterion(subject: Subject | None, model: type[Model], verb: str = "view") -> sa.ColumnElement[bool] | None:
    """The rows of *model* that *subject* reaches with *verb*, as an SQL condition; None means all."""
    if subject is None:
        return sa.false()
    if subject.unrestricted:
        return None
    assert isinstance(subject, Principal)
    return _condition_on(subject, model, verb, inside=False)


def _condition_on(
    subject: Principal, model: type[Model], verb: str, inside: bool = True
) -> sa.ColumnElement[bool] | None:
    return _any(_condition(subject, reach, model, inside) for reach in reaches_of(subject, permission(model, verb)))


def _any(conditions: Iterable[sa.ColumnElement[bool] | None]) -> sa.ColumnElement[bool] | None:
    found = []
    for condition in conditions:
        if condition is None:
            return None
        found.append(condition)
    return sa.or_(sa.false(), *found)


def _condition(
    subject: Principal, reach: Reach, model: type[Model], inside: bool = False
) -> sa.ColumnElement[bool] | None:
    """The rows of *model* that one reach holds; *inside* a subquery it speaks of the bare table."""
    if reach.scope is Scope.GROUP or model.__shared__:
        return None
    if reach.scope in {Scope.OWN, Scope.TEAM} and model.__owner__:
        owned = (_owned(subject, reach.scope, model, path, inside) for path in model.__owner__)
        return sa.or_(sa.false(), *owned)
    if model.__part_of__ is not None:
        link = field_map(model)[model.__part_of__]
        assert link.target is not None
        inner = _condition(subject, reach, link.target, inside=True)
        return None if inner is None else _column(model, link.attr, inside).in_(_ids(link.target, inner))
    if reach.scope is Scope.DEPARTMENT and "department_id" in field_map(model):
        # Without a department none is reached: "= NULL" would be written "IS NULL" and reach those without one.
        if reach.department_id is None:
            return sa.false()
        return _column(model, "department_id", inside) == reach.department_id
    attr = _branch_attr(model)
    if reach.scope in {Scope.BRANCH, Scope.DEPARTMENT} and attr is not None and reach.branch_id is not None:
        return _column(model, attr, inside) == reach.branch_id
    return sa.false()


def _column(model: type[Model], attr: str, inside: bool) -> sa.ColumnElement[Any]:
    """A column as the statement knows it: the mapped attribute, which follows aliases, or the bare table's."""
    if inside:
        return model.__table__.c[field_map(model)[attr].column.name]
    return getattr(model, attr)  # type: ignore[no-any-return]


def _ids(model: type[Model], condition: sa.ColumnElement[bool]) -> sa.Select[Any]:
    return sa.select(model.__table__.c.id).where(condition).correlate(None)


def _owned(subject: Principal, scope: Scope, model: type[Model], path: str, inside: bool) -> sa.ColumnElement[bool]:
    """Rows whose owner at *path* is the subject, or one of the subject's team."""
    if subject.staff_id is None:
        return sa.false()
    names = [name for name in path.split(".") if name != "self"]
    if not names:
        return _mine(subject, scope, _column(model, "id", inside))
    link = field_map(model)[names[0]]
    own = _column(model, link.attr, inside)
    if len(names) == 1:
        return _mine(subject, scope, own)
    assert link.target is not None
    return own.in_(_ids(link.target, _owned(subject, scope, link.target, ".".join(names[1:]), inside=True)))


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


# -- in the session -----------------------------------------------------------------------------------


def attach(session_class: type[Session]) -> None:
    event.listen(session_class, "before_flush", _judge_writes)
    event.listen(session_class, "after_flush", _notice_access)
    event.listen(session_class, "before_commit", _stamp_access)


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


# -- writes ------------------------------------------------------------------------------------------


def _judge_writes(session: Session, _context: Any, _instances: Any) -> None:
    subject = session.info.get("principal")
    if subject is None:
        if any(isinstance(obj, Model) for obj in (*session.new, *session.dirty, *session.deleted)):
            raise Forbidden(N_("Nobody is signed in, so nothing can be written."))
        return
    if subject.unrestricted or ruled(session):
        return
    bench = _Bench(session, subject, bool(session.info.get("restoring")))
    for obj in (*session.new, *session.dirty):
        if isinstance(obj, Model):
            bench.judge(obj)
    for obj in session.deleted:
        if isinstance(obj, Model):
            bench.judge_deletion(obj)
    bench.judge_standing()
    bench.judge_pointers()


@dataclass
class _Bench:
    """One flush of one person, judged: what each record is, what it becomes, and what it points at."""

    session: Session
    subject: Principal
    restored: bool  # undo puts back what no one may type
    standing: dict[tuple[type[Model], str], list[Model]] = dataclass_field(default_factory=lambda: defaultdict(list))
    pointed_at: dict[type[Model], dict[Any, Field]] = dataclass_field(default_factory=lambda: defaultdict(dict))

    def judge(self, obj: Model) -> None:
        changed, new = changed_fields(obj), not sa.inspect(obj).persistent
        if not changed and not new:
            return
        if new:
            require(self.subject, "create", obj)
        for verb in () if new else _verbs_of(changed):
            moved = any(f.target is not None for f in changed)
            require(self.subject, verb, obj if moved else type(obj))
            self.standing[type(obj), verb].append(obj)
            if verb == "edit" and obj.deleted_at is not None and not self.restored:
                raise Forbidden(N_("“%(record)s” is in the recycle bin: restore it first."), record=str(obj))
        for field in changed:
            self._judge_field(obj, field, new)
            if field.target is not None and (key := obj.__dict__.get(field.attr)) is not None:
                self.pointed_at[field.target][key] = field

    def judge_deletion(self, obj: Model) -> None:
        if not self.restored:
            raise Forbidden(N_("Records go to the recycle bin: nothing is deleted for good."))
        require(self.subject, "delete", type(obj))
        self.standing[type(obj), "delete"].append(obj)

    def _judge_field(self, obj: Model, field: Field, new: bool) -> None:
        if field.system:
            if not (self.restored or field.attr == ("id" if new else "deleted_at")):
                raise _kept_by_the_system(field).refuse(field.key)
            return
        if new and field.state:
            return  # the flush sees that it begins where it should
        decision = _decide_field(self.subject, "edit", type(obj), field)
        if decision or (new and obj.__dict__.get(field.attr) == default_of(field.column)):
            return
        if decision.rule == "field_kept" and self.restored and (not field.state or self._may_take_back(obj, field)):
            return
        raise decision.refuse(field.key)

    def _may_take_back(self, obj: Model, field: Field) -> bool:
        """A move is taken back by those who may make it."""
        left = sa.inspect(obj).committed_state.get(field.attr)
        moves = (t for t in transitions_of(type(obj)) if t.field == field.attr and t.target == left)
        return any(decide(self.subject, move.name, obj) for move in moves)

    def judge_standing(self) -> None:
        """What is changed must lie within reach as it stands in the database, whatever it is about to become."""
        for (model, verb), records in self.standing.items():
            reached = _condition_on(self.subject, model, verb)
            if reached is None:
                continue
            own = model.__table__.c.id
            within: set[int] = set()
            for some in _batches([sa.inspect(obj).identity[0] for obj in records]):  # type: ignore[index]
                found = sa.select(own).where(own.in_(some), reached)
                within.update(self.session.connection().execute(found).scalars())
            for obj in records:
                if obj.__dict__.get("id") not in within:
                    reaches = reaches_of(self.subject, permission(model, verb))
                    raise _out_of_reach(self.subject, reaches, obj).refuse()

    def judge_pointers(self) -> None:
        """A relation may point only at records the person can see: found by one narrowed query per model."""
        for target, keys in self.pointed_at.items():
            seen = {o.__dict__.get("id") for o in self.session.new if isinstance(o, target)}
            for some in _batches(list(keys)):
                found = sa.select(target.id).where(target.id.in_(some), target.deleted_at.is_(None))
                options = {"unscoped": "everybody may point at shared data"} if target.__shared__ else {}
                with self.session.no_autoflush:
                    seen.update(self.session.scalars(found, execution_options=options))
            for key, field in keys.items():
                if key not in seen:
                    raise Forbidden(
                        N_("“%(what)s” names a record that does not exist or that you may not see: choose it from the list."),
                        field=field.key, what=Label(field.label),
                    )  # fmt: skip


def _verbs_of(changed: Iterable[Field]) -> list[str]:
    """What is done to a kept record: into the bin or out of it, or an edit; both at once are both."""
    binned = any(f.attr == "deleted_at" for f in changed)
    edited = any(f.attr != "deleted_at" for f in changed)
    return ["delete"] * binned + ["edit"] * edited


def _batches(keys: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(keys), 500):
        yield keys[start : start + 500]


# -- when rights change -------------------------------------------------------------------------------

ACCESS_SERIES = "access"
# What a loaded principal holds of each table. Who heads or manages whom is asked anew each time.
_DECIDING = {
    "user_account": {"login", "staff_id", "state", "deleted_at"},
    "role": {"code", "name", "deleted_at"},
    "role_permission": {"role_id", "permission", "effect", "scope", "level", "deleted_at"},
    "role_grant": {
        "user_id", "role_id", "scope", "branch_id", "department_id", "valid_from", "valid_to", "deleted_at"
    },
    "staff": {"name", "branch_id", "department_id", "deleted_at"},
    "department": {"name"},
    "branch": {"name"},
}  # fmt: skip


def _notice_access(session: Session, _context: Any) -> None:
    """Notice that rights may have changed."""
    if any(type(obj).__tablename__ in _DECIDING for obj in (*session.new, *session.deleted)):
        session.info["access_changed"] = True
    for obj in session.dirty:
        if _DECIDING.get(type(obj).__tablename__, set()) & sa.inspect(obj).committed_state.keys():
            session.info["access_changed"] = True


def _stamp_access(session: Session) -> None:
    """Raise the stamp, so that no request goes on with yesterday's principal.

    It is raised last of all, so that nobody who holds it waits for another.
    """
    if session.in_nested_transaction():
        return
    session.flush()
    if session.info.pop("access_changed", False):
        count_up(session.connection(), ACCESS_SERIES)


def in_force(valid_from: date | None, valid_to: date | None, on: date) -> bool:
    """Whether a grant holds on the day *on*; both ends counted."""
    return (valid_from is None or valid_from <= on) and (valid_to is None or on <= valid_to)

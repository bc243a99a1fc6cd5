"""Who may sign in, which roles they hold, what the roles may do; sessions and attempts to sign in."""

import hashlib
import secrets
import tomllib
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import argon2
import sqlalchemy as sa
from sqlalchemy import ForeignKey, String, UniqueConstraint, func, select
from sqlalchemy.orm import Mapped, Session, joinedload, mapped_column, object_session, relationship, validates

from . import clock
from .base import Base, Code, Day, Instant, Model, Name, Secret
from .choices import N_, Choice
from .errors import RuleBroken
from .fields import by_table, fields_of
from .flush import Serial, changed_fields
from .organisation import Branch, Department
from .policy import (
    ACCESS_SERIES,
    VERBS,
    HeldRole,
    Level,
    Principal,
    Scope,
    in_force,
    level_of,
    reaches_of,
    secrecy_classes,
)
from .staff import Staff
from .workflow import transition, transition_named, transitions_of

AREA = N_("Access")

PASSWORD_MIN_LENGTH = 15  # NIST SP 800-63B-4, where the password is the only factor
IDLE_LIMIT = timedelta(minutes=30)
SESSION_LIMIT = timedelta(hours=12)
FREE_ATTEMPTS = 5
ATTEMPT_WINDOW = timedelta(minutes=15)
ADDRESS_ATTEMPTS = 60  # a whole house may share one address


class AccountState(Choice):
    ACTIVE = "active", N_("Active"), "green"
    DISABLED = "disabled", N_("Disabled"), "neutral"


class UserAccount(Model):
    """Somebody's way in."""

    __icon__ = "lock"
    __title__ = ("login",)
    __key__ = ("login",)
    __owner__ = ("staff",)

    login: Mapped[Code] = mapped_column(unique=True, info={"label": N_("User name")})
    staff_id: Mapped[int | None] = mapped_column(ForeignKey(Staff.id), unique=True)
    state: Mapped[AccountState] = mapped_column(default=AccountState.ACTIVE)
    password_hash: Mapped[Secret | None]
    must_change_password: Mapped[bool] = mapped_column(default=False)
    last_login_at: Mapped[Instant | None] = mapped_column(info={"derived": True})

    staff: Mapped[Staff | None] = relationship()
    grants: Mapped[list["RoleGrant"]] = relationship(back_populates="user")

    @validates("login")
    def _in_small_letters(self, _key: str, login: str | None) -> str | None:
        return login.strip().lower() if login is not None else None

    def check(self) -> None:
        told = {f.attr for f in changed_fields(self)} & {"login", "staff_id", "state", "deleted_at"}
        if sa.inspect(self).persistent and told:
            _not_oneself(self, self.id)
            _keep_one_administrator(self, self.login)

    def set_password(self, password: str) -> None:
        """Keep *password*, exactly as typed, as an argon2 hash."""
        if len(password) < PASSWORD_MIN_LENGTH:
            raise RuleBroken(
                N_("A password has at least %(least)s characters: several words in a row are easy to keep in mind."),
                field="password", least=PASSWORD_MIN_LENGTH,
            )  # fmt: skip
        self.password_hash = _hasher().hash(_as_bytes(password))

    @transition(
        "state", {AccountState.ACTIVE}, AccountState.DISABLED, label=N_("Disable"), tone="red",
        confirm=N_("Disable this account? Its sessions end at once."),
    )  # fmt: skip
    def disable(self) -> None:
        """Let nobody sign in with it any more; its sessions end at once."""
        end_sessions(_session_of(self), self.id)

    @transition("state", {AccountState.DISABLED}, AccountState.ACTIVE, label=N_("Enable"), tone="green")
    def enable(self) -> None:
        """Let its owner sign in again."""


class Role(Model):
    """A set of permissions under one name."""

    __icon__ = "shield-lock"
    __title__ = ("name",)
    __key__ = ("code",)
    __shared__ = True

    code: Mapped[Code] = mapped_column(unique=True)
    name: Mapped[Name]

    permissions: Mapped[list["RolePermission"]] = relationship(back_populates="role")

    def check(self) -> None:
        if sa.inspect(self).persistent:
            _not_a_role_of_ones_own(self, self)
            _keep_one_administrator(self, self.name)


class Effect(Choice):
    ALLOW = "allow", N_("Allowed"), "green"
    DENY = "deny", N_("Expressly barred"), "red"


class RolePermission(Model):
    """One permission of one role; an explicit bar beats every allowance.

    ``permission`` is "client.view", "complaint.close" or, for a class of secret fields, "client.sees.contact".
    """

    __icon__ = "check"
    __title__ = ("role", "permission")
    __key__ = ("role", "permission")
    __part_of__ = "role"
    __shared__ = True
    __table_args__ = (UniqueConstraint("role_id", "permission"),)

    role_id: Mapped[int] = mapped_column(ForeignKey(Role.id), index=True)
    permission: Mapped[Name]
    effect: Mapped[Effect] = mapped_column(default=Effect.ALLOW)
    scope: Mapped[Scope] = mapped_column(default=Scope.GROUP, info={"label": N_("Reaches at most")})
    level: Mapped[Level | None] = mapped_column(info={"label": N_("How much is seen")})

    role: Mapped[Role] = relationship(back_populates="permissions")

    def check(self) -> None:
        if not _exists(self.permission):
            raise RuleBroken(
                N_("There is no permission “%(permission)s”: choose one from the list."),
                field="permission", permission=self.permission,
            )  # fmt: skip
        _not_a_role_of_ones_own(self, self.role)
        _only_rights_one_has(self)


class RoleGrant(Model):
    """A role given to somebody, for a branch or further, for a time or for good."""

    __label__ = N_("Role grant")
    __icon__ = "user-plus"
    __title__ = ("user", "role")
    __key__ = ("user", "role", "scope", "branch")
    __part_of__ = "user"
    __table_args__ = (
        sa.CheckConstraint(
            "valid_to IS NULL OR valid_from IS NULL OR valid_to >= valid_from", name="ends_after_it_starts"
        ),
    )

    user_id: Mapped[int] = mapped_column(ForeignKey(UserAccount.id), index=True)
    role_id: Mapped[int] = mapped_column(ForeignKey(Role.id))
    scope: Mapped[Scope]
    branch_id: Mapped[int | None] = mapped_column(ForeignKey(Branch.id))
    department_id: Mapped[int | None] = mapped_column(ForeignKey(Department.id))
    valid_from: Mapped[Day | None]
    valid_to: Mapped[Day | None]

    user: Mapped[UserAccount] = relationship(back_populates="grants")
    role: Mapped[Role] = relationship()
    branch: Mapped[Branch | None] = relationship()
    department: Mapped[Department | None] = relationship()

    def check(self) -> None:
        if self.scope in {Scope.BRANCH, Scope.DEPARTMENT} and self.branch is None:
            raise RuleBroken(N_("A grant for a branch names the branch."), field="branch")
        if self.scope is Scope.DEPARTMENT and self.department is None:
            raise RuleBroken(N_("A grant for a department names the department."), field="department")
        for account_id in {self.user.id, _before(self, "user_id")}:
            _not_oneself(self, account_id)
        _only_what_one_holds(self)
        if sa.inspect(self).persistent:
            _keep_one_administrator(self, self.user.login)
        if self.deleted_at is None and any(self._same_as(other) for other in self.user.grants):
            raise RuleBroken(N_("%(login)s already holds this role in this scope."), login=self.user.login)

    def _same_as(self, other: "RoleGrant") -> bool:
        if other is self or other.deleted_at is not None:
            return False
        return (self.role, self.scope, self.branch, self.department) == (
            other.role, other.scope, other.branch, other.department,
        )  # fmt: skip


@sa.event.listens_for(RoleGrant, "before_delete")
def _judge_deletion(_mapper: Any, _connection: Any, grant: RoleGrant) -> None:
    """Undo takes a grant back whole: no check() is asked then."""
    _not_oneself(grant, grant.user_id)
    _keep_one_administrator(grant, f"#{grant.user_id}")


# -- nobody lifts himself -----------------------------------------------------------------------------


def _session_of(record: Model) -> Session:
    session = object_session(record)
    assert session is not None, f"{record!r} is in no session"
    return session


def _before(record: Model, attr: str) -> Any:
    """The value that stands in the database."""
    return sa.inspect(record).committed_state.get(attr, getattr(record, attr))


def _actor(record: Model) -> Principal | None:
    """The person at work; None for the machine, which may do everything."""
    actor = _session_of(record).info.get("principal")
    return actor if isinstance(actor, Principal) else None


def _administers(actor: Principal) -> bool:
    return any(role.code == "ADMIN" for role in actor.roles)


def _not_oneself(record: Model, account_id: int | None) -> None:
    actor = _actor(record)
    if actor is not None and actor.user_id == account_id:
        raise RuleBroken(N_("Nobody changes their own account or roles: ask another administrator."))


def _not_a_role_of_ones_own(record: Model, role: Role) -> None:
    actor = _actor(record)
    if actor is not None and any(held.code in {role.code, _before(role, "code")} for held in actor.roles):
        raise RuleBroken(N_("Nobody changes a role that they hold: ask an administrator who does not hold it."))


def _exists(permission: str) -> bool:
    """Whether a role can be given it: ``client.view``, ``complaint.close``, or ``client.sees.contact``."""
    table, _, right = permission.partition(".")
    model = by_table().get(table)
    if model is None:
        return False
    if right.startswith("sees."):
        return right.removeprefix("sees.") in secrecy_classes(model)
    move = transition_named(model, right)
    return right in VERBS or (move is not None and not move.by_clock)


def _only_rights_one_has(row: RolePermission) -> None:
    actor = _actor(row)
    if actor is None or _administers(actor):
        return
    table, _, right = row.permission.partition(".")
    if row.level is None:
        has = any(reach.scope.width >= row.scope.width for reach in reaches_of(actor, row.permission))
    else:
        fields = fields_of(by_table()[table]) if table in by_table() else ()
        secrecy = right.removeprefix("sees.")
        has = any(level_of(actor, f).depth >= row.level.depth for f in fields if f.secrecy == secrecy)
    if not has:
        raise RuleBroken(N_("You can only hand on rights that you have yourself."), field="permission")


def _only_what_one_holds(grant: RoleGrant) -> None:
    actor = _actor(grant)
    if actor is None or _administers(actor):
        return
    code = {grant.role.code} if grant.role is not None else set()
    if not any(held.code in code and _holds_as_wide(held, grant) for held in actor.roles):
        raise RuleBroken(N_("You can only hand on roles that you hold yourself, and no further."), field="role")


def _holds_as_wide(held: HeldRole, grant: RoleGrant) -> bool:
    if held.scope is Scope.GROUP:
        return True
    if grant.scope.width > held.scope.width or (grant.branch is not None and grant.branch.id != held.branch_id):
        return False
    return held.scope is not Scope.DEPARTMENT or grant.department is None or grant.department.id == held.department_id


def _keep_one_administrator(record: Model, name: str) -> None:
    """Refuse to write *record* when somebody can administer the house before it and nobody could after it."""
    session = _session_of(record)
    option = {"unscoped": "who administers the house"}
    with session.no_autoflush:
        standing = session.scalars(_administering(clock.today()), execution_options=option).all()
        touched = [g for g in (*session.new, *session.dirty) if isinstance(g, RoleGrant)]
        leaving = session.deleted
        if standing and not any(_administers_by(g, session) for g in (*standing, *touched) if g not in leaving):
            raise RuleBroken(N_("%(login)s is the last administrator: appoint another first."), login=name)


def _administering(on: date) -> sa.Select[RoleGrant]:
    """The grants that make administrators on the day *on*, as the database has them."""
    grant = RoleGrant
    return (
        select(grant)
        .join(Role, Role.id == grant.role_id)
        .join(UserAccount, UserAccount.id == grant.user_id)
        .where(Role.code == "ADMIN", UserAccount.state == AccountState.ACTIVE)
        .where(*(model.deleted_at.is_(None) for model in (grant, Role, UserAccount)))
        .where(sa.or_(grant.valid_from.is_(None), grant.valid_from <= on))
        .where(sa.or_(grant.valid_to.is_(None), grant.valid_to >= on))
    )


def _administers_by(grant: RoleGrant, session: Session) -> bool:
    """Whether *grant*, as it is about to be written, makes its holder an administrator."""
    option = {"unscoped": "who administers the house"}
    role = grant.role or session.get(Role, grant.role_id, execution_options=option)
    account = grant.user or session.get(UserAccount, grant.user_id, execution_options=option)
    if account is None or role is None or any(r.deleted_at is not None for r in (grant, account, role)):
        return False
    active = account.state in {AccountState.ACTIVE, None}  # None: as new as the grant
    return active and role.code == "ADMIN" and in_force(grant.valid_from, grant.valid_to, clock.today())


# -- principals ---------------------------------------------------------------------------------------


def load_principal(session: Session, user_id: int, on: date) -> Principal | None:
    """The person behind the account as plain data; None when the account is gone or disabled.

    session -- one that acts for the system
    """
    account = session.get(UserAccount, user_id)
    if account is None or account.state is not AccountState.ACTIVE:
        return None
    grants = session.scalars(
        select(RoleGrant).where(RoleGrant.user_id == user_id).options(joinedload(RoleGrant.role)).order_by(RoleGrant.id)
    )
    staff = account.staff
    roles = tuple(_held(session, g, staff) for g in grants if g.role and in_force(g.valid_from, g.valid_to, on))
    return Principal(
        login=account.login,
        name=staff.name if staff is not None else account.login,
        user_id=account.id,
        staff_id=account.staff_id,
        roles=roles,
        holders=_holders(session),
        subtitle=_subtitle(staff),
    )


def _subtitle(staff: Staff | None) -> str:
    if staff is None:
        return ""
    return " · ".join(str(part) for part in (staff.department, staff.branch) if part is not None)


def _held(session: Session, grant: RoleGrant, staff: Staff | None) -> HeldRole:
    """The role as its holder has it; where the grant names no branch or department, it is the holder's own."""
    rows = session.scalars(select(RolePermission).where(RolePermission.role_id == grant.role_id)).all()
    return HeldRole(
        code=grant.role.code,
        label=grant.role.name,
        scope=grant.scope,
        branch_id=grant.branch_id or (staff.branch_id if staff is not None else None),
        department_id=grant.department_id or (staff.department_id if staff is not None else None),
        allows={r.permission: r.scope for r in rows if r.effect is Effect.ALLOW and r.level is None},
        denies=frozenset(r.permission for r in rows if r.effect is Effect.DENY),
        levels={
            r.permission.replace(".sees.", "."): r.level
            for r in rows
            if r.effect is Effect.ALLOW and r.level is not None
        },
    )


def _holders(session: Session) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    rows = session.execute(
        select(RolePermission.permission, Role.name)
        .join(RolePermission.role)
        .where(RolePermission.effect == Effect.ALLOW, RolePermission.level.is_(None))
        .order_by(Role.id)
    )
    for permission, name in rows:
        found.setdefault(permission, []).append(name)
    return {permission: tuple(names) for permission, names in found.items()}


def access_stamp(session: Session) -> int:
    """A number that rises whenever anything that decides rights changes: principals older than it are stale."""
    return session.scalar(select(Serial.last).where(Serial.series == ACCESS_SERIES)) or 0


# -- roles from a file ----------------------------------------------------------------------------------


def load_roles(session: Session, path: Path) -> int:
    """Create the roles of *path* that do not exist yet and return how many; existing ones are left as they
    are, for they may have been changed on screen.

    A role's table ``may`` maps a table to verbs ("view edit@own"); "*" stands for every table or verb,
    "@scope" narrows a verb, a leading "-" bars it. Its table ``sees`` maps a table to levels by secrecy.
    """
    with path.open("rb") as file:
        told = tomllib.load(file)
    known = set(session.scalars(select(Role.code)))
    new = [code for code in told if code not in known]
    for code in new:
        role = Role(code=code, name=told[code]["name"])
        session.add(role)
        session.add_all(_permissions(role, told[code]))
    session.flush()
    return len(new)


def _permissions(role: Role, told: Mapping[str, Any]) -> list[RolePermission]:
    """The role's permissions; what the file says of a table by name overrules what it says by the star."""
    found: dict[str, dict[str, Any]] = {}
    for table, verbs in _by_star_first(told.get("may", {})):
        for name in by_table() if table == "*" else [table]:
            for verb in verbs.split():
                found.update(_rights_told(role.code, name, verb))
    for table, levels in _by_star_first(told.get("sees", {})):
        for name in by_table() if table == "*" else [table]:
            for secrecy, level in levels.items():
                if table != "*" or _exists(f"{name}.sees.{secrecy}"):
                    found[f"{name}.sees.{secrecy}"] = {"level": Level.from_value(level)}
    if strange := [permission for permission in found if not _exists(permission)]:
        raise ValueError(f"roles: {role.code} is given {strange[0]}, which does not exist")
    return [RolePermission(role=role, permission=permission, **values) for permission, values in found.items()]


def _by_star_first(told: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted(told.items(), key=lambda item: item[0] != "*")


def _rights_told(code: str, table: str, told: str) -> dict[str, dict[str, Any]]:
    barred, told = told.startswith("-"), told.removeprefix("-")
    verb, _, scope = told.partition("@")
    if table not in by_table():
        raise ValueError(f"roles: {code} is given {table}.{verb}, which does not exist")
    moves = (t.name for t in transitions_of(by_table()[table]) if not t.by_clock)
    values = {
        "effect": Effect.DENY if barred else Effect.ALLOW,
        "scope": Scope.from_value(scope) if scope else Scope.GROUP,
    }
    return {f"{table}.{name}": values for name in ((*VERBS, *moves) if verb == "*" else (verb,))}


# -- signing in -----------------------------------------------------------------------------------------


class LoginSession(Base):
    """One signed-in browser. The cookie holds the token, the table its hash; what is ended here is dead."""

    id: Mapped[int] = mapped_column(primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey(UserAccount.id), index=True)
    started_at: Mapped[Instant]
    seen_at: Mapped[Instant]
    ended_at: Mapped[Instant | None]
    address: Mapped[str | None] = mapped_column(String(60))
    agent: Mapped[str | None] = mapped_column(String(255))


class LoginAttempt(Base):
    """One failed attempt to sign in: kept so that guessing stays slow over restarts and between workers."""

    id: Mapped[int] = mapped_column(primary_key=True)
    login: Mapped[str] = mapped_column(String(60), index=True)
    address: Mapped[str] = mapped_column(String(60), index=True)
    at: Mapped[Instant] = mapped_column(index=True)


@cache
def _hasher() -> argon2.PasswordHasher:
    return argon2.PasswordHasher()


@cache
def _nobodys_hash() -> str:
    return _hasher().hash(secrets.token_hex())


def _as_bytes(password: str) -> bytes:
    return password.encode(errors="surrogatepass")


def _as_login(typed: str) -> str:
    """A user name as it is kept and compared, whatever was typed: no database takes control characters."""
    return "".join(c if c.isprintable() else "?" for c in typed.strip().lower())[:60]


def verify_password(session: Session, login: str, password: str) -> UserAccount | None:
    """The active account that *login* and *password* open; takes as long when there is none."""
    account = session.scalar(select(UserAccount).where(UserAccount.login == _as_login(login)))
    known = account.password_hash if account is not None else None
    try:
        _hasher().verify(known or _nobodys_hash(), _as_bytes(password))
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return None
    return account if account is not None and known and account.state is AccountState.ACTIVE else None


def seconds_to_wait(session: Session, login: str, address: str) -> int:
    """Seconds until the next attempt is heard: doubling after five failures per account, and per address."""
    since = clock.now() - ATTEMPT_WINDOW
    waits = [
        _wait(session, LoginAttempt.login == _as_login(login), since, FREE_ATTEMPTS),
        _wait(session, LoginAttempt.address == address, since, ADDRESS_ATTEMPTS),
    ]
    return max(waits)


def _wait(session: Session, whose: sa.ColumnElement[bool], since: datetime, free: int) -> int:
    count, last = session.execute(
        select(func.count(), func.max(LoginAttempt.at)).where(whose, LoginAttempt.at > since)
    ).one()
    if count < free:
        return 0
    pause = min(2 ** (count - free + 1), ATTEMPT_WINDOW.total_seconds())
    last = last if last.tzinfo else last.replace(tzinfo=clock.now().tzinfo)
    return max(0, int(pause - (clock.now() - last).total_seconds() + 0.5))


def note_failure(session: Session, login: str, address: str) -> None:
    session.add(LoginAttempt(login=_as_login(login), address=address[:60], at=clock.now()))


def start_session(session: Session, account: UserAccount, address: str, agent: str) -> str:
    """Begin a session for *account* and return its token, which is kept nowhere else."""
    token, now = secrets.token_urlsafe(32), clock.now()
    session.add(
        LoginSession(
            token_hash=_hash_token(token),
            user_id=account.id,
            started_at=now,
            seen_at=now,
            address=address[:60],
            agent=agent[:255],
        )
    )
    return token


def _hash_token(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def open_login(session: Session, token: str) -> LoginSession | None:
    """The living session that *token* opens: not ended, not idle too long, not too old."""
    found = session.scalar(select(LoginSession).where(LoginSession.token_hash == _hash_token(token)))
    now = clock.now()
    if found is None or found.ended_at is not None:
        return None
    return found if now - found.seen_at <= IDLE_LIMIT and now - found.started_at <= SESSION_LIMIT else None


def end_session(session: Session, token: str) -> None:
    found = session.scalar(select(LoginSession).where(LoginSession.token_hash == _hash_token(token)))
    if found is not None and found.ended_at is None:
        found.ended_at = clock.now()


def end_sessions(session: Session, user_id: int) -> None:
    """End every session of one account."""
    for found in session.scalars(
        select(LoginSession).where(LoginSession.user_id == user_id, LoginSession.ended_at.is_(None))
    ):
        found.ended_at = clock.now()

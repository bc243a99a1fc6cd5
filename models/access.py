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
from sqlalchemy.orm import Mapped, Session, joinedload, mapped_column, object_session, relationship

from . import clock
from .base import Base, Code, Day, Instant, Model, Name, Secret
from .choices import N_, Choice
from .errors import RuleBroken
from .fields import by_table
from .flush import Serial
from .organisation import Branch, Department
from .policy import ACCESS_SERIES, VERBS, HeldRole, Level, Principal, Scope, in_force
from .staff import Staff
from .workflow import transition, transitions_of

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

    def set_password(self, password: str) -> None:
        """Keep *password*, exactly as typed, as an argon2 hash."""
        if len(password) < PASSWORD_MIN_LENGTH:
            raise RuleBroken(
                N_("A password has at least %(least)s characters: several words in a row are easy to keep in mind."),
                field="password", least=PASSWORD_MIN_LENGTH,
            )  # fmt: skip
        self.password_hash = _hasher().hash(password)

    @transition(
        "state", {AccountState.ACTIVE}, AccountState.DISABLED, label=N_("Disable"), tone="red",
        confirm=N_("Disable this account? Its sessions end at once."),
    )  # fmt: skip
    def disable(self) -> None:
        """Let nobody sign in with it any more; its sessions end at once."""
        _not_oneself(self, self)
        if any(g.role.code == "ADMIN" for g in self.grants):
            _keep_one_administrator(self)
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
        for other in self.user.grants:
            if other is not self and other.deleted_at is None and self._same_as(other):
                raise RuleBroken(N_("%(login)s already holds this role in this scope."), login=self.user.login)
        _not_oneself(self, self.user)
        _only_what_one_holds(self)

    def _same_as(self, other: "RoleGrant") -> bool:
        return (self.role, self.scope, self.branch, self.department) == (
            other.role, other.scope, other.branch, other.department,
        )  # fmt: skip


def _session_of(record: Model) -> Session:
    session = object_session(record)
    assert session is not None, f"{record!r} is in no session"
    return session


def _not_oneself(record: Model, account: UserAccount) -> None:
    actor = _session_of(record).info.get("principal")
    if isinstance(actor, Principal) and actor.user_id == account.id:
        raise RuleBroken(N_("Nobody changes their own account or roles: ask another administrator."))


def _only_what_one_holds(grant: RoleGrant) -> None:
    actor = _session_of(grant).info.get("principal")
    if isinstance(actor, Principal) and not {"ADMIN", grant.role.code} & {r.code for r in actor.roles}:
        raise RuleBroken(N_("You can only hand on roles that you hold yourself."), field="role")


def _keep_one_administrator(account: UserAccount) -> None:
    others = (
        select(func.count(sa.distinct(UserAccount.id)))
        .join(RoleGrant, RoleGrant.user_id == UserAccount.id)
        .join(Role, Role.id == RoleGrant.role_id)
        .where(Role.code == "ADMIN", UserAccount.state == AccountState.ACTIVE, UserAccount.id != account.id)
    )
    if not _session_of(account).scalar(others):
        raise RuleBroken(N_("%(login)s is the last administrator: appoint another first."), login=account.login)


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
    roles = tuple(_held(session, g) for g in grants if in_force(g.valid_from, g.valid_to, on))
    staff = account.staff
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


def _held(session: Session, grant: RoleGrant) -> HeldRole:
    rows = session.scalars(select(RolePermission).where(RolePermission.role_id == grant.role_id)).all()
    return HeldRole(
        code=grant.role.code,
        label=grant.role.name,
        scope=grant.scope,
        branch_id=grant.branch_id,
        department_id=grant.department_id,
        allows={r.permission: r.scope for r in rows if r.effect is Effect.ALLOW and r.level is None},
        denies=frozenset(r.permission for r in rows if r.effect is Effect.DENY),
        levels={r.permission.replace(".sees.", "."): r.level for r in rows if r.level is not None},
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
    found: dict[str, RolePermission] = {}
    for table, verbs in sorted(told.get("may", {}).items(), key=lambda item: item[0] != "*"):
        for name in by_table() if table == "*" else [table]:
            for verb in verbs.split():
                for row in _permission_rows(role, name, verb):
                    found[row.permission] = row
    for table, levels in told.get("sees", {}).items():
        for name in by_table() if table == "*" else [table]:
            for secrecy, level in levels.items():
                permission = f"{name}.sees.{secrecy}"
                found[permission] = RolePermission(role=role, permission=permission, level=Level.from_value(level))
    return list(found.values())


def _permission_rows(role: Role, table: str, told: str) -> list[RolePermission]:
    barred, told = told.startswith("-"), told.removeprefix("-")
    verb, _, scope = told.partition("@")
    model = by_table()[table]
    every = (*VERBS, *(t.name for t in transitions_of(model) if not t.by_clock))
    if verb != "*" and verb not in every:
        raise ValueError(f"roles: {role.code} is given {table}.{verb}, which does not exist")
    return [
        RolePermission(
            role=role,
            permission=f"{table}.{name}",
            effect=Effect.DENY if barred else Effect.ALLOW,
            scope=Scope.from_value(scope) if scope else Scope.GROUP,
        )
        for name in (every if verb == "*" else (verb,))
    ]


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


def verify_password(session: Session, login: str, password: str) -> UserAccount | None:
    """The active account that *login* and *password* open; takes as long when there is none."""
    account = session.scalar(select(UserAccount).where(UserAccount.login == login.strip().lower()))
    known = account.password_hash if account is not None else None
    try:
        _hasher().verify(known or _nobodys_hash(), password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return None
    return account if account is not None and known and account.state is AccountState.ACTIVE else None


def seconds_to_wait(session: Session, login: str, address: str) -> int:
    """Seconds until the next attempt is heard: doubling after five failures per account, and per address."""
    since = clock.now() - ATTEMPT_WINDOW
    waits = [
        _wait(session, LoginAttempt.login == login.strip().lower()[:60], since, FREE_ATTEMPTS),
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
    session.add(LoginAttempt(login=login.strip().lower()[:60], address=address[:60], at=clock.now()))


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

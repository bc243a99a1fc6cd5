"""Who gets in and with which rights: roles from a file, principals, passwords, throttling, sessions, self-service."""

from datetime import date, datetime, timedelta

import pytest
import sqlalchemy as sa

from models import access, clock
from models.access import (
    AccountState,
    Effect,
    LoginAttempt,
    LoginSession,
    Role,
    RoleGrant,
    RolePermission,
    UserAccount,
    access_stamp,
    end_session,
    end_sessions,
    load_principal,
    load_roles,
    note_failure,
    open_login,
    seconds_to_wait,
    start_session,
    verify_password,
)
from models.database import connect, open_session
from models.errors import Forbidden, RuleBroken
from models.fields import field, models
from models.journal import Operation
from models.organisation import Branch, Department
from models.policy import Level, Scope, System, decide, level_of, permissions
from models.recycling import recycle
from models.staff import Staff
from models.undo import undo
from models.workflow import transitions_of
from tests.models.conftest import House, principal, role

GOOD = "correct horse battery staple"
MONDAY = datetime.fromisoformat("2026-03-02T09:00+08:00")


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch):
    """Real argon2 with little work: what a hash costs is not tested here."""
    hasher = access.argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(access, "_hasher", lambda: hasher)
    access._nobodys_hash.cache_clear()
    yield
    access._nobodys_hash.cache_clear()


def account(session, login="hejing", password=GOOD, **values):
    made = UserAccount(login=login, **values)
    made.set_password(password)
    session.add(made)
    session.flush()
    return made


# -- roles from a file -------------------------------------------------------------------------------------

ROLES = """
[NL]
name = "Head nurse"
may.staff = "view edit@branch"
may.credential = "view@team verify -export"
sees.staff = { contact = "plain", pay = "hidden" }

[AUDIT]
name = "Auditor"
may."*" = "view"
may.staff = "view@own -edit"
sees."*" = { contact = "masked" }

[ALL]
name = "Everything"
may."*" = "*"
"""


@pytest.fixture
def roles(session, tmp_path):
    (tmp_path / "roles.toml").write_text(ROLES, encoding="utf-8")
    load_roles(session, tmp_path / "roles.toml")
    session.commit()
    return {r.code: r for r in session.scalars(sa.select(Role))}


def rights(role_):
    return {(p.permission, p.effect.value, p.scope.value) for p in role_.permissions if p.level is None}


def test_a_role_has_what_its_file_says_each_with_its_reach(roles):
    assert rights(roles["NL"]) == {
        ("staff.view", "allow", "group"),
        ("staff.edit", "allow", "branch"),
        ("credential.view", "allow", "team"),
        ("credential.verify", "allow", "group"),
        ("credential.export", "deny", "group"),
    }
    seen = {(p.permission, p.level) for p in roles["NL"].permissions if p.level is not None}
    assert seen == {("staff.sees.contact", Level.PLAIN), ("staff.sees.pay", Level.HIDDEN)}


def test_a_table_named_in_the_file_overrules_the_star(roles):
    told = rights(roles["AUDIT"])

    assert ("branch.view", "allow", "group") in told
    assert {t for t in told if t[0].startswith("staff.")} == {
        ("staff.view", "allow", "own"),
        ("staff.edit", "deny", "group"),
    }


def test_a_star_for_verbs_is_every_permission_but_the_moves_of_the_clock(roles):
    assert {t[0] for t in rights(roles["ALL"])} == set(permissions())
    assert not any(
        t.by_clock and f"{m.__tablename__}.{t.name}" in permissions() for m in models() for t in transitions_of(m)
    )


def test_loading_again_leaves_what_was_changed_on_screen(session, roles, tmp_path):
    session.add(RolePermission(role=roles["NL"], permission="staff.create"))
    session.commit()

    assert load_roles(session, tmp_path / "roles.toml") == 0
    assert ("staff.create", "allow", "group") in rights(roles["NL"])


@pytest.mark.parametrize(
    "told", ['may.staff = "fly"', 'may.staff = "view@moon"', 'sees.staff = { contact = "half" }', 'may.ghost = "view"']
)
def test_a_file_that_names_what_does_not_exist_is_refused(session, tmp_path, told):
    (tmp_path / "roles.toml").write_text(f'[X]\nname = "X"\n{told}\n')

    with pytest.raises((ValueError, KeyError)):
        load_roles(session, tmp_path / "roles.toml")


@pytest.mark.parametrize("permission", ["staff.fly", "ghost.view", "credential.warn", "staff.sees.soul", "staff"])
def test_a_permission_that_does_not_exist_cannot_be_given(session, roles, permission):
    session.add(RolePermission(role=roles["NL"], permission=permission))

    with pytest.raises(RuleBroken, match="There is no permission"):
        session.flush()


# -- principals --------------------------------------------------------------------------------------------


@pytest.fixture
def work(house: House, tmp_path):
    (tmp_path / "roles.toml").write_text(ROLES, encoding="utf-8")
    with house.session() as session:
        load_roles(session, tmp_path / "roles.toml")
        session.commit()
        yield session


def role_named(session, code):
    return session.scalar(sa.select(Role).where(Role.code == code))


def grant(session, user, code, scope=Scope.GROUP, **values):
    made = RoleGrant(user=user, role=role_named(session, code), scope=scope, **values)
    session.add(made)
    session.flush()
    return made


def test_a_principal_is_a_person_with_the_roles_in_force(work, house):
    user = account(work, staff_id=house.he_jing)
    shanghai = work.get(Branch, house.shanghai)
    grant(work, user, "NL", Scope.BRANCH, branch=shanghai)
    grant(work, user, "AUDIT", valid_from=date(2026, 4, 1))
    grant(work, user, "ALL", valid_to=date(2026, 3, 1))
    work.commit()

    who = load_principal(work, user.id, date(2026, 3, 2))
    later = load_principal(work, user.id, date(2026, 4, 1))

    assert (who.login, who.name, who.staff_id, who.role_codes) == ("hejing", "何静", house.he_jing, "NL")
    assert (who.roles[0].scope, who.roles[0].branch_id) == (Scope.BRANCH, house.shanghai)
    assert later.role_codes == "NL+AUDIT"
    assert who.holders["credential.verify"] == ("Head nurse", "Everything")
    assert who.subtitle == "护理部 · 静安月子会所"


def test_a_role_limited_to_a_branch_without_one_named_means_ones_own(work, house):
    user = account(work, staff_id=house.he_jing)
    grant(work, user, "NL")
    work.commit()
    who = load_principal(work, user.id, date(2026, 3, 2))

    assert decide(who, "edit", work.get(Staff, house.xu_jia))
    assert not decide(who, "edit", work.get(Staff, house.du_wei))


def test_a_bar_of_what_is_seen_is_loaded_as_a_bar(work, house):
    user = account(work, staff_id=house.he_jing)
    grant(work, user, "NL")
    row = next(p for p in role_named(work, "NL").permissions if p.permission == "staff.sees.contact")
    row.effect = Effect.DENY
    work.commit()

    assert level_of(load_principal(work, user.id, date(2026, 3, 2)), field(Staff, "phone")) is Level.HIDDEN


def test_nobody_without_an_active_account_is_anybody(work, house):
    user = account(work)
    work.commit()
    assert load_principal(work, user.id, date(2026, 3, 2)).name == "hejing"

    user.disable()
    work.commit()
    assert load_principal(work, user.id, date(2026, 3, 2)) is None
    user.enable()
    recycle(user)
    work.commit()
    work.expunge_all()
    assert load_principal(work, 1, date(2026, 3, 2)) is None
    assert load_principal(work, 999, date(2026, 3, 2)) is None


@pytest.mark.parametrize(
    ("what", "rises"),
    [
        ("a grant", True), ("a permission", True), ("a disabled account", True), ("a new name", True),
        ("another department", True), ("a salary", False), ("a sign-in", False), ("a dry run", False),
    ],
)  # fmt: skip
def test_the_stamp_rises_when_rights_change_and_only_then(work, house, what, rises):
    user = account(work, staff_id=house.he_jing)
    work.commit()
    before = access_stamp(work)

    person = work.get(Staff, house.he_jing)
    if what == "a grant":
        grant(work, user, "NL")
    elif what == "a permission":
        work.add(RolePermission(role=role_named(work, "NL"), permission="staff.create"))
    elif what == "a disabled account":
        user.disable()
    elif what == "a new name":
        person.name = "何敬"
    elif what == "another department":
        person.department = work.get(Department, house.hr)
    elif what == "a salary":
        person.monthly_salary = 1
    elif what == "a sign-in":
        user.last_login_at = clock.now()
    work.rollback() if what == "a dry run" else work.commit()

    assert (access_stamp(work) > before) is rises


@pytest.mark.postgres
def test_two_who_change_rights_at_once_raise_the_stamp_twice(postgres_engine):
    with open_session(postgres_engine, System("a")) as one, open_session(postgres_engine, System("b")) as other:
        start = access_stamp(one)
        one.add(Role(code="A", name="A"))
        other.add(Role(code="B", name="B"))
        one.flush()
        other.flush()  # nobody holds the stamp before he commits
        one.commit()
        other.commit()

        assert access_stamp(one) == start + 2


# -- passwords ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("password", ["", "short", "fourteen chars"])
def test_a_short_password_is_refused(session, password):
    with pytest.raises(RuleBroken, match="at least 15 characters"):
        account(session, password=password)


@pytest.mark.parametrize(
    "password",
    [
        "fifteen letters",
        "康护之家一二三四五六七八九十零",
        "  blanks  count as typed  ",
        "x" * 64,
        "p\ud800" * 8,
        "n\x00l" * 5,
    ],
)
def test_a_long_one_is_taken_exactly_as_typed(session, password):
    account(session, password=password)

    assert verify_password(session, "hejing", password) is not None
    assert verify_password(session, "hejing", password + " ") is None
    assert verify_password(session, "hejing", password.upper() + "!") is None


def test_the_hash_is_argon2_and_another_each_time(session):
    one, other = account(session, "one"), account(session, "other")

    assert one.password_hash.startswith("$argon2id$")
    assert one.password_hash != other.password_hash


@pytest.mark.parametrize("typed", ["hejing", " HeJing ", "HEJING"])
def test_a_user_name_is_one_however_it_is_written(session, typed):
    account(session, "HeJing")

    assert verify_password(session, typed, GOOD).login == "hejing"


@pytest.mark.parametrize("login", ["nobody", "", "he\x00jing", "\ud800", "x" * 500, "' OR 1=1 --"])
def test_a_wrong_user_name_is_refused_like_a_wrong_password(engine, login):
    with open_session(engine, System("sign-in")) as session:
        account(session)
        session.commit()

        assert verify_password(session, login, GOOD) is None
        note_failure(session, login, "10.0.0.7")
        session.commit()
        assert seconds_to_wait(session, login, "10.0.0.7") == 0


def test_an_unknown_name_costs_a_hash_like_a_known_one(session, monkeypatch):
    account(session)
    asked = []
    real = access._hasher()

    class Counting:
        def verify(self, *told):
            asked.append(told)
            return real.verify(*told)

        def hash(self, password):
            return real.hash(password)

    monkeypatch.setattr(access, "_hasher", Counting)
    verify_password(session, "hejing", "x" * 20)
    verify_password(session, "nobody", "x" * 20)
    account(session, "nohash").password_hash = None
    verify_password(session, "nohash", "x" * 20)

    assert len(asked) == 3


def test_a_disabled_account_does_not_open(session):
    account(session).disable()

    assert verify_password(session, "hejing", GOOD) is None


# -- throttling --------------------------------------------------------------------------------------------


def fail(engine, times, login="hejing", address="10.0.0.7"):
    for _ in range(times):
        with open_session(engine, System("sign-in")) as session:
            note_failure(session, login, address)
            session.commit()


def wait(engine, login="hejing", address="10.0.0.7"):
    with open_session(engine, System("sign-in")) as session:
        return seconds_to_wait(session, login, address)


def test_guessing_is_slow_by_the_tenth_try_and_stays_so_over_a_restart(engine):
    with clock.at(MONDAY):
        fail(engine, 4)
        assert wait(engine) == 0
        fail(engine, 1)
        assert wait(engine) == 2  # 2^1
        fail(engine, 5)
        assert wait(engine) == 64  # 2^6
        again = connect(engine.url)
        assert wait(again) == 64
        again.dispose()


def test_others_are_not_made_to_wait(engine):
    with clock.at(MONDAY):
        fail(engine, 20)

        assert wait(engine, login="xujia") == 0
        assert wait(engine, login="HeJing ", address="10.9.9.9") > 0


def test_an_address_that_tries_many_names_waits_too(engine):
    with clock.at(MONDAY):
        for number in range(access.ADDRESS_ATTEMPTS):
            fail(engine, 1, login=f"user{number}")

        assert wait(engine, login="fresh") > 0
        assert wait(engine, login="fresh", address="10.9.9.9") == 0


def test_waiting_ends(engine):
    with clock.at(MONDAY):
        fail(engine, 30)
        assert 0 < wait(engine) <= access.ATTEMPT_WINDOW.total_seconds()
    with clock.at(MONDAY + access.ATTEMPT_WINDOW + timedelta(seconds=1)):
        assert wait(engine) == 0


# -- sessions ----------------------------------------------------------------------------------------------


def alive(session, token, after=timedelta(0)):
    with clock.at(MONDAY + after):
        return open_login(session, token) is not None


@pytest.fixture
def signed_in(session):
    """(account, token) of a session begun on Monday at nine."""
    with clock.at(MONDAY):
        user = account(session)
        token = start_session(session, user, "10.0.0.7", "Firefox")
        session.commit()
    return user, token


def test_a_session_is_opened_by_its_token_which_is_kept_nowhere(session, signed_in):
    user, token = signed_in

    assert alive(session, token)
    kept = session.execute(sa.select(LoginSession.token_hash, LoginSession.user_id, LoginSession.agent)).one()
    assert kept.user_id == user.id
    assert token not in kept.token_hash
    assert len(token) >= 43  # 256 bits


@pytest.mark.parametrize("wrong", ["", "x", "\x00"])
def test_another_token_opens_nothing(session, signed_in, wrong):
    assert not alive(session, wrong)
    assert not alive(session, signed_in[1] + wrong) or wrong == ""


def test_a_session_dies_at_sign_out_and_stays_dead(session, signed_in):
    end_session(session, signed_in[1])
    session.commit()
    session.expire_all()

    assert not alive(session, signed_in[1])


def test_all_sessions_of_an_account_die_when_it_is_disabled_and_no_others(session, signed_in):
    user, token = signed_in
    with clock.at(MONDAY):
        second = start_session(session, user, "10.0.0.8", "Chrome")
        others = start_session(session, account(session, "xujia"), "10.0.0.9", "Chrome")
        session.commit()
    user.disable()
    session.commit()

    assert [alive(session, t) for t in (token, second, others)] == [False, False, True]
    user.enable()
    session.commit()
    assert not alive(session, token)


def test_ending_the_sessions_of_one_account_ends_them(session, signed_in):
    end_sessions(session, signed_in[0].id)
    session.commit()

    assert not alive(session, signed_in[1])


def test_an_idle_session_dies_after_half_an_hour(session, signed_in):
    assert alive(session, signed_in[1], timedelta(minutes=30))
    assert not alive(session, signed_in[1], timedelta(minutes=30, seconds=1))


def test_a_busy_session_dies_after_twelve_hours_all_the_same(session, signed_in):
    found = session.scalar(sa.select(LoginSession))
    found.seen_at = MONDAY + timedelta(hours=12)
    session.commit()

    assert alive(session, signed_in[1], timedelta(hours=12))
    assert not alive(session, signed_in[1], timedelta(hours=12, seconds=1))


# -- nobody lifts himself ----------------------------------------------------------------------------------

ACCESS = (
    " ".join(
        f"{table}.{verb}"
        for table in ("user_account", "role", "role_permission", "role_grant", "staff", "branch", "department")
        for verb in ("view", "create", "edit", "delete")
    )
    + " user_account.disable user_account.enable"
)


@pytest.fixture
def office(work, house):
    """Two administrators and a nurse with an account, by number."""
    work.add(Role(code="ADMIN", name="Administrator"))
    work.flush()
    found = {}
    for login, code, staff in (
        ("admin", "ADMIN", None),
        ("deputy", "ADMIN", house.sun_li),
        ("nurse", "NL", house.he_jing),
    ):
        user = account(work, login, staff_id=staff)
        found[login] = (user.id, grant(work, user, code).id)
    work.commit()
    work.close()
    return found


def administrator(house, office, login="admin"):
    return house.at_work(role("ADMIN", may=ACCESS), user_id=office[login][0])


def clerk(house, office, **more):
    """Keeps the accounts, and is a head nurse in Shanghai."""
    head_nurse = role("NL", Scope.BRANCH, branch=house.shanghai, may="staff.view staff.export", **more)
    return house.at_work(role("CLERK", may=ACCESS), head_nurse, user_id=office["nurse"][0], staff=house.he_jing)


def refused(session, match, kind=RuleBroken):
    with pytest.raises(kind, match=match):
        session.commit()
    session.rollback()


def test_nobody_gives_himself_a_role(house, office):
    with administrator(house, office) as session:
        session.add(RoleGrant(user_id=office["admin"][0], role=role_named(session, "ALL"), scope=Scope.GROUP))
        refused(session, "Nobody changes their own")


@pytest.mark.parametrize(
    "change",
    [
        lambda g, session, office: setattr(g, "scope", Scope.OWN),
        lambda g, session, office: setattr(g, "valid_to", date(2030, 1, 1)),
        lambda g, session, office: setattr(g, "role", role_named(session, "ALL")),
        lambda g, session, office: setattr(g, "user_id", office["nurse"][0]),
        lambda g, session, office: recycle(g),
    ],
    ids=["scope", "end", "role", "to another", "bin"],
)
def test_nobody_changes_their_own_roles(house, office, change):
    with administrator(house, office, "deputy") as session:
        change(session.get(RoleGrant, office["deputy"][1]), session, office)
        refused(session, "Nobody changes their own")


def test_nobody_moves_anothers_role_to_himself(house, office):
    with administrator(house, office) as session:
        session.get(RoleGrant, office["nurse"][1]).user_id = office["admin"][0]
        refused(session, "Nobody changes their own")


@pytest.mark.parametrize("attribute", ["staff_id", "login"])
def test_nobody_becomes_somebody_else(house, office, attribute):
    with administrator(house, office) as session:
        setattr(
            session.get(UserAccount, office["admin"][0]),
            attribute,
            {"staff_id": house.zhao, "login": "zhao"}[attribute],
        )
        refused(session, "Nobody changes their own")


def test_nobody_disables_himself(house, office):
    with administrator(house, office) as session:
        user = session.get(UserAccount, office["admin"][0])
        with pytest.raises(RuleBroken, match="Nobody changes their own"):
            user.disable()
        session.commit()

        assert user.state is AccountState.ACTIVE


def test_nobody_changes_a_role_he_holds(house, office):
    with administrator(house, office) as session:
        session.add(RolePermission(role=role_named(session, "ADMIN"), permission="staff.import"))
        refused(session, "Nobody changes a role that they hold")
        role_named(session, "ADMIN").code = "PLAIN"
        refused(session, "Nobody changes a role that they hold")
        session.add(RolePermission(role=role_named(session, "NL"), permission="staff.import"))
        session.commit()


def test_a_role_is_handed_on_only_by_those_who_hold_it_and_no_further(house, office):
    with clerk(house, office) as session:
        other = session.scalar(sa.select(UserAccount).where(UserAccount.login == "deputy"))
        session.add(
            RoleGrant(user=other, role=role_named(session, "ALL"), scope=Scope.BRANCH, branch_id=house.shanghai)
        )
        refused(session, "hand on roles that you hold yourself")
        session.add(RoleGrant(user=other, role=role_named(session, "NL"), scope=Scope.GROUP))
        refused(session, "and no further")
        session.add(RoleGrant(user=other, role=role_named(session, "NL"), scope=Scope.BRANCH, branch_id=house.hangzhou))
        refused(session, "no further|may not see")
        session.add(RoleGrant(user=other, role=role_named(session, "NL"), scope=Scope.BRANCH, branch_id=house.shanghai))
        session.commit()


def test_a_right_is_handed_on_only_by_those_who_have_it(house, office):
    with clerk(house, office, sees={"staff.contact": Level.MASKED}) as session:
        audit = role_named(session, "AUDIT")
        for row in (
            RolePermission(role=audit, permission="credential.verify"),
            RolePermission(role=audit, permission="staff.export", scope=Scope.GROUP),
            RolePermission(role=audit, permission="staff.sees.pay", level=Level.MASKED),
        ):
            session.add(row)
            refused(session, "hand on rights that you have yourself")
        session.add(RolePermission(role=audit, permission="staff.export", scope=Scope.BRANCH))
        session.commit()


LAST = "is the last administrator"


@pytest.mark.parametrize("how", ["disable", "bin", "bin of the grant", "end", "demote", "undo"])
def test_the_last_administrator_stays(house, office, how):
    with house.session() as session:
        if how == "undo":
            session.add(RoleGrant(user_id=office["nurse"][0], role=role_named(session, "ADMIN"), scope=Scope.GROUP))
            session.commit()
            made = session.info["last_operation_id"]
            recycle(session.get(RoleGrant, office["admin"][1]))
        recycle(session.get(RoleGrant, office["deputy"][1]))
        session.commit()
        session.expunge_all()
        user, last = session.get(UserAccount, office["admin"][0]), session.get(RoleGrant, office["admin"][1])

        def go():
            if how == "disable":
                user.disable()
            elif how == "bin":
                last.deleted_at = user.deleted_at = MONDAY
            elif how == "bin of the grant":
                recycle(last)
            elif how == "end":
                last.valid_to = date(2020, 1, 1)
            elif how == "demote":
                last.role = role_named(session, "NL")
            elif how == "undo":
                undo(session, session.get(Operation, made))
            session.commit()

        with pytest.raises(RuleBroken, match=LAST):
            go()


def test_both_administrators_cannot_go_at_once(house, office):
    with house.session() as session:
        for login in ("admin", "deputy"):
            session.get(RoleGrant, office[login][1]).deleted_at = MONDAY
        refused(session, LAST)


def test_an_administrator_may_go_when_another_comes_in_the_same_act(house, office):
    with house.session() as session:
        admin = role_named(session, "ADMIN")
        for login in ("admin", "deputy"):
            session.get(RoleGrant, office[login][1]).deleted_at = MONDAY
        session.add(RoleGrant(user_id=office["nurse"][0], role=admin, scope=Scope.GROUP))
        session.commit()


def test_a_house_without_an_administrator_yet_is_not_held_up(session):
    user = account(session)
    session.add(Role(code="ADMIN", name="Administrator"))
    user.login = "other"
    session.commit()
    user.disable()
    session.commit()


def test_the_same_role_is_not_given_twice_in_one_scope(house, office):
    with house.session() as session:
        session.add(RoleGrant(user_id=office["nurse"][0], role=role_named(session, "NL"), scope=Scope.GROUP))
        refused(session, "already holds this role")


@pytest.mark.parametrize("scope", [Scope.BRANCH, Scope.DEPARTMENT])
def test_a_bounded_grant_names_its_bounds(house, office, scope):
    with house.session() as session:
        session.add(RoleGrant(user_id=office["nurse"][0], role=role_named(session, "ALL"), scope=scope))
        refused(session, "names the branch")


def test_nobody_writes_a_password_hash_by_hand(house, office):
    with administrator(house, office) as session:
        session.get(UserAccount, office["nurse"][0]).password_hash = "$argon2id$mine"
        refused(session, "does not see", Forbidden)


def test_attempts_are_no_business_of_those_who_are_not_signed_in(house):
    with house.session() as session:
        note_failure(session, "x", "y")
        session.commit()
        session.info["principal"] = None
        assert session.scalars(sa.select(LoginAttempt)).all() == []


def test_seeing_is_barred_by_a_role_whatever_another_shows():
    shows = role("A", sees={"staff.contact": Level.PLAIN})
    bars = role("B", never="staff.sees.contact")

    assert level_of(principal(shows), field(Staff, "phone")) is Level.PLAIN
    assert level_of(principal(shows, bars), field(Staff, "phone")) is Level.HIDDEN

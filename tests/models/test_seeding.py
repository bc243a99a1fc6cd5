"""What a house starts with: roles, reference data, the demo houses, and houses of any size."""

import tomllib
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

import models
from models import clock, seeding
from models.access import Role, RoleGrant, RolePermission, UserAccount, verify_password
from models.assessments import Assessment
from models.base import Base
from models.clients import Client, ClientRelation
from models.contracts import Contract
from models.feedback import Feedback
from models.fields import models as every_model
from models.journal import Operation
from models.payments import Payment
from models.policy import Level, Scope, System, permissions, secrecy_classes
from models.search import find
from models.staff import Staff
from models.training import TrainingRecord, TrainingSession
from models.values import resident_id_problem
from models.workflow import transitions_of

SEED = Path(__file__).resolve().parents[2] / "seed"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=clock.HOUSE_ZONE)

STATES = [(model, field) for model in every_model() for field in sorted({t.field for t in transitions_of(model)})]


def _open(url: str = "sqlite://") -> Session:
    engine = models.database.connect(url)
    Base.metadata.create_all(engine)
    return models.database.open_session(engine, System("tests"))


@pytest.fixture(scope="module")
def house() -> Iterator[Session]:
    """A house with its roles and reference data, nobody in it yet."""
    with _open() as session:
        seeding.load_house(session, SEED)
        yield session


@pytest.fixture(scope="module")
def demo() -> Iterator[Session]:
    """The demo houses on the day the scenarios begin."""
    with _open() as session, clock.at(NOW):
        seeding.load_house(session, SEED)
        seeding.load_demo(session, SEED, NOW)
        yield session


@pytest.fixture(scope="module")
def grants(house: Session) -> dict[str, set[str]]:
    """What each role may do: code -> permissions."""
    held: dict[str, set[str]] = {}
    rows = house.execute(
        select(Role.code, RolePermission.permission).join(RolePermission.role).where(RolePermission.level.is_(None))
    )
    for code, permission in rows:
        held.setdefault(code, set()).add(permission)
    return held


def _counts(session: Session) -> dict[str, int]:
    tables = (*every_model(), Operation)
    return {m.__tablename__: session.scalar(select(func.count(m.id))) or 0 for m in tables}


# -- roles ------------------------------------------------------------------------------------------------


def test_every_permission_of_a_role_exists(house: Session) -> None:
    known = set(permissions()) | {
        f"{m.__tablename__}.sees.{secrecy}" for m in every_model() for secrecy in secrecy_classes(m)
    }

    held = set(house.scalars(select(RolePermission.permission)))

    assert held - known == set()


def test_every_button_is_held_by_some_role(grants: dict[str, set[str]]) -> None:
    buttons = {f"{m.__tablename__}.{t.name}" for m in every_model() for t in transitions_of(m) if not t.by_clock}

    assert buttons - set().union(*grants.values()) == set()


def test_the_owner_may_do_what_a_director_may(grants: dict[str, set[str]]) -> None:
    assert grants["BD"] - grants["OW"] == set()


def test_the_owner_sees_and_exports_everything(grants: dict[str, set[str]]) -> None:
    everything = {f"{m.__tablename__}.{verb}" for m in every_model() for verb in ("view", "export")}

    assert everything - grants["OW"] == set()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("complaint.propose", "complaint.approve"),
        ("complaint.propose", "complaint.approve_as_director"),
        ("training_plan.submit", "training_plan.approve"),
        ("appraisal_cycle.open", "appraisal.score"),
        ("appraisal_cycle.publish", "appraisal_cycle.calibrate"),
        ("appraisal_appeal.accept", "appraisal_appeal.uphold"),
        ("contract.submit", "contract.approve"),
        ("payment.confirm", "payment.reverse"),
        ("refund_request.submit", "refund_request.check_by_finance"),
        ("refund_request.check_by_finance", "refund_request.approve"),
        ("refund_request.check_by_finance", "refund_request.approve_for_group"),
        ("refund_request.approve", "refund_request.pay"),
    ],
)
def test_no_role_holds_both_halves_of_a_separated_duty(grants: dict[str, set[str]], first: str, second: str) -> None:
    assert [code for code, held in grants.items() if {first, second} <= held] == []


def test_hr_scores_nobody_but_themselves(house: Session) -> None:
    of_hr = select(RolePermission).join(RolePermission.role).where(Role.code == "HR")
    points = {p.permission: p.scope for p in house.scalars(of_hr) if p.permission.startswith("appraisal")}

    assert "appraisal.score" not in points
    assert "appraisal.calibrate" not in points
    assert points["appraisal.score_self"] is points["appraisal_score.edit"] is Scope.OWN


def test_the_technical_administrator_has_no_part_in_the_business(grants: dict[str, set[str]]) -> None:
    technical = {
        "branch", "calendar_day", "department", "post", "role", "role_grant", "role_permission", "staff", "user_account"
    }  # fmt: skip

    assert {permission.partition(".")[0] for permission in grants["ADMIN"]} == technical


def test_audit_changes_nothing_and_sees_no_secret_whole(house: Session, grants: dict[str, set[str]]) -> None:
    levels = select(RolePermission.level).join(RolePermission.role)
    seen = set(house.scalars(levels.where(Role.code == "AU", RolePermission.level.is_not(None))))

    assert {permission.partition(".")[2] for permission in grants["AU"]} == {"view", "export"}
    assert seen == {Level.MASKED}


@pytest.mark.parametrize("code", ["HR", "FN", "ADMIN", "DIRECTORY"])
def test_who_does_not_care_for_clients_sees_no_health(house: Session, code: str) -> None:
    seen = select(RolePermission.permission).join(RolePermission.role).where(Role.code == code)

    assert [p for p in house.scalars(seen) if p.endswith((".sees.health", ".sees.religion"))] == []


# -- reference data -----------------------------------------------------------------------------------


def test_a_house_starts_without_accounts(house: Session) -> None:
    assert house.scalars(select(UserAccount)).all() == []


def test_loading_a_house_again_adds_nothing(house: Session) -> None:
    before = _counts(house)

    seeding.load_house(house, SEED)

    assert _counts(house) == before


def test_loading_a_house_again_keeps_what_people_changed() -> None:
    with _open() as session:
        seeding.load_house(session, SEED)
        branch = session.scalars(select(models.organisation.Branch)).first()
        assert branch is not None
        branch.address = "上海市静安区新址1号"
        session.commit()

        seeding.load_house(session, SEED)

        assert branch.address == "上海市静安区新址1号"


# -- the demo houses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "field"), STATES, ids=lambda part: getattr(part, "__tablename__", part))
def test_the_demo_has_every_state(demo: Session, model: type, field: str) -> None:
    moves = [t for t in transitions_of(model) if t.field == field]
    states = {state for t in moves for state in (t.target, *t.sources)}

    lived = Counter(demo.scalars(select(getattr(model, field))))

    assert states - set(lived) == set()


def test_the_cast_signs_in_with_the_demo_password(demo: Session) -> None:
    logins = demo.scalars(select(UserAccount.login).join(RoleGrant, RoleGrant.user_id == UserAccount.id)).all()

    assert len(logins) >= 18
    assert verify_password(demo, "linxiaowen", seeding.DEMO_PASSWORD) is not None


def test_every_grant_of_the_cast_names_where_it_holds(demo: Session) -> None:
    held = {
        (g.user.login, g.role.code): (g.scope, g.branch.code if g.branch else None, g.department and g.department.code)
        for g in demo.scalars(select(RoleGrant))
    }

    assert held["linxiaowen", "FD"] == (Scope.BRANCH, "SH01", None)
    assert held["shenguoqiang", "DM"] == (Scope.DEPARTMENT, "SH01", "NUR")
    assert held["wangliqun", "OW"] == (Scope.GROUP, None, None)
    assert held["chensiyuan", "DR"] == (Scope.BRANCH, "CD03", None)


def test_identity_numbers_of_the_demo_are_sound_and_nobody_shares_one(demo: Session) -> None:
    clients = demo.scalars(select(Client.id_number).where(Client.id_number.is_not(None))).all()
    staff = demo.scalars(select(Staff.id_number).where(Staff.id_number.is_not(None))).all()
    numbers = [*map(str, clients), *map(str, staff)]

    assert [n for n in numbers if resident_id_problem(n)] == []
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("陈雨婷", "110101199003074426"),
        ("李欣怡", "310105199308120027"),
        ("黄嘉敏", "510104199605200040"),
        ("王建国", "320102194706150010"),
        ("张秀兰", "330106194502030022"),
        ("苏曼", "44030619880229004X"),
    ],
)
def test_the_clients_of_the_scenarios_are_there(demo: Session, name: str, number: str) -> None:
    assert demo.scalars(select(Client.id_number).where(Client.name == name)).all() == [number]


def test_names_that_are_easily_misread_are_among_the_clients(demo: Session) -> None:
    names = demo.scalars(select(Client.name)).all()

    assert {name[0] for name in names} >= set("单曾仇解查")
    assert names.count("张丽") >= 2


def test_the_demo_keeps_its_states_when_the_clock_ticks_next(demo: Session) -> None:
    with clock.at(NOW):
        moved = clock.tick(demo)
        demo.rollback()

    assert {name: count for name, count in moved.items() if count} == {}


def test_the_demo_is_loaded_into_an_empty_house_only(demo: Session) -> None:
    before = _counts(demo)

    seeding.load_demo(demo, SEED, NOW)

    assert _counts(demo) == before


def test_everything_that_happens_in_the_demo_lies_in_the_past(demo: Session) -> None:
    latest = demo.scalar(select(func.max(Operation.at)))

    assert latest is not None
    assert latest <= NOW


# -- houses of any size -----------------------------------------------------------------------------------


def test_many_clients_are_found_and_stand_their_own_rules(database_url: str) -> None:
    with _open(database_url) as session:
        seeding.load_house(session, SEED)

        seeding.make_clients(session, 200)

        clients = session.scalars(select(Client)).all()
        assert len(clients) == 200
        assert len({c.branch_id for c in clients}) == 3
        one = clients[77]
        assert one in find(session, Client, one.name, limit=200)
        assert find(session, Client, str(one.id_number)) == [one]
        for model in (Client, Staff, Contract, Payment, TrainingSession, TrainingRecord, Assessment, Feedback):
            for record in session.scalars(select(model)):
                record.check()


def test_many_clients_leave_the_numbers_in_order(database_url: str) -> None:
    with _open(database_url) as session:
        seeding.load_house(session, SEED)
        seeding.make_clients(session, 60)

        seeding.make_clients(session, 40)
        newcomer = Client(branch_id=1, line="elder", name="张丽")
        session.add(newcomer)
        session.commit()

        assert newcomer.file_no == "C000101"
        assert session.scalar(select(func.count(Client.id))) == 101


def test_the_word_lists_know_each_branch() -> None:
    words = tomllib.loads((SEED / "demo" / "names.toml").read_text(encoding="utf-8"))

    demo_areas = {area for place in words["places"].values() for area in place["areas"]}
    rehearsal_areas = {area for areas in words["rehearsal"].values() for area in areas}

    assert set(words["places"]) == set(words["rehearsal"]) == {"SH01", "HZ02", "CD03"}
    assert demo_areas & rehearsal_areas == set()


def test_relatives_of_the_cast_are_on_file(demo: Session) -> None:
    husband = demo.scalars(select(ClientRelation).where(ClientRelation.person_name == "刘伟")).one()

    assert husband.client.name == "陈雨婷"

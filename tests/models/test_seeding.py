"""What a house starts with: roles, reference data, the demo houses, and houses of any size."""

import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

import pytest
import sqlalchemy as sa
from sqlalchemy import func, select
from sqlalchemy.orm import Session

import models
from models import clock, seeding
from models.access import Role, RoleGrant, RolePermission, UserAccount, load_principal, verify_password
from models.appraisals import Appraisal, AppraisalStatus
from models.assessment_answers import AssessmentAnswer
from models.assessments import Assessment, AssessmentPurpose
from models.base import Base, Model
from models.clients import Client, ClientLine, ClientRelation
from models.complaints import (
    CauseCategory,
    Complaint,
    ComplaintMember,
    ComplaintStatus,
    MemberRole,
    Remedy,
    RemedyKind,
)
from models.contracts import ClauseKind, Contract, ContractClause, ContractKind, ContractStatus
from models.cycles import AppraisalCycle, CycleKind
from models.errors import Forbidden
from models.feedback import ComplaintCategory, Feedback, FeedbackChannel, FeedbackKind, Severity
from models.fields import models as every_model
from models.instruments import Instrument
from models.journal import Operation
from models.organisation import Branch, Department
from models.payments import Payment, PaymentKind, PaymentMethod, RefundCause, RefundRequest
from models.policy import Level, Scope, System, permissions, secrecy_classes
from models.search import find
from models.seeding.people import load_people
from models.services import Package
from models.staff import Credential, CredentialKind, Staff
from models.training import TrainingRecord, TrainingSession
from models.values import resident_id_problem
from models.workflow import transitions_of

AnyModel = TypeVar("AnyModel", bound=Model)

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


@pytest.mark.parametrize("code", ["OW", "AU"])
def test_who_sees_everything_has_a_level_for_every_secret(house: Session, code: str) -> None:
    secrets = {f"{m.__tablename__}.sees.{secrecy}" for m in every_model() for secrecy in secrecy_classes(m)}
    seen = select(RolePermission.permission).join(RolePermission.role).where(Role.code == code)

    assert secrets - set(house.scalars(seen)) == set()


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


# -- the cast at work, each with the rights of their role -------------------------------------------------


@pytest.fixture
def staffed(tmp_path: Path) -> Iterator[Session]:
    """The houses with their people and one client, before anything happened."""
    with _open(f"sqlite:///{tmp_path / 'staffed.db'}") as session, clock.at(NOW):
        seeding.load_house(session, SEED)
        people = load_people(session, SEED / "demo")
        session.add(
            Client(
                branch=people["林晓雯"].branch, line=ClientLine.POSTPARTUM, name="陈雨婷", id_number="110101199003074426",
                primary_contact=people["林晓雯"],
            )
        )  # fmt: skip
        session.commit()
        yield session


@contextmanager
def _as(session: Session, login: str) -> Iterator[Session]:
    """A session of its own in which the holder of *login* is at work; commits at the end."""
    account = session.scalars(select(UserAccount).where(UserAccount.login == login)).one()
    principal = load_principal(session, account.id, clock.today())
    session.commit()  # lets go of the only writer's lock
    assert principal is not None
    engine = session.get_bind()
    assert isinstance(engine, sa.Engine)
    with models.database.open_session(engine, principal) as own:
        yield own
        own.commit()


def _the(session: Session, model: type[AnyModel]) -> AnyModel:
    """The only record of *model*, or the last one."""
    return session.scalars(select(model).order_by(model.id.desc())).first()  # type: ignore[return-value]


def test_a_contract_goes_from_quote_to_refund_through_the_hands_of_the_cast(staffed: Session) -> None:
    with _as(staffed, "linxiaowen") as desk:
        client = _the(desk, Client)
        package = desk.scalars(select(Package).where(Package.code == "PP28")).one()
        contract = Contract(
            branch=client.branch, client=client, package=package, kind=ContractKind.POSTPARTUM, start_on=date(2026, 5, 3),
            list_amount=Decimal(85000), agreed_amount=Decimal(68000),
        )  # fmt: skip
        clauses = [
            ContractClause(contract=contract, kind=k, text="约定", is_key=k is ClauseKind.FEES) for k in ClauseKind
        ]
        desk.add_all([contract, *clauses])
        desk.flush()
        contract.submit()
    with _as(staffed, "zhaomingyuan") as director:
        _the(director, Contract).approve(reason="老客户介绍")
    with _as(staffed, "linxiaowen") as desk:
        contract = _the(desk, Contract)
        contract.send()
        next(c for c in contract.clauses if c.is_key).acknowledge()
        contract.sign(signer="陈雨婷")
        desk.add(
            Payment(
                contract=contract, kind=PaymentKind.ADVANCE, amount=Decimal(30000), method=PaymentMethod.WECHAT,
            )
        )  # fmt: skip
    with _as(staffed, "qianfang") as finance:
        _the(finance, Payment).confirm()
    with _as(staffed, "linxiaowen") as desk:
        _the(desk, Contract).take_effect()
    with _as(staffed, "zhoumin") as service:
        contract = _the(service, Contract)
        refund = RefundRequest(contract=contract, cause=RefundCause.CLIENT_COOLING_OFF, amount=Decimal(30000))
        service.add(refund)
        service.flush()
        refund.submit()
    with _as(staffed, "qianfang") as finance:
        _the(finance, RefundRequest).check_by_finance()
    with _as(staffed, "wangliqun") as owner:
        _the(owner, RefundRequest).approve_for_group()
    with _as(staffed, "qianfang") as finance:
        _the(finance, RefundRequest).pay(reference="B20260302")
    with _as(staffed, "zhaomingyuan") as director:
        _the(director, Contract).cancel(reason="冷静期内解约")

    assert _the(staffed, Contract).status is ContractStatus.CANCELLED


def test_a_complaint_is_settled_by_the_people_of_scenario_cs_1(staffed: Session) -> None:
    with _as(staffed, "zhoumin") as service:
        client = _the(service, Client)
        said = Feedback(
            branch=client.branch, client=client, channel=FeedbackChannel.HOTLINE, content="夜班护士慢，还争辩"
        )
        service.add(said)
        service.flush()
        said.route(kind=FeedbackKind.COMPLAINT, category=ComplaintCategory.ATTITUDE, severity=Severity.SERIOUS)
        complaint = _the(service, Complaint)
        complaint.acknowledge()
        roles = {"何静": MemberRole.NAMED, "顾海燕": MemberRole.LEAD, "吴海峰": MemberRole.MEMBER}
        found = service.scalars(select(Staff).where(Staff.name.in_(roles)))
        service.add_all(ComplaintMember(complaint=complaint, staff=who, role=roles[who.name]) for who in found)
    with _as(staffed, "shenguoqiang") as manager:
        complaint = _the(manager, Complaint)
        nursing = manager.scalars(select(Department).where(Department.code == "NUR")).one()
        complaint.investigate(apology_at=clock.now(), responsible_department=nursing)
        manager.add(Remedy(complaint=complaint, kind=RemedyKind.COMPENSATION, amount=Decimal(600)))
        manager.flush()
        complaint.propose(proposal="致歉并补偿", cause_category=CauseCategory.STAFFING, cause_text="排班不足")
    with _as(staffed, "shenguoqiang") as manager, pytest.raises(Forbidden):
        _the(manager, Complaint).approve()
    with _as(staffed, "zhaomingyuan") as director:
        _the(director, Complaint).approve_as_director()
    with _as(staffed, "zhoumin") as service:
        complaint = _the(service, Complaint)
        complaint.execute()
        _the(service, Remedy).deliver()
        complaint.notify(opinion="可以接受", satisfaction=4)

    assert _the(staffed, Complaint).status is ComplaintStatus.NOTIFIED


def test_an_assessment_is_made_by_the_nurse_and_put_in_force_by_the_nurse_lead(staffed: Session) -> None:
    staffed.add(_licence(staffed, "何静"))
    staffed.commit()
    with _as(staffed, "hejing") as nurse:
        client = _the(nurse, Client)
        barthel = nurse.scalars(select(Instrument).where(Instrument.code == "barthel")).one()
        me = nurse.scalars(select(Staff).where(Staff.name == "何静")).one()
        made = Assessment(
            branch=client.branch, client=client, instrument=barthel, purpose=AssessmentPurpose.ROUTINE, assessor=me,
            performed_at=NOW,
        )  # fmt: skip
        nurse.add(made)
        nurse.flush()
        made.answers.extend(AssessmentAnswer(item=item, option=item.options[0]) for item in barthel.items)
        nurse.flush()
        made.submit()
    with _as(staffed, "hejing") as nurse, pytest.raises(Forbidden):
        _the(nurse, Assessment).review()
    with _as(staffed, "xujia") as lead:
        made = _the(lead, Assessment)
        made.review()
        made.confirm()

    assert _the(staffed, Assessment).total == 100


def _licence(session: Session, name: str) -> Credential:
    holder = session.scalars(select(Staff).where(Staff.name == name)).one()
    licence = Credential(
        staff=holder, kind=CredentialKind.NURSE_LICENCE, number="2022310001", issued_on=date(2024, 1, 1)
    )
    session.add(licence)
    session.flush()
    licence.verify()
    return licence


def test_a_month_is_appraised_by_everybody_in_their_own_part(staffed: Session) -> None:
    with _as(staffed, "sunli") as hr:
        branch = hr.scalars(select(Branch).where(Branch.code == "SH01")).one()
        cycle = AppraisalCycle(
            branch=branch, kind=CycleKind.AD_HOC, period_start=date(2026, 2, 1), period_end=date(2026, 2, 28),
            opens_on=date(2026, 3, 2), closes_on=date(2026, 3, 16), occasion="专项考核",
        )  # fmt: skip
        nurse = hr.scalars(select(Staff).where(Staff.name == "何静")).one()
        hr.add_all([cycle, Appraisal(cycle=cycle, staff=nurse)])
        hr.flush()
        cycle.open()
    _score(staffed, "hejing", "self_points", Appraisal.score_self)
    with _as(staffed, "sunli") as hr:
        _the(hr, AppraisalCycle).start_scoring()
        with pytest.raises(Forbidden):
            _the(hr, Appraisal).score()
    _score(staffed, "xujia", "manager_points", Appraisal.score)
    with _as(staffed, "zhaomingyuan") as director:
        _the(director, AppraisalCycle).calibrate()
    with _as(staffed, "sunli") as hr:
        _the(hr, AppraisalCycle).publish()
    with _as(staffed, "hejing") as nurse_session:
        _the(nurse_session, Appraisal).acknowledge(opinion="同意")

    assert _the(staffed, Appraisal).status is AppraisalStatus.ACKNOWLEDGED


def _score(session: Session, login: str, pen: str, hand_in: Callable[[Appraisal], None]) -> None:
    with _as(session, login) as own:
        appraisal = _the(own, Appraisal)
        for score in appraisal.live_scores():
            if not score.indicator.is_computed:
                setattr(score, pen, Decimal(85))
        own.flush()
        hand_in(appraisal)


def test_the_front_desk_of_one_branch_finds_nobody_of_another(demo: Session) -> None:
    account = demo.scalars(select(UserAccount).where(UserAccount.login == "linxiaowen")).one()
    principal = load_principal(demo, account.id, clock.local_day(NOW))
    demo.commit()
    engine = demo.get_bind()
    assert isinstance(engine, sa.Engine)
    assert principal is not None

    with models.database.open_session(engine, principal) as desk:
        assert find(desk, Client, "王建国") == []
        assert [c.name for c in find(desk, Client, "陈雨婷")] == ["陈雨婷"]


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

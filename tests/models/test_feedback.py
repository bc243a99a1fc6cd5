"""Feedback: what comes in by every channel, what becomes of it (SM-14), and files from elsewhere."""

import csv
from datetime import date, datetime

import pytest
import sqlalchemy as sa

from models import clock
from models.clients import Client, ClientLine
from models.complaints import (
    Complaint,
    ComplaintStatus,
    Remedy,
    RemedyKind,
)
from models.errors import RuleBroken
from models.feedback import (
    ComplaintCategory,
    Feedback,
    FeedbackChannel,
    FeedbackKind,
    FeedbackStatus,
    Severity,
)
from models.organisation import Branch, Department, LineOfBusiness
from models.staff import Staff
from models.workflow import by_rule, transitions_of
from tests.conftest import REALDATA_ABSENT, ROOT, skip_or_fail
from tests.models.conftest import as_staff

S = FeedbackStatus
CFPB = ROOT.parent / "shared" / "realdata" / "cfpb_complaints_20k_iso_dates.csv"


def at(text):
    """The clock stopped at *text*, in the house's zone."""
    return clock.at(datetime.fromisoformat(text).replace(tzinfo=clock.HOUSE_ZONE))


@pytest.fixture
def branch(session):
    branch = Branch(code="SH01", name="上海静安月子会所", line=LineOfBusiness.POSTPARTUM)
    session.add(branch)
    session.flush()
    return branch


@pytest.fixture
def zhou_min(session, branch):
    """周敏, customer service."""
    person = Staff(branch=branch, name="周敏", hired_on=date(2024, 1, 1))
    session.add(person)
    session.flush()
    return person


def a_feedback(session, branch, **values):
    values = {"channel": FeedbackChannel.BOX, "content": "月子餐太咸", **values}
    feedback = Feedback(branch=branch, **values)
    session.add(feedback)
    session.flush()
    return feedback


def in_state(session, branch, state):
    """A feedback as it may stand in *state*: a praise, answered when closed."""
    feedback = a_feedback(session, branch)
    with by_rule(session):
        feedback.status = state
        feedback.kind = None if state is S.RECEIVED else FeedbackKind.PRAISE
        session.flush()
    return feedback


def test_feedback_gets_a_number_and_the_time_it_came(session, branch):
    with at("2026-06-20 10:00"):
        feedback = a_feedback(session, branch)

        assert feedback.no == "F000001"
        assert clock.local_day(feedback.received_at) == date(2026, 6, 20)
        assert feedback.status is S.RECEIVED


def test_feedback_must_say_something(session, branch):
    with pytest.raises(RuleBroken, match="says nothing: write down what was said"):
        a_feedback(session, branch, content="  ")


@pytest.mark.parametrize("names", [{"contact_name": "刘伟"}, {"contact_phone": "13800000000"}, {"client": True}])
def test_anonymous_feedback_names_nobody(session, branch, names):
    if "client" in names:
        names = {"client": a_client(session, branch)}

    with pytest.raises(RuleBroken, match="Anonymous feedback names nobody"):
        a_feedback(session, branch, is_anonymous=True, **names)


def a_client(session, branch):
    client = Client(branch=branch, name="陈雨婷", line=ClientLine.POSTPARTUM)
    session.add(client)
    session.flush()
    return client


# -- SM-14 ------------------------------------------------------------------------------------------

MOVES = {
    "route": ({S.RECEIVED}, S.ROUTED, {"kind": FeedbackKind.QUESTION}),
    "answer": ({S.ROUTED}, S.CLOSED, {"response": "已转告厨房"}),
    "close": ({S.ROUTED}, S.CLOSED, {}),
    "reopen": ({S.CLOSED}, S.ROUTED, {}),
}


def test_the_table_below_knows_every_move():
    assert {t.name for t in transitions_of(Feedback)} == set(MOVES)


@pytest.mark.parametrize("state", S)
@pytest.mark.parametrize("move", MOVES)
def test_feedback_moves_only_as_sm_14_allows(session, branch, move, state):
    sources, target, given = MOVES[move]
    feedback = in_state(session, branch, state)

    if state in sources:
        getattr(feedback, move)(**given)
        assert feedback.status is target
    else:
        with pytest.raises(RuleBroken, match="is not possible"):
            getattr(feedback, move)(**given)
        assert feedback.status is state


@pytest.mark.parametrize("kind", [FeedbackKind.SUGGESTION, FeedbackKind.PRAISE, FeedbackKind.QUESTION])
def test_what_is_no_complaint_closes_with_an_answer(session, branch, zhou_min, kind):
    feedback = a_feedback(session, branch)

    with at("2026-06-22 09:00"), as_staff(session, zhou_min):
        feedback.route(kind=kind)
        with pytest.raises(RuleBroken, match="“Answer” needs “Response”"):
            feedback.answer()
        feedback.answer(response="谢谢, 已调整")

    assert feedback.status is S.CLOSED
    assert (feedback.response, feedback.responded_on) == ("谢谢, 已调整", date(2026, 6, 22))
    assert feedback.owner is zhou_min
    assert session.scalars(sa.select(Complaint)).all() == []


@pytest.mark.parametrize(
    ("given", "missing"),
    [({}, "category"), ({"category": ComplaintCategory.MEALS}, "severity"), ({"severity": Severity.MINOR}, "category")],
)
def test_a_complaint_is_not_routed_without_category_and_severity(session, branch, given, missing):
    feedback = a_feedback(session, branch)

    with pytest.raises(RuleBroken, match="needs a category and a severity: choose both") as refusal:
        feedback.route(kind=FeedbackKind.COMPLAINT, **given)

    assert refusal.value.field == missing
    assert feedback.status is S.RECEIVED


def test_routing_a_complaint_opens_its_record(session, branch, zhou_min):
    client = a_client(session, branch)
    with at("2026-06-20 09:00"):
        feedback = a_feedback(session, branch, client=client, contact_phone="138 0000 0000", owner=zhou_min)

    with at("2026-06-20 09:30"):
        feedback.route(kind=FeedbackKind.COMPLAINT, category=ComplaintCategory.MEALS, severity=Severity.MINOR)

    complaint = session.scalars(sa.select(Complaint)).one()
    assert complaint.no == "T000001"
    assert complaint.status is ComplaintStatus.RECEIVED
    assert (complaint.feedback, complaint.client, complaint.branch_id) == (feedback, client, branch.id)
    assert (complaint.complainant_name, complaint.complainant_contact) == ("陈雨婷", "13800000000")
    assert (complaint.category, complaint.severity) == (ComplaintCategory.MEALS, Severity.MINOR)
    assert (complaint.content, complaint.received_at) == ("月子餐太咸", feedback.received_at)
    assert complaint.handler is zhou_min


def routed_as_complaint(session, branch, **values):
    feedback = a_feedback(session, branch, **values)
    feedback.route(kind=FeedbackKind.COMPLAINT, category=ComplaintCategory.MEALS, severity=Severity.MINOR)
    return feedback, feedback.complaint


def test_an_anonymous_complaint_can_be_routed(session, branch):
    _, complaint = routed_as_complaint(session, branch, is_anonymous=True)

    assert complaint.complainant_name is None


def test_a_complaint_is_not_answered_in_the_ledger(session, branch):
    feedback, _ = routed_as_complaint(session, branch)

    with pytest.raises(RuleBroken, match="handled as complaint T000001 and closes with it"):
        feedback.answer(response="好的")


def test_the_kind_stays_once_it_is_routed(session, branch):
    feedback, _ = routed_as_complaint(session, branch)
    feedback.kind = FeedbackKind.PRAISE

    with pytest.raises(RuleBroken, match="“F000001” is already handled as what it was routed as"):
        session.flush()


def test_feedback_closes_when_its_complaint_is_withdrawn(session, branch):
    feedback, complaint = routed_as_complaint(session, branch)

    complaint.withdraw(reason="已当面解决")

    assert feedback.status is S.CLOSED


def test_feedback_closes_when_its_complaint_is_merged(session, branch):
    _, first = routed_as_complaint(session, branch)
    feedback, complaint = routed_as_complaint(session, branch)

    complaint.merge_into(duplicate_of=first)

    assert feedback.status is S.CLOSED


def settle(session, complaint, department):
    """Take a minor complaint from receipt to closing, the answer 90 minutes after the promise was given."""
    with at("2026-06-20 10:00"):
        complaint.acknowledge()
        complaint.investigate(apology_at=clock.now(), responsible_department=department)
        session.add(remedy := Remedy(complaint=complaint, kind=RemedyKind.APOLOGY))
        complaint.propose(proposal="少盐", cause_category="procedure", cause_text="未按食谱")
        complaint.approve()
        complaint.execute()
        remedy.deliver()
    with at("2026-06-20 11:30"):
        complaint.notify(opinion="满意", satisfaction=5)
        complaint.close(summary="菜单已改")


def test_feedback_closes_and_reopens_with_its_complaint(session, branch):
    feedback, complaint = routed_as_complaint(session, branch)
    kitchen = Department(branch=branch, code="K", name="厨房")
    session.add(kitchen)

    settle(session, complaint, kitchen)

    assert feedback.status is S.CLOSED
    assert (feedback.responded_on, feedback.is_timely) == (date(2026, 6, 20), True)

    with at("2026-06-21 11:30"):
        complaint.reopen(new_facts="今天又咸了")

    assert feedback.status is S.ROUTED


# -- files from elsewhere ---------------------------------------------------------------------------

CHANNEL = {channel.label: channel for channel in FeedbackChannel}


def from_cfpb(branch_id, row):
    """A row of the file by the mapping a person would choose."""
    text = {key: value or None for key, value in row.items()}
    return {
        "branch_id": branch_id,
        "received_at": datetime.fromisoformat(row["Date received"]).replace(tzinfo=clock.HOUSE_ZONE),
        "category": text["Product"],
        "detail": text["Sub-product"],
        "company": text["Company"],
        "source_region": text["State"],
        "postcode": text["ZIP code"],
        "publication_consent": text["Consumer consent provided?"],
        "channel": CHANNEL[row["Submitted via"]],
        "response": text["Company response to consumer"],
        "is_timely": row["Timely response?"] == "1",
        "is_disputed": {"1": True, "0": False, "": None}[row["Consumer disputed?"]],
        "kind": FeedbackKind.COMPLAINT,
    }


def test_twenty_thousand_complaints_of_a_public_file_fit(session, branch):
    if not CFPB.exists():
        skip_or_fail(REALDATA_ABSENT)
    with CFPB.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))

    session.add_all(Feedback(**from_cfpb(branch.id, row)) for row in rows)
    session.flush()

    def count(*conditions):
        return session.scalar(sa.select(sa.func.count(Feedback.id)).where(*conditions))

    # Counted in the file with csv and Counter: 13,216 by web, 564 late, 3,938 disputed, 725 without a word on it.
    assert count() == 20_000
    assert count(Feedback.channel == FeedbackChannel.ONLINE) == 13_216
    assert count(Feedback.is_timely.is_(False)) == 564
    assert count(Feedback.is_disputed.is_(True)) == 3_938
    assert count(Feedback.is_disputed.is_(None)) == 725


def test_a_reference_elsewhere_is_taken_once_per_branch(session, branch):
    a_feedback(session, branch, external_ref="12345-2026-001")

    with pytest.raises(sa.exc.IntegrityError):
        a_feedback(session, branch, external_ref="12345-2026-001")

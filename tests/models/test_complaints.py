"""Complaints: scenario CS-1 step by step, every move of SM-15, and who may judge whom."""

import hashlib
from datetime import date, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace

import pytest

from models import clock
from models.clients import Client, ClientLine
from models.complaints import (
    CauseCategory,
    ComplainantRelation,
    Complaint,
    ComplaintEvidence,
    ComplaintMember,
    ComplaintStatus,
    EvidenceKind,
    ImprovementAction,
    MemberRole,
    PromiseStatus,
    Remedy,
    RemedyKind,
    RemedyStatus,
    break_promises,
    complaints_naming,
    seal_complaints,
)
from models.errors import RuleBroken
from models.feedback import ComplaintCategory, Severity
from models.organisation import Branch, Department, LineOfBusiness
from models.staff import Staff
from models.workflow import by_rule, transitions_of
from tests.models.conftest import as_staff

S = ComplaintStatus
P = PromiseStatus


def instant(text):
    return datetime.fromisoformat(text).replace(tzinfo=clock.HOUSE_ZONE)


def at(text):
    """The clock stopped at *text*, in the house's zone."""
    return clock.at(instant(text))


@pytest.fixture
def house(session):
    """上海静安月子会所 with the people of the scenario and whom each reports to."""
    branch = Branch(code="SH01", name="上海静安月子会所", line=LineOfBusiness.POSTPARTUM)
    nursing = Department(branch=branch, code="N", name="护理部")
    client = Client(branch=branch, name="陈雨婷", line=ClientLine.POSTPARTUM)
    session.add_all([branch, nursing, client])

    def hire(name, manager=None):
        person = Staff(branch=branch, name=name, manager=manager, hired_on=date(2024, 1, 1))
        session.add(person)
        return person

    owner = hire("王立群")
    director = hire("赵明远", owner)
    nursing_manager = hire("沈国强", director)
    head_nurse = hire("许佳", nursing_manager)
    nurse = hire("何静", head_nurse)
    house = SimpleNamespace(
        session=session, branch=branch, nursing=nursing, client=client,
        owner=owner, director=director, nursing_manager=nursing_manager, head_nurse=head_nurse, nurse=nurse,
        cs_manager=hire("顾海燕", director), cs=hire("周敏", director), elder_director=hire("吴海峰", owner),
    )  # fmt: skip
    session.flush()
    return house


def refused(words):
    return pytest.raises(RuleBroken, match=words)


def a_complaint(house, severity=Severity.SERIOUS, **values):
    complaint = Complaint(
        branch=house.branch, client=house.client, complainant_name="刘伟", severity=severity,
        complainant_relation=ComplainantRelation.SPOUSE, complainant_contact="13900000000",
        category=ComplaintCategory.ATTITUDE, content="夜班护士响应慢, 还和产妇争执", **values,
    )  # fmt: skip
    house.session.add(complaint)
    house.session.flush()
    return complaint


def add(house, part):
    house.session.add(part)
    house.session.flush()
    return part


def member(house, complaint, person, role):
    return add(house, ComplaintMember(complaint=complaint, staff=person, role=role))


# -- CS-1, step by step: each function does one step and leaves the complaint where the next begins ---


def received(house):
    with at("2026-06-20 10:00"), as_staff(house.session, house.cs):
        complaint = a_complaint(house, handler=house.cs)
        member(house, complaint, house.nurse, MemberRole.NAMED)
    return complaint


def acknowledged(house):
    complaint = received(house)
    with at("2026-06-20 10:30"), as_staff(house.session, house.cs):
        complaint.acknowledge()
    return complaint


def investigated(house):
    complaint = acknowledged(house)
    with at("2026-06-20 11:00"), as_staff(house.session, house.cs):
        member(house, complaint, house.cs_manager, MemberRole.LEAD)
        member(house, complaint, house.elder_director, MemberRole.MEMBER)
        complaint.investigate(apology_at=clock.now(), responsible_department=house.nursing)
    return complaint


def proposed(house, amount=Decimal(600)):
    complaint = investigated(house)
    with at("2026-06-20 16:00"), as_staff(house.session, house.nursing_manager):
        add(house, Remedy(complaint=complaint, kind=RemedyKind.APOLOGY))
        add(house, Remedy(complaint=complaint, kind=RemedyKind.COMPENSATION, amount=amount))
        complaint.propose(
            proposal="当面道歉, 补偿 600 元, 夜班增派一人",
            cause_category=CauseCategory.STAFFING,
            cause_text="排班不足",
            substantiated=True,
        )
    return complaint


def carried_out(house):
    complaint = proposed(house)
    with at("2026-06-21 09:00"), as_staff(house.session, house.director):
        complaint.approve_as_director()
    with at("2026-06-22 09:00"), as_staff(house.session, house.cs):
        complaint.execute()
    return complaint


def answered(house):
    complaint = carried_out(house)
    with at("2026-06-22 10:00"), as_staff(house.session, house.cs):
        complaint.notify(opinion="接受道歉, 希望夜里能及时响应", satisfaction=4)
        for remedy in complaint.remedies:
            remedy.deliver()
    return complaint


def closed(house):
    complaint = answered(house)
    with at("2026-06-22 17:00"), as_staff(house.session, house.cs):
        add(house, an_action(house, complaint))
        complaint.close(summary="夜班人手不足, 响应慢; 已道歉、补偿、增派", satisfaction=4)
    return complaint


def an_action(house, complaint):
    return ImprovementAction(
        complaint=complaint, problem="夜班人手不足", plan="夜班增派", owner=house.head_nurse, due_on=date(2026, 7, 6)
    )


def reopened(house):
    complaint = closed(house)
    with at("2026-06-29 15:00"), as_staff(house.session, house.cs):
        complaint.reopen(satisfaction=2, new_facts="昨夜又等了二十分钟")
    return complaint


def closed_again(house, complaint, start):
    """Through investigation to closing once more, beginning at *start*; the answer two hours later."""
    session = house.session
    with clock.at(start), as_staff(session, house.nursing_manager):
        complaint.investigate()
        complaint.propose(proposal="再增派一人")
    with clock.at(start + timedelta(hours=1)), as_staff(session, house.director):
        complaint.approve_as_director()
    with clock.at(start + timedelta(hours=2)), as_staff(session, house.cs):
        complaint.execute()
        complaint.notify(opinion="可以", satisfaction=4)
        complaint.close(summary="再次增派后改善")


def test_step_1_a_serious_complaint_is_promised_a_reply_in_four_hours(house):
    complaint = received(house)

    with at("2026-06-20 10:30"):
        complaint.acknowledge()

    assert complaint.no == "T000001"
    assert complaint.status is S.ACKNOWLEDGED
    assert complaint.acknowledged_at == instant("2026-06-20 10:30")
    assert complaint.promised_reply_at == instant("2026-06-20 14:30")
    assert complaint.promise is P.GIVEN


def test_step_2_the_named_nurse_cannot_investigate(house):
    complaint = acknowledged(house)

    with refused("何静 is named in this complaint and cannot investigate it: choose somebody else"):
        member(house, complaint, house.nurse, MemberRole.LEAD)


def test_step_2_her_direct_manager_may_be_heard_but_not_lead(house):
    complaint = acknowledged(house)

    lead = ComplaintMember(complaint=complaint, staff=house.head_nurse, role=MemberRole.LEAD)
    with refused("许佳 is the direct manager of 何静, .* may be heard, but may not lead the team"):
        add(house, lead)
    lead.role = MemberRole.HEARD
    house.session.flush()

    assert complaint.team == []


def test_step_2_nobody_who_reports_to_the_named_person_investigates(house):
    complaint = a_complaint(house)
    member(house, complaint, house.nursing_manager, MemberRole.NAMED)

    with refused("何静 reports to 沈国强, whom this complaint names, and cannot investigate it"):
        member(house, complaint, house.nurse, MemberRole.MEMBER)


def test_step_2_naming_somebody_later_finds_the_conflict_too(house):
    complaint = a_complaint(house)
    member(house, complaint, house.head_nurse, MemberRole.LEAD)

    with refused("许佳 is the direct manager of 何静"):
        member(house, complaint, house.nurse, MemberRole.NAMED)


def test_step_2_conflicts_are_found_when_people_are_given_by_key(house):
    complaint = acknowledged(house)
    by_key = ComplaintMember(complaint_id=complaint.id, staff_id=house.elder_director.id, role=MemberRole.LEAD)
    add(house, by_key)

    by_key.staff_id = house.head_nurse.id
    with refused("许佳 is the direct manager of 何静"):
        house.session.flush()


def test_step_2_a_serious_complaint_needs_two_one_of_them_leading(house):
    complaint = acknowledged(house)
    ready = {"apology_at": instant("2026-06-20 10:20"), "responsible_department": house.nursing}

    with refused("of severity “Serious” needs a team of at least 2, one of them leading it; the team has 0"):
        complaint.investigate(**ready)
    member(house, complaint, house.cs_manager, MemberRole.MEMBER)
    with refused("the team has 1: add people"):
        complaint.investigate(**ready)
    second = member(house, complaint, house.elder_director, MemberRole.MEMBER)
    with refused("one of them leading"):
        complaint.investigate(**ready)
    second.role = MemberRole.LEAD
    complaint.investigate(**ready)

    assert complaint.status is S.INVESTIGATING


def test_step_2_investigation_begins_with_an_apology_and_a_department(house):
    complaint = a_complaint(house, Severity.GENERAL)
    complaint.acknowledge()

    with refused("has not been apologised to"):
        complaint.investigate(responsible_department=house.nursing)
    with refused("No department is named"):
        complaint.investigate(apology_at=instant("2026-06-20 10:20"))


def test_step_3_evidence_shows_its_fingerprint(house):
    complaint = investigated(house)

    with at("2026-06-20 12:00"), as_staff(house.session, house.cs_manager):
        log = add(house, ComplaintEvidence(
            complaint=complaint, kind=EvidenceKind.CALL_LOG, description="呼叫铃记录", sha256="AB" * 32,
        ))  # fmt: skip
        interview = add(
            house, ComplaintEvidence(complaint=complaint, kind=EvidenceKind.INTERVIEW, description="何静: 一人看六间房")
        )

    assert log.sha256 == "ab" * 32
    assert interview.sha256 == hashlib.sha256("何静: 一人看六间房".encode()).hexdigest()
    assert interview.taken_by is house.cs_manager
    assert interview.taken_at == instant("2026-06-20 12:00")


def test_step_3_the_proposal_is_due_on_the_third_working_day_after_the_holiday(house):
    complaint = proposed(house)

    # 06-20 is the Saturday of the Dragon-Boat holiday (06-19 to 06-21): Monday 22, Tuesday 23, Wednesday 24.
    assert complaint.proposal_due == date(2026, 6, 24)
    assert complaint.proposed_by is house.nursing_manager
    assert (complaint.cause_category, complaint.cause_text) == (CauseCategory.STAFFING, "排班不足")
    assert complaint.responsible_department is house.nursing


def test_step_3_a_proposal_needs_cause_wording_and_remedy(house):
    complaint = investigated(house)

    with refused("No remedy is listed"):
        complaint.propose(proposal="道歉", cause_category=CauseCategory.STAFFING, cause_text="排班不足")
    add(house, Remedy(complaint=complaint, kind=RemedyKind.APOLOGY))
    with refused("The kind of cause is not determined"):
        complaint.propose(proposal="道歉", cause_text="排班不足")
    with refused("The cause is not described"):
        complaint.propose(cause_category=CauseCategory.STAFFING)
    with refused("There is no proposal yet"):
        complaint.propose(cause_category=CauseCategory.STAFFING, cause_text="排班不足")


def test_step_3_the_proposer_cannot_approve_the_own_proposal(house):
    complaint = proposed(house)

    with as_staff(house.session, house.nursing_manager), refused("沈国强 made this proposal and cannot approve it"):
        complaint.approve()


def test_step_3_only_a_superior_of_the_proposer_approves(house):
    complaint = proposed(house, Decimal(300))

    with (
        as_staff(house.session, house.cs_manager),
        refused("顾海燕 does not stand above 沈国强, who made this proposal: ask 赵明远 to approve"),
    ):
        complaint.approve()


@pytest.mark.parametrize("way", ["approve", "approve_as_director"])
def test_step_3_who_is_responsible_does_not_approve(house, way):
    complaint = proposed(house, Decimal(300))
    complaint.responsible_staff = house.director
    house.session.flush()

    with (
        as_staff(house.session, house.director),
        refused("赵明远 is the person responsible in this complaint and cannot approve"),
    ):
        getattr(complaint, way)()


@pytest.mark.parametrize("way", ["approve", "approve_as_director"])
def test_step_3_who_is_named_does_not_approve(house, way):
    complaint = ripe(house, None, status=S.PROPOSED, proposed_by=house.nursing_manager)
    member(house, complaint, house.director, MemberRole.NAMED)

    with as_staff(house.session, house.director), refused("赵明远 is named in this complaint and cannot approve"):
        getattr(complaint, way)()


def test_step_4_remedies_above_500_need_the_director(house):
    complaint = proposed(house)

    with at("2026-06-21 09:00"), as_staff(house.session, house.director):
        with refused("come to 600.00 CNY, above the limit of 500 CNY: the branch director must approve"):
            complaint.approve()
        complaint.approve_as_director()

    assert complaint.status is S.APPROVED
    assert (complaint.approved_by, complaint.approved_at) == (house.director, instant("2026-06-21 09:00"))


def test_step_4_remedies_of_500_are_within_the_limit(house):
    complaint = proposed(house, Decimal(500))

    with as_staff(house.session, house.director):
        complaint.approve()

    assert complaint.status is S.APPROVED


def test_step_5_closed_after_answer_and_remedies_with_a_recheck_in_a_week(house):
    complaint = closed(house)

    assert complaint.status is S.CLOSED
    assert (complaint.notified_at, complaint.notified_by) == (instant("2026-06-22 10:00"), house.cs)
    assert (complaint.satisfaction, complaint.opinion) == (4, "接受道歉, 希望夜里能及时响应")
    assert [r.status for r in complaint.remedies] == [RemedyStatus.DELIVERED] * 2
    assert complaint.recheck_due == date(2026, 6, 29)


def test_step_5_the_promise_of_saturday_was_not_kept_on_monday(house):
    complaint = answered(house)

    assert (complaint.promise, complaint.first_promise_kept) == (P.BROKEN, False)


@pytest.mark.parametrize("gap", ["summary", "satisfaction", "remedy", "action"])
def test_step_5_closing_lacks_nothing(house, gap):
    complaint = carried_out(house)
    complaint.notify(opinion="好", satisfaction=None if gap == "satisfaction" else 4)
    for remedy in complaint.remedies[1 if gap == "remedy" else 0 :]:
        remedy.deliver()
    if gap != "action":
        add(house, an_action(house, complaint))
    words = {
        "summary": "There is no summary",
        "satisfaction": "satisfaction is not recorded: ask, and enter 1 to 5",
        "remedy": "The remedy “Apology” is not delivered yet",
        "action": "severity “Serious” closes with an improvement action: add one",
    }

    with refused(words[gap]):
        complaint.close(summary=None if gap == "summary" else "总结")

    assert complaint.status is S.NOTIFIED


def test_step_6_an_unhappy_recheck_reopens_with_a_new_promise(house):
    complaint = closed(house)

    with at("2026-06-29 15:00"), as_staff(house.session, house.cs):
        with refused("A satisfaction of 2 is below 3: reopen the complaint instead"):
            complaint.recheck(satisfaction=2)
        complaint.reopen(satisfaction=2, new_facts="昨夜又等了二十分钟")

    assert complaint.status is S.REOPENED
    assert (complaint.reopen_count, complaint.reopen_reason) == (1, "昨夜又等了二十分钟")
    assert (complaint.promise, complaint.promised_reply_at) == (P.GIVEN, instant("2026-06-29 19:00"))
    assert complaint.recheck_satisfaction == 2
    assert complaint.proposal_due == date(2026, 7, 2)  # Tuesday 30, Wednesday 1, Thursday 2
    assert complaint.escalated_to_owner_at is None


def test_step_6_the_verdict_on_the_first_promise_is_kept(house):
    complaint = reopened(house)

    closed_again(house, complaint, instant("2026-06-29 15:30"))

    assert (complaint.promise, complaint.first_promise_kept) == (P.KEPT, False)


def test_step_6_the_second_reopening_goes_to_the_owner(house):
    complaint = reopened(house)
    closed_again(house, complaint, instant("2026-06-29 15:30"))

    with at("2026-07-01 08:00"), as_staff(house.session, house.cs):
        complaint.reopen(new_facts="再次发生")

    assert complaint.reopen_count == 2
    assert complaint.escalated_to_owner_at == instant("2026-07-01 08:00")


def sealed(house):
    """Closed finally on 06-29, re-checked on 07-06, sealed on 07-29."""
    complaint = reopened(house)
    closed_again(house, complaint, instant("2026-06-29 15:30"))
    with at("2026-07-06 10:00"), as_staff(house.session, house.cs):
        complaint.recheck(satisfaction=4)
    with at("2026-07-29 00:10"):
        seal_complaints(house.session)
    return complaint


def test_step_7_sealed_thirty_days_after_the_final_closing(house):
    complaint = reopened(house)
    closed_again(house, complaint, instant("2026-06-29 15:30"))

    with at("2026-08-15 00:10"):
        assert seal_complaints(house.session) == 0  # never re-checked
    with at("2026-07-06 10:00"):
        complaint.recheck(satisfaction=4)
    with at("2026-07-28 23:50"):
        assert seal_complaints(house.session) == 0
    with at("2026-07-29 00:10"):
        assert seal_complaints(house.session) == 1
        assert seal_complaints(house.session) == 0

    assert (complaint.status, complaint.sealed_at) == (S.SEALED, instant("2026-07-29 00:10"))


@pytest.mark.parametrize("edit", ["complaint", "bin", "member", "evidence", "remedy"])
def test_step_7_a_sealed_complaint_takes_no_edits(house, edit):
    complaint = sealed(house)

    with refused("“T000001 · 刘伟” is sealed and takes no edits: “Amend the summary” asks for a reason"):
        if edit == "complaint":
            complaint.summary = "改写"
        elif edit == "bin":
            complaint.deleted_at = clock.now()
        elif edit == "member":
            complaint.members[0].role = MemberRole.HEARD
        elif edit == "evidence":
            house.session.add(ComplaintEvidence(complaint=complaint, kind=EvidenceKind.PHOTO, description="照片"))
        else:
            complaint.remedies[0].note = "改写"
        house.session.flush()


def test_step_7_the_summary_of_a_sealed_complaint_is_amended_with_a_reason(house):
    complaint = sealed(house)

    with refused("“Amend the summary” needs “Reason”"):
        complaint.amend_summary(summary="更正")
    complaint.amend_summary(summary="更正: 等待二十分钟", reason="笔误")

    assert (complaint.status, complaint.summary) == (S.SEALED, "更正: 等待二十分钟")
    assert complaint.amendment_reason == "笔误"


def test_step_7_improvement_actions_go_on_after_the_seal(house):
    complaint = sealed(house)

    complaint.improvement_actions[0].done_on = date(2026, 8, 1)
    house.session.flush()

    assert complaint.improvement_actions[0].done_on == date(2026, 8, 1)


def test_step_7_a_sealed_complaint_reopens_only_by_its_own_door(house):
    complaint = sealed(house)

    with refused("is Sealed, so “Reopen” is not possible"):
        complaint.reopen(new_facts="新情况")
    with at("2026-08-01 09:00"):
        complaint.reopen_sealed(reason="媒体报道了新情况")

    assert (complaint.status, complaint.reopen_count) == (S.REOPENED, 2)
    assert (complaint.promise, complaint.sealed_at) == (P.GIVEN, None)


def test_step_8_the_appraisal_of_june_finds_one_substantiated_complaint(house):
    complaint = reopened(house)
    withdrawn = a_complaint(house, received_at=instant("2026-06-25 09:00"))
    member(house, withdrawn, house.nurse, MemberRole.NAMED)
    withdrawn.withdraw(reason="误会")

    found = complaints_naming(house.session, house.nurse, date(2026, 6, 1), date(2026, 6, 30))

    assert found == [complaint]
    assert complaint.substantiated is True
    assert complaints_naming(house.session, house.nurse, date(2026, 7, 1), date(2026, 7, 31)) == []
    assert complaints_naming(house.session, house.head_nurse, date(2026, 6, 1), date(2026, 6, 30)) == []


# -- promises ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("severity", "hours"),
    [(Severity.MINOR, 24), (Severity.GENERAL, 24), (Severity.SERIOUS, 4), (Severity.CRITICAL, 1)],
)
def test_the_usual_promise_follows_the_severity(house, severity, hours):
    complaint = a_complaint(house, severity)

    with at("2026-06-20 10:30"):
        complaint.acknowledge()

    assert complaint.promised_reply_at == instant("2026-06-20 10:30") + timedelta(hours=hours)


def test_another_promise_may_be_given_but_not_a_past_one(house):
    complaint = a_complaint(house)

    with at("2026-06-20 10:30"):
        with refused("which is past: choose a later time"):
            complaint.acknowledge(promised_reply_at=instant("2026-06-20 10:00"))
        complaint.acknowledge(promised_reply_at=instant("2026-06-20 12:00"))

    assert complaint.promised_reply_at == instant("2026-06-20 12:00")


def test_a_promise_is_extended_once_before_it_lapses(house):
    complaint = acknowledged(house)
    later = {"promised_reply_at": instant("2026-06-22 12:00"), "how_told": "电话告知刘伟"}

    with at("2026-06-20 14:30"):
        with refused("“Extend the promise” needs “How told”"):
            complaint.extend_promise(promised_reply_at=instant("2026-06-22 12:00"))
        with refused("an extension must end later"):
            complaint.extend_promise(promised_reply_at=instant("2026-06-20 14:00"), how_told="电话")
        complaint.extend_promise(**later)
        with refused("is Extended once, so “Extend the promise” is not possible"):
            complaint.extend_promise(**later)

    assert (complaint.promise, complaint.promise_extended) == (P.EXTENDED, True)
    assert complaint.promised_reply_at == instant("2026-06-22 12:00")
    assert complaint.extension_told == "电话告知刘伟"
    assert complaint.status is S.ACKNOWLEDGED


def test_a_lapsed_promise_is_not_extended(house):
    complaint = acknowledged(house)

    with at("2026-06-20 14:31"), refused("The promise lapsed on .*: it can be extended only before that"):
        complaint.extend_promise(promised_reply_at=instant("2026-06-22 12:00"), how_told="电话")


def test_an_extended_promise_counts_as_kept_when_answered_by_it(house):
    complaint = carried_out(house)
    with at("2026-06-20 14:00"):
        complaint.extend_promise(promised_reply_at=instant("2026-06-22 12:00"), how_told="电话")

    with at("2026-06-22 12:00"):
        complaint.notify(opinion="好")

    assert (complaint.promise, complaint.first_promise_kept) == (P.KEPT, True)


def test_the_clock_marks_a_broken_promise_once(house):
    complaint = acknowledged(house)

    with at("2026-06-20 14:30"):
        assert break_promises(house.session) == 0
    with at("2026-06-20 14:31"):
        assert break_promises(house.session) == 1
        assert break_promises(house.session) == 0

    assert (complaint.promise, complaint.first_promise_kept) == (P.BROKEN, False)
    assert complaint.status is S.ACKNOWLEDGED


def test_a_withdrawn_complaint_breaks_no_promise(house):
    complaint = acknowledged(house)
    complaint.withdraw(reason="误会")

    with at("2026-06-21 09:00"):
        assert break_promises(house.session) == 0

    assert complaint.first_promise_kept is None


# -- remedies, evidence, re-check, reopening ----------------------------------------------------------


def test_a_remedy_is_delivered_after_the_approval_and_once(house):
    complaint = proposed(house, Decimal(300))
    remedy = complaint.remedies[0]

    with refused("is Awaiting approval: a remedy is delivered after the proposal is approved"):
        remedy.deliver()
    complaint.approve()
    with at("2026-06-21 12:00"):
        remedy.deliver()
    with refused("is Delivered, so “Deliver” is not possible"):
        remedy.deliver()

    assert remedy.delivered_at == instant("2026-06-21 12:00")


def test_approved_remedies_stay_as_they_were_approved(house):
    complaint = proposed(house, Decimal(300))
    complaint.approve()

    complaint.remedies[1].amount = Decimal(5000)
    with refused("are approved or delivered: send the proposal back, or reopen"):
        house.session.flush()


def test_a_remedy_sent_back_may_be_changed(house):
    complaint = proposed(house, Decimal(300))
    complaint.approve()

    complaint.send_back(reason="补偿偏低")
    complaint.remedies[1].amount = Decimal(400)
    house.session.flush()

    assert (complaint.return_reason, complaint.approved_by, complaint.approved_at) == ("补偿偏低", None, None)
    assert complaint.remedy_total == 400


@pytest.mark.parametrize(
    ("kind", "amount", "words"),
    [
        (RemedyKind.COMPENSATION, None, "“Compensation” needs an amount"),
        (RemedyKind.REFUND, None, "“Refund” needs an amount"),
        (RemedyKind.GIFT, Decimal(0), "A remedy of 0 CNY is none"),
    ],
)
def test_the_amount_of_a_remedy_fits_its_kind(house, kind, amount, words):
    complaint = a_complaint(house)

    with refused(words):
        add(house, Remedy(complaint=complaint, kind=kind, amount=amount))


def test_a_complaint_may_come_with_its_remedies_and_people_at_once(house):
    complaint = Complaint(
        branch=house.branch, complainant_name="刘伟", severity=Severity.MINOR, category=ComplaintCategory.MEALS,
        content="菜太咸", remedies=[Remedy(kind=RemedyKind.APOLOGY)],
        members=[ComplaintMember(staff=house.nurse, role=MemberRole.NAMED)],
    )  # fmt: skip

    add(house, complaint)

    assert complaint.remedies[0].status is RemedyStatus.PLANNED
    assert complaint.named == [house.nurse]


def test_evidence_is_never_changed(house):
    complaint = a_complaint(house)
    piece = add(house, ComplaintEvidence(complaint=complaint, kind=EvidenceKind.INTERVIEW, description="原话"))

    piece.description = "改过的话"
    with refused("Evidence keeps its fingerprint and is never changed: add a further piece"):
        house.session.flush()


def test_a_fingerprint_is_one(house):
    complaint = a_complaint(house)

    with refused("“1234” is no SHA-256 fingerprint"):
        ComplaintEvidence(complaint=complaint, kind=EvidenceKind.PHOTO, description="照片", sha256="1234")


@pytest.mark.parametrize("satisfaction", [0, 6])
def test_satisfaction_is_from_1_to_5(house, satisfaction):
    complaint = a_complaint(house)

    with refused(f"from 1 to 5, not {satisfaction}"):
        complaint.satisfaction = satisfaction


def test_the_recheck_waits_for_its_day(house):
    complaint = closed(house)

    with at("2026-06-28 10:00"), refused("The re-check is due on 2026-06-29: ask again then"):
        complaint.recheck(satisfaction=5)


def test_a_happy_complainant_without_new_facts_reopens_nothing(house):
    complaint = closed(house)

    with refused("Reopening needs new facts or a satisfaction of 2 or less"):
        complaint.reopen(satisfaction=3)
    with refused("Reopening needs new facts or a satisfaction of 2 or less"):
        complaint.reopen()


def test_a_complaint_is_merged_into_one_that_is_handled(house):
    first, second, third = a_complaint(house), a_complaint(house), a_complaint(house)

    with refused("no duplicate of itself"):
        second.merge_into(duplicate_of=second)
    second.merge_into(duplicate_of=first)
    with refused("is Merged into another, so nobody handles it"):
        third.merge_into(duplicate_of=second)

    assert second.duplicate_of is first


# -- SM-15 --------------------------------------------------------------------------------------------

MOVES = {
    "acknowledge": ({S.RECEIVED}, S.ACKNOWLEDGED, {}),
    "investigate": ({S.ACKNOWLEDGED, S.REOPENED}, S.INVESTIGATING, {}),
    "propose": ({S.INVESTIGATING}, S.PROPOSED, {}),
    "approve": ({S.PROPOSED}, S.APPROVED, {}),
    "approve_as_director": ({S.PROPOSED}, S.APPROVED, {}),
    "send_back": ({S.PROPOSED, S.APPROVED}, S.INVESTIGATING, {"reason": "补充原因"}),
    "execute": ({S.APPROVED}, S.EXECUTING, {}),
    "notify": ({S.EXECUTING}, S.NOTIFIED, {"opinion": "接受"}),
    "close": ({S.NOTIFIED}, S.CLOSED, {}),
    "recheck": ({S.CLOSED}, S.RECHECKED, {"satisfaction": 4}),
    "seal": ({S.RECHECKED}, S.SEALED, {}),
    "amend_summary": ({S.SEALED}, S.SEALED, {"summary": "更正", "reason": "笔误"}),
    "reopen": ({S.NOTIFIED, S.CLOSED, S.RECHECKED}, S.REOPENED, {"new_facts": "又发生"}),
    "reopen_sealed": ({S.SEALED}, S.REOPENED, {"reason": "新情况"}),
    "withdraw": ({S.RECEIVED, S.ACKNOWLEDGED}, S.WITHDRAWN, {"reason": "误会"}),
    "merge_into": ({S.RECEIVED}, S.MERGED, {}),
}
PROMISES = {
    "extend_promise": ({P.GIVEN}, P.EXTENDED, {"promised_reply_at": instant("2026-06-22 12:00"), "how_told": "电话"}),
    "break_promise": ({P.GIVEN, P.EXTENDED}, P.BROKEN, {}),
}


def ripe(house, other, **state):
    """A complaint in *state* that satisfies the guard of every move."""
    complaint = a_complaint(
        house, Severity.GENERAL, apology_at=clock.now(), responsible_department=house.nursing,
        cause_category=CauseCategory.STAFFING, cause_text="排班不足", proposal="道歉", summary="总结", satisfaction=4,
    )  # fmt: skip
    add(house, Remedy(complaint=complaint, kind=RemedyKind.APOLOGY))
    with by_rule(house.session):
        complaint.remedies[0].status = RemedyStatus.DELIVERED
        complaint.promised_reply_at = instant("2026-06-21 10:00")
        complaint.notified_at = clock.now()
        complaint.recheck_due = clock.today()
        complaint.duplicate_of = other
        for name, value in state.items():
            setattr(complaint, name, value)
        house.session.flush()
    return complaint


def test_the_tables_know_every_move():
    assert {t.name for t in transitions_of(Complaint)} == set(MOVES) | set(PROMISES)


@pytest.mark.parametrize("move", MOVES)
def test_a_complaint_moves_only_as_sm_15_allows(house, move):
    sources, target, given = MOVES[move]
    with at("2026-06-20 10:00"):
        other = a_complaint(house)
        given = {"duplicate_of": other} if move == "merge_into" else given
        for state in S:
            complaint = ripe(house, other, status=state)
            if state in sources:
                getattr(complaint, move)(**given)
                assert complaint.status is target, state
            else:
                with refused("is not possible"):
                    getattr(complaint, move)(**given)
                assert complaint.status is state


@pytest.mark.parametrize("move", PROMISES)
@pytest.mark.parametrize("state", P)
def test_a_promise_moves_only_as_it_may(house, move, state):
    sources, target, given = PROMISES[move]
    with at("2026-06-20 10:00"):
        complaint = ripe(house, a_complaint(house), status=S.INVESTIGATING, promise=state)
        if state in sources:
            getattr(complaint, move)(**given)
            assert complaint.promise is target
        else:
            with refused("is not possible"):
                getattr(complaint, move)(**given)
            assert complaint.promise is state

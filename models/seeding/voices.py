"""What clients say, and what becomes of it: feedback of every kind, complaints in every state."""

from collections.abc import Callable, Collection, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from .. import clock
from ..clients import Client
from ..complaints import (
    CauseCategory,
    ComplainantRelation,
    Complaint,
    ComplaintEvidence,
    ComplaintMember,
    ComplaintStatus,
    EvidenceKind,
    ImprovementAction,
    MemberRole,
    Remedy,
    RemedyKind,
)
from ..feedback import ComplaintCategory, Feedback, FeedbackChannel, FeedbackKind, Severity
from ..organisation import Department
from ..staff import Staff
from .people import Desk
from .timeline import At, Life, Timeline

S = ComplaintStatus
Step = tuple[timedelta, Staff | None, Callable[[], Any]]

CHANNELS = tuple(FeedbackChannel)
RELATIONS = (ComplainantRelation.SELF, ComplainantRelation.SPOUSE, ComplainantRelation.CHILD)

OPEN_ENDS: tuple[tuple[S, timedelta], ...] = (
    (S.RECEIVED, timedelta(minutes=50)),
    (S.ACKNOWLEDGED, timedelta(hours=2)),
    (S.INVESTIGATING, timedelta(hours=5)),
    (S.PROPOSED, timedelta(hours=9)),
    (S.APPROVED, timedelta(hours=11)),
    (S.EXECUTING, timedelta(hours=16)),
    (S.NOTIFIED, timedelta(days=2)),
    (S.CLOSED, timedelta(days=4)),
    (S.RECHECKED, timedelta(days=16)),
)
"""A complaint left in each state, and how long ago it was received."""


class Voices:
    """The feedback of all houses."""

    def __init__(self, session: Session, timeline: Timeline, words: dict[str, Any], rng: Random) -> None:
        self.session, self.timeline, self.words, self.rng = session, timeline, words, rng
        self._said: dict[str, Iterator[dict[str, Any]]] = {}

    # -- praise, suggestions, questions --

    def remark(self, desk: Desk, client: Client | None, at: datetime, *, settle: bool = True) -> Life:
        """Somebody says something; mostly it is answered the next day."""
        told = self._next("feedback", desk)
        officer = self.rng.choice(desk.officers)
        yield At(at, officer)
        feedback = Feedback(
            branch=desk.branch, client=client, is_anonymous=client is None, channel=FeedbackChannel.from_value(told["channel"]),
            content=told["content"], received_at=at, contact_phone=client.phone if client is not None else None,
        )  # fmt: skip
        self.session.add(feedback)
        self.session.flush()
        yield At(at + timedelta(hours=self.rng.randrange(1, 6)), officer)
        feedback.route(kind=FeedbackKind.from_value(told["kind"]))
        yield At(at + timedelta(hours=self.rng.randrange(20, 60)), officer)
        if settle:
            feedback.answer(response=told["response"])

    def _next(self, topic: str, desk: Desk) -> dict[str, Any]:
        """The next text of *topic* for a branch's trade: each is used before one comes again."""
        texts = self.words[topic][desk.branch.line.value]
        key = f"{topic}.{desk.code}"
        if key not in self._said:
            order = self.rng.sample(range(len(texts)), len(texts))
            self._said[key] = (texts[order[n % len(texts)]] for n in range(10**6))
        return next(self._said[key])

    # -- complaints --

    def complaint(
        self, desk: Desk, client: Client, at: datetime, course: Collection[str] = (), until: S | None = None
    ) -> Life:
        """A complaint from the first word to the seal, or until it reaches the state *until*.

        course -- what happens on the way: ordinary, returned, extended, late, reopened, stays_reopened, sealed_reopened
        """
        case = Case(self, desk, client, self._next("complaint", desk), course)
        yield At(at, case.officer)
        case.receive(at)
        now = at
        for pause, who, act in case.steps():
            if case.complaint.status is until:
                return
            now += pause
            yield At(now, who)
            act()

    def withdrawn(self, desk: Desk, client: Client, at: datetime) -> Life:
        case = Case(self, desk, client, self._next("complaint", desk))
        yield At(at, case.officer)
        case.receive(at)
        yield At(at + timedelta(hours=1), case.officer)
        case.complaint.acknowledge()
        yield At(at + timedelta(hours=5), case.officer)
        case.complaint.withdraw(reason="客户来电表示已与护理员沟通清楚，不再追究。")

    def merged(self, desk: Desk, client: Client, at: datetime) -> Life:
        """The same matter told twice: the second complaint is merged into the first."""
        told = self._next("complaint", desk)
        first, second = (Case(self, desk, client, told) for _ in range(2))
        yield At(at, first.officer)
        first.receive(at)
        yield At(at + timedelta(minutes=40), first.officer)
        first.complaint.acknowledge()
        yield At(at + timedelta(hours=3), second.officer)
        second.receive(at + timedelta(hours=3))
        yield At(at + timedelta(hours=4), second.officer)
        second.complaint.merge_into(duplicate_of=first.complaint)
        now = at + timedelta(hours=4)
        for pause, who, act in first.steps()[1:]:
            now += pause
            yield At(now, who)
            act()


class Case:
    """One complaint on its way through the house."""

    def __init__(
        self, voices: Voices, desk: Desk, client: Client, told: dict[str, Any], course: Collection[str] = ()
    ) -> None:
        self.session, self.rng = voices.session, voices.rng
        self.desk, self.client, self.told, self.course = desk, client, told, course
        self.officer = self.rng.choice(desk.officers)
        self.severity = Severity.from_value(told["severity"])
        if "ordinary" in course:
            self.severity = Severity.GENERAL
        self.satisfaction = self.rng.choice([3, 4, 4, 4, 5, 5])
        self.complaint: Complaint

    # -- what happens when --

    def steps(self) -> list[Step]:
        """Pause before each act, who does it, and the act."""
        hour, day = timedelta(hours=1), timedelta(days=1)
        pace = hour / 3 if self.severity.is_grave else hour
        late = day * 2 if "late" in self.course else hour * 0
        steps: list[Step] = [(hour / 4, self.officer, self.acknowledge)]
        if "extended" in self.course:
            steps.append((hour / 4, self.officer, self.extend))
        steps += [(pace, self.desk.manager, self.investigate), (pace * 3, self.desk.manager, self.propose)]
        if "returned" in self.course:
            steps += [(pace, self.desk.director, self.send_back), (pace, self.desk.manager, self.propose_again)]
        steps += [
            (pace + late, self.desk.director, self.approve),
            (pace, self.desk.manager, self.complaint.execute),
            (pace * 2, self.officer, self.deliver),
            (pace * 2, self.officer, self.notify),
            (day, self.officer, self.close),
        ]
        if "reopened" in self.course:
            return [*steps, (day * 3, self.officer, self.reopen), *self._second_round()]
        steps.append((day * 8, self.officer, lambda: self.complaint.recheck(satisfaction=self.satisfaction)))
        steps.append((day * 7, self.desk.nursing, self.finish_improvement))
        if "sealed_reopened" in self.course:
            steps.append((day * 45, self.desk.director, self.reopen_sealed))
        return steps

    def _second_round(self) -> list[Step]:
        hour, day, complaint = timedelta(hours=1), timedelta(days=1), self.complaint
        if "stays_reopened" in self.course:
            return []
        return [
            (hour * 2, self.desk.manager, complaint.investigate),
            (hour * 2, self.desk.manager, complaint.propose),
            (hour, self.desk.director, complaint.approve_as_director),
            (hour, self.desk.manager, complaint.execute),
            (hour, self.officer, self.deliver),
            (hour, self.officer, self.notify),
            (day, self.officer, self.close),
            (day * 8, self.officer, lambda: complaint.recheck(satisfaction=4)),
        ]

    # -- the acts --

    def receive(self, at: datetime) -> None:
        """Through the feedback ledger, which opens the complaint."""
        feedback = Feedback(
            branch=self.desk.branch, client=self.client, channel=self.rng.choice(CHANNELS), content=self.told["content"],
            received_at=at, contact_name=self.client.name, contact_phone=self.client.phone,
        )  # fmt: skip
        self.session.add(feedback)
        self.session.flush()
        feedback.route(
            kind=FeedbackKind.COMPLAINT,
            category=ComplaintCategory.from_value(self.told["category"]),
            severity=self.severity,
        )
        found = select(Complaint).where(Complaint.feedback_id == feedback.id)
        self.complaint = self.session.scalars(found).one()
        self.complaint.desired_outcome = self.told["desired"]
        self.complaint.complainant_relation = self.rng.choice(RELATIONS)
        self._name_people()
        self.session.flush()

    def _name_people(self) -> None:
        """Whom it names, and who looks into it when it is grave."""
        members = []
        if "names" in self.told:
            named = self.rng.choice(self.desk.all(self.told["names"]))
            members.append(ComplaintMember(complaint=self.complaint, staff=named, role=MemberRole.NAMED))
        if self.severity.is_grave:
            team = ((self.desk.manager, MemberRole.LEAD), (self.desk.accountant, MemberRole.MEMBER))
            members += [ComplaintMember(complaint=self.complaint, staff=who, role=role) for who, role in team]
        self.session.add_all(members)

    def acknowledge(self) -> None:
        self.complaint.acknowledge()

    def extend(self) -> None:
        promised = self.complaint.promised_reply_at
        assert promised is not None
        self.complaint.extend_promise(
            promised_reply_at=promised + timedelta(days=2), how_told="电话告知客户需调取监控，客户同意。"
        )

    def investigate(self) -> None:
        department = self.session.scalars(
            select(Department).where(
                Department.branch_id == self.desk.branch.id, Department.code == self.told["department"]
            )
        ).one()
        self.complaint.investigate(apology_at=clock.now(), responsible_department=department)
        self.session.add(
            ComplaintEvidence(
                complaint=self.complaint, kind=EvidenceKind.INTERVIEW, description=f"访谈当班人员：{self.told['cause_text']}"
            )
        )  # fmt: skip
        self.session.flush()

    def propose(self) -> None:
        for kind, amount in self.told["remedies"]:
            self.session.add(
                Remedy(
                    complaint=self.complaint, kind=RemedyKind.from_value(kind), amount=Decimal(amount) if amount else None
                )
            )  # fmt: skip
        self.session.flush()
        self.complaint.propose(
            proposal=self.told["proposal"], cause_category=CauseCategory.from_value(self.told["cause"]),
            cause_text=self.told["cause_text"], substantiated=self.rng.random() < 0.8,
        )  # fmt: skip

    def send_back(self) -> None:
        self.complaint.send_back(reason="缺少防止再次发生的措施，请补充。")

    def propose_again(self) -> None:
        self.complaint.propose(proposal=f"{self.told['proposal']}每周复查一次，连续四周。")

    def approve(self) -> None:
        if self.complaint.remedy_total > 500:
            self.complaint.approve_as_director()
        else:
            self.complaint.approve()

    def deliver(self) -> None:
        for remedy in self.complaint.standing_remedies:
            if remedy.status is remedy.status.PLANNED:
                remedy.deliver()

    def notify(self) -> None:
        self.complaint.notify(opinion=self.told["opinion"], satisfaction=self.satisfaction)
        if not self.complaint.improvement_actions and (self.severity.is_grave or self.rng.random() < 0.4):
            self._improve()

    def _improve(self) -> None:
        problem, plan = self.told["action"]
        due = clock.today() + timedelta(days=21)
        self.session.add(
            ImprovementAction(complaint=self.complaint, problem=problem, plan=plan, owner=self.desk.nursing, due_on=due)
        )
        self.session.flush()

    def finish_improvement(self) -> None:
        for action in self.complaint.improvement_actions:
            action.done_on = clock.today()
        self.session.flush()

    def close(self) -> None:
        self.complaint.close(summary=self.told["summary"], satisfaction=self.satisfaction)

    def reopen(self) -> None:
        self.complaint.reopen(new_facts="客户来电：同样的情况昨晚又出现一次。", satisfaction=2)
        self.satisfaction = 4

    def reopen_sealed(self) -> None:
        self.complaint.reopen_sealed(reason="监管部门转来同一客户的补充材料，决定重新调查。")

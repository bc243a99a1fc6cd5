"""Complaints from the promise of a reply to the seal, judged by people who are not concerned (SM-15).

Corrections of a sealed complaint have one door: ``amend_summary``, which asks for a reason. Every other
edit of it, of its people, evidence and remedies is refused; its improvement actions go on.
"""

import hashlib
import re
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any

from sqlalchemy import CheckConstraint, ForeignKey, String, Text, UniqueConstraint, select
from sqlalchemy.orm import Mapped, Session, mapped_column, object_session, relationship, validates

from . import clock
from .base import BranchScoped, Code, Count, Day, Instant, Model, Money, Name, Note, Phone, Title
from .choices import N_, Choice
from .clients import Client
from .errors import RuleBroken
from .feedback import ComplaintCategory, Feedback, FeedbackKind, FeedbackStatus, Severity
from .flush import changed_fields
from .organisation import Branch, Department
from .staff import Staff, acting_staff
from .workflow import after, ruled, transition

AREA = N_("Feedback")

PROMISE = {
    Severity.MINOR: timedelta(hours=24),
    Severity.GENERAL: timedelta(hours=24),
    Severity.SERIOUS: timedelta(hours=4),
    Severity.CRITICAL: timedelta(hours=1),
}
PROPOSAL_WORKING_DAYS = 3
TEAM_SIZE = 2
REMEDY_LIMIT = Decimal(500)  # CNY; above it the branch director approves. Source: scenario CS-1, step 4.
SATISFIED = 3  # of 5
RECHECK_AFTER = timedelta(days=7)
SEAL_AFTER = timedelta(days=30)
REOPENINGS_TO_ESCALATE = 2


class ComplaintStatus(Choice):
    RECEIVED = "received", N_("Received"), "red"
    ACKNOWLEDGED = "acknowledged", N_("Acknowledged"), "amber"
    INVESTIGATING = "investigating", N_("Under investigation"), "amber"
    PROPOSED = "proposed", N_("Awaiting approval"), "amber"
    APPROVED = "approved", N_("Approved"), "blue"
    EXECUTING = "executing", N_("Being carried out"), "blue"
    NOTIFIED = "notified", N_("Complainant told"), "blue"
    CLOSED = "closed", N_("Closed"), "green"
    RECHECKED = "rechecked", N_("Re-checked"), "green"
    SEALED = "sealed", N_("Sealed"), "neutral"
    REOPENED = "reopened", N_("Reopened"), "red"
    WITHDRAWN = "withdrawn", N_("Withdrawn"), "neutral"
    MERGED = "merged", N_("Merged into another"), "neutral"


class PromiseStatus(Choice):
    NONE = "none", N_("No promise"), "neutral"
    GIVEN = "given", N_("Promised"), "blue"
    EXTENDED = "extended", N_("Extended once"), "amber"
    KEPT = "kept", N_("Kept"), "green"
    BROKEN = "broken", N_("Broken"), "red"


class ComplainantRelation(Choice):
    SELF = "self", N_("The client")
    SPOUSE = "spouse", N_("Spouse")
    PARENT = "parent", N_("Parent")
    CHILD = "child", N_("Son or daughter")
    GUARDIAN = "guardian", N_("Guardian")
    AGENT = "agent", N_("Agent")
    OTHER = "other", N_("Other")


class CauseCategory(Choice):
    STAFFING = "staffing", N_("Too few staff on duty")
    SKILL = "skill", N_("Lack of skill")
    CONDUCT = "conduct", N_("Conduct")
    PROCEDURE = "procedure", N_("Procedure not followed or missing")
    COMMUNICATION = "communication", N_("Communication")
    EQUIPMENT = "equipment", N_("Equipment or premises")
    SUPPLIER = "supplier", N_("Supplier")
    MISUNDERSTANDING = "misunderstanding", N_("Misunderstanding")
    OTHER = "other", N_("Other")


class MemberRole(Choice):
    NAMED = "named", N_("Named in the complaint"), "red"
    LEAD = "lead", N_("Leads the team"), "green"
    MEMBER = "member", N_("On the team"), "blue"
    HEARD = "heard", N_("Heard"), "neutral"


class EvidenceKind(Choice):
    INTERVIEW = "interview", N_("Interview record")
    CALL_LOG = "call_log", N_("Call-bell log")
    CARE_RECORD = "care_record", N_("Care or medical record")
    DOCUMENT = "document", N_("Document")
    PHOTO = "photo", N_("Photograph")
    RECORDING = "recording", N_("Recording")
    OTHER = "other", N_("Other")


class RemedyKind(Choice):
    APOLOGY = "apology", N_("Apology")
    COMPENSATION = "compensation", N_("Compensation")
    REFUND = "refund", N_("Refund")
    FREE_SERVICE = "free_service", N_("Free service")
    EXTRA_DAY = "extra_day", N_("Extra day")
    GIFT = "gift", N_("Gift")
    PROCESS_CHANGE = "process_change", N_("Change of process")


class RemedyStatus(Choice):
    PLANNED = "planned", N_("Planned"), "amber"
    DELIVERED = "delivered", N_("Delivered"), "green"


HowTold = Annotated[
    str, mapped_column(Text, info={"kind": "note", "label": N_("How the complainant was told of the extension")})
]

S = ComplaintStatus
_UNDECIDED = {S.RECEIVED, S.ACKNOWLEDGED, S.INVESTIGATING, S.PROPOSED, S.REOPENED, None}  # None: still new
_MAY_DELIVER = {S.APPROVED, S.EXECUTING, S.NOTIFIED}


def _derived(**info: Any) -> dict[str, Any]:
    """A column only rules write, which no list sorts by. A dict of its own each time: SQLAlchemy fills it."""
    return {"derived": True, "sort": False, **info}


class Complaint(BranchScoped, Model):
    """A grievance, from its receipt through investigation, remedy and answer to the seal (SM-15).

    ``promise`` follows the clock that runs now; ``first_promise_kept`` keeps the verdict on the first one,
    whatever happens after a reopening.
    """

    __icon__ = "alert-triangle"
    __title__ = ("no", "complainant_name")
    __key__ = ("no",)
    __owner__ = ("handler",)
    __list__ = (
        "no", "received_at", "status", "severity", "category", "complainant_name", "client",
        "promised_reply_at", "promise", "handler", "branch",
    )  # fmt: skip
    __table_args__ = (
        CheckConstraint("satisfaction BETWEEN 1 AND 5", name="satisfaction_is_1_to_5"),
        CheckConstraint("recheck_satisfaction BETWEEN 1 AND 5", name="recheck_satisfaction_is_1_to_5"),
        CheckConstraint("reopen_count >= 0", name="reopen_count_not_negative"),
        CheckConstraint(
            "status IN ('received', 'withdrawn', 'merged') OR promised_reply_at IS NOT NULL",
            name="has_a_promise_once_acknowledged",
        ),
        CheckConstraint(
            "status NOT IN ('closed', 'rechecked', 'sealed')"
            " OR (notified_at IS NOT NULL AND summary IS NOT NULL AND satisfaction IS NOT NULL)",
            name="is_closed_with_answer_and_summary",
        ),
        CheckConstraint("status <> 'merged' OR duplicate_of_id IS NOT NULL", name="is_merged_into_another"),
        CheckConstraint("duplicate_of_id <> id", name="is_no_duplicate_of_itself"),
    )

    no: Mapped[Code] = mapped_column(unique=True, info={"label": N_("Complaint no."), "serial": "T{n:06d}"})
    status: Mapped[ComplaintStatus] = mapped_column(default=S.RECEIVED)
    received_at: Mapped[Instant] = mapped_column(default=clock.now)
    severity: Mapped[Severity]
    category: Mapped[ComplaintCategory]
    feedback_id: Mapped[int | None] = mapped_column(ForeignKey(Feedback.id), unique=True)
    client_id: Mapped[int | None] = mapped_column(ForeignKey(Client.id), index=True)
    complainant_name: Mapped[Name | None] = mapped_column(
        info={"sort": False, "help": N_("Empty when the complaint is anonymous")}
    )
    complainant_relation: Mapped[ComplainantRelation | None]
    complainant_contact: Mapped[Phone | None]
    content: Mapped[Note]
    desired_outcome: Mapped[Note | None] = mapped_column(info={"help": N_("What the complainant asks for")})
    handler_id: Mapped[int | None] = mapped_column(ForeignKey(Staff.id), index=True, info={"label": N_("Handled by")})

    acknowledged_at: Mapped[Instant | None] = mapped_column(info=_derived())
    promised_reply_at: Mapped[Instant | None] = mapped_column(info={"derived": True})
    promise: Mapped[PromiseStatus] = mapped_column(default=PromiseStatus.NONE)
    promise_extended: Mapped[bool] = mapped_column(default=False, info=_derived())
    extension_told: Mapped[HowTold | None] = mapped_column(info=_derived())
    first_promise_kept: Mapped[bool | None] = mapped_column(info=_derived())
    apology_at: Mapped[Instant | None] = mapped_column(info={"sort": False})

    cause_category: Mapped[CauseCategory | None]
    cause_text: Mapped[Note | None]
    responsible_department_id: Mapped[int | None] = mapped_column(ForeignKey(Department.id), index=True)
    responsible_staff_id: Mapped[int | None] = mapped_column(
        ForeignKey(Staff.id), index=True, info={"label": N_("Responsible person")}
    )
    substantiated: Mapped[bool | None]
    proposal: Mapped[Note | None]
    proposal_due: Mapped[Day | None] = mapped_column(info={"derived": True, "label": N_("Proposal due on")})
    proposed_by_id: Mapped[int | None] = mapped_column(ForeignKey(Staff.id), info=_derived())
    approved_by_id: Mapped[int | None] = mapped_column(ForeignKey(Staff.id), info=_derived())
    approved_at: Mapped[Instant | None] = mapped_column(info=_derived())
    return_reason: Mapped[Note | None] = mapped_column(info=_derived(label=N_("Why it was sent back")))

    notified_at: Mapped[Instant | None] = mapped_column(info=_derived(label=N_("Complainant told at")))
    notified_by_id: Mapped[int | None] = mapped_column(
        ForeignKey(Staff.id), info=_derived(label=N_("Complainant told by"))
    )
    opinion: Mapped[Note | None]
    satisfaction: Mapped[Count | None] = mapped_column(info={"help": N_("From 1, very unhappy, to 5, very happy")})
    summary: Mapped[Note | None]
    amendment_reason: Mapped[Note | None] = mapped_column(info=_derived(label=N_("Why the summary was amended")))
    closed_at: Mapped[Instant | None] = mapped_column(info=_derived())
    recheck_due: Mapped[Day | None] = mapped_column(info={"derived": True, "label": N_("Re-check due on")})
    rechecked_at: Mapped[Instant | None] = mapped_column(info=_derived(label=N_("Re-checked at")))
    recheck_satisfaction: Mapped[Count | None] = mapped_column(info=_derived(label=N_("Satisfaction at the re-check")))
    sealed_at: Mapped[Instant | None] = mapped_column(info=_derived())
    reopen_count: Mapped[Count] = mapped_column(default=0, info=_derived(label=N_("Times reopened")))
    reopened_at: Mapped[Instant | None] = mapped_column(info=_derived())
    reopen_reason: Mapped[Note | None] = mapped_column(info=_derived(label=N_("Why it was reopened")))
    escalated_to_owner_at: Mapped[Instant | None] = mapped_column(info=_derived())
    withdraw_reason: Mapped[Note | None] = mapped_column(info=_derived(label=N_("Why it was withdrawn")))
    duplicate_of_id: Mapped[int | None] = mapped_column(ForeignKey("complaint.id"), info=_derived())

    branch: Mapped[Branch] = relationship()
    feedback: Mapped[Feedback | None] = relationship(back_populates="complaint")
    client: Mapped[Client | None] = relationship()
    handler: Mapped[Staff | None] = relationship(foreign_keys=[handler_id])
    responsible_department: Mapped[Department | None] = relationship()
    responsible_staff: Mapped[Staff | None] = relationship(foreign_keys=[responsible_staff_id])
    proposed_by: Mapped[Staff | None] = relationship(foreign_keys=[proposed_by_id])
    approved_by: Mapped[Staff | None] = relationship(foreign_keys=[approved_by_id])
    notified_by: Mapped[Staff | None] = relationship(foreign_keys=[notified_by_id])
    duplicate_of: Mapped["Complaint | None"] = relationship(remote_side="Complaint.id")
    members: Mapped[list["ComplaintMember"]] = relationship(back_populates="complaint")
    evidence: Mapped[list["ComplaintEvidence"]] = relationship(back_populates="complaint")
    remedies: Mapped[list["Remedy"]] = relationship(back_populates="complaint")
    improvement_actions: Mapped[list["ImprovementAction"]] = relationship(back_populates="complaint")

    @validates("satisfaction", "recheck_satisfaction")
    def _from_1_to_5(self, field: str, value: int | None) -> int | None:
        if value is not None and not 1 <= value <= 5:
            raise RuleBroken(N_("Satisfaction is a whole number from 1 to 5, not %(value)s."), field=field, value=value)
        return value

    def check(self) -> None:
        _refuse_when_sealed(self, self)

    def derive(self) -> None:
        """The proposal is due three working days after receipt, or after the last reopening."""
        session = object_session(self)
        moved = {f.attr for f in changed_fields(self)} & {"received_at", "reopened_at"}
        if session is not None and (self.proposal_due is None or moved):
            start = clock.local_day(self.reopened_at or self.received_at or clock.now())
            self.proposal_due = clock.add_working_days(session, start, PROPOSAL_WORKING_DAYS)

    # -- who may judge whom

    @property
    def named(self) -> list[Staff]:
        """The staff the complaint names."""
        return [m.staff for m in self.members if m.role is MemberRole.NAMED and m.deleted_at is None]

    @property
    def team(self) -> list["ComplaintMember"]:
        """Those who investigate it: the lead and the members."""
        return [m for m in self.members if m.role in {MemberRole.LEAD, MemberRole.MEMBER} and m.deleted_at is None]

    def refuse_conflicts(self) -> None:
        """Raise RuleBroken when somebody on the team is too close to somebody the complaint names."""
        for member in self.team:
            for named in self.named:
                _refuse_conflict(member, named)

    def _refuse_small_team(self) -> None:
        if not self.severity.is_grave:
            return
        if len(self.team) < TEAM_SIZE or not any(m.role is MemberRole.LEAD for m in self.team):
            raise RuleBroken(
                N_("A complaint of severity “%(severity)s” needs a team of at least %(needed)s, one of them"
                   " leading it; the team has %(given)s: add people to it."),
                severity=self.severity, needed=TEAM_SIZE, given=len(self.team),
            )  # fmt: skip

    @property
    def standing_remedies(self) -> list["Remedy"]:
        return [r for r in self.remedies if r.deleted_at is None]

    @property
    def remedy_total(self) -> Decimal:
        """What all remedies come to, in CNY; those without an amount count 0, delivered ones count too."""
        return sum((r.amount for r in self.standing_remedies if r.amount is not None), Decimal(0))

    # -- the promise of a reply

    @transition("status", {S.RECEIVED}, S.ACKNOWLEDGED, label=N_("Acknowledge"), tone="blue")
    def acknowledge(self, *, promised_reply_at: Instant | None = None) -> None:
        """Tell the complainant it was received and when to expect a reply; left empty, the usual time."""
        self.acknowledged_at = clock.now()
        self._promise(promised_reply_at)

    @transition("promise", {PromiseStatus.GIVEN}, PromiseStatus.EXTENDED, label=N_("Extend the promise"), tone="amber")
    def extend_promise(self, *, promised_reply_at: Instant, how_told: HowTold) -> None:
        """Put the reply off once, before the promise lapses, after telling the complainant."""
        current = self.promised_reply_at
        if current is not None and clock.now() > current:
            raise RuleBroken(
                N_("The promise lapsed on %(until)s: it can be extended only before that. Answer now."),
                field="promised_reply_at", until=current,
            )  # fmt: skip
        if current is not None and promised_reply_at <= current:
            raise RuleBroken(
                N_("The reply is promised by %(until)s already: an extension must end later."),
                field="promised_reply_at", until=current,
            )  # fmt: skip
        self.promised_reply_at = promised_reply_at
        self.promise_extended = True
        self.extension_told = how_told

    @transition(
        "promise",
        {PromiseStatus.GIVEN, PromiseStatus.EXTENDED},
        PromiseStatus.BROKEN,
        label=N_("Mark the promise as broken"),
        by_clock=True,
    )
    def break_promise(self) -> None:
        """When the promised time passes without an answer."""
        self._judge_promise(kept=False)

    def _promise(self, until: datetime | None) -> None:
        until = until or clock.now() + PROMISE[self.severity]
        if until <= clock.now():
            raise RuleBroken(
                N_("A reply cannot be promised for %(until)s, which is past: choose a later time."),
                field="promised_reply_at", until=until,
            )  # fmt: skip
        self.promised_reply_at = until
        self.promise = PromiseStatus.GIVEN
        self.promise_extended = False
        self.extension_told = None

    def _judge_promise(self, kept: bool) -> None:
        self.promise = PromiseStatus.KEPT if kept else PromiseStatus.BROKEN
        if self.first_promise_kept is None:
            self.first_promise_kept = kept

    # -- investigation, proposal, approval

    @transition("status", {S.ACKNOWLEDGED, S.REOPENED}, S.INVESTIGATING, label=N_("Investigate"), tone="blue")
    def investigate(
        self, *, apology_at: Instant | None = None, responsible_department: Department | None = None
    ) -> None:
        """Begin the investigation: apology made, department named, a team without conflicts of interest."""
        self.refuse_conflicts()
        self._refuse_small_team()
        _fill(
            self,
            {"apology_at": apology_at, "responsible_department": responsible_department},
            apology_at=N_("The complainant has not been apologised to: do so, and enter when."),
            responsible_department=N_("No department is named: name the one that answers for the matter."),
        )

    @transition("status", {S.INVESTIGATING}, S.PROPOSED, label=N_("Propose"), tone="blue")
    def propose(
        self,
        *,
        proposal: Note | None = None,
        cause_category: CauseCategory | None = None,
        cause_text: Note | None = None,
        substantiated: bool | None = None,
    ) -> None:
        """Submit cause and remedies to a superior; what is left empty stays as recorded."""
        if not self.standing_remedies:
            raise RuleBroken(N_("No remedy is listed: add at least one, even if only an apology."))
        _fill(
            self,
            {
                "proposal": proposal,
                "cause_category": cause_category,
                "cause_text": cause_text,
                "substantiated": substantiated,
            },
            cause_category=N_("The kind of cause is not determined: choose it."),
            cause_text=N_("The cause is not described: say why it happened."),
            responsible_department=N_("No department is named: name the one that answers for the matter."),
            proposal=N_("There is no proposal yet: say how the matter is to be settled."),
        )
        self.proposed_by = acting_staff(self)

    @transition("status", {S.PROPOSED}, S.APPROVED, label=N_("Approve"), tone="green")
    def approve(self) -> None:
        """Approve the proposal as the proposer's superior, within the limit for remedies."""
        self._refuse_approver()
        if self.remedy_total > REMEDY_LIMIT:
            raise RuleBroken(
                N_("The remedies come to %(total)s CNY, above the limit of %(limit)s CNY: the branch director must"
                   " approve, with “Approve as director”."),
                total=self.remedy_total, limit=REMEDY_LIMIT,
            )  # fmt: skip
        self._note_approval()

    @transition("status", {S.PROPOSED}, S.APPROVED, label=N_("Approve as director"), tone="green")
    def approve_as_director(self) -> None:
        """Approve the proposal as branch director or owner, whatever the remedies come to."""
        self._refuse_approver()
        self._note_approval()

    def _refuse_approver(self) -> None:
        approver, proposer = acting_staff(self), self.proposed_by
        if approver is None:
            return
        if approver is proposer:
            raise RuleBroken(
                N_("%(name)s made this proposal and cannot approve it: a superior must."), name=approver.name
            )
        if approver is self.responsible_staff:
            raise RuleBroken(
                N_("%(name)s is the person responsible in this complaint and cannot approve the proposal: somebody"
                   " else must."),
                name=approver.name,
            )  # fmt: skip
        if approver in self.named:
            raise RuleBroken(
                N_("%(name)s is named in this complaint and cannot approve the proposal: somebody else must."),
                name=approver.name,
            )
        # Nobody stands above whoever has no manager: there any other person with the right approves.
        if proposer is not None and proposer.manager is not None and not proposer.reports_to(approver):
            raise RuleBroken(
                N_("%(name)s does not stand above %(proposer)s, who made this proposal: ask %(superior)s to approve."),
                name=approver.name, proposer=proposer.name, superior=proposer.manager.name,
            )  # fmt: skip

    def _note_approval(self) -> None:
        self.approved_by, self.approved_at = acting_staff(self), clock.now()

    @transition("status", {S.PROPOSED, S.APPROVED}, S.INVESTIGATING, label=N_("Send back"), tone="amber")
    def send_back(self, *, reason: Note) -> None:
        """Return the proposal to the investigation, with the reason."""
        self.return_reason = reason
        self.approved_by = self.approved_at = None

    # -- carrying out, answer, end

    @transition("status", {S.APPROVED}, S.EXECUTING, label=N_("Carry out"), tone="blue")
    def execute(self) -> None:
        """Begin to carry out what was approved."""

    @transition("status", {S.EXECUTING}, S.NOTIFIED, label=N_("Tell the complainant"), tone="blue")
    def notify(self, *, opinion: Note, satisfaction: Count | None = None) -> None:
        """Record that the complainant was told the result, and what they think of it."""
        _fill(self, {"opinion": opinion, "satisfaction": satisfaction})
        self.notified_at, self.notified_by = clock.now(), acting_staff(self)
        if self.promise in {PromiseStatus.GIVEN, PromiseStatus.EXTENDED}:
            self._judge_promise(kept=self.promised_reply_at is not None and clock.now() <= self.promised_reply_at)

    @transition("status", {S.NOTIFIED}, S.CLOSED, label=N_("Close"), tone="green")
    def close(self, *, summary: Note | None = None, satisfaction: Count | None = None) -> None:
        """Close the matter with a summary and the complainant's satisfaction, all remedies delivered."""
        for remedy in self.standing_remedies:
            if remedy.status is not RemedyStatus.DELIVERED:
                raise RuleBroken(
                    N_("The remedy “%(remedy)s” is not delivered yet: deliver it before closing."),
                    remedy=remedy.kind,
                )  # fmt: skip
        if self.severity.is_grave and not any(a.deleted_at is None for a in self.improvement_actions):
            raise RuleBroken(
                N_("A complaint of severity “%(severity)s” closes with an improvement action: add one."),
                severity=self.severity,
            )  # fmt: skip
        _fill(
            self,
            {"summary": summary, "satisfaction": satisfaction},
            summary=N_("There is no summary: write what happened and what follows from it."),
            satisfaction=N_("The complainant's satisfaction is not recorded: ask, and enter 1 to 5."),
        )
        self.closed_at = clock.now()
        self.recheck_due = clock.today() + RECHECK_AFTER
        self.rechecked_at = self.recheck_satisfaction = None

    @transition("status", {S.CLOSED}, S.RECHECKED, label=N_("Re-check"), tone="green")
    def recheck(self, *, satisfaction: Count) -> None:
        """Ask the complainant again a week later; below 3 the complaint is reopened instead."""
        if self.recheck_due is not None and clock.today() < self.recheck_due:
            raise RuleBroken(N_("The re-check is due on %(day)s: ask again then."), day=self.recheck_due)
        if satisfaction < SATISFIED:
            raise RuleBroken(
                N_("A satisfaction of %(value)s is below %(needed)s: reopen the complaint instead."),
                field="satisfaction", value=satisfaction, needed=SATISFIED,
            )  # fmt: skip
        self.recheck_satisfaction, self.rechecked_at = satisfaction, clock.now()

    @transition("status", {S.RECHECKED}, S.SEALED, label=N_("Seal"), by_clock=True)
    def seal(self) -> None:
        """Thirty days after the final closing."""
        self.sealed_at = clock.now()

    @transition("status", {S.SEALED}, S.SEALED, label=N_("Amend the summary"))
    def amend_summary(self, *, summary: Note, reason: Note) -> None:
        """Correct the summary of a sealed complaint, with the reason: the only change it still takes."""
        self.summary, self.amendment_reason = summary, reason

    @transition("status", {S.NOTIFIED, S.CLOSED, S.RECHECKED}, S.REOPENED, label=N_("Reopen"), tone="red")
    def reopen(
        self,
        *,
        new_facts: Note | None = None,
        satisfaction: Count | None = None,
        promised_reply_at: Instant | None = None,
    ) -> None:
        """Take it up again for new facts or a satisfaction of 2 or less, with a new promise."""
        latest = satisfaction or self.recheck_satisfaction or self.satisfaction
        if not new_facts and (latest is None or latest >= SATISFIED):
            raise RuleBroken(
                N_("Reopening needs new facts or a satisfaction of 2 or less: enter one of them."), field="new_facts"
            )
        self._reopen(new_facts, promised_reply_at)
        self.recheck_satisfaction = satisfaction

    @transition("status", {S.SEALED}, S.REOPENED, label=N_("Reopen the sealed complaint"), tone="red")
    def reopen_sealed(self, *, reason: Note, promised_reply_at: Instant | None = None) -> None:
        """Take a sealed complaint up again, by decision of the branch director or the owner."""
        self._reopen(reason, promised_reply_at)

    def _reopen(self, reason: str | None, promised_reply_at: datetime | None) -> None:
        self.reopen_count += 1
        self.reopened_at, self.reopen_reason = clock.now(), reason
        self._promise(promised_reply_at)
        self.approved_by = self.approved_at = self.closed_at = self.sealed_at = None
        self.recheck_due = self.rechecked_at = self.satisfaction = self.recheck_satisfaction = None
        if self.reopen_count >= REOPENINGS_TO_ESCALATE and self.escalated_to_owner_at is None:
            self.escalated_to_owner_at = clock.now()

    @transition("status", {S.RECEIVED, S.ACKNOWLEDGED}, S.WITHDRAWN, label=N_("Withdraw"))
    def withdraw(self, *, reason: Note) -> None:
        """Record that the complainant takes the complaint back, and why."""
        self.withdraw_reason = reason
        self.promise = PromiseStatus.NONE

    @transition("status", {S.RECEIVED}, S.MERGED, label=N_("Merge into another"))
    def merge_into(self, *, duplicate_of: "Complaint") -> None:
        """Close it as a duplicate: the other complaint is the one that is handled."""
        if duplicate_of is self:
            raise RuleBroken(N_("A complaint is no duplicate of itself: choose another one."), field="duplicate_of")
        if duplicate_of.status in {S.MERGED, S.WITHDRAWN}:
            raise RuleBroken(
                N_("“%(record)s” is %(state)s, so nobody handles it: choose the complaint that is being handled."),
                field="duplicate_of", record=str(duplicate_of), state=duplicate_of.status,
            )  # fmt: skip
        self.duplicate_of = duplicate_of


class ComplaintMember(Model):
    """Somebody of the house whom a complaint names, or who investigates it or is heard about it."""

    __label__ = N_("Person in a complaint")
    __icon__ = "users"
    __title__ = ("staff", "role")
    __key__ = ("complaint", "staff")
    __part_of__ = "complaint"
    __table_args__ = (UniqueConstraint("complaint_id", "staff_id"),)

    complaint_id: Mapped[int] = mapped_column(ForeignKey(Complaint.id), index=True)
    staff_id: Mapped[int] = mapped_column(ForeignKey(Staff.id), index=True)
    role: Mapped[MemberRole]

    complaint: Mapped[Complaint] = relationship(back_populates="members")
    staff: Mapped[Staff] = relationship()

    def check(self) -> None:
        _refuse_when_sealed(self.complaint, self)
        self.complaint.refuse_conflicts()


class ComplaintEvidence(Model):
    """A piece of evidence, kept as it was taken: its fingerprint tells whether it was changed."""

    __label__ = N_("Evidence")
    __icon__ = "file-text"
    __title__ = ("kind", "taken_at")
    __part_of__ = "complaint"
    __table_args__ = (CheckConstraint("length(sha256) = 64", name="sha256_has_64_digits"),)

    complaint_id: Mapped[int] = mapped_column(ForeignKey(Complaint.id), index=True)
    kind: Mapped[EvidenceKind]
    description: Mapped[Note]
    taken_at: Mapped[Instant] = mapped_column(default=clock.now, info={"sort": False})
    taken_by_id: Mapped[int | None] = mapped_column(ForeignKey(Staff.id))
    sha256: Mapped[str | None] = mapped_column(
        String(64),
        info={"label": N_("Fingerprint (SHA-256)"), "help": N_("Of the file; left empty, of the description")},
    )

    complaint: Mapped[Complaint] = relationship(back_populates="evidence")
    taken_by: Mapped[Staff | None] = relationship()

    @validates("sha256")
    def _hexadecimal(self, field: str, value: str | None) -> str | None:
        digits = (value or "").strip().lower()
        if digits and not re.fullmatch("[0-9a-f]{64}", digits):
            raise RuleBroken(
                N_("“%(value)s” is no SHA-256 fingerprint: it has 64 digits from 0 to f."), field=field, value=digits
            )
        return digits or None

    def derive(self) -> None:
        if self.sha256 is None and self.description:
            self.sha256 = hashlib.sha256(self.description.encode()).hexdigest()
        if self.taken_by is None and self.taken_by_id is None:
            self.taken_by = acting_staff(self)

    def check(self) -> None:
        _refuse_when_sealed(self.complaint, self)
        changed = {f.attr for f in changed_fields(self)}
        if self.version is not None and changed & {"description", "sha256"}:
            raise RuleBroken(
                N_("Evidence keeps its fingerprint and is never changed: add a further piece that corrects it."),
                field="description",
            )


class Remedy(Model):
    """One thing the house does to make good: proposed, approved with the complaint, delivered once."""

    __icon__ = "coin-yuan"
    __title__ = ("kind", "amount")
    __part_of__ = "complaint"
    __table_args__ = (CheckConstraint("amount > 0", name="amount_is_positive"),)

    complaint_id: Mapped[int] = mapped_column(ForeignKey(Complaint.id), index=True)
    kind: Mapped[RemedyKind]
    amount: Mapped[Money | None] = mapped_column(info={"help": N_("In CNY"), "sort": False})
    note: Mapped[Note | None]
    status: Mapped[RemedyStatus] = mapped_column(default=RemedyStatus.PLANNED)
    delivered_at: Mapped[Instant | None] = mapped_column(info=_derived())

    complaint: Mapped[Complaint] = relationship(back_populates="remedies")

    def check(self) -> None:
        _refuse_when_sealed(self.complaint, self)
        if self.amount is not None and self.amount <= 0:
            raise RuleBroken(
                N_("A remedy of %(amount)s CNY is none: enter an amount above 0, or leave it empty."),
                field="amount", amount=f"{self.amount.normalize():f}",
            )  # fmt: skip
        if self.amount is None and self.kind in {RemedyKind.COMPENSATION, RemedyKind.REFUND}:
            raise RuleBroken(N_("“%(kind)s” needs an amount: enter it."), field="amount", kind=self.kind)
        if not _by_rule(self) and (self.complaint.status not in _UNDECIDED or self.status is RemedyStatus.DELIVERED):
            raise RuleBroken(
                N_("The remedies of “%(record)s” are approved or delivered: send the proposal back, or reopen the"
                   " complaint, before changing them."),
                record=str(self.complaint),
            )  # fmt: skip

    @transition("status", {RemedyStatus.PLANNED}, RemedyStatus.DELIVERED, label=N_("Deliver"), tone="green")
    def deliver(self) -> None:
        """Record that the complainant received it; only what was approved is delivered, and once."""
        if self.complaint.status not in _MAY_DELIVER:
            raise RuleBroken(
                N_("“%(record)s” is %(state)s: a remedy is delivered after the proposal is approved."),
                record=str(self.complaint), state=self.complaint.status,
            )  # fmt: skip
        self.delivered_at = clock.now()


class ImprovementAction(Model):
    """What the house changes so that it does not happen again: who, by when, done when."""

    __icon__ = "circle-check"
    __title__ = ("problem",)
    __part_of__ = "complaint"
    __owner__ = ("owner",)

    complaint_id: Mapped[int] = mapped_column(ForeignKey(Complaint.id), index=True)
    problem: Mapped[Title]
    plan: Mapped[Note]
    owner_id: Mapped[int] = mapped_column(ForeignKey(Staff.id), index=True, info={"label": N_("Responsible person")})
    due_on: Mapped[Day]
    done_on: Mapped[Day | None] = mapped_column(info={"sort": False})

    complaint: Mapped[Complaint] = relationship(back_populates="improvement_actions")
    owner: Mapped[Staff] = relationship()


# -- with the feedback it came from ---------------------------------------------------------------


@after(Feedback.route)
def open_complaint(feedback: Feedback) -> None:
    """A feedback routed as a complaint opens one."""
    session, client = object_session(feedback), feedback.client
    if feedback.kind is not FeedbackKind.COMPLAINT or session is None:
        return
    name = feedback.contact_name or (client.name if client is not None else None)
    complaint = Complaint(
        branch_id=feedback.branch_id, feedback=feedback, client=client, complainant_name=name,
        complainant_contact=feedback.contact_phone, category=feedback.complaint_category,
        severity=feedback.severity, content=feedback.wording, received_at=feedback.received_at,
        handler=feedback.owner,
    )  # fmt: skip
    session.add(complaint)


@after(Complaint.notify)
def note_reply(complaint: Complaint) -> None:
    if complaint.feedback is not None and complaint.notified_at is not None:
        complaint.feedback.note_reply(complaint.notified_at, complaint.promise is PromiseStatus.KEPT)


@after(Complaint.close)
@after(Complaint.withdraw)
@after(Complaint.merge_into)
def close_feedback(complaint: Complaint) -> None:
    if complaint.feedback is not None and complaint.feedback.status is FeedbackStatus.ROUTED:
        complaint.feedback.close()


@after(Complaint.reopen)
@after(Complaint.reopen_sealed)
def reopen_feedback(complaint: Complaint) -> None:
    if complaint.feedback is not None and complaint.feedback.status is FeedbackStatus.CLOSED:
        complaint.feedback.reopen()


# -- because time passed ----------------------------------------------------------------------------


@clock.duty("complaint.promise")
def break_promises(session: Session) -> int:
    """Mark promises whose time passed without an answer."""
    running = {PromiseStatus.GIVEN, PromiseStatus.EXTENDED}
    lapsed = select(Complaint).where(Complaint.promise.in_(running), Complaint.promised_reply_at < clock.now())
    complaints = session.scalars(lapsed).all()
    for complaint in complaints:
        complaint.break_promise()
    return len(complaints)


@clock.duty("complaint.seal")
def seal_complaints(session: Session) -> int:
    """Seal what was re-checked, thirty days after it was closed for the last time."""
    last_day = clock.end_of(clock.today() - SEAL_AFTER)
    due = select(Complaint).where(Complaint.status == S.RECHECKED, Complaint.closed_at <= last_day)
    complaints = session.scalars(due).all()
    for complaint in complaints:
        complaint.seal()
    return len(complaints)


# -- for other areas --------------------------------------------------------------------------------


def complaints_naming(session: Session, staff: Staff, start: date, end: date) -> list[Complaint]:
    """Complaints received in the period that name *staff*, oldest first; withdrawn and merged ones left out.

    start, end -- first and last day of receipt, both counted.
    """
    naming = (
        select(Complaint)
        .join(ComplaintMember)
        .where(
            ComplaintMember.staff_id == staff.id,
            ComplaintMember.role == MemberRole.NAMED,
            Complaint.status.not_in({S.WITHDRAWN, S.MERGED}),
            Complaint.received_at >= datetime.combine(start, time.min, clock.HOUSE_ZONE),
            Complaint.received_at <= clock.end_of(end),
        )
        .order_by(Complaint.received_at, Complaint.id)
    )
    return list(session.scalars(naming))


# -- what several rules share --------------------------------------------------------------


def _by_rule(record: Model) -> bool:
    session = object_session(record)
    return session is not None and ruled(session)


def _refuse_when_sealed(complaint: Complaint, record: Model) -> None:
    if complaint.status is S.SEALED and not _by_rule(record):
        raise RuleBroken(
            N_("“%(record)s” is sealed and takes no edits: “Amend the summary” asks for a reason."),
            record=str(complaint),
        )


def _refuse_conflict(member: ComplaintMember, named: Staff) -> None:
    person = member.staff
    if person is named:
        raise RuleBroken(
            N_("%(name)s is named in this complaint and cannot investigate it: choose somebody else."),
            field="staff", name=person.name,
        )  # fmt: skip
    if person.reports_to(named):
        raise RuleBroken(
            N_("%(name)s reports to %(named)s, whom this complaint names, and cannot investigate it: choose"
               " somebody else."),
            field="staff", name=person.name, named=named.name,
        )  # fmt: skip
    if member.role is MemberRole.LEAD and named.manager is person:
        raise RuleBroken(
            N_("%(name)s is the direct manager of %(named)s, whom this complaint names: %(name)s may be heard, but"
               " may not lead the team."),
            field="role", name=person.name, named=named.name,
        )  # fmt: skip


def _fill(record: Model, given: dict[str, Any], **needed: str) -> None:
    """Write what was given; what was left empty keeps its value.

    needed -- attributes that may not stay empty, with the refusal of each: raised before anything is written
    """
    given = {name: value for name, value in given.items() if value not in (None, "")}
    for name, refusal in needed.items():
        if given.get(name, getattr(record, name)) in (None, ""):
            raise RuleBroken(refusal, field=name)
    for name, value in given.items():
        setattr(record, name, value)

"""How one person did in one cycle: scores, total, grade, and what becomes of them (SM-24)."""

from collections import Counter
from collections.abc import Iterable
from datetime import date
from decimal import Decimal

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint, inspect, select
from sqlalchemy.orm import Mapped, Session, mapped_column, object_session, relationship

from . import clock
from .appeals import AppealStatus, AppraisalAppeal
from .base import BranchScoped, Instant, Model, Note, Score
from .choices import N_, Choice
from .errors import RuleBroken
from .kpi import KpiTemplate, template_for, weighted_mean
from .organisation import Branch
from .staff import Staff, acting_staff
from .training import follow
from .workflow import after, transition

AREA = N_("Appraisals")

APPEAL_WORKING_DAYS = 5


class AppraisalStatus(Choice):
    NOT_STARTED = "not_started", N_("Not started"), "neutral"
    SELF_SCORED = "self_scored", N_("Self-scored"), "blue"
    MANAGER_SCORED = "manager_scored", N_("Scored by the manager"), "blue"
    CALIBRATED = "calibrated", N_("Calibrated"), "blue"
    PUBLISHED = "published", N_("Published"), "amber"
    ACKNOWLEDGED = "acknowledged", N_("Confirmed by the person"), "green"
    APPEALED = "appealed", N_("Appealed against"), "red"
    APPEAL_DECIDED = "appeal_decided", N_("Appeal decided"), "amber"
    LOCKED = "locked", N_("Locked"), "neutral"


SCORED_BEFORE_PUBLICATION = {
    AppraisalStatus.NOT_STARTED, AppraisalStatus.SELF_SCORED, AppraisalStatus.MANAGER_SCORED, AppraisalStatus.CALIBRATED
}  # fmt: skip


class Grade(Choice):
    EXCELLENT = "excellent", N_("Excellent"), "green"
    GOOD = "good", N_("Good"), "blue"
    QUALIFIED = "qualified", N_("Qualified"), "amber"
    UNQUALIFIED = "unqualified", N_("Unqualified"), "red"


GRADES = ((Decimal(90), Grade.EXCELLENT), (Decimal(75), Grade.GOOD), (Decimal(60), Grade.QUALIFIED))
BONUS_FACTORS = {
    Grade.EXCELLENT: Decimal("1.2"), Grade.GOOD: Decimal("1.0"), Grade.QUALIFIED: Decimal("0.8"),
    Grade.UNQUALIFIED: Decimal("0"),
}  # fmt: skip


def grade_of(total: Decimal | None) -> Grade | None:
    """Excellent from 90, good from 75, qualified from 60, unqualified below; None without a total."""
    if total is None:
        return None
    return next((grade for least, grade in GRADES if total >= least), Grade.UNQUALIFIED)


def session_of(record: Model) -> Session:
    session = object_session(record)
    if session is None:
        raise ValueError(f"{record!r} is in no session")
    return session


def manager_in(person: Staff, start: date, end: date) -> int | None:
    """Record number of whoever managed *person* for more than half of the days from *start* to *end*.

    Postings decide; where none covers more than half, it is the present direct manager.
    """
    days: Counter[int] = Counter()
    for posting in person.postings:
        if posting.deleted_at is None and posting.manager_id not in (None, person.id):
            shared = (min(end, posting.to_on or end) - max(start, posting.from_on)).days + 1
            days[posting.manager_id] += max(shared, 0)
    for manager_id, managed in days.most_common(1):
        if managed * 2 > (end - start).days + 1:
            return manager_id
    return person.manager_id


# -- one person's appraisal -----------------------------------------------------------------------------


class Appraisal(BranchScoped, Model):
    """How one person did in one cycle: scored by themselves and their manager, calibrated, published, locked."""

    __icon__ = "report-analytics"
    __title__ = ("staff", "cycle")
    __key__ = ("cycle", "staff")
    __part_of__ = "cycle"
    __owner__ = ("staff",)
    __list__ = ("staff", "cycle", "status", "manager", "self_score", "manager_score", "total", "grade")
    __table_args__ = (
        UniqueConstraint("cycle_id", "staff_id"),
        CheckConstraint("manager_id IS NULL OR manager_id <> staff_id", name="nobody_manages_themselves"),
        CheckConstraint("total BETWEEN 0 AND 100", name="total_within_100"),
        CheckConstraint("bonus_factor >= 0", name="bonus_factor_not_negative"),
    )

    branch_id: Mapped[int] = mapped_column(ForeignKey(Branch.id), index=True, sort_order=-50, info={"derived": True})
    cycle_id: Mapped[int] = mapped_column(ForeignKey("appraisal_cycle.id"), index=True)
    staff_id: Mapped[int] = mapped_column(ForeignKey(Staff.id), index=True)
    template_id: Mapped[int] = mapped_column(ForeignKey(KpiTemplate.id), info={"derived": True})
    manager_id: Mapped[int | None] = mapped_column(
        ForeignKey(Staff.id), index=True, info={"label": N_("Scored by"), "derived": True}
    )
    status: Mapped[AppraisalStatus] = mapped_column(default=AppraisalStatus.NOT_STARTED)
    self_score: Mapped[Score | None] = mapped_column(info={"label": N_("Self-score"), "derived": True})
    manager_score: Mapped[Score | None] = mapped_column(info={"label": N_("Manager's score"), "derived": True})
    total: Mapped[Score | None] = mapped_column(info={"label": N_("Total score"), "derived": True})
    grade: Mapped[Grade | None] = mapped_column(info={"derived": True})
    bonus_factor: Mapped[Score | None] = mapped_column(info={"secrecy": "pay", "derived": True})
    published_at: Mapped[Instant | None] = mapped_column(info={"derived": True})
    acknowledged_at: Mapped[Instant | None] = mapped_column(info={"label": N_("Confirmed as read at"), "derived": True})
    opinion: Mapped[Note | None] = mapped_column(info={"label": N_("Opinion of the person"), "derived": True})
    locked_at: Mapped[Instant | None] = mapped_column(info={"derived": True})

    branch: Mapped[Branch] = relationship()
    cycle: Mapped["AppraisalCycle"] = relationship(back_populates="appraisals")  # type: ignore[name-defined]  # noqa: F821
    staff: Mapped[Staff] = relationship(foreign_keys=[staff_id])
    template: Mapped[KpiTemplate] = relationship()
    manager: Mapped[Staff | None] = relationship(foreign_keys=[manager_id])
    scores: Mapped[list["AppraisalScore"]] = relationship(  # type: ignore[name-defined]  # noqa: F821
        back_populates="appraisal", order_by="AppraisalScore.id"
    )
    appeals: Mapped[list[AppraisalAppeal]] = relationship(back_populates="appraisal")

    def derive(self) -> None:
        if self.cycle is not None and self.staff is not None and self.template_id is None and self.template is None:
            follow(self, self.cycle, "branch")
            self._choose_template()
            self.manager_id = manager_in(self.staff, self.cycle.period_start, self.cycle.period_end)
        self.grade = grade_of(self.total)

    def reckon(self) -> None:
        """Work out the scores from the rows; called by the rows, for who changes one sees them all."""
        if self.status not in SCORED_BEFORE_PUBLICATION:
            return
        rows = self.live_scores()
        counted = [row for row in rows if not row.no_data]
        self.self_score = _mean((r.weight, r.share_of(r.self_points)) for r in rows if not r.indicator.is_computed)
        self.manager_score = _mean((r.weight, r.share_of(r.first_points())) for r in counted)
        self.total = _mean((r.weight, r.share_of(r.points())) for r in counted)
        self.grade = grade_of(self.total)

    def _choose_template(self) -> None:
        found = template_for(session_of(self), self.staff, self.cycle.period_end)
        if found is None:
            raise RuleBroken(
                N_("No KPI template in use fits %(name)s (%(post)s): put one in use first."),
                name=self.staff.name, post=self.staff.post or "–",
            )  # fmt: skip
        self.template = found

    def check(self) -> None:
        if not inspect(self).persistent:
            self.cycle.require_planning()

    def live_scores(self) -> list["AppraisalScore"]:  # type: ignore[name-defined]  # noqa: F821
        return [s for s in self.scores if s.deleted_at is None]

    # -- the moves ---------------------------------------------------------------------------------------

    @transition(
        "status",
        {AppraisalStatus.NOT_STARTED},
        AppraisalStatus.SELF_SCORED,
        label=N_("Hand in self-score"),
        tone="blue",
    )
    def score_self(self) -> None:
        """Hand in one's own points for every indicator that people score."""
        self.only_the_person()
        for score in self.live_scores():
            if not score.indicator.is_computed and score.self_points is None:
                raise RuleBroken(
                    N_("“%(indicator)s” has no points of your own yet: enter them first."),
                    field="self_points", indicator=score.indicator.name,
                )  # fmt: skip

    @transition(
        "status",
        {AppraisalStatus.NOT_STARTED},
        AppraisalStatus.SELF_SCORED,
        label=N_("End self-scoring"),
        by_clock=True,
    )
    def close_self_scoring(self) -> None:
        """Go on without a self-score, because scoring starts."""

    @transition(
        "status",
        {AppraisalStatus.SELF_SCORED},
        AppraisalStatus.MANAGER_SCORED,
        label=N_("Hand in manager's score"),
        tone="blue",
    )
    def score(self) -> None:
        """Hand in the manager's points for every indicator, with evidence for very low and very high ones."""
        self.only_the_manager()
        self.cycle.require_scoring()
        for score in self.live_scores():
            score.require_manager_points()

    @transition(
        "status", {AppraisalStatus.MANAGER_SCORED}, AppraisalStatus.CALIBRATED, label=N_("Calibrate"), tone="blue"
    )
    def calibrate(self) -> None:
        """Settle the points after comparing them between managers."""
        self.not_the_person()

    @transition("status", {AppraisalStatus.CALIBRATED}, AppraisalStatus.PUBLISHED, label=N_("Publish"), tone="green")
    def publish(self) -> None:
        """Show it to the person; five working days to appeal begin."""
        self.published_at = clock.now()

    @transition(
        "status", {AppraisalStatus.PUBLISHED}, AppraisalStatus.ACKNOWLEDGED, label=N_("Confirm as read"), tone="green"
    )
    def acknowledge(self, *, opinion: Note) -> None:
        """Confirm having read it, with an opinion."""
        self.only_the_person()
        self.opinion, self.acknowledged_at = opinion, clock.now()

    @transition("status", {AppraisalStatus.PUBLISHED}, AppraisalStatus.APPEALED, label=N_("Appeal"), tone="amber")
    def appeal(self, *, grounds: Note) -> None:
        """Ask others to look at it again, within five working days of its publication."""
        self.only_the_person()
        last = self.appeal_deadline()
        if last is not None and clock.today() > last:
            raise RuleBroken(N_("An appeal was possible until %(last)s: talk to HR about a correction."), last=last)
        self.appeals.append(AppraisalAppeal(filed_at=clock.now(), grounds=grounds, old_total=self.total))

    @transition(
        "status",
        {AppraisalStatus.APPEALED},
        AppraisalStatus.APPEAL_DECIDED,
        label=N_("Close the appeal"),
        by_clock=True,
    )
    def close_appeal(self) -> None:
        """Because the reviewers have decided."""

    @transition(
        "status",
        {AppraisalStatus.PUBLISHED, AppraisalStatus.ACKNOWLEDGED, AppraisalStatus.APPEAL_DECIDED},
        AppraisalStatus.LOCKED,
        label=N_("Lock"),
        by_clock=True,
    )
    def lock(self) -> None:
        """Make it final: after the time to appeal, or once the decision on the appeal was told."""
        last = self.appeal_deadline()
        if self.status is AppraisalStatus.APPEAL_DECIDED:
            self._require_told()
        elif last is not None and clock.today() <= last:
            raise RuleBroken(
                N_("%(name)s may appeal until %(last)s: it is locked after that."), name=self.staff.name, last=last
            )
        self.locked_at = clock.now()
        self.bonus_factor = BONUS_FACTORS[self.grade] if self.grade is not None else None

    def _require_told(self) -> None:
        if any(a.status is not AppealStatus.NOTIFIED for a in self.appeals if a.deleted_at is None):
            raise RuleBroken(
                N_("Tell %(name)s the decision on the appeal first: that locks the appraisal."), name=self.staff.name
            )

    def appeal_deadline(self) -> date | None:
        """The last day for an appeal: the fifth working day after publication; None before."""
        if self.published_at is None:
            return None
        return clock.add_working_days(session_of(self), clock.local_day(self.published_at), APPEAL_WORKING_DAYS)

    # -- who may ---------------------------------------------------------------------------------------------

    def only_the_person(self) -> None:
        acting = acting_staff(self)
        if acting is not None and acting.id != self.staff_id:
            raise RuleBroken(N_("This is for %(name)s alone: it is their appraisal."), name=self.staff)

    def not_the_person(self) -> None:
        acting = acting_staff(self)
        if acting is not None and acting.id == self.staff_id:
            raise RuleBroken(N_("%(name)s cannot settle their own appraisal: ask whoever is above."), name=acting)

    def only_the_manager(self) -> None:
        acting = acting_staff(self)
        if acting is None:
            return
        if self.manager_id is None:
            self.manager_id = manager_in(self.staff, self.cycle.period_start, self.cycle.period_end)
        if self.manager_id is None:
            raise RuleBroken(
                N_("%(name)s has no manager on record: enter the direct manager in the staff file."), name=self.staff
            )
        if acting.id != self.manager_id:
            raise RuleBroken(
                N_("Only the manager of that period scores: for %(name)s that is %(manager)s."),
                name=self.staff, manager=self.manager or "–",
            )  # fmt: skip


def _mean(parts: Iterable[tuple[Decimal, Decimal | None]]) -> Decimal | None:
    """The weighted mean; None while a part is missing."""
    known = list(parts)
    if any(share is None for _, share in known):
        return None
    return weighted_mean((weight, share) for weight, share in known if share is not None)


# -- what appeals and the clock do to it --------------------------------------------------------------------


@after(AppraisalAppeal.uphold)
def take_the_new_total(appeal: AppraisalAppeal) -> None:
    appeal.appraisal.total = appeal.new_total
    appeal.appraisal.close_appeal()


@after(AppraisalAppeal.dismiss)
def keep_the_old_total(appeal: AppraisalAppeal) -> None:
    appeal.appraisal.close_appeal()


@after(AppraisalAppeal.notify)
def lock_after_the_appeal(appeal: AppraisalAppeal) -> None:
    appeal.appraisal.lock()


@clock.duty("appraisal.lock")
def lock_appraisals(session: Session) -> int:
    """Lock what nobody appealed against once the time to appeal is over."""
    standing = {AppraisalStatus.PUBLISHED, AppraisalStatus.ACKNOWLEDGED}
    moved = 0
    for appraisal in session.scalars(select(Appraisal).where(Appraisal.status.in_(standing))).all():
        last = appraisal.appeal_deadline()
        if last is None or clock.today() > last:
            appraisal.lock()
            moved += 1
    return moved

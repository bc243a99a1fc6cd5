"""Rounds of appraisals: a branch's month, quarter or special occasion, from planning to its analysis (SM-24)."""

from datetime import date, timedelta
from decimal import Decimal

from sqlalchemy import CheckConstraint, Index, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column, relationship

from . import clock
from .appraisal_scores import lay_out_scores, take_samples
from .appraisals import SCORED_BEFORE_PUBLICATION, Appraisal, AppraisalStatus, session_of
from .base import BranchScoped, Day, Model, Note, Title
from .choices import N_, Choice
from .errors import RuleBroken
from .kpi import KpiSource, Sample, measures, template_for
from .organisation import Branch
from .staff import Staff, StaffStatus
from .workflow import transition

AREA = N_("Appraisals")

LEAST_WORKING_DAYS = 10


class CycleKind(Choice):
    MONTHLY = "monthly", N_("Monthly")
    QUARTERLY = "quarterly", N_("Quarterly")
    AD_HOC = "ad_hoc", N_("Ad hoc")


class CycleStatus(Choice):
    PLANNED = "planned", N_("Planned"), "neutral"
    OPEN = "open", N_("Self-scoring"), "blue"
    SCORING = "scoring", N_("Managers score"), "amber"
    CALIBRATED = "calibrated", N_("Calibrated"), "blue"
    PUBLISHED = "published", N_("Published"), "green"
    CLOSED = "closed", N_("Closed"), "neutral"


class AppraisalCycle(BranchScoped, Model):
    """One round of appraisals of a branch: a month, a quarter, or an occasion that calls for one."""

    __icon__ = "rotate-2"
    __title__ = ("kind", "period_start")
    __key__ = ("branch", "kind", "period_start")
    __table_args__ = (
        CheckConstraint("period_end >= period_start", name="period_ends_after_it_starts"),
        CheckConstraint("closes_on >= opens_on", name="closes_after_opening"),
        CheckConstraint("kind <> 'ad_hoc' OR occasion IS NOT NULL", name="ad_hoc_cycle_has_an_occasion"),
        Index(
            "uq_appraisal_cycle_branch_id_kind_period_start",
            "branch_id", "kind", "period_start",
            unique=True, sqlite_where=text("kind <> 'ad_hoc'"), postgresql_where=text("kind <> 'ad_hoc'"),
        ),
    )  # fmt: skip

    kind: Mapped[CycleKind] = mapped_column(default=CycleKind.MONTHLY)
    period_start: Mapped[Day] = mapped_column(info={"label": N_("First day of the period")})
    period_end: Mapped[Day] = mapped_column(info={"label": N_("Last day of the period")})
    opens_on: Mapped[Day]
    closes_on: Mapped[Day]
    occasion: Mapped[Title | None] = mapped_column(
        info={"help": N_("What calls for an ad-hoc appraisal, such as a complaint or an inspection.")}
    )
    status: Mapped[CycleStatus] = mapped_column(default=CycleStatus.PLANNED)
    analysis: Mapped[Note | None] = mapped_column(info={"derived": True})

    branch: Mapped[Branch] = relationship()
    appraisals: Mapped[list[Appraisal]] = relationship(back_populates="cycle")

    def check(self) -> None:
        if self.kind is CycleKind.AD_HOC and not self.occasion:
            raise RuleBroken(N_("An ad-hoc cycle needs its occasion: say what calls for it."), field="occasion")

    def live_appraisals(self) -> list[Appraisal]:
        return [a for a in self.appraisals if a.deleted_at is None]

    def staff_to_appraise(self) -> list[Staff]:
        """Active staff of the branch with at least ten working days in the period, by staff number.

        The days count from being hired to leaving. An ad-hoc cycle is for those entered in it by hand.
        """
        if self.kind is CycleKind.AD_HOC:
            return []
        session = session_of(self)
        days = [self.period_start + timedelta(days=n) for n in range((self.period_end - self.period_start).days + 1)]
        workdays = [day for day in days if clock.is_workday(session, day)]
        active = {StaffStatus.PROBATION, StaffStatus.ACTIVE}
        people = session.scalars(
            select(Staff).where(Staff.branch_id == self.branch_id, Staff.status.in_(active)).order_by(Staff.no)
        )
        return [p for p in people if sum(_employed(p, day) for day in workdays) >= LEAST_WORKING_DAYS]

    def add_missing_appraisals(self) -> int:
        """Create the appraisals that are not there yet, with their score rows; how many were created.

        Running it again creates nothing more, nor again what was put in the recycle bin.
        """
        session = session_of(self)
        known = set(
            session.scalars(
                select(Appraisal.staff_id).where(Appraisal.cycle_id == self.id),
                execution_options={"include_deleted": True},
            )
        )
        created = [Appraisal(cycle=self, staff=p) for p in self.staff_to_appraise() if p.id not in known]
        session.add_all(created)
        session.flush()
        for appraisal in self.live_appraisals():
            lay_out_scores(appraisal)
        return len(created)

    def staff_without_template(self) -> list[Staff]:
        """Whoever is to be appraised but whose post no template in use fits."""
        session = session_of(self)
        return [p for p in self.staff_to_appraise() if template_for(session, p, self.period_end) is None]

    def require_planning(self) -> None:
        """Raise RuleBroken when it is too late to add people."""
        if self.status not in (None, CycleStatus.PLANNED, CycleStatus.OPEN):
            raise RuleBroken(
                N_("“%(cycle)s” is %(state)s: people are added before scoring starts."),
                field="cycle", cycle=str(self), state=self.status,
            )  # fmt: skip

    def require_scoring(self) -> None:
        """Raise RuleBroken when managers cannot score now."""
        if self.status is not CycleStatus.SCORING:
            raise RuleBroken(
                N_("“%(cycle)s” is %(state)s: managers score once scoring has started."),
                cycle=str(self), state=self.status,
            )  # fmt: skip

    @transition("status", {CycleStatus.PLANNED}, CycleStatus.OPEN, label=N_("Open the cycle"), tone="blue")
    def open(self) -> None:
        """Create one appraisal per active person with at least ten working days in the period."""
        self.add_missing_appraisals()
        if not self.live_appraisals():
            raise RuleBroken(
                N_("Nobody is to be appraised from %(start)s to %(end)s: check the period, or add the people it is for."),
                field="period_start", start=self.period_start, end=self.period_end,
            )  # fmt: skip

    @transition(
        "status",
        {CycleStatus.OPEN},
        CycleStatus.SCORING,
        label=N_("Start scoring"),
        tone="blue",
        confirm=N_("Self-scoring ends: whoever has not scored goes without a self-score. Start scoring?"),
    )
    def start_scoring(self) -> None:
        """End self-scoring, take the computed figures, and let the managers score."""
        for appraisal in self.live_appraisals():
            if appraisal.status is AppraisalStatus.NOT_STARTED:
                appraisal.close_self_scoring()
            take_samples(appraisal)

    @transition("status", {CycleStatus.SCORING}, CycleStatus.CALIBRATED, label=N_("Calibrate"), tone="blue")
    def calibrate(self) -> None:
        """Settle the scores of all, once every manager has scored."""
        for appraisal in self.live_appraisals():
            if appraisal.status in {AppraisalStatus.NOT_STARTED, AppraisalStatus.SELF_SCORED}:
                raise RuleBroken(
                    N_("%(name)s has not been scored by the manager yet: calibrate when all are scored."),
                    name=appraisal.staff.name,
                )
        for appraisal in self._in_state(AppraisalStatus.MANAGER_SCORED):
            appraisal.calibrate()

    @transition("status", {CycleStatus.CALIBRATED}, CycleStatus.PUBLISHED, label=N_("Publish"), tone="green")
    def publish(self) -> None:
        """Publish the calibrated appraisals; from today everybody has five working days to appeal."""
        for appraisal in self._in_state(AppraisalStatus.CALIBRATED):
            appraisal.publish()

    @transition("status", {CycleStatus.PUBLISHED}, CycleStatus.CLOSED, label=N_("Close the cycle"))
    def close(self, *, analysis: Note) -> None:
        """End the cycle with what it shows and what will be done about it."""
        self.analysis = analysis

    def _in_state(self, state: AppraisalStatus) -> list[Appraisal]:
        return [a for a in self.live_appraisals() if a.status is state]


def _employed(person: Staff, day: date) -> bool:
    return person.hired_on <= day and (person.left_on is None or day <= person.left_on)


@clock.duty("appraisal_cycle.open")
def open_cycles(session: Session) -> int:
    """Open cycles on their day, and add to open ones who has joined since.

    A cycle with a person whom no template fits is left alone: opening it by hand says who it is.
    """
    moved = 0
    due = select(AppraisalCycle).where(
        AppraisalCycle.status.in_({CycleStatus.PLANNED, CycleStatus.OPEN}), AppraisalCycle.opens_on <= clock.today()
    )
    for cycle in session.scalars(due).all():
        if cycle.staff_without_template():
            continue
        if cycle.status is CycleStatus.OPEN:
            moved += cycle.add_missing_appraisals()
        elif cycle.staff_to_appraise() or cycle.live_appraisals():
            cycle.open()
            moved += 1
    return moved


@measures(KpiSource.MONTHLY)
def mean_of_months(session: Session, person: Staff, start: date, end: date) -> Sample | None:
    """Mean total of the person's published monthly appraisals that lie within the period; for quarters."""
    totals = session.scalars(
        select(Appraisal.total)
        .join(AppraisalCycle, Appraisal.cycle_id == AppraisalCycle.id)
        .where(
            Appraisal.staff_id == person.id,
            Appraisal.total.is_not(None),
            Appraisal.status.not_in(SCORED_BEFORE_PUBLICATION),
            AppraisalCycle.kind == CycleKind.MONTHLY,
            AppraisalCycle.period_start >= start,
            AppraisalCycle.period_end <= end,
        )
    ).all()
    known = [total for total in totals if total is not None]
    return Sample(sum(known, Decimal(0)), Decimal(len(known))) if known else None

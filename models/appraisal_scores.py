"""The points behind an appraisal: one row per indicator, each kind of points with its time and its hand (SM-24)."""

from decimal import ROUND_HALF_UP, Decimal

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint, inspect
from sqlalchemy.orm import Mapped, mapped_column, object_session, relationship

from .appraisals import Appraisal, AppraisalStatus, session_of
from .base import Model, Note, Percent, Score
from .choices import N_
from .errors import Label, RuleBroken
from .fields import Field
from .flush import changed_fields
from .kpi import CENT, MEASURES, WHOLE, KpiIndicator, Sample, plain_number
from .workflow import ruled

AREA = N_("Appraisals")

NEEDS_EVIDENCE_UP_TO, NEEDS_EVIDENCE_FROM = Decimal(60), Decimal(95)

# Points are entered while the appraisal is in this state.
PENS = {
    "self_points": AppraisalStatus.NOT_STARTED,
    "manager_points": AppraisalStatus.SELF_SCORED,
    "no_data": AppraisalStatus.SELF_SCORED,
    "evidence": AppraisalStatus.SELF_SCORED,
    "calibrated_points": AppraisalStatus.MANAGER_SCORED,
}


class AppraisalScore(Model):
    """The points of one person for one indicator: their own, the manager's, and those settled in the end."""

    __icon__ = "pencil-check"
    __title__ = ("indicator",)
    __key__ = ("appraisal", "indicator")
    __part_of__ = "appraisal"
    __list__ = (
        "appraisal", "indicator", "weight", "self_points", "manager_points", "computed_points", "calibrated_points", "no_data",
    )  # fmt: skip
    __table_args__ = (
        UniqueConstraint("appraisal_id", "indicator_id"),
        CheckConstraint("self_points >= 0", name="self_points_not_negative"),
        CheckConstraint("manager_points >= 0", name="manager_points_not_negative"),
        CheckConstraint("calibrated_points >= 0", name="calibrated_points_not_negative"),
    )

    appraisal_id: Mapped[int] = mapped_column(ForeignKey(Appraisal.id), index=True)
    indicator_id: Mapped[int] = mapped_column(ForeignKey(KpiIndicator.id))
    weight: Mapped[Percent] = mapped_column(info={"label": N_("Weight in the total"), "derived": True})
    self_points: Mapped[Score | None] = mapped_column(info={"label": N_("Own points")})
    manager_points: Mapped[Score | None] = mapped_column(info={"label": N_("Manager's points")})
    computed_points: Mapped[Score | None] = mapped_column(info={"derived": True})
    calibrated_points: Mapped[Score | None]
    no_data: Mapped[bool] = mapped_column(
        default=False, info={"help": N_("Nothing to go by: the weight is shared out among the other indicators.")}
    )
    evidence: Mapped[Note | None] = mapped_column(info={"label": N_("Facts and evidence")})
    numerator: Mapped[Score | None] = mapped_column(info={"derived": True})
    denominator: Mapped[Score | None] = mapped_column(info={"derived": True})

    appraisal: Mapped[Appraisal] = relationship(back_populates="scores")
    indicator: Mapped[KpiIndicator] = relationship()

    def derive(self) -> None:
        if self.appraisal is None or self.indicator is None:
            return
        if self.weight is None:
            self.weight = self.indicator.weight
        if self.indicator.is_computed:
            self.computed_points = self.indicator.points_for(self.numerator, self.denominator)
            self.no_data = self.computed_points is None
        self.appraisal.reckon()

    def check(self) -> None:
        for name in ("self_points", "manager_points", "calibrated_points"):
            self._require_possible(name, getattr(self, name))
        session = object_session(self)
        if session is None or ruled(session) or not inspect(self).persistent:
            return
        for changed in changed_fields(self):
            self._require_right_to(changed)

    def _require_possible(self, name: str, points: Decimal | None) -> None:
        if points is None:
            return
        if self.indicator.is_computed and name != "calibrated_points":
            raise RuleBroken(
                N_("“%(indicator)s” is computed from records, so nobody enters points for it."),
                field=name, indicator=self.indicator.name,
            )  # fmt: skip
        if self.no_data and name != "self_points":
            raise RuleBroken(
                N_("“%(indicator)s” has no data, so it has no points: untick “No data” or take the points out."),
                field=name, indicator=self.indicator.name,
            )  # fmt: skip
        if not 0 <= points <= self.indicator.full_score:
            raise RuleBroken(
                N_("“%(indicator)s” goes from 0 to %(full)s points; %(points)s is outside."),
                field=name, indicator=self.indicator.name, full=plain_number(self.indicator.full_score), points=points,
            )  # fmt: skip

    def _require_right_to(self, changed: Field) -> None:
        """Each kind of points has its time and its hand."""
        appraisal = self.appraisal
        if changed.attr not in PENS or (changed.attr == "no_data" and self.indicator.is_computed):
            return
        if appraisal.status is not PENS[changed.attr]:
            raise RuleBroken(
                N_("“%(what)s” cannot be entered now: the appraisal is %(state)s, it has to be %(needed)s."),
                field=changed.key, what=Label(changed.label), state=appraisal.status, needed=PENS[changed.attr],
            )  # fmt: skip
        if changed.attr == "self_points":
            appraisal.only_the_person()
        elif changed.attr == "calibrated_points":
            appraisal.not_the_person()
        else:
            appraisal.only_the_manager()

    def first_points(self) -> Decimal | None:
        """The points before calibration: computed ones, else the manager's."""
        return self.computed_points if self.indicator.is_computed else self.manager_points

    def points(self) -> Decimal | None:
        """The points that count."""
        return self.calibrated_points if self.calibrated_points is not None else self.first_points()

    def share_of(self, points: Decimal | None) -> Decimal | None:
        """*points* out of 100; None when there are none."""
        return None if points is None else points * WHOLE / self.indicator.full_score

    def take(self, sample: Sample | None) -> None:
        """Keep what was measured; None leaves the row without data."""
        if sample is not None:
            self.numerator = sample.numerator.quantize(CENT, ROUND_HALF_UP)
            self.denominator = sample.denominator.quantize(CENT, ROUND_HALF_UP)
            self.evidence = sample.evidence

    def require_manager_points(self) -> None:
        """Raise RuleBroken when the manager has still something to enter here."""
        if self.no_data or self.indicator.is_computed:
            return
        share = self.share_of(self.manager_points)
        if share is None:
            raise RuleBroken(
                N_("“%(indicator)s” has no manager's points yet: enter them, or tick “No data”."),
                field="manager_points", indicator=self.indicator.name,
            )  # fmt: skip
        if not NEEDS_EVIDENCE_UP_TO < share < NEEDS_EVIDENCE_FROM and not self.evidence:
            raise RuleBroken(
                N_("“%(indicator)s” has %(points)s points: up to %(low)s and from %(high)s need evidence, so write it down."),
                field="evidence", indicator=self.indicator.name, points=plain_number(share),
                low=NEEDS_EVIDENCE_UP_TO, high=NEEDS_EVIDENCE_FROM,
            )  # fmt: skip


def lay_out_scores(appraisal: Appraisal) -> None:
    """One row per indicator of the template, with the weight it has today; nothing when they are there."""
    if not appraisal.scores:
        appraisal.scores.extend(
            AppraisalScore(indicator=i, weight=i.weight, no_data=i.is_computed)
            for i in appraisal.template.live_indicators()
        )


def take_samples(appraisal: Appraisal) -> None:
    """Fill the computed rows with what the records of the period show."""
    start, end = appraisal.cycle.period_start, appraisal.cycle.period_end
    for score in appraisal.live_scores():
        measure = MEASURES.get(score.indicator.source)
        if measure is not None:
            score.take(measure(session_of(appraisal), appraisal.staff, start, end))

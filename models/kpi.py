"""What people are appraised by: indicators with weights, and the figures some of them are computed from."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint, inspect, select
from sqlalchemy.orm import Mapped, Session, mapped_column, relationship

from .base import Code, Count, Day, Model, Name, Note, Percent, Score
from .choices import N_, Choice
from .courses import TrainingCourse
from .errors import RuleBroken
from .flush import changed_fields
from .organisation import Post
from .staff import Staff
from .training import passes_in_force
from .workflow import transition

AREA = N_("Appraisals")

CENT = Decimal("0.01")
WHOLE = Decimal(100)


class KpiTemplateStatus(Choice):
    DRAFT = "draft", N_("Draft"), "neutral"
    IN_USE = "in_use", N_("In use"), "green"
    RETIRED = "retired", N_("Retired"), "neutral"


class KpiDimension(Choice):
    ATTITUDE = "attitude", N_("Attitude")
    PROBLEM_SOLVING = "problem_solving", N_("Problem solving")
    SKILL = "skill", N_("Skill")
    QUALITY = "quality", N_("Service quality")
    EFFICIENCY = "efficiency", N_("Efficiency")
    SATISFACTION = "satisfaction", N_("Satisfaction")
    LEARNING = "learning", N_("Learning")


class KpiDirection(Choice):
    UP = "up", N_("The more the better")
    DOWN = "down", N_("The less the better")


class KpiSource(Choice):
    """Where the points of an indicator come from: people, or a figure worked out from records."""

    MANUAL = "manual", N_("Scored by people")
    CSAT = "csat", N_("Client satisfaction")
    COMPLAINT_COUNT = "complaint_count", N_("Complaints")
    RESPONSE_TIME = "response_time", N_("First replies in time")
    KEPT_PROMISE = "kept_promise", N_("Promises kept")
    FOLLOWUP_RATE = "followup_rate", N_("Follow-ups in time")
    INSPECTION = "inspection", N_("Inspection results")
    TRAINING = "training", N_("Mandatory courses held")
    MONTHLY = "monthly", N_("Mean of the monthly totals")


class KpiTemplate(Model):
    """The indicators a post is appraised by, with weights that add up to 100; one of several versions."""

    __label__ = N_("KPI template")
    __icon__ = "target"
    __title__ = ("name", "edition")
    __key__ = ("code", "edition")
    __shared__ = True
    __table_args__ = (
        UniqueConstraint("code", "edition"),
        CheckConstraint("edition > 0", name="edition_is_positive"),
    )

    code: Mapped[Code]
    edition: Mapped[Count] = mapped_column(default=1)
    name: Mapped[Name]
    post_id: Mapped[int | None] = mapped_column(
        ForeignKey(Post.id), index=True, info={"help": N_("Empty for every post without a template of its own.")}
    )
    valid_from: Mapped[Day]
    status: Mapped[KpiTemplateStatus] = mapped_column(default=KpiTemplateStatus.DRAFT)

    post: Mapped[Post | None] = relationship()
    indicators: Mapped[list["KpiIndicator"]] = relationship(back_populates="template", order_by="KpiIndicator.code")

    def live_indicators(self) -> list["KpiIndicator"]:
        return [i for i in self.indicators if i.deleted_at is None]

    def require_full_weight(self) -> None:
        weights = sum((i.weight for i in self.live_indicators()), Decimal(0))
        if weights != WHOLE:
            raise RuleBroken(
                N_("The weights of “%(template)s” add up to %(sum)s, not to 100: change them first."),
                template=self.name, sum=plain_number(weights),
            )  # fmt: skip

    @transition("status", {KpiTemplateStatus.DRAFT}, KpiTemplateStatus.IN_USE, label=N_("Put in use"), tone="green")
    def put_in_use(self) -> None:
        """Let cycles use it; from now on its indicators stand as they are."""
        self.require_full_weight()

    @transition("status", {KpiTemplateStatus.IN_USE}, KpiTemplateStatus.RETIRED, label=N_("Retire"))
    def retire(self) -> None:
        """Keep it from new cycles; appraisals that use it go on."""


class KpiIndicator(Model):
    """One thing a template measures, how much it weighs, and how its points are found."""

    __label__ = N_("KPI indicator")
    __icon__ = "gauge"
    __title__ = ("name",)
    __key__ = ("template", "code")
    __part_of__ = "template"
    __list__ = ("template", "code", "name", "dimension", "source", "target", "unit", "weight")
    __table_args__ = (
        UniqueConstraint("template_id", "code"),
        CheckConstraint("weight > 0 AND weight <= 100", name="weight_within_100"),
        CheckConstraint("full_score > 0", name="full_score_is_positive"),
        CheckConstraint("target >= 0", name="target_not_negative"),
        CheckConstraint("min_sample > 0", name="min_sample_is_positive"),
        CheckConstraint("source = 'manual' OR target IS NOT NULL", name="computed_indicator_has_a_target"),
    )

    template_id: Mapped[int] = mapped_column(ForeignKey(KpiTemplate.id), index=True)
    code: Mapped[Code]
    name: Mapped[Name]
    dimension: Mapped[KpiDimension]
    source: Mapped[KpiSource] = mapped_column(default=KpiSource.MANUAL)
    direction: Mapped[KpiDirection] = mapped_column(default=KpiDirection.UP)
    target: Mapped[Score | None] = mapped_column(
        info={
            "label": N_("Target value"),
            "help": N_("The value that earns the full score; only for computed indicators."),
        }
    )
    unit: Mapped[Code | None] = mapped_column(
        info={"search": False, "help": N_("“%” makes a percentage of the computed share.")}
    )
    full_score: Mapped[Score] = mapped_column(default=WHOLE)
    weight: Mapped[Percent] = mapped_column(info={"label": N_("Weight in the total")})
    min_sample: Mapped[Count] = mapped_column(
        default=1,
        info={"label": N_("Smallest sample"), "help": N_("With fewer cases there is no data and no score.")},
    )
    scoring_note: Mapped[Note | None] = mapped_column(info={"label": N_("Scoring standard")})

    template: Mapped[KpiTemplate] = relationship(back_populates="indicators")

    @property
    def is_computed(self) -> bool:
        return self.source is not KpiSource.MANUAL

    def check(self) -> None:
        if self.source not in (None, KpiSource.MANUAL) and not self._has_a_usable_target():
            raise RuleBroken(
                N_("“%(indicator)s” is computed, so it needs a target: enter the value that earns the full score."),
                field="target", indicator=self.name,
            )  # fmt: skip
        if self.template.status not in (None, KpiTemplateStatus.DRAFT):
            self._require_unchanged()

    def _has_a_usable_target(self) -> bool:
        return self.target is not None and (self.target > 0 or self.direction is KpiDirection.DOWN)

    def _require_unchanged(self) -> None:
        if not inspect(self).persistent or any(not f.system for f in changed_fields(self)):
            raise RuleBroken(
                N_("“%(template)s” is %(state)s, so its indicators stand as they are: make a new edition of it."),
                template=self.template.name, state=self.template.status,
            )  # fmt: skip
        if self.template.status is KpiTemplateStatus.IN_USE and self.template.deleted_at is None:
            self.template.require_full_weight()

    def points_for(self, numerator: Decimal | None, denominator: Decimal | None) -> Decimal | None:
        """The points a computed figure earns; None when the sample is smaller than ``min_sample``.

        value = numerator ÷ denominator, × 100 when the unit is %.
        The more the better: full score × value ÷ target. The less the better: full score × target ÷ value.
        Never more than the full score. Source: docs/rules.md, appraisals.
        """
        if numerator is None or denominator is None or denominator < self.min_sample or self.target is None:
            return None
        value = numerator / denominator * (WHOLE if self.unit == "%" else 1)
        if self.direction is KpiDirection.UP:
            share = value / self.target
        else:
            share = Decimal(1) if value <= self.target else self.target / value
        return (self.full_score * min(share, Decimal(1))).quantize(CENT, ROUND_HALF_UP)


def template_for(session: Session, person: Staff, on: date) -> KpiTemplate | None:
    """The template in use on *on* for the post of *person*, or else the one for every post; newest first."""
    in_use = select(KpiTemplate).where(
        KpiTemplate.status == KpiTemplateStatus.IN_USE,
        KpiTemplate.valid_from <= on,
        KpiTemplate.post_id.is_(None) | (KpiTemplate.post_id == person.post_id),
    )
    newest = in_use.order_by(KpiTemplate.post_id.is_(None), KpiTemplate.valid_from.desc(), KpiTemplate.edition.desc())
    return session.scalars(newest.limit(1)).first()


def weighted_mean(parts: Iterable[tuple[Decimal, Decimal]]) -> Decimal | None:
    """Σ weight × share ÷ Σ weight, out of 100; None when there are no parts.

    parts -- (weight, share of the full score out of 100), those without data left out: their weight is
    thereby shared out among the rest in proportion.
    """
    known = list(parts)
    weights = sum((weight for weight, _ in known), Decimal(0))
    if not weights:
        return None
    return (sum((weight * share for weight, share in known), Decimal(0)) / weights).quantize(CENT, ROUND_HALF_UP)


def plain_number(value: Decimal) -> str:
    """99.00 -> "99", 99.50 -> "99.5"."""
    return f"{value.normalize():f}"


# -- computed figures: whoever owns the records says how to measure them --------------------------------


@dataclass(frozen=True)
class Sample:
    """What was found about one person in one period: a figure as a fraction, and how it may be read.

    A rate has cases over all cases; a mean has the sum over the number; a plain count has 1 below.
    """

    numerator: Decimal
    denominator: Decimal
    evidence: str | None = None


Measure = Callable[[Session, Staff, date, date], Sample | None]

MEASURES: dict[KpiSource, Measure] = {}


def measures(source: KpiSource) -> Callable[[Measure], Measure]:
    """Register how *source* is measured: ``(session, person, first day, last day) -> Sample``, None without data."""

    def register(measure: Measure) -> Measure:
        MEASURES[source] = measure
        return measure

    return register


@measures(KpiSource.TRAINING)
def mandatory_courses_held(session: Session, person: Staff, _start: date, end: date) -> Sample | None:
    """Mandatory courses meant for the person whose pass holds on the last day, over all such courses."""
    mandatory = session.scalars(select(TrainingCourse).where(TrainingCourse.is_mandatory)).all()
    due = [course for course in mandatory if course.is_meant_for(person)]
    held = [course for course in due if person.id in passes_in_force(session, course, end)]
    return Sample(Decimal(len(held)), Decimal(len(due))) if due else None

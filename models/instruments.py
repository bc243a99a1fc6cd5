"""Instruments: the forms and scales people are assessed with, kept as versioned data."""

from collections.abc import Iterable
from typing import Any, TypeVar

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint, inspect, select
from sqlalchemy.orm import Mapped, mapped_column, object_session, relationship, selectinload

from .base import Code, Count, Model, Name, Note, Score, Title
from .choices import N_, Choice
from .errors import RuleBroken
from .fields import own_fields
from .flush import changed_fields
from .organisation import LineOfBusiness
from .scoring import coverage_problem, parse_condition
from .workflow import transition

AREA = N_("Assessments")

AnyModel = TypeVar("AnyModel", bound=Model)


class ScoreDirection(Choice):
    HIGHER_IS_BETTER = "higher_is_better", N_("Higher is better")
    HIGHER_IS_WORSE = "higher_is_worse", N_("Higher is worse")


class InstrumentStatus(Choice):
    DRAFT = "draft", N_("Draft"), "neutral"
    IN_USE = "in_use", N_("In use"), "green"
    RETIRED = "retired", N_("No longer used"), "amber"


class ItemKind(Choice):
    CHOICE = "choice", N_("Single choice")
    NUMBER = "number", N_("Numeric value")
    TEXT = "text", N_("Free text")
    SCORE_SLOT = "score_slot", N_("Score only")


class ItemAlert(Choice):
    SELF_HARM = "self_harm", N_("Self-harm"), "red"
    CARE = "care", N_("Needs care follow-up"), "amber"


class BandTone(Choice):
    NEUTRAL = "neutral", N_("Grey"), "neutral"
    GREEN = "green", N_("Green"), "green"
    BLUE = "blue", N_("Blue"), "blue"
    AMBER = "amber", N_("Amber"), "amber"
    RED = "red", N_("Red"), "red"


class AdjustmentRule(Choice):
    """The facts about a person that may move a level, whatever the total says."""

    COMA = "coma", N_("In a coma"), "red"
    MENTAL_DISORDER = "mental_disorder", N_("Dementia or mental disorder"), "amber"
    RISK_EVENTS = "risk_events", N_("Repeated care-risk events"), "amber"


class AdjustmentEffect(Choice):
    LEVEL_PLUS_ONE = "level_plus_one", N_("One level worse")
    SET_LEVEL = "set_level", N_("This level outright")


class Instrument(Model):
    """A form or scale in one edition: what is asked, what answers score, what totals mean.

    Only a draft can be changed and only an instrument in use can be answered, so what an assessment
    was made with stays as it was.
    """

    __icon__ = "clipboard-list"
    __title__ = ("name", "edition")
    __key__ = ("code", "edition")
    __shared__ = True
    __list__ = ("code", "name", "edition", "status", "line", "max_score", "assessors_required", "reassess_after_days")
    __table_args__ = (
        UniqueConstraint("code", "edition"),
        CheckConstraint("max_score IS NULL OR direction IS NOT NULL", name="scores_have_a_direction"),
        CheckConstraint("max_score > 0", name="full_score_is_positive"),
        CheckConstraint("assessors_required IN (1, 2)", name="one_or_two_assessors"),
        CheckConstraint("reassess_after_days > 0", name="reassessment_lies_ahead"),
    )

    code: Mapped[Code]
    edition: Mapped[Code]
    name: Mapped[Name]
    line: Mapped[LineOfBusiness | None] = mapped_column(info={"label": N_("Line of business")})
    status: Mapped[InstrumentStatus] = mapped_column(default=InstrumentStatus.DRAFT)
    max_score: Mapped[Count | None] = mapped_column(
        info={"label": N_("Full score"), "help": N_("Leave it empty for a form that is not scored")}
    )
    direction: Mapped[ScoreDirection | None] = mapped_column(info={"label": N_("Direction of the score")})
    assessors_required: Mapped[Count] = mapped_column(default=1)
    needs_clinical: Mapped[bool] = mapped_column(default=False, info={"label": N_("Needs a doctor or nurse")})
    reassess_after_days: Mapped[Count | None] = mapped_column(info={"label": N_("Reassess after (days)")})
    stack_adjustments: Mapped[bool] = mapped_column(
        default=False,
        info={
            "label": N_("Adjustments add up"),
            "help": N_("Otherwise several reasons to make the level worse raise it once"),
        },
    )
    licence_note: Mapped[Note | None]

    sections: Mapped[list["InstrumentSection"]] = relationship(
        back_populates="instrument", order_by="InstrumentSection.position"
    )
    items: Mapped[list["InstrumentItem"]] = relationship(
        back_populates="instrument", order_by="InstrumentItem.position"
    )
    bands: Mapped[list["InstrumentBand"]] = relationship(back_populates="instrument", order_by="InstrumentBand.low")
    adjustments: Mapped[list["InstrumentAdjustment"]] = relationship(
        back_populates="instrument", order_by="InstrumentAdjustment.id"
    )
    assessments: Mapped[list["Assessment"]] = relationship(back_populates="instrument")  # type: ignore[name-defined]  # noqa: F821

    @property
    def is_scored(self) -> bool:
        return self.max_score is not None

    @property
    def is_used(self) -> bool:
        """Whether any assessment was made with it, in any branch, a binned one too."""
        session = object_session(self)
        used = select(Instrument.id).join(Instrument.assessments).where(Instrument.id == self.id).limit(1)
        return session is not None and session.scalar(used, execution_options={"unscoped": "what used it"}) is not None

    @property
    def levels(self) -> list["InstrumentBand"]:
        """The levels from the best to the worst."""
        worst_first = self.direction is ScoreDirection.HIGHER_IS_BETTER
        return sorted(standing(self.bands), key=lambda band: band.low, reverse=worst_first)

    def complete(self) -> "Instrument":
        """Itself with all its parts loaded: what a form asks and means does not depend on who looks at it."""
        session = object_session(self)
        if session is not None and inspect(self).persistent and "items" in inspect(self).unloaded:
            parts = (
                selectinload(Instrument.items).selectinload(InstrumentItem.options),
                selectinload(Instrument.bands),
                selectinload(Instrument.adjustments).selectinload(InstrumentAdjustment.level),
            )
            found = select(Instrument).where(Instrument.id == self.id).options(*parts)
            session.scalars(found, execution_options={"unscoped": "a form is the same for everybody"}).one()
        return self

    def check(self) -> None:
        # The right to edit judged the state it left: a transition's own move is not an edit.
        if self.status in {InstrumentStatus.IN_USE, InstrumentStatus.RETIRED}:
            typed = [f for f in changed_fields(self) if f.writable]
            if typed and inspect(self).persistent:
                raise _frozen(self, typed[0].key)
        if self.max_score is not None and self.direction is None:
            raise RuleBroken(
                N_("“%(name)s” is scored: say whether a higher score is better or worse."),
                field="direction",
                name=self.name,
            )

    @transition(
        "status", {InstrumentStatus.DRAFT}, InstrumentStatus.IN_USE, label=N_("Put in use"), tone="green",
        confirm=N_("From then on nothing in it can be changed, and the edition in use before it is retired."),
    )  # fmt: skip
    def put_in_use(self) -> None:
        """Check it as a whole and open it for assessments; the edition before it is retired."""
        items = standing(self.items)
        if not items:
            raise RuleBroken(N_("“%(name)s” asks nothing yet: add items."), name=self.name)
        for item in items:
            item.require_sound(items)
        if self.max_score is not None:
            self._require_sound_scores(items, self.max_score)
        for other in self._other_editions():
            if other.status is InstrumentStatus.IN_USE:
                other.retire()

    def _require_sound_scores(self, items: list["InstrumentItem"], full: int) -> None:
        total = sum(item.highest_score for item in items)
        if total != full:
            raise RuleBroken(
                N_("The items of “%(name)s” add up to %(total)s, but its full score is %(full)s: correct one of the two."),
                field="max_score", name=self.name, total=total, full=full,
            )  # fmt: skip
        problem = coverage_problem(standing(self.bands), full)
        if problem is not None:
            raise problem

    @transition(
        "status", {InstrumentStatus.IN_USE}, InstrumentStatus.DRAFT, label=N_("Take back to draft"), tone="amber"
    )
    def take_back(self) -> None:
        """Open it for changes again, as long as no assessment was made with it."""
        if self.is_used:
            raise RuleBroken(
                N_("Assessments were made with “%(name)s”, so it stays as it is: draft a new edition and change that."),
                name=str(self),
            )

    @transition("status", {InstrumentStatus.IN_USE}, InstrumentStatus.RETIRED, label=N_("Stop using"))
    def retire(self) -> None:
        """Start no more assessments with it; those under way can be finished."""

    @transition(
        "status", {InstrumentStatus.IN_USE}, InstrumentStatus.IN_USE, label=N_("Draft a new edition"), tone="blue"
    )
    def revise(self, *, edition: Code) -> None:
        """Copy it into a new draft with everything it asks; this edition stays in use until then."""
        if edition in {other.edition for other in (self, *self._other_editions())}:
            raise RuleBroken(
                N_("“%(name)s” has an edition %(edition)s already: choose another name for the new one."),
                field="edition", name=self.name, edition=edition,
            )  # fmt: skip
        session = object_session(self)
        assert session is not None
        session.add(self._copy_as(edition))

    def _copy_as(self, edition: str) -> "Instrument":
        draft = _copy(self, edition=edition)
        bands = {band.code: _copy(band, instrument=draft) for band in standing(self.bands)}
        for adjustment in standing(self.adjustments):
            _copy(adjustment, instrument=draft, level=bands[adjustment.level.code] if adjustment.level else None)
        for section in standing(self.sections):
            new_section = _copy(section, instrument=draft)
            for item in standing(section.items):
                new_item = _copy(item, section=new_section)
                for option in standing(item.options):
                    _copy(option, item=new_item)
        return draft

    def _other_editions(self) -> list["Instrument"]:
        session = object_session(self)
        if session is None:
            return []
        others = select(Instrument).where(Instrument.code == self.code, Instrument.id != self.id)
        return list(session.scalars(others, execution_options={"include_deleted": True}))


class InstrumentPart:
    """What an instrument consists of: changed in drafts alone."""

    def whole(self) -> Instrument | None:
        raise NotImplementedError

    def check(self) -> None:
        instrument = self.whole()
        if instrument is not None and instrument.status in {InstrumentStatus.IN_USE, InstrumentStatus.RETIRED}:
            raise _frozen(instrument)


class InstrumentSection(InstrumentPart, Model):
    """A group of items under one heading."""

    __icon__ = "list-check"
    __title__ = ("name",)
    __key__ = ("instrument", "code")
    __part_of__ = "instrument"
    __shared__ = True
    __table_args__ = (UniqueConstraint("instrument_id", "code"),)

    instrument_id: Mapped[int] = mapped_column(ForeignKey(Instrument.id), index=True)
    code: Mapped[Code]
    name: Mapped[Name]
    position: Mapped[Count] = mapped_column(default=0, info={"label": N_("Place in order")})

    instrument: Mapped[Instrument] = relationship(back_populates="sections")
    items: Mapped[list["InstrumentItem"]] = relationship(back_populates="section", order_by="InstrumentItem.position")

    def whole(self) -> Instrument | None:
        return self.instrument


class InstrumentItem(InstrumentPart, Model):
    """One thing that is asked or observed."""

    __icon__ = "list-check"
    __title__ = ("code", "text")
    __key__ = ("section", "code")
    __part_of__ = "section"
    __shared__ = True
    __table_args__ = (
        UniqueConstraint("instrument_id", "code"),
        CheckConstraint("maximum >= minimum", name="maximum_not_below_minimum"),
        CheckConstraint("kind <> 'score_slot' OR maximum IS NOT NULL", name="score_slot_has_a_maximum"),
    )

    section_id: Mapped[int] = mapped_column(ForeignKey(InstrumentSection.id), index=True)
    code: Mapped[Code]
    text: Mapped[Title] = mapped_column(info={"label": N_("Wording")})
    kind: Mapped[ItemKind] = mapped_column(default=ItemKind.CHOICE, info={"label": N_("Answered by")})
    is_required: Mapped[bool] = mapped_column(default=True, info={"label": N_("Must be answered")})
    position: Mapped[Count] = mapped_column(default=0, info={"label": N_("Place in order")})
    minimum: Mapped[Score | None]
    maximum: Mapped[Score | None]
    unit: Mapped[Code | None]
    shown_if: Mapped[Title | None] = mapped_column(
        info={
            "label": N_("Asked only if"),
            "help": N_("The code of an item before it and the codes of its options, such as delivery=vaginal,forceps"),
        }
    )
    alert: Mapped[ItemAlert | None] = mapped_column(info={"label": N_("Raises the alert")})
    alert_from: Mapped[Score | None] = mapped_column(
        info={"label": N_("Alert from score"), "help": N_("Empty: any score but zero")}
    )
    instrument_id: Mapped[int] = mapped_column(ForeignKey(Instrument.id), index=True, info={"derived": True})

    section: Mapped[InstrumentSection] = relationship(back_populates="items")
    instrument: Mapped[Instrument] = relationship(back_populates="items")
    options: Mapped[list["InstrumentOption"]] = relationship(
        back_populates="item", order_by="InstrumentOption.position"
    )

    def whole(self) -> Instrument | None:
        return self.section.instrument

    def derive(self) -> None:
        if self.section is not None:
            self.instrument = self.section.instrument

    @property
    def is_scored(self) -> bool:
        return self.kind is ItemKind.SCORE_SLOT or any(o.score is not None for o in standing(self.options))

    @property
    def highest_score(self) -> int:
        """The most an answer to it can add to the total."""
        if self.kind is ItemKind.SCORE_SLOT:
            return int(self.maximum or 0)
        return max((option.score or 0 for option in standing(self.options)), default=0)

    def require_sound(self, items: list["InstrumentItem"]) -> None:
        """Raise RuleBroken when it cannot be asked as it stands among *items*."""
        if self.kind is ItemKind.CHOICE and len(standing(self.options)) < 2:
            raise RuleBroken(N_("“%(item)s” is a choice: give it at least two options."), item=str(self))
        if self.shown_if is None:
            return
        code, wanted = parse_condition(self.shown_if)
        asked = next((item for item in items if item.code == code and item is not self), None)
        known = {option.code for option in standing(asked.options)} if asked is not None else set()
        if not wanted or not wanted <= known:
            raise RuleBroken(
                N_("“%(item)s” is asked only if “%(condition)s”, but no item has that code and those options: correct it."),
                item=str(self), condition=self.shown_if,
            )  # fmt: skip


class InstrumentOption(InstrumentPart, Model):
    """One answer to choose, and what it scores."""

    __icon__ = "circle-dot"
    __title__ = ("label",)
    __key__ = ("item", "code")
    __part_of__ = "item"
    __shared__ = True
    __table_args__ = (
        UniqueConstraint("item_id", "code"),
        CheckConstraint("score >= 0", name="score_not_negative"),
    )

    item_id: Mapped[int] = mapped_column(
        ForeignKey(InstrumentItem.id), index=True, info={"label": N_("Assessment item")}
    )
    code: Mapped[Code]
    label: Mapped[Title] = mapped_column(info={"label": N_("Wording")})
    score: Mapped[Count | None]
    position: Mapped[Count] = mapped_column(default=0, info={"label": N_("Place in order")})
    states: Mapped[AdjustmentRule | None] = mapped_column(info={"label": N_("States the fact")})

    item: Mapped[InstrumentItem] = relationship(back_populates="options")

    def whole(self) -> Instrument | None:
        return self.item.section.instrument


class InstrumentBand(InstrumentPart, Model):
    """A level and the totals that stand for it."""

    __icon__ = "gauge"
    __title__ = ("label",)
    __key__ = ("instrument", "code")
    __part_of__ = "instrument"
    __shared__ = True
    __table_args__ = (
        UniqueConstraint("instrument_id", "code"),
        CheckConstraint("low >= 0", name="lowest_score_not_negative"),
        CheckConstraint("high >= low", name="highest_score_not_below_lowest"),
    )

    instrument_id: Mapped[int] = mapped_column(ForeignKey(Instrument.id), index=True)
    code: Mapped[Code] = mapped_column(info={"label": N_("Level code")})
    label: Mapped[Name] = mapped_column(info={"label": N_("Level name")})
    low: Mapped[Count] = mapped_column(info={"label": N_("From score")})
    high: Mapped[Count] = mapped_column(info={"label": N_("To score")})
    tone: Mapped[BandTone] = mapped_column(default=BandTone.NEUTRAL, info={"label": N_("Colour")})
    advice: Mapped[Note | None] = mapped_column(info={"label": N_("Suggested care")})

    instrument: Mapped[Instrument] = relationship(back_populates="bands")

    def whole(self) -> Instrument | None:
        return self.instrument


class InstrumentAdjustment(InstrumentPart, Model):
    """A fact that moves the level the total gives."""

    __icon__ = "adjustments"
    __title__ = ("label",)
    __key__ = ("instrument", "rule")
    __part_of__ = "instrument"
    __shared__ = True
    __table_args__ = (
        UniqueConstraint("instrument_id", "rule"),
        CheckConstraint("(effect = 'set_level') = (level_id IS NOT NULL)", name="names_a_level_when_it_sets_one"),
    )

    instrument_id: Mapped[int] = mapped_column(ForeignKey(Instrument.id), index=True)
    rule: Mapped[AdjustmentRule] = mapped_column(info={"label": N_("Fact")})
    label: Mapped[Title] = mapped_column(info={"label": N_("Wording")})
    effect: Mapped[AdjustmentEffect] = mapped_column(
        default=AdjustmentEffect.LEVEL_PLUS_ONE, info={"label": N_("Effect on the level")}
    )
    level_id: Mapped[int | None] = mapped_column(ForeignKey(InstrumentBand.id), info={"label": N_("Level it sets")})

    instrument: Mapped[Instrument] = relationship(back_populates="adjustments")
    level: Mapped[InstrumentBand | None] = relationship()

    def whole(self) -> Instrument | None:
        return self.instrument

    def check(self) -> None:
        super().check()
        if (self.effect is AdjustmentEffect.SET_LEVEL) != (self.level is not None):
            raise RuleBroken(
                N_("“%(adjustment)s”: name a level when it sets one outright, and none when it makes the level one worse."),
                field="level", adjustment=self.label,
            )  # fmt: skip
        if self.level is not None and self.level.instrument is not self.instrument:
            raise RuleBroken(
                N_("“%(level)s” is a level of another instrument: choose one of this instrument."),
                field="level", level=self.level.label,
            )  # fmt: skip


# -- what an instrument must satisfy ------------------------------------------------------------------


def standing(parts: Iterable[AnyModel]) -> list[AnyModel]:
    """The parts that are not in the recycle bin."""
    return [part for part in parts if part.deleted_at is None]


def _frozen(instrument: Instrument, about: str | None = None) -> RuleBroken:
    return RuleBroken(
        N_("“%(name)s” is %(state)s, so it stays as it is: draft a new edition and change that."),
        field=about, name=str(instrument), state=instrument.status,
    )  # fmt: skip


def _copy(record: AnyModel, **links: Any) -> AnyModel:
    """A new record with what people typed into *record*, linked as *links* say."""
    typed = {f.attr: getattr(record, f.attr) for f in own_fields(type(record)) if f.writable and f.target is None}
    return type(record)(**{**typed, **links})

"""The answers of an assessment, one for each item that is asked."""

from decimal import Decimal

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .assessments import Assessment
from .base import Count, Model, Note, Score
from .choices import N_
from .errors import RuleBroken
from .instruments import InstrumentItem, InstrumentOption, ItemKind

AREA = N_("Assessments")


class AssessmentAnswer(Model):
    """The answer to one item: an option, a number or a text, and what it scores."""

    __icon__ = "circle-check"
    __title__ = ("item",)
    __key__ = ("assessment", "item")
    __part_of__ = "assessment"
    __table_args__ = (
        UniqueConstraint("assessment_id", "item_id"),
        CheckConstraint(
            "(CASE WHEN option_id IS NULL THEN 0 ELSE 1 END) + (CASE WHEN number IS NULL THEN 0 ELSE 1 END)"
            " + (CASE WHEN text IS NULL THEN 0 ELSE 1 END) = 1",
            name="answers_in_one_way",
        ),
    )

    assessment_id: Mapped[int] = mapped_column(ForeignKey(Assessment.id), index=True)
    item_id: Mapped[int] = mapped_column(
        ForeignKey(InstrumentItem.id), index=True, info={"label": N_("Assessment item")}
    )
    option_id: Mapped[int | None] = mapped_column(ForeignKey(InstrumentOption.id), info={"secrecy": "health"})
    number: Mapped[Score | None] = mapped_column(info={"label": N_("Numeric value"), "secrecy": "health"})
    text: Mapped[Note | None] = mapped_column(info={"label": N_("Free text"), "secrecy": "health"})
    score: Mapped[Count | None] = mapped_column(info={"derived": True, "secrecy": "health"})

    assessment: Mapped[Assessment] = relationship(back_populates="answers")
    item: Mapped[InstrumentItem] = relationship()
    option: Mapped[InstrumentOption | None] = relationship()

    @property
    def points(self) -> int | None:
        """What it adds to the total."""
        if self.item.kind is ItemKind.SCORE_SLOT:
            return int(self.number) if self.number is not None else None
        return self.option.score if self.option is not None else None

    @property
    def raises_alert(self) -> bool:
        value = self.points if self.points is not None else self.number
        if self.item.alert is None or value is None:
            return False
        return value != 0 if self.item.alert_from is None else value >= self.item.alert_from

    def derive(self) -> None:
        if self.assessment is None or self.item is None:
            return
        self.score = self.points
        if self.assessment.is_open:
            self.assessment.reckon()

    def check(self) -> None:
        if not self.assessment.is_open:
            raise self.assessment.settled("item", self.item.text)
        if self.item.instrument is not self.assessment.instrument:
            raise RuleBroken(
                N_("“%(item)s” is no item of “%(instrument)s”: choose one of its own."),
                field="item", item=self.item.text, instrument=self.assessment.instrument,
            )  # fmt: skip
        self._require_one_way()
        if self.number is not None:
            self._require_range(Decimal(self.number))

    def _require_one_way(self) -> None:
        """An answer is given in the way its item asks for, and in no other."""
        way = {ItemKind.CHOICE: "option", ItemKind.TEXT: "text"}.get(self.item.kind, "number")
        demands = {
            "option": N_("“%(item)s” is answered by one of its options, and by nothing else."),
            "number": N_("“%(item)s” is answered by a number, and by nothing else."),
            "text": N_("“%(item)s” is answered in words, and by nothing else."),
        }
        given = {name for name in demands if getattr(self, name) is not None}
        foreign = self.option is not None and self.option.item is not self.item
        if given != {way} or foreign:
            raise RuleBroken(demands[way], field=way, item=self.item.text)

    def _require_range(self, value: Decimal) -> None:
        item = self.item
        if item.kind is ItemKind.SCORE_SLOT and value != int(value):
            raise RuleBroken(N_("“%(item)s” is a score: enter a whole number."), field="number", item=item.text)
        low = item.minimum if item.minimum is not None else Decimal(0) if item.kind is ItemKind.SCORE_SLOT else None
        if low is not None and value < low:
            raise RuleBroken(
                N_("“%(item)s” is %(value)s, below %(limit)s: check the value."),
                field="number", item=item.text, value=_figure(value), limit=_figure(low),
            )  # fmt: skip
        if item.maximum is not None and value > item.maximum:
            raise RuleBroken(
                N_("“%(item)s” is %(value)s, above %(limit)s: check the value."),
                field="number", item=item.text, value=_figure(value), limit=_figure(item.maximum),
            )  # fmt: skip


def _figure(value: Decimal) -> str:
    """A figure as people write it: 46, not 46.00."""
    return f"{value.normalize():f}"

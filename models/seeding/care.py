"""Assessments of clients and newborns, answered item by item and seen through to the level in force."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..assessment_answers import AssessmentAnswer
from ..assessments import Assessment, AssessmentPurpose, AssessmentStatus, CapacityDecision
from ..clients import Client, DeliveryMode, Newborn
from ..instruments import Instrument, InstrumentItem, InstrumentOption, ItemKind
from ..scoring import is_asked
from ..staff import Staff
from .files import add_all
from .people import Desk
from .timeline import At, Life

S = AssessmentStatus

# What is usually measured, by the code of the item: from, to.
_MEASURES = {
    "temperature": (364, 373, 10), "pulse": (68, 96, 1), "respiration": (15, 20, 1), "systolic": (102, 134, 1),
    "diastolic": (62, 86, 1), "pain": (0, 4, 1), "blood_loss": (150, 480, 1), "epds_total": (0, 9, 1), "epds_10": (0, 0, 1),
    "weight": (2700, 3900, 1), "wet": (5, 9, 1), "stool": (2, 6, 1),
}  # fmt: skip
_OF_NEWBORNS = {"pulse": (118, 152, 1), "respiration": (36, 52, 1)}
_TEXTS = {"jaundice_onset": "出生后第三天", "diet": "少油少盐，不吃辛辣", "goals": "睡好，尽快学会喂奶"}
_EPDS_HIGH = {"epds": "done", "epds_total": 13, "epds_10": 1}


class Care:
    """Makes assessments with the instruments in use."""

    def __init__(self, session: Session, rng: Random) -> None:
        self.session, self.rng = session, rng
        self.instruments = {i.code: i for i in session.scalars(select(Instrument))}

    def assessed(
        self, desk: Desk, client: Client, code: str, at: datetime, purpose: AssessmentPurpose, *,
        newborn: Newborn | None = None, total: int | None = None, given: dict[str, Any] | None = None,
        until: S = S.CONFIRMED, returned: bool = False,
    ) -> Life:  # fmt: skip
        """An assessment from its making to *until*.

        total -- the score to come to, for scored instruments
        given -- answers by the code of their item, where they must not be left to chance
        returned -- it is sent back once on the way
        """
        first, second = self._assessors(desk, self.instruments[code])
        yield At(at, first)
        made = Assessment(
            branch=desk.branch, client=client, newborn=newborn, instrument=self.instruments[code], purpose=purpose,
            performed_at=at, assessor=first, second_assessor=second,
            capacity_decision=CapacityDecision.ACCEPT if purpose is AssessmentPurpose.PREBOOK else None,
        )  # fmt: skip
        with self.session.no_autoflush:
            answers = self._answers(made.instrument, total, given or {}, newborn)
            made.answers.extend(answers)
        add_all(self.session, [made, *answers])
        if until is S.DRAFT:
            return
        yield At(at + timedelta(minutes=50), first)
        if until is S.VOID:
            made.void(reason="客户临时外出就医，本次评估未完成，另行安排。")
            return
        made.submit()
        if until is S.SUBMITTED:
            return
        yield At(at + timedelta(hours=5), desk.lead)
        if returned or until is S.RETURNED:
            made.send_back(reason="“平地行走”与护理记录不一致，请重新观察后填写。")
            if until is S.RETURNED:
                return
            yield At(at + timedelta(hours=8), first)
            made.rework()
            made.submit()
        yield At(at + timedelta(hours=22), desk.doctor if second is not None else desk.lead)
        made.review()
        if until is S.REVIEWED:
            return
        yield At(at + timedelta(hours=26), desk.doctor)
        made.confirm()

    def _assessors(self, desk: Desk, instrument: Instrument) -> tuple[Staff, Staff | None]:
        first = self.rng.choice(desk.nurses)
        return first, desk.lead if instrument.assessors_required == 2 else None

    # -- answers --

    def _answers(
        self, instrument: Instrument, total: int | None, given: dict[str, Any], newborn: Newborn | None
    ) -> list[AssessmentAnswer]:
        if instrument.is_scored:
            scored = fitting_options(
                instrument.items, total if total is not None else instrument.max_score or 0, self.rng
            )
            return [AssessmentAnswer(item=item, option=option) for item, option in scored]
        answers: list[AssessmentAnswer] = []
        chosen: dict[str, str | None] = {}
        for item in instrument.items:
            if not is_asked(item.shown_if, chosen):
                continue
            answer = self._answer(item, given.get(item.code), newborn)
            if answer is not None:
                answers.append(answer)
                chosen[item.code] = answer.option.code if answer.option is not None else None
        return answers

    def _answer(self, item: InstrumentItem, given: Any, newborn: Newborn | None) -> AssessmentAnswer | None:
        if item.kind is ItemKind.CHOICE:
            return AssessmentAnswer(item=item, option=self._option(item, given))
        if item.kind is ItemKind.TEXT:
            text = given or _TEXTS.get(item.code) or ("无特殊" if item.is_required else None)
            return AssessmentAnswer(item=item, text=text) if text else None
        low, high, parts = (_OF_NEWBORNS if newborn is not None else {}).get(item.code) or _MEASURES[item.code]
        number = Decimal(self.rng.randint(low, high)) / parts if given is None else Decimal(given)
        return AssessmentAnswer(item=item, number=number)

    def _option(self, item: InstrumentItem, given: Any) -> InstrumentOption:
        """The one given; else mostly the first, which is the one without findings."""
        if given is not None:
            return next(o for o in item.options if o.code == given)
        return item.options[0] if self.rng.random() < 0.78 else self.rng.choice(item.options[:2])


def mothers_answers(newborn: Newborn, *, low_mood: bool = False) -> dict[str, Any]:
    """What a mother's assessment says because of how her child was born."""
    mode = {None: "vaginal", DeliveryMode.CAESAREAN: "caesarean", DeliveryMode.ASSISTED: "assisted"}.get(
        newborn.delivery_mode, "vaginal"
    )
    return {"mode": mode, **(_EPDS_HIGH if low_mood else {})}


def fitting_options(
    items: Sequence[InstrumentItem], total: int, rng: Random
) -> list[tuple[InstrumentItem, InstrumentOption]]:
    """An option per item that together score *total*, or as near as their steps allow."""
    ladders = [_ladder(item) for item in items]
    share = total / sum(max(ladder) for ladder in ladders)
    scores = [_nearest(ladder, max(ladder) * share) for ladder in ladders]
    for _ in range(400):
        gap = total - sum(scores)
        if not gap:
            break
        n = rng.randrange(len(ladders))
        steps = [s for s in ladders[n] if (s - scores[n]) * gap > 0 and abs(s - scores[n]) <= abs(gap)]
        if steps:
            scores[n] = _nearest(steps, scores[n])
    return [(item, ladder[score]) for item, ladder, score in zip(items, ladders, scores, strict=True)]


def _ladder(item: InstrumentItem) -> dict[int, InstrumentOption]:
    """The options of an item by what they score, those that state a fact left out."""
    return {o.score: o for o in item.options if o.score is not None and o.states is None}


def _nearest(scores: Iterable[int], wanted: float) -> int:
    return min(scores, key=lambda score: abs(score - wanted))

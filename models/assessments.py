"""Assessments of clients and newborns: answers, the level they give, and who stands for it (SM-5)."""

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Select, inspect, select
from sqlalchemy.orm import Mapped, Session, mapped_column, object_session, relationship

from . import clock
from .base import BranchScoped, Code, Count, Day, Instant, Json, Model, Note
from .choices import N_, Choice
from .clients import Client, Newborn
from .errors import Label, RuleBroken
from .flush import changed_fields
from .instruments import (
    AdjustmentRule,
    Instrument,
    InstrumentBand,
    InstrumentItem,
    InstrumentStatus,
    ItemAlert,
    standing,
)
from .organisation import Branch
from .scoring import RISK_EVENTS_THAT_COUNT, Adjustment, adjust, band_of, is_asked
from .staff import Credential, CredentialKind, Staff, StaffCategory, acting_staff
from .workflow import ruled, transition

AREA = N_("Assessments")

LICENCES = {
    StaffCategory.DOCTOR: CredentialKind.DOCTOR_LICENCE,
    StaffCategory.NURSE: CredentialKind.NURSE_LICENCE,
}


class AssessmentPurpose(Choice):
    PREBOOK = "prebook", N_("Before admission")
    ADMISSION = "admission", N_("On admission")
    ROUTINE = "routine", N_("Routine")
    IMMEDIATE = "immediate", N_("After a change")
    DOUBT_REVIEW = "doubt_review", N_("Review of a doubted result")
    CHECKOUT = "checkout", N_("On leaving")
    OTHER = "other", N_("Other")


class AssessmentStatus(Choice):
    DRAFT = "draft", N_("Draft"), "neutral"
    SUBMITTED = "submitted", N_("Awaiting review"), "amber"
    REVIEWED = "reviewed", N_("Passed review"), "blue"
    CONFIRMED = "confirmed", N_("Confirmed"), "green"
    RETURNED = "returned", N_("Sent back"), "red"
    SUPERSEDED = "superseded", N_("Superseded"), "neutral"
    VOID = "void", N_("Void"), "neutral"


class CapacityDecision(Choice):
    ACCEPT = "accept", N_("Can be cared for here"), "green"
    CONDITIONAL = "conditional", N_("Under conditions"), "amber"
    DECLINE = "decline", N_("Cannot be cared for here"), "red"


class Assessment(BranchScoped, Model):
    """One person assessed with one instrument, from the first answer to the level in force."""

    __icon__ = "clipboard-heart"
    __title__ = ("client", "instrument")
    __key__ = ("no",)
    __owner__ = ("assessor", "second_assessor")
    __list__ = (
        "no", "client", "newborn", "instrument", "purpose", "status", "final_level", "performed_at", "next_due_on", "assessor",
    )  # fmt: skip
    __table_args__ = (
        CheckConstraint("second_assessor_id <> assessor_id", name="two_assessors_are_two_people"),
        CheckConstraint("recent_risk_events >= 0", name="risk_events_not_negative"),
    )

    no: Mapped[Code] = mapped_column(unique=True, info={"label": N_("Assessment no."), "serial": "A{n:06d}"})
    client_id: Mapped[int] = mapped_column(ForeignKey(Client.id), index=True)
    newborn_id: Mapped[int | None] = mapped_column(
        ForeignKey(Newborn.id), index=True, info={"help": N_("When the baby is assessed and not the mother")}
    )
    instrument_id: Mapped[int] = mapped_column(ForeignKey(Instrument.id), index=True)
    purpose: Mapped[AssessmentPurpose] = mapped_column(info={"label": N_("Purpose of assessment")})
    performed_at: Mapped[Instant] = mapped_column(default=clock.now)
    assessor_id: Mapped[int] = mapped_column(ForeignKey(Staff.id), index=True)
    second_assessor_id: Mapped[int | None] = mapped_column(ForeignKey(Staff.id), index=True)
    status: Mapped[AssessmentStatus] = mapped_column(default=AssessmentStatus.DRAFT)
    has_dementia: Mapped[bool] = mapped_column(
        default=False, info={"label": N_("Dementia diagnosed (F00–F03)"), "secrecy": "health"}
    )
    has_mental_disorder: Mapped[bool] = mapped_column(
        default=False, info={"label": N_("Other mental disorder diagnosed (F04–F99)"), "secrecy": "health"}
    )
    recent_risk_events: Mapped[Count] = mapped_column(
        default=0,
        info={
            "label": N_("Care-risk events in the last 30 days"),
            "help": N_("Falls, choking, self-harm, wandering and the like"),
            "secrecy": "health",
        },
    )
    capacity_decision: Mapped[CapacityDecision | None]
    advice_to_client: Mapped[Note | None] = mapped_column(info={"secrecy": "health"})
    note: Mapped[Note | None] = mapped_column(info={"secrecy": "health"})

    total: Mapped[Count | None] = mapped_column(info={"label": N_("Total score"), "derived": True, "secrecy": "health"})
    initial_level_id: Mapped[int | None] = mapped_column(
        ForeignKey(InstrumentBand.id), info={"label": N_("Level by score"), "derived": True, "secrecy": "health"}
    )
    adjustments: Mapped[Json | None] = mapped_column(
        info={"label": N_("Level adjustments"), "derived": True, "secrecy": "health"}
    )
    final_level_id: Mapped[int | None] = mapped_column(
        ForeignKey(InstrumentBand.id), index=True, info={"label": N_("Assessed level"), "derived": True}
    )
    self_harm_alert: Mapped[bool] = mapped_column(
        default=False, info={"label": N_("Self-harm alert"), "derived": True, "secrecy": "health"}
    )
    needs_care: Mapped[bool] = mapped_column(default=False, info={"label": N_("Needs care follow-up"), "derived": True})
    next_due_on: Mapped[Day | None] = mapped_column(info={"label": N_("Reassess by"), "derived": True})
    reviewer_id: Mapped[int | None] = mapped_column(ForeignKey(Staff.id), info={"derived": True})
    submitted_at: Mapped[Instant | None] = mapped_column(info={"derived": True})
    reviewed_at: Mapped[Instant | None] = mapped_column(info={"derived": True})
    confirmed_at: Mapped[Instant | None] = mapped_column(info={"derived": True})
    return_reason: Mapped[Note | None] = mapped_column(info={"label": N_("Reason for sending back"), "derived": True})
    void_reason: Mapped[Note | None] = mapped_column(info={"derived": True})

    branch: Mapped[Branch] = relationship()
    client: Mapped[Client] = relationship()
    newborn: Mapped[Newborn | None] = relationship()
    instrument: Mapped[Instrument] = relationship(back_populates="assessments")
    assessor: Mapped[Staff] = relationship(foreign_keys=[assessor_id])
    second_assessor: Mapped[Staff | None] = relationship(foreign_keys=[second_assessor_id])
    reviewer: Mapped[Staff | None] = relationship(foreign_keys=[reviewer_id])
    initial_level: Mapped[InstrumentBand | None] = relationship(foreign_keys=[initial_level_id])
    final_level: Mapped[InstrumentBand | None] = relationship(foreign_keys=[final_level_id])
    answers: Mapped[list["AssessmentAnswer"]] = relationship(back_populates="assessment")  # type: ignore[name-defined]  # noqa: F821

    # -- what its answers come to --

    @property
    def is_open(self) -> bool:
        """Whether its answers may still change."""
        # An answer may be looked at before its new assessment has been given its first status.
        return self.status in {None, AssessmentStatus.DRAFT}

    @property
    def assessors(self) -> list[Staff]:
        """Who made it, whether the person at work may see their files or not."""
        session = object_session(self)
        keys = [key for key in (self.assessor_id, self.second_assessor_id) if key is not None]
        if session is None or not keys:
            return [one for one in (self.assessor, self.second_assessor) if one is not None]
        found = (session.get(Staff, key, execution_options={"unscoped": "who assessed"}) for key in keys)
        return [one for one in found if one is not None]

    def derive(self) -> None:
        if self.is_open:
            self.reckon()

    def reckon(self) -> None:
        """Work out total, levels and alerts from the answers; no total before every required score is there."""
        if self.instrument is None:
            return
        asked = self.asked_items()
        answers = {answer.item: answer for answer in standing(self.answers) if answer.item is not None}
        given = [answers[item] for item in asked if item in answers]
        alerts = {answer.item.alert for answer in given if answer.raises_alert}
        self.self_harm_alert = ItemAlert.SELF_HARM in alerts
        self.needs_care = bool(alerts)
        complete = not any(item.is_required and item.is_scored and item not in answers for item in asked)
        self.total = sum(a.points or 0 for a in given) if self.instrument.is_scored and complete else None
        self._set_levels(self._facts(given))

    def _facts(self, given: Iterable[Any]) -> set[AdjustmentRule]:
        facts = {answer.option.states for answer in given if answer.option is not None and answer.option.states}
        if self.has_dementia or self.has_mental_disorder:
            facts.add(AdjustmentRule.MENTAL_DISORDER)
        if (self.recent_risk_events or 0) >= RISK_EVENTS_THAT_COUNT:
            facts.add(AdjustmentRule.RISK_EVENTS)
        return facts

    def _set_levels(self, facts: set[AdjustmentRule]) -> None:
        levels = self.instrument.levels
        initial = band_of(self.total, levels) if self.total is not None else None
        self.initial_level = self.final_level = initial
        self.adjustments = None
        holding = [a for a in standing(self.instrument.adjustments) if a.rule in facts]
        if initial is None or not holding:
            return
        effects = [Adjustment(levels.index(a.level) if a.level is not None else None) for a in holding]
        stack = self.instrument.stack_adjustments
        final, moved = adjust(levels.index(initial), len(levels) - 1, effects, stack=stack)
        self.final_level = levels[final]
        self.adjustments = [
            {"rule": a.rule.value, "label": a.label, "moved": m} for a, m in zip(holding, moved, strict=True)
        ]

    def asked_items(self) -> list[InstrumentItem]:
        """The items that are asked, given what was chosen so far."""
        items = standing(self.instrument.complete().items)
        answers = [answer for answer in standing(self.answers) if answer.item is not None]
        chosen = {answer.item.code: answer.option.code for answer in answers if answer.option is not None}
        return [item for item in items if is_asked(item.shown_if, chosen)]

    # -- what may be typed --

    def check(self) -> None:
        if self.newborn is not None and self.newborn.mother is not self.client:
            raise RuleBroken(
                N_("%(newborn)s is not a child of %(client)s: choose one of hers."),
                field="newborn", newborn=self.newborn, client=self.client,
            )  # fmt: skip
        if self.second_assessor is not None and self.second_assessor is self.assessor:
            raise RuleBroken(
                N_("%(name)s cannot be both assessors: choose somebody else as the second."),
                field="second_assessor", name=self.assessor.name,
            )  # fmt: skip
        if (self.recent_risk_events or 0) < 0:
            raise RuleBroken(N_("The number of care-risk events cannot be below zero."), field="recent_risk_events")
        self._require_usable_instrument()
        self._require_settled_values()

    def _require_usable_instrument(self) -> None:
        new = not inspect(self).persistent
        if not new and "instrument" not in {f.key for f in changed_fields(self)}:
            return
        if self.instrument.status is not InstrumentStatus.IN_USE:
            raise RuleBroken(
                N_("“%(name)s” is %(state)s: choose an instrument in use."),
                field="instrument", name=self.instrument, state=self.instrument.status or InstrumentStatus.DRAFT,
            )  # fmt: skip
        if any(answer.item.instrument is not self.instrument for answer in standing(self.answers)):
            raise RuleBroken(
                N_("It has answers to another instrument: void it and start a new assessment with “%(name)s”."),
                field="instrument", name=self.instrument,
            )  # fmt: skip

    def _require_settled_values(self) -> None:
        session = object_session(self)
        if self.is_open or not inspect(self).persistent or (session is not None and ruled(session)):
            return
        for field in changed_fields(self):
            if field.writable and field.key != "note":
                raise self.settled(field.key, Label(field.label))

    def settled(self, about: str, what: object) -> RuleBroken:
        """The refusal to change *what*, with the way that is open instead."""
        ways = {
            AssessmentStatus.SUBMITTED: N_(
                "“%(what)s” was submitted with “%(record)s”: send that back to its assessors first."
            ),
            AssessmentStatus.REVIEWED: N_(
                "“%(what)s” was reviewed with “%(record)s”: send that back to its assessors first."
            ),
            AssessmentStatus.RETURNED: N_("“%(record)s” was sent back: take it up again before you change “%(what)s”."),
            AssessmentStatus.VOID: N_("“%(record)s” is void, so “%(what)s” stays as it is: start a new assessment."),
        }
        final = N_(
            "“%(record)s” is settled, so “%(what)s” stays as it is: whoever doubts it starts a new assessment"
            " with the purpose “%(purpose)s”."
        )
        text = ways.get(self.status, final)
        params = {"purpose": AssessmentPurpose.DOUBT_REVIEW} if text is final else {}
        return RuleBroken(text, field=about, record=str(self), what=what, **params)

    # -- from draft to the level in force --

    @transition("status", {AssessmentStatus.DRAFT}, AssessmentStatus.SUBMITTED, label=N_("Submit"), tone="blue")
    def submit(self) -> None:
        """Hand it in for review: complete, and by assessors who may make it."""
        self._require_own_hand()
        if self.performed_at > clock.now():
            raise RuleBroken(
                N_("It is dated %(at)s, which is still to come: submit it once the assessment is made."),
                field="performed_at", at=self.performed_at,
            )  # fmt: skip
        self._require_answers()
        self._require_assessors()
        if self.purpose is AssessmentPurpose.DOUBT_REVIEW:
            self._require_fresh_eyes()
        _require_advice(self.capacity_decision, self.advice_to_client)
        self.submitted_at = clock.now()

    def _require_own_hand(self) -> None:
        hand = acting_staff(self)
        if hand is not None and hand not in self.assessors:
            raise RuleBroken(
                N_("%(name)s did not make this assessment: one of its assessors submits it (%(assessors)s)."),
                name=hand.name, assessors=_named(one.name for one in self.assessors),
            )  # fmt: skip

    def _require_answers(self) -> None:
        asked, answered = self.asked_items(), {answer.item for answer in standing(self.answers)}
        missing = [item.text for item in asked if item.is_required and item not in answered]
        if missing:
            raise RuleBroken(
                N_("Still to be answered (%(count)s): %(items)s."),
                field="answers",
                count=len(missing),
                items=_named(missing),
            )
        stray = [item.text for item in answered if item not in asked]
        if stray:
            raise RuleBroken(
                N_("Not asked after the other answers: %(items)s. Delete these answers or change what they depend on."),
                field="answers", items=_named(stray),
            )  # fmt: skip

    def _require_assessors(self) -> None:
        if self.instrument.assessors_required > len(self.assessors):
            raise RuleBroken(
                N_("“%(instrument)s” takes two assessors: enter the second one."),
                field="second_assessor", instrument=self.instrument.name,
            )  # fmt: skip
        clinicians = [one for one in self.assessors if one.category in LICENCES]
        if self.instrument.needs_clinical and not clinicians:
            raise RuleBroken(
                N_("“%(instrument)s” needs a doctor or nurse among its assessors; %(assessors)s are neither: change one."),
                field="assessor", instrument=self.instrument.name, assessors=_named(one.name for one in self.assessors),
            )  # fmt: skip
        day = clock.local_day(self.performed_at)
        for one in clinicians:
            if not _is_licensed(one, day):
                raise RuleBroken(
                    N_("%(name)s had no verified %(licence)s in force on %(day)s: have it verified or choose another assessor."),
                    field="assessor" if one is self.assessor else "second_assessor",
                    name=one.name, licence=LICENCES[one.category], day=day,
                )  # fmt: skip

    def _require_fresh_eyes(self) -> None:
        doubted = next(iter(self._others_in_force()), None)
        if doubted is None:
            raise RuleBroken(
                N_("%(client)s has no confirmed result of “%(instrument)s” to doubt: choose another purpose."),
                field="purpose", client=self.client, instrument=self.instrument.name,
            )  # fmt: skip
        again = [one.name for one in self.assessors if one in doubted.assessors]
        if again:
            raise RuleBroken(
                N_("The result in doubt was made by %(names)s: others must review it."),
                field="assessor",
                names=_named(again),
            )

    @transition(
        "status", {AssessmentStatus.SUBMITTED}, AssessmentStatus.REVIEWED, label=N_("Pass the review"), tone="blue"
    )
    def review(
        self, *, capacity_decision: CapacityDecision | None = None, advice_to_client: Note | None = None
    ) -> None:
        """Find it sound, as somebody who did not make it alone; the decision on capacity may be set here."""
        reviewer = acting_staff(self)
        if reviewer is not None and self.assessors == [reviewer]:
            raise RuleBroken(
                N_("%(name)s made this assessment alone: somebody else reviews it."),
                field="reviewer",
                name=reviewer.name,
            )
        decision, advice = capacity_decision or self.capacity_decision, advice_to_client or self.advice_to_client
        _require_advice(decision, advice)
        self.capacity_decision, self.advice_to_client = decision, advice
        self.reviewer = reviewer
        self.reviewed_at = clock.now()

    @transition("status", {AssessmentStatus.REVIEWED}, AssessmentStatus.CONFIRMED, label=N_("Confirm"), tone="green")
    def confirm(self) -> None:
        """Put its level in force; the result before it is superseded."""
        for older in self._others_in_force():
            if older.performed_at > self.performed_at:
                raise RuleBroken(
                    N_("A later assessment, %(no)s of %(day)s, is in force already: send this one back and void it."),
                    no=older.no, day=clock.local_day(older.performed_at),
                )  # fmt: skip
            older.supersede()
        self.confirmed_at = clock.now()
        days = self.instrument.reassess_after_days
        self.next_due_on = clock.local_day(self.performed_at) + timedelta(days=days) if days is not None else None

    @transition(
        "status", {AssessmentStatus.SUBMITTED, AssessmentStatus.REVIEWED}, AssessmentStatus.RETURNED,
        label=N_("Send back"), tone="amber",
    )  # fmt: skip
    def send_back(self, *, reason: Note) -> None:
        """Give it back to its assessors with the reason."""
        self.return_reason = reason
        self.reviewer = self.reviewed_at = None

    @transition("status", {AssessmentStatus.RETURNED}, AssessmentStatus.DRAFT, label=N_("Take up again"), tone="blue")
    def rework(self) -> None:
        """Open it for changes after it was sent back."""
        self.submitted_at = None

    # By the confirmation of a newer one: there is no button for it.
    @transition(
        "status", {AssessmentStatus.CONFIRMED}, AssessmentStatus.SUPERSEDED, label=N_("Supersede"), by_clock=True
    )
    def supersede(self) -> None:
        """A newer result of the same person and instrument took its place."""

    @transition("status", {AssessmentStatus.DRAFT}, AssessmentStatus.VOID, label=N_("Void"), tone="red")
    def void(self, *, reason: Note) -> None:
        """Set it aside for good; it stays on file with the reason."""
        self.void_reason = reason

    def _others_in_force(self) -> list["Assessment"]:
        """The confirmed assessments of the same person by any edition of the same instrument, latest first."""
        session = object_session(self)
        assert session is not None
        found = _in_force(self.client_id, self.newborn_id, self.instrument.code).where(Assessment.id != self.id)
        return list(session.scalars(found, execution_options={"unscoped": "what is in force, in any branch"}))


def _is_licensed(staff: Staff, on: date) -> bool:
    """Whether a doctor or nurse held the licence in force, whether the person at work may see it or not."""
    session = object_session(staff)
    assert session is not None
    held = select(Credential).where(
        Credential.staff_id == staff.id, Credential.kind == LICENCES[staff.category], Credential.deleted_at.is_(None)
    )
    found = session.scalars(held, execution_options={"unscoped": "who may assess"})
    return any(licence.in_force(on) for licence in found)


def _require_advice(decision: CapacityDecision | None, advice: str | None) -> None:
    if decision in {CapacityDecision.CONDITIONAL, CapacityDecision.DECLINE} and not advice:
        raise RuleBroken(
            N_("“%(decision)s” needs its conditions or advice to the client: write them down."),
            field="advice_to_client", decision=decision,
        )  # fmt: skip


def _named(texts: Iterable[str]) -> str:
    return "、".join(texts)


# -- reading ------------------------------------------------------------------------------------------


def assessment_in_force(
    session: Session, client: Client, code: str, newborn: Newborn | None = None
) -> Assessment | None:
    """The confirmed assessment of *client*, or of her *newborn*, with the instrument called *code*."""
    return session.scalar(_in_force(client.id, newborn.id if newborn is not None else None, code).limit(1))


def _in_force(client_id: int, newborn_id: int | None, code: str) -> Select[Assessment]:
    """The confirmed assessments of a person by any edition of an instrument, latest first."""
    return (
        select(Assessment)
        .join(Assessment.instrument)
        .where(
            Assessment.client_id == client_id,
            Assessment.newborn_id == newborn_id,  # None compares as IS NULL
            Instrument.code == code,
            Assessment.status == AssessmentStatus.CONFIRMED,
            Assessment.deleted_at.is_(None),
        )
        .order_by(Assessment.performed_at.desc())
    )


def due_assessments(session: Session, on: date) -> list[Assessment]:
    """The results in force that are to be renewed by *on*, the longest overdue first."""
    due = select(Assessment).where(Assessment.status == AssessmentStatus.CONFIRMED, Assessment.next_due_on <= on)
    return list(session.scalars(due.order_by(Assessment.next_due_on, Assessment.id)))

"""Appeals against an appraisal: filed by the person, decided by others than whoever scored it (SM-25)."""

from decimal import Decimal

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint, inspect
from sqlalchemy.orm import Mapped, mapped_column, object_session, relationship

from . import clock
from .base import Instant, Model, Note, Score
from .choices import N_, Choice
from .errors import RuleBroken
from .staff import Staff, acting_staff
from .workflow import ruled, transition

AREA = N_("Appraisals")

LEAST_REVIEWERS = 2


class AppealStatus(Choice):
    FILED = "filed", N_("Filed"), "amber"
    ACCEPTED = "accepted", N_("Accepted for review"), "blue"
    REVIEWING = "reviewing", N_("Under review"), "blue"
    UPHELD = "upheld", N_("Upheld"), "green"
    DISMISSED = "dismissed", N_("Dismissed"), "red"
    NOTIFIED = "notified", N_("Person told"), "neutral"


class AppraisalAppeal(Model):
    """A person's appeal against their own appraisal; it keeps the total before and the one after."""

    __icon__ = "scale"
    __title__ = ("appraisal",)
    __key__ = ("appraisal",)
    __part_of__ = "appraisal"
    __table_args__ = (
        CheckConstraint("new_total BETWEEN 0 AND 100", name="new_total_within_100"),
        CheckConstraint("status <> 'upheld' OR new_total IS NOT NULL", name="upheld_appeal_has_a_new_total"),
    )

    appraisal_id: Mapped[int] = mapped_column(ForeignKey("appraisal.id"), unique=True)
    filed_at: Mapped[Instant] = mapped_column(info={"derived": True})
    grounds: Mapped[Note] = mapped_column(info={"derived": True})
    status: Mapped[AppealStatus] = mapped_column(default=AppealStatus.FILED)
    old_total: Mapped[Score | None] = mapped_column(info={"label": N_("Total before"), "derived": True})
    new_total: Mapped[Score | None] = mapped_column(info={"label": N_("Total after"), "derived": True})
    reason: Mapped[Note | None] = mapped_column(info={"label": N_("Reason for the decision"), "derived": True})
    decided_by_id: Mapped[int | None] = mapped_column(ForeignKey(Staff.id), info={"derived": True})
    decided_at: Mapped[Instant | None] = mapped_column(info={"derived": True})
    notified_at: Mapped[Instant | None] = mapped_column(info={"label": N_("Told at"), "derived": True})

    appraisal: Mapped["Appraisal"] = relationship(back_populates="appeals")  # type: ignore[name-defined]  # noqa: F821
    decided_by: Mapped[Staff | None] = relationship(foreign_keys=[decided_by_id])
    reviewers: Mapped[list["AppealReviewer"]] = relationship(back_populates="appeal")

    def check(self) -> None:
        session = object_session(self)
        if not inspect(self).persistent and session is not None and not ruled(session):
            raise RuleBroken(N_("An appeal is filed with the button “Appeal” of the appraisal."), field="appraisal")

    def reviewer_ids(self) -> set[int]:
        return {r.reviewer_id for r in self.reviewers if r.deleted_at is None}

    @transition("status", {AppealStatus.FILED}, AppealStatus.ACCEPTED, label=N_("Accept for review"), tone="blue")
    def accept(self) -> None:
        """Take the appeal up and choose who reviews it."""
        self._refuse_the_parties()

    @transition("status", {AppealStatus.ACCEPTED}, AppealStatus.REVIEWING, label=N_("Begin the review"), tone="blue")
    def begin_review(self) -> None:
        """Hand it to at least two reviewers, none of whom scored the appraisal."""
        self._refuse_the_parties()
        self._require_reviewers()

    @transition("status", {AppealStatus.REVIEWING}, AppealStatus.UPHELD, label=N_("Uphold"), tone="green")
    def uphold(self, *, new_total: Score, reason: Note) -> None:
        """Agree with the person and give the appraisal a new total; the old one is kept here."""
        if not 0 <= new_total <= 100:
            raise RuleBroken(
                N_("The new total is %(total)s: enter one from 0 to 100."), field="new_total", total=new_total
            )
        if new_total == self.old_total:
            raise RuleBroken(
                N_("The new total is the old one, %(total)s: enter another, or dismiss the appeal."),
                field="new_total", total=new_total,
            )  # fmt: skip
        self._decide(reason)
        self.new_total = Decimal(new_total)

    @transition("status", {AppealStatus.REVIEWING}, AppealStatus.DISMISSED, label=N_("Dismiss"), tone="red")
    def dismiss(self, *, reason: Note) -> None:
        """Leave the total as it is."""
        self._decide(reason)

    @transition(
        "status",
        {AppealStatus.UPHELD, AppealStatus.DISMISSED},
        AppealStatus.NOTIFIED,
        label=N_("Person told"),
        tone="blue",
    )
    def notify(self) -> None:
        """Record that the person was told the decision; it locks the appraisal."""
        self.notified_at = clock.now()

    def _decide(self, reason: str) -> None:
        self._refuse_the_parties()
        self._require_reviewers()
        decider = acting_staff(self)
        if decider is not None and decider.id not in self.reviewer_ids():
            raise RuleBroken(
                N_("%(name)s is not a reviewer of this appeal: one of the reviewers decides it."), name=decider.name
            )
        self.reason, self.decided_by, self.decided_at = reason, decider, clock.now()

    def _refuse_the_parties(self) -> None:
        acting = acting_staff(self)
        if acting is not None:
            self.refuse_a_party(acting)

    def refuse_a_party(self, person: Staff) -> None:
        """Raise RuleBroken when *person* scored the appraisal or is the one it is about."""
        if person.id == self.appraisal.manager_id:
            raise RuleBroken(
                N_("%(name)s scored this appraisal and has no part in the appeal: choose somebody else."),
                field="reviewer", name=person.name,
            )  # fmt: skip
        if person.id == self.appraisal.staff_id:
            raise RuleBroken(
                N_("%(name)s filed this appeal and has no part in deciding it: choose somebody else."),
                field="reviewer", name=person.name,
            )  # fmt: skip

    def _require_reviewers(self) -> None:
        number = len(self.reviewer_ids())
        if number < LEAST_REVIEWERS:
            raise RuleBroken(
                N_("An appeal needs at least %(least)s reviewers and has %(number)s: add reviewers first."),
                least=LEAST_REVIEWERS, number=number,
            )  # fmt: skip


class AppealReviewer(Model):
    """Somebody who looks at an appraisal again because of an appeal."""

    __icon__ = "user-check"
    __title__ = ("reviewer",)
    __key__ = ("appeal", "reviewer")
    __part_of__ = "appeal"
    __table_args__ = (UniqueConstraint("appeal_id", "reviewer_id"),)

    appeal_id: Mapped[int] = mapped_column(ForeignKey(AppraisalAppeal.id), index=True)
    reviewer_id: Mapped[int] = mapped_column(ForeignKey(Staff.id))

    appeal: Mapped[AppraisalAppeal] = relationship(back_populates="reviewers")
    reviewer: Mapped[Staff] = relationship()

    def check(self) -> None:
        self.appeal.refuse_a_party(self.reviewer)
        if not inspect(self).persistent and self.appeal.status not in {AppealStatus.FILED, AppealStatus.ACCEPTED}:
            raise RuleBroken(
                N_("The appeal is %(state)s: reviewers are chosen before the review begins."),
                field="reviewer", state=self.appeal.status,
            )  # fmt: skip

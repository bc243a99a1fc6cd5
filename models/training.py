"""What staff learn: the sessions of a course, and what each person took from them (SM-23)."""

from calendar import monthrange
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from math import ceil

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint, inspect, select
from sqlalchemy.orm import Mapped, Session, mapped_column, relationship

from . import clock
from .base import BranchScoped, Code, Count, Day, Instant, Model, Money, Name, Note, Score, Title
from .choices import N_, Choice
from .courses import TrainingCourse, TrainingMode, TrainingPlanItem
from .errors import RuleBroken
from .organisation import Branch
from .staff import Staff, staff_on
from .workflow import transition

AREA = N_("Training")

ATTENDANCE_PCT = 80
FEN = Decimal("0.01")


class TrainingSessionStatus(Choice):
    PLANNED = "planned", N_("Planned"), "neutral"
    OPEN = "open", N_("Open for enrolment"), "blue"
    RUNNING = "running", N_("Running"), "amber"
    FINISHED = "finished", N_("Finished"), "blue"
    EVALUATED = "evaluated", N_("Evaluated"), "green"
    CANCELLED = "cancelled", N_("Cancelled"), "red"


class TrainingRecordStatus(Choice):
    ENROLLED = "enrolled", N_("Enrolled"), "neutral"
    ATTENDED = "attended", N_("Attended"), "blue"
    PASSED = "passed", N_("Passed"), "green"
    FAILED = "failed", N_("Not passed"), "red"
    RETAKE = "retake", N_("To retake"), "amber"
    NO_SHOW = "no_show", N_("Absent"), "red"


# -- sessions -----------------------------------------------------------------------------------------


class TrainingSession(BranchScoped, Model):
    """One occasion on which a course is taught."""

    __icon__ = "calendar-event"
    __title__ = ("course", "starts_at")
    __key__ = ("branch", "course", "starts_at")
    __table_args__ = (
        UniqueConstraint("branch_id", "course_id", "starts_at"),
        CheckConstraint("ends_at > starts_at", name="ends_after_it_starts"),
        CheckConstraint("minutes > 0", name="minutes_are_positive"),
        CheckConstraint("capacity > 0", name="capacity_is_positive"),
        CheckConstraint("cost >= 0", name="cost_not_negative"),
        CheckConstraint("service_period_months IS NULL OR cost > 0", name="service_period_needs_a_cost"),
        CheckConstraint("service_period_months > 0", name="service_period_is_positive"),
    )

    course_id: Mapped[int] = mapped_column(ForeignKey(TrainingCourse.id), index=True)
    plan_item_id: Mapped[int | None] = mapped_column(ForeignKey(TrainingPlanItem.id), index=True)
    mode: Mapped[TrainingMode] = mapped_column(default=TrainingMode.LECTURE, info={"label": N_("Teaching method")})
    lecturer: Mapped[Name]
    place: Mapped[Title | None]
    starts_at: Mapped[Instant]
    ends_at: Mapped[Instant]
    minutes: Mapped[Count] = mapped_column(info={"label": N_("Minutes taught"), "help": N_("Breaks left out.")})
    capacity: Mapped[Count | None]
    cost: Mapped[Money | None] = mapped_column(info={"help": N_("For all participants together.")})
    service_period_months: Mapped[Count | None] = mapped_column(
        info={"label": N_("Service period (months)"), "help": N_("Agreed in return for paid professional training.")}
    )
    status: Mapped[TrainingSessionStatus] = mapped_column(default=TrainingSessionStatus.PLANNED)
    evaluation: Mapped[Note | None] = mapped_column(info={"derived": True})
    cancel_reason: Mapped[Note | None] = mapped_column(info={"label": N_("Reason for cancelling"), "derived": True})

    branch: Mapped[Branch] = relationship()
    course: Mapped[TrainingCourse] = relationship()
    plan_item: Mapped[TrainingPlanItem | None] = relationship(back_populates="sessions")
    records: Mapped[list["TrainingRecord"]] = relationship(back_populates="session")

    def check(self) -> None:
        if self.plan_item is not None and self.plan_item.course is not self.course:
            raise RuleBroken(
                N_("The plan item is for “%(planned)s”, the session for “%(course)s”: choose the fitting item."),
                field="plan_item", planned=self.plan_item.course, course=self.course,
            )  # fmt: skip
        lasts = (self.ends_at - self.starts_at).total_seconds() // 60
        if 0 < lasts < self.minutes:
            raise RuleBroken(
                N_("%(minutes)s minutes do not fit between start and end, which are %(lasts)s minutes apart."),
                field="minutes", minutes=self.minutes, lasts=int(lasts),
            )  # fmt: skip

    def is_pending(self) -> bool:
        """Whether it still has to take place."""
        ahead = {TrainingSessionStatus.PLANNED, TrainingSessionStatus.OPEN, TrainingSessionStatus.RUNNING}
        return self.status in ahead and self.deleted_at is None

    def has_begun(self) -> bool:
        return self.status in {
            TrainingSessionStatus.RUNNING, TrainingSessionStatus.FINISHED, TrainingSessionStatus.EVALUATED
        }  # fmt: skip

    def records_in(self, *states: TrainingRecordStatus) -> list["TrainingRecord"]:
        return [r for r in self.records if r.deleted_at is None and (not states or r.status in states)]

    @transition(
        "status", {TrainingSessionStatus.PLANNED}, TrainingSessionStatus.OPEN, label=N_("Open enrolment"), tone="blue"
    )
    def open(self) -> None:
        """Let people be enrolled."""

    @transition("status", {TrainingSessionStatus.OPEN}, TrainingSessionStatus.RUNNING, label=N_("Begin"), tone="blue")
    def begin(self) -> None:
        """Begin teaching; attendance can be entered from now on."""
        if not self.records_in():
            raise RuleBroken(
                N_("Nobody is enrolled in “%(session)s”: enrol participants or cancel it."), session=str(self)
            )

    @transition(
        "status",
        {TrainingSessionStatus.RUNNING},
        TrainingSessionStatus.FINISHED,
        label=N_("Finish"),
        tone="green",
        confirm=N_(
            "Everybody enrolled with less than 80 percent of the minutes is marked as absent. Finish the session?"
        ),
    )
    def finish(self) -> None:
        """Settle attendance: 80 percent of the minutes counts as attended, less as absent."""
        if all(r.attended_minutes is None for r in self.records_in()):
            raise RuleBroken(
                N_("No attendance has been entered: enter the attended minutes of each participant first.")
            )
        for record in self.records_in(TrainingRecordStatus.ENROLLED):
            if record.attended_enough():
                record.attend()
            else:
                record.miss()

    @transition(
        "status", {TrainingSessionStatus.FINISHED}, TrainingSessionStatus.EVALUATED, label=N_("Evaluate"), tone="green"
    )
    def evaluate(self, *, evaluation: Note) -> None:
        """Say what the session achieved, judged by exam, practical, questionnaire or client feedback."""
        if not self.methods_used():
            raise RuleBroken(
                N_(
                    "“%(session)s” has not been judged yet: enter exam, practical, questionnaire or client-feedback scores."
                ),
                session=str(self),
            )
        self.evaluation = evaluation

    @transition(
        "status",
        {TrainingSessionStatus.PLANNED, TrainingSessionStatus.OPEN, TrainingSessionStatus.RUNNING},
        TrainingSessionStatus.CANCELLED,
        label=N_("Cancel the session"),
        tone="red",
    )
    def cancel(self, *, reason: Note) -> None:
        """Call it off; nobody gets hours for it."""
        self.cancel_reason = reason

    def methods_used(self) -> list[str]:
        """Which of the four ways of judging have scores: the names of their columns."""
        records = self.records_in()
        return [name for name in TrainingRecord.METHODS if any(getattr(r, name) is not None for r in records)]


# -- what each person took from it ----------------------------------------------------------------------


class TrainingRecord(BranchScoped, Model):
    """One person's part in one session: attendance, results, and the hours a pass is worth."""

    __icon__ = "certificate"
    __title__ = ("staff", "session")
    __key__ = ("staff", "session")
    __part_of__ = "session"
    __owner__ = ("staff",)
    __list__ = ("staff", "course", "status", "attended_minutes", "exam_score", "hours", "passed_on", "valid_until")
    __table_args__ = (
        UniqueConstraint("staff_id", "session_id"),
        CheckConstraint("attended_minutes >= 0", name="attended_minutes_not_negative"),
        CheckConstraint("exam_score BETWEEN 0 AND 100", name="exam_score_within_100"),
        CheckConstraint("practical_score BETWEEN 0 AND 100", name="practical_score_within_100"),
        CheckConstraint("questionnaire_score BETWEEN 0 AND 100", name="questionnaire_score_within_100"),
        CheckConstraint("client_feedback_score BETWEEN 0 AND 100", name="client_feedback_score_within_100"),
        CheckConstraint("valid_until IS NULL OR valid_until >= passed_on", name="valid_after_passing"),
    )

    branch_id: Mapped[int] = mapped_column(ForeignKey(Branch.id), index=True, sort_order=-50, info={"derived": True})
    staff_id: Mapped[int] = mapped_column(ForeignKey(Staff.id), index=True, info={"label": N_("Participant")})
    session_id: Mapped[int] = mapped_column(
        ForeignKey(TrainingSession.id), index=True, info={"label": N_("Training session")}
    )
    course_id: Mapped[int] = mapped_column(ForeignKey(TrainingCourse.id), index=True, info={"derived": True})
    attended_minutes: Mapped[Count | None]
    exam_score: Mapped[Score | None]
    practical_score: Mapped[Score | None]
    questionnaire_score: Mapped[Score | None]
    client_feedback_score: Mapped[Score | None]
    status: Mapped[TrainingRecordStatus] = mapped_column(default=TrainingRecordStatus.ENROLLED)
    passed_on: Mapped[Day | None] = mapped_column(info={"derived": True})
    hours: Mapped[Score | None] = mapped_column(info={"derived": True})
    credit: Mapped[Score | None] = mapped_column(info={"label": N_("Credit points"), "derived": True})
    valid_until: Mapped[Day | None] = mapped_column(info={"derived": True})
    certificate_no: Mapped[Code | None] = mapped_column(info={"label": N_("Certificate no.")})

    branch: Mapped[Branch] = relationship()
    staff: Mapped[Staff] = relationship()
    session: Mapped[TrainingSession] = relationship(back_populates="records")
    course: Mapped[TrainingCourse] = relationship()

    METHODS = ("exam_score", "practical_score", "questionnaire_score", "client_feedback_score")
    TOOK_PART = (
        TrainingRecordStatus.ATTENDED, TrainingRecordStatus.PASSED, TrainingRecordStatus.FAILED, TrainingRecordStatus.RETAKE
    )  # fmt: skip

    def derive(self) -> None:
        if self.session is not None:
            follow(self, self.session, "branch")
            follow(self, self.session, "course")
        if self.status is TrainingRecordStatus.PASSED and self.passed_on is not None and self.hours is None:
            # Kept as they were on the day: a course that changes later does not change what was earned.
            course = self.session.course
            self.hours, self.credit = course.hours, course.credit
            if course.validity_months is not None:
                self.valid_until = add_months(self.passed_on, course.validity_months)

    def check(self) -> None:
        if self.attended_minutes is not None and self.attended_minutes > self.session.minutes:
            raise RuleBroken(
                N_("%(name)s cannot have attended %(attended)s minutes: the session has %(minutes)s."),
                field="attended_minutes", name=self.staff.name, attended=self.attended_minutes,
                minutes=self.session.minutes,
            )  # fmt: skip
        if not inspect(self).persistent and self.status in (None, TrainingRecordStatus.ENROLLED):
            self._require_a_place()

    def _require_a_place(self) -> None:
        session = self.session
        if session.status not in {TrainingSessionStatus.OPEN, TrainingSessionStatus.RUNNING}:
            raise RuleBroken(
                N_("“%(session)s” is %(state)s, so nobody can be enrolled: open the enrolment first."),
                field="session", session=str(session), state=session.status or TrainingSessionStatus.PLANNED,
            )  # fmt: skip
        if session.capacity is not None and len({*session.records_in(), self}) > session.capacity:
            raise RuleBroken(
                N_("“%(session)s” is full: its %(capacity)s places are taken."),
                field="session", session=str(session), capacity=session.capacity,
            )  # fmt: skip

    def attended_enough(self) -> bool:
        """Whether it was at least 80 % of the minutes taught."""
        return (self.attended_minutes or 0) * 100 >= self.session.minutes * ATTENDANCE_PCT

    def result(self) -> Decimal | None:
        """The lower one of exam and practical, out of 100; None when neither was held."""
        return min((s for s in (self.exam_score, self.practical_score) if s is not None), default=None)

    @transition(
        "status",
        {TrainingRecordStatus.ENROLLED},
        TrainingRecordStatus.ATTENDED,
        label=N_("Mark as attended"),
        tone="blue",
    )
    def attend(self, *, attended_minutes: Count | None = None) -> None:
        """Record that the person was there for at least 80 percent of the minutes."""
        if attended_minutes is not None:
            self.attended_minutes = attended_minutes
        if not self.session.has_begun():
            raise RuleBroken(N_("“%(session)s” has not begun yet: begin it first."), session=str(self.session))
        if not self.attended_enough():
            raise RuleBroken(
                N_("%(name)s attended %(attended)s of %(minutes)s minutes: at least %(needed)s are needed."),
                field="attended_minutes", name=self.staff.name, attended=self.attended_minutes or 0,
                minutes=self.session.minutes, needed=ceil(self.session.minutes * ATTENDANCE_PCT / 100),
            )  # fmt: skip

    @transition(
        "status",
        {TrainingRecordStatus.ENROLLED},
        TrainingRecordStatus.NO_SHOW,
        label=N_("Mark as absent"),
        tone="amber",
    )
    def miss(self) -> None:
        """Record that the person did not come, or left too early."""
        if not self.session.has_begun():
            raise RuleBroken(N_("“%(session)s” has not begun yet: begin it first."), session=str(self.session))

    @transition(
        "status", {TrainingRecordStatus.ATTENDED}, TrainingRecordStatus.PASSED, label=N_("Passed"), tone="green"
    )
    def pass_course(self, *, passed_on: Day | None = None) -> None:
        """Give the hours and credit; without a day, the day of the session counts."""
        mark, result = self.session.course.pass_mark, self.result()
        if mark is not None and result is None:
            raise RuleBroken(
                N_("%(name)s has no exam or practical score yet: enter it first."),
                field="exam_score",
                name=self.staff.name,
            )
        if mark is not None and result is not None and result < mark:
            raise RuleBroken(
                N_("%(name)s has %(result)s, the pass mark is %(mark)s: mark the record as not passed."),
                field="exam_score", name=self.staff.name, result=result, mark=mark,
            )  # fmt: skip
        self.passed_on = passed_on or clock.local_day(self.session.ends_at)

    @transition(
        "status", {TrainingRecordStatus.ATTENDED}, TrainingRecordStatus.FAILED, label=N_("Not passed"), tone="red"
    )
    def fail_course(self) -> None:
        """Record that the result is below the pass mark: no hours, no credit."""
        mark, result = self.session.course.pass_mark, self.result()
        if mark is not None and (result is None or result >= mark):
            raise RuleBroken(
                N_("%(name)s has %(result)s, the pass mark is %(mark)s: enter a score below it or mark the record as passed."),
                field="exam_score", name=self.staff.name, result="–" if result is None else result, mark=mark,
            )  # fmt: skip

    @transition(
        "status", {TrainingRecordStatus.FAILED}, TrainingRecordStatus.RETAKE, label=N_("Send to retake"), tone="amber"
    )
    def send_to_retake(self) -> None:
        """Put the person on the list for the next session of the course."""

    def clawback_cny(self, on: date) -> Decimal | None:
        """What may be asked back of someone who leaves on *on*, in CNY; None without a service period.

        cost per participant × whole months left ÷ months agreed, counted from the last day of the session.
        A month begun counts as served, so that it never exceeds the share not served.
        Source: Labour Contract Law, article 22; docs/rules.md, training.
        """
        session = self.session
        if session.service_period_months is None or session.cost is None:
            return None
        served_until = add_months(clock.local_day(session.ends_at), session.service_period_months)
        left = min(whole_months(on, served_until), session.service_period_months)
        sharers = len(session.records_in(*self.TOOK_PART)) or 1
        return (session.cost * left / (sharers * session.service_period_months)).quantize(FEN, ROUND_HALF_UP)


# -- who still has to be trained --------------------------------------------------------------------------


def passes_in_force(session: Session, course: TrainingCourse, on: date) -> set[int]:
    """Record numbers of the staff who passed *course* and whose pass holds on the day *on*."""
    held = select(TrainingRecord.staff_id).where(
        TrainingRecord.course_id == course.id,
        TrainingRecord.status == TrainingRecordStatus.PASSED,
        TrainingRecord.passed_on <= on,
        TrainingRecord.valid_until.is_(None) | (TrainingRecord.valid_until >= on),
    )
    return set(session.scalars(held))


def overdue(session: Session, course: TrainingCourse, on: date) -> list[Staff]:
    """Whoever is employed on *on*, has to hold the mandatory *course* and does not; by staff number.

    Nobody is overdue for a course that is not mandatory.
    """
    if not course.is_mandatory:
        return []
    held = passes_in_force(session, course, on)
    return [person for person in staff_on(session, on) if person.id not in held and course.is_meant_for(person)]


# -- small arithmetic of months, and what a part takes from its whole --------------------------------------


def add_months(day: date, months: int) -> date:
    """The same day *months* later, or the last of that month when it is shorter."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def whole_months(start: date, end: date) -> int:
    """How many whole months lie between two days; 0 when *end* is not after *start*."""
    months = (end.year - start.year) * 12 + end.month - start.month
    return max(months if add_months(start, months) <= end else months - 1, 0)


def follow(record: Model, whole: Model, name: str) -> None:
    """Give *record* the same relation *name* as *whole* has, whether or not its key is known yet."""
    key = getattr(whole, f"{name}_id")
    if key is None:
        setattr(record, name, getattr(whole, name))
    elif getattr(record, f"{name}_id") != key:
        setattr(record, f"{name}_id", key)

"""What is taught: courses, whom they are meant for, and the plan of each year (SM-23)."""

from decimal import Decimal

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint, select
from sqlalchemy.orm import Mapped, Session, mapped_column, relationship

from . import clock
from .base import BranchScoped, Code, Count, Day, Instant, Model, Money, Name, Note, Score, Title
from .choices import N_, Choice
from .errors import Labels, RuleBroken
from .fields import field
from .organisation import Branch, Post
from .staff import Staff, acting_staff
from .workflow import transition

AREA = N_("Training")


class CourseCategory(Choice):
    INDUCTION = "induction", N_("Induction")
    MOTHER_AND_BABY = "mother_and_baby", N_("Care of mother and baby")
    ELDER_BASICS = "elder_basics", N_("Basics of elder care")
    PROFESSIONAL = "professional", N_("Professional knowledge")
    SERVICE_SKILLS = "service_skills", N_("Service skills")
    COMMUNICATION = "communication", N_("Communication and etiquette")
    EMOTION = "emotion", N_("Emotional self-control")
    PROCESS = "process", N_("Service flow and standards")
    EMERGENCY = "emergency", N_("Emergency handling")
    LAW = "law", N_("Laws and regulations")
    ETHICS = "ethics", N_("Professional ethics")


class TrainingMode(Choice):
    LECTURE = "lecture", N_("Lecture")
    CASE = "case", N_("Case analysis")
    SIMULATION = "simulation", N_("Simulation drill")
    ONLINE = "online", N_("Online")
    SELF_STUDY = "self_study", N_("Self-study")
    EXTERNAL = "external", N_("External training")


class TrainingPlanStatus(Choice):
    DRAFT = "draft", N_("Draft"), "neutral"
    SUBMITTED = "submitted", N_("Awaiting approval"), "amber"
    APPROVED = "approved", N_("Approved"), "blue"
    IN_FORCE = "in_force", N_("In force"), "green"
    CLOSED = "closed", N_("Closed"), "neutral"


# -- courses ------------------------------------------------------------------------------------------


class TrainingCourse(Model):
    """Something that is taught, the same in every branch: once, or again whenever it runs out."""

    __icon__ = "school"
    __title__ = ("name",)
    __key__ = ("code",)
    __shared__ = True
    __table_args__ = (
        CheckConstraint("hours > 0", name="hours_are_positive"),
        CheckConstraint("credit >= 0", name="credit_not_negative"),
        CheckConstraint("validity_months > 0", name="validity_is_positive"),
        CheckConstraint("pass_mark BETWEEN 0 AND 100", name="pass_mark_within_100"),
    )

    code: Mapped[Code] = mapped_column(unique=True)
    name: Mapped[Name]
    category: Mapped[CourseCategory]
    is_mandatory: Mapped[bool] = mapped_column(default=False, info={"label": N_("Mandatory")})
    validity_months: Mapped[Count | None] = mapped_column(
        info={"label": N_("Valid for (months)"), "help": N_("Empty when it never has to be repeated.")}
    )
    hours: Mapped[Score]
    credit: Mapped[Score] = mapped_column(default=Decimal(0), info={"label": N_("Credit points")})
    pass_mark: Mapped[Score | None] = mapped_column(
        default=Decimal(60), info={"help": N_("Out of 100; empty when attending is enough.")}
    )
    outline: Mapped[Note | None]

    audience: Mapped[list["CoursePost"]] = relationship(back_populates="course")

    def is_meant_for(self, person: Staff) -> bool:
        """Whether *person* holds one of the posts of the audience; a course without any is for everybody."""
        posts = {row.post_id for row in self.audience if row.deleted_at is None}
        return not posts or person.post_id in posts


class CoursePost(Model):
    """A post whose holders a course is meant for."""

    __label__ = N_("Audience of a course")
    __icon__ = "users"
    __title__ = ("course", "post")
    __key__ = ("course", "post")
    __part_of__ = "course"
    __table_args__ = (UniqueConstraint("course_id", "post_id"),)

    course_id: Mapped[int] = mapped_column(ForeignKey(TrainingCourse.id), index=True)
    post_id: Mapped[int] = mapped_column(ForeignKey(Post.id))

    course: Mapped[TrainingCourse] = relationship(back_populates="audience")
    post: Mapped[Post] = relationship()


# -- the plan of a year -----------------------------------------------------------------------------


class TrainingPlan(BranchScoped, Model):
    """What a branch means to teach in one year, approved before it is carried out."""

    __icon__ = "notebook"
    __title__ = ("year", "title")
    __key__ = ("branch", "year", "title")
    __table_args__ = (
        UniqueConstraint("branch_id", "year", "title"),
        CheckConstraint("year BETWEEN 2000 AND 2100", name="year_is_plausible"),
    )

    year: Mapped[Count]
    title: Mapped[Title]
    status: Mapped[TrainingPlanStatus] = mapped_column(default=TrainingPlanStatus.DRAFT)
    submitted_by_id: Mapped[int | None] = mapped_column(ForeignKey(Staff.id), info={"derived": True})
    submitted_at: Mapped[Instant | None] = mapped_column(info={"derived": True})
    approved_by_id: Mapped[int | None] = mapped_column(ForeignKey(Staff.id), info={"derived": True})
    approved_at: Mapped[Instant | None] = mapped_column(info={"derived": True})
    year_review: Mapped[Note | None] = mapped_column(info={"derived": True})

    branch: Mapped[Branch] = relationship()
    submitted_by: Mapped[Staff | None] = relationship(foreign_keys=[submitted_by_id])
    approved_by: Mapped[Staff | None] = relationship(foreign_keys=[approved_by_id])
    items: Mapped[list["TrainingPlanItem"]] = relationship(
        back_populates="plan", order_by="TrainingPlanItem.planned_on"
    )

    def live_items(self) -> list["TrainingPlanItem"]:
        return [item for item in self.items if item.deleted_at is None]

    @transition("status", {TrainingPlanStatus.DRAFT}, TrainingPlanStatus.SUBMITTED, label=N_("Submit"), tone="blue")
    def submit(self) -> None:
        """Hand the plan in for approval; every item says what for, what, how, when and by whom."""
        items = self.live_items()
        if not items:
            raise RuleBroken(N_("“%(plan)s” has no items yet: add what is to be taught."), plan=self.title)
        for item in items:
            item.require_complete()
        self.submitted_by, self.submitted_at = acting_staff(self), clock.now()

    @transition(
        "status", {TrainingPlanStatus.SUBMITTED}, TrainingPlanStatus.APPROVED, label=N_("Approve"), tone="green"
    )
    def approve(self) -> None:
        """Agree to the plan; whoever handed it in cannot approve it."""
        approver = acting_staff(self)
        if approver is not None and approver.id == self.submitted_by_id:
            raise RuleBroken(
                N_("%(name)s handed this plan in, so somebody else approves it: ask the head of the branch."),
                name=approver.name,
            )
        self.approved_by, self.approved_at = approver, clock.now()

    @transition(
        "status", {TrainingPlanStatus.APPROVED}, TrainingPlanStatus.IN_FORCE, label=N_("Put in force"), tone="green"
    )
    def put_in_force(self) -> None:
        """Begin with the plan; the clock does it on the first day of its year."""
        if self.year > clock.today().year:
            raise RuleBroken(
                N_("“%(plan)s” is for %(year)s: it comes into force when that year begins."),
                field="year", plan=self.title, year=self.year,
            )  # fmt: skip

    @transition("status", {TrainingPlanStatus.IN_FORCE}, TrainingPlanStatus.CLOSED, label=N_("Close the plan"))
    def close(self, *, year_review: Note) -> None:
        """End the plan with what was learnt from it for the next one."""
        pending = [s for item in self.live_items() for s in item.sessions if s.is_pending()]
        if pending:
            raise RuleBroken(
                N_("“%(session)s” is %(state)s: finish or cancel the sessions of the plan first."),
                session=str(pending[0]), state=pending[0].status,
            )  # fmt: skip
        self.year_review = year_review


class TrainingPlanItem(Model):
    """One course a plan holds for its year: what for, what, how, when and by whom."""

    __icon__ = "list-check"
    __title__ = ("course", "planned_on")
    __key__ = ("plan", "course", "planned_on")
    __part_of__ = "plan"
    __table_args__ = (
        CheckConstraint("cost >= 0", name="cost_not_negative"),
        CheckConstraint("hours > 0", name="hours_are_positive"),
    )

    plan_id: Mapped[int] = mapped_column(ForeignKey(TrainingPlan.id), index=True)
    course_id: Mapped[int] = mapped_column(ForeignKey(TrainingCourse.id), index=True)
    goal: Mapped[Note | None]
    content: Mapped[Note | None]
    method: Mapped[TrainingMode | None] = mapped_column(info={"label": N_("Teaching method")})
    planned_on: Mapped[Day | None]
    trainer: Mapped[Name | None]
    hours: Mapped[Score | None]
    cost: Mapped[Money | None] = mapped_column(info={"label": N_("Budget")})

    plan: Mapped[TrainingPlan] = relationship(back_populates="items")
    course: Mapped[TrainingCourse] = relationship()
    sessions: Mapped[list["TrainingSession"]] = relationship(back_populates="plan_item")  # type: ignore[name-defined]  # noqa: F821

    REQUIRED = ("goal", "content", "method", "planned_on", "trainer")

    def check(self) -> None:
        if self.planned_on is not None and self.planned_on.year != self.plan.year:
            raise RuleBroken(
                N_("%(day)s is not in %(year)s, the year of the plan: choose a day of that year."),
                field="planned_on", day=self.planned_on, year=self.plan.year,
            )  # fmt: skip

    def require_complete(self) -> None:
        lacking = [name for name in self.REQUIRED if getattr(self, name) in (None, "")]
        if lacking:
            raise RuleBroken(
                N_("The item “%(item)s” lacks %(what)s: fill it in before handing the plan in."),
                field=lacking[0], item=self.course.name,
                what=Labels(field(TrainingPlanItem, name).label for name in lacking),
            )  # fmt: skip


@clock.duty("training_plan.year")
def begin_plans(session: Session) -> int:
    """Put approved plans in force once their year has begun."""
    due = select(TrainingPlan).where(
        TrainingPlan.status == TrainingPlanStatus.APPROVED, TrainingPlan.year <= clock.today().year
    )
    plans = session.scalars(due).all()
    for plan in plans:
        plan.put_in_force()
    return len(plans)

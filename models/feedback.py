"""What clients and their families tell the houses, through every channel, until it is dealt with (SM-14)."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, object_session, relationship

from . import clock
from .base import BranchScoped, Code, Day, Instant, Model, Name, Note, Phone, Title
from .choices import N_, Choice
from .clients import Client
from .errors import RuleBroken
from .flush import changed_fields
from .organisation import Branch
from .staff import Staff, acting_staff
from .workflow import ruled, transition

AREA = N_("Feedback")


class FeedbackChannel(Choice):
    BOX = "box", N_("Suggestion box")
    INTERVIEW = "interview", N_("Face-to-face talk")
    PHONE_RETURN = "phone_return", N_("Follow-up call")
    HOTLINE = "hotline", N_("Phone")
    ONLINE = "online", N_("Web")
    EMAIL = "email", N_("Email")
    WINDOW = "window", N_("Service window")
    QUESTIONNAIRE = "questionnaire", N_("Questionnaire")
    STAFF = "staff", N_("Told to staff")
    PLATFORM_12345 = "platform_12345", N_("12345 hotline")
    PLATFORM_12315 = "platform_12315", N_("12315 platform")
    POSTAL_MAIL = "postal_mail", N_("Postal mail")
    FAX = "fax", N_("Fax")
    REFERRAL = "referral", N_("Referral")


class FeedbackKind(Choice):
    COMPLAINT = "complaint", N_("Complaint"), "red"
    SUGGESTION = "suggestion", N_("Suggestion"), "blue"
    PRAISE = "praise", N_("Praise"), "green"
    QUESTION = "question", N_("Query"), "neutral"


class FeedbackStatus(Choice):
    RECEIVED = "received", N_("Received"), "red"
    ROUTED = "routed", N_("Being handled"), "amber"
    CLOSED = "closed", N_("Closed"), "neutral"


class ComplaintCategory(Choice):
    ATTITUDE = "attitude", N_("Attitude")
    PROFESSIONALISM = "professionalism", N_("Professional skill")
    TIMELINESS = "timeliness", N_("Timeliness")
    RESPONSIBILITY = "responsibility", N_("Sense of responsibility")
    COMMUNICATION = "communication", N_("Communication")
    OVER_SELLING = "over_selling", N_("Over-selling")
    ENVIRONMENT = "environment", N_("Environment")
    MEALS = "meals", N_("Meals")
    BILLING = "billing", N_("Billing")
    SAFETY = "safety", N_("Safety")
    PRIVACY = "privacy", N_("Privacy")
    OUTCOME = "outcome", N_("Outcome of the service")


class Severity(Choice):
    MINOR = "minor", N_("Slight"), "neutral"
    GENERAL = "general", N_("Ordinary"), "blue"
    SERIOUS = "serious", N_("Serious"), "amber"
    CRITICAL = "critical", N_("Critical"), "red"

    @property
    def is_grave(self) -> bool:
        """Serious and above: a team investigates, and an improvement action follows."""
        return self in {Severity.SERIOUS, Severity.CRITICAL}


class Feedback(BranchScoped, Model):
    """One thing somebody told the house; the ledger of them all, whatever becomes of each.

    ``category`` is the sender's or the file's own word for the matter; ``complaint_category`` is the
    house's, given when it is routed as a complaint.
    """

    __icon__ = "message-report"
    __title__ = ("no",)
    __key__ = ("no",)
    __owner__ = ("owner",)
    __list__ = ("no", "received_at", "status", "kind", "channel", "client", "subject", "category", "owner", "branch")
    __table_args__ = (
        UniqueConstraint("branch_id", "external_ref"),
        CheckConstraint(
            "content IS NOT NULL OR subject IS NOT NULL OR detail IS NOT NULL OR category IS NOT NULL",
            name="says_something",
        ),
        CheckConstraint("status = 'received' OR kind IS NOT NULL", name="has_a_kind_once_routed"),
    )

    no: Mapped[Code] = mapped_column(unique=True, info={"label": N_("Feedback no."), "serial": "F{n:06d}"})
    received_at: Mapped[Instant] = mapped_column(default=clock.now)
    channel: Mapped[FeedbackChannel]
    status: Mapped[FeedbackStatus] = mapped_column(default=FeedbackStatus.RECEIVED)
    kind: Mapped[FeedbackKind | None]
    client_id: Mapped[int | None] = mapped_column(ForeignKey(Client.id), index=True)
    is_anonymous: Mapped[bool] = mapped_column(default=False, info={"label": N_("Anonymous")})
    contact_name: Mapped[Name | None] = mapped_column(info={"sort": False})
    contact_phone: Mapped[Phone | None]
    subject: Mapped[Title | None]
    content: Mapped[Note | None] = mapped_column(info={"help": N_("In the person's own words")})
    category: Mapped[Title | None]
    detail: Mapped[Title | None]
    company: Mapped[Title | None] = mapped_column(info={"help": N_("The partner or supplier it concerns, if any")})
    source_region: Mapped[Title | None] = mapped_column(info={"label": N_("Region")})
    postcode: Mapped[Code | None] = mapped_column(info={"search": False, "sort": False})
    publication_consent: Mapped[Title | None] = mapped_column(info={"label": N_("Consent to publish")})
    external_ref: Mapped[Code | None] = mapped_column(
        info={
            "label": N_("Reference elsewhere"),
            "help": N_("Its number in the file or platform it came from"),
            "sort": False,
        }
    )
    owner_id: Mapped[int | None] = mapped_column(ForeignKey(Staff.id), index=True, info={"label": N_("Handled by")})
    response: Mapped[Note | None]
    responded_on: Mapped[Day | None]
    is_timely: Mapped[bool | None] = mapped_column(info={"label": N_("Answered in time")})
    is_disputed: Mapped[bool | None] = mapped_column(info={"label": N_("Response disputed")})
    complaint_category: Mapped[ComplaintCategory | None] = mapped_column(info={"derived": True})
    severity: Mapped[Severity | None] = mapped_column(info={"derived": True})

    branch: Mapped[Branch] = relationship()
    client: Mapped[Client | None] = relationship()
    owner: Mapped[Staff | None] = relationship()
    complaint: Mapped["Complaint | None"] = relationship(back_populates="feedback")  # type: ignore[name-defined]  # noqa: F821

    def check(self) -> None:
        if not self.wording:
            raise RuleBroken(N_("This feedback says nothing: write down what was said."), field="content")
        if self.is_anonymous and (self.client or self.client_id or self.contact_name or self.contact_phone):
            raise RuleBroken(
                N_("Anonymous feedback names nobody: take the client and the contact out, or untick “Anonymous”."),
                field="is_anonymous",
            )
        if self.status in {FeedbackStatus.ROUTED, FeedbackStatus.CLOSED} and self._kind_is_typed():
            raise RuleBroken(
                N_("“%(record)s” is already handled as what it was routed as: its kind stays."),
                field="kind", record=str(self),
            )  # fmt: skip

    def _kind_is_typed(self) -> bool:
        session = object_session(self)
        return session is not None and not ruled(session) and any(f.attr == "kind" for f in changed_fields(self))

    @property
    def wording(self) -> str:
        """What was said: the content, or failing that the subject and whatever else tells it."""
        return self.content or " · ".join(part for part in (self.subject, self.category, self.detail) if part)

    @transition("status", {FeedbackStatus.RECEIVED}, FeedbackStatus.ROUTED, label=N_("Route"), tone="blue")
    def route(
        self, *, kind: FeedbackKind, category: ComplaintCategory | None = None, severity: Severity | None = None
    ) -> None:
        """Decide what it is; a complaint opens its own record, with a category and a severity."""
        if kind is FeedbackKind.COMPLAINT:
            for field, value in (("category", category), ("severity", severity)):
                if value is None:
                    raise RuleBroken(N_("A complaint needs a category and a severity: choose both."), field=field)
            self.complaint_category, self.severity = category, severity
        self.kind = kind
        self.owner = self.owner or acting_staff(self)

    @transition("status", {FeedbackStatus.ROUTED}, FeedbackStatus.CLOSED, label=N_("Answer"), tone="green")
    def answer(self, *, response: Note) -> None:
        """Answer a suggestion, praise or query, and close it."""
        if self.kind is FeedbackKind.COMPLAINT:
            raise RuleBroken(
                N_("“%(record)s” is handled as complaint %(no)s and closes with it: answer there."),
                record=str(self), no=self.complaint.no if self.complaint is not None else "?",
            )  # fmt: skip
        self.response = response
        self.responded_on = clock.today()

    @transition("status", {FeedbackStatus.ROUTED}, FeedbackStatus.CLOSED, label=N_("Close"), by_clock=True)
    def close(self) -> None:
        """With the complaint that was opened from it."""

    @transition("status", {FeedbackStatus.CLOSED}, FeedbackStatus.ROUTED, label=N_("Reopen"), by_clock=True)
    def reopen(self) -> None:
        """With the complaint that was opened from it."""

    def note_reply(self, at: datetime, in_time: bool) -> None:
        """Take over from its complaint when the complainant was told the result."""
        self.responded_on = clock.local_day(at)
        self.is_timely = in_time

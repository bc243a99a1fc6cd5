"""The people who work in the houses, the posts they have held, and their credentials."""

from datetime import date, timedelta

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint, select
from sqlalchemy.orm import Mapped, Session, mapped_column, object_session, relationship

from . import clock
from .base import (
    BranchScoped,
    Code,
    Day,
    Email,
    IdNumber,
    Instant,
    Model,
    Money,
    Note,
    PersonName,
    Phone,
    Title,
)
from .choices import N_, Choice
from .errors import RuleBroken
from .organisation import Branch, Department, Post
from .workflow import transition

AREA = N_("People")

EXPIRY_WARNING = timedelta(days=90)


class Sex(Choice):
    FEMALE = "female", N_("Female")
    MALE = "male", N_("Male")


class StaffCategory(Choice):
    DOCTOR = "doctor", N_("Doctor")
    NURSE = "nurse", N_("Nurse")
    CONSULTANT = "consultant", N_("Consultant")
    CS = "cs", N_("Customer service officer")
    CAREGIVER = "caregiver", N_("Caregiver")
    ADMIN = "admin", N_("Administration")
    LOGISTICS = "logistics", N_("Logistics worker")


class StaffStatus(Choice):
    PROBATION = "probation", N_("On probation"), "blue"
    ACTIVE = "active", N_("In service"), "green"
    LEAVE = "leave", N_("On long leave"), "amber"
    LEFT = "left", N_("Left"), "neutral"


class Staff(BranchScoped, Model):
    """Somebody employed by a branch, from the first day to after leaving."""

    __icon__ = "id-badge-2"
    __title__ = ("name",)
    __key__ = ("no",)
    __owner__ = ("self",)
    __list__ = ("no", "name", "status", "department", "post", "category", "phone", "hired_on", "branch")
    __table_args__ = (
        CheckConstraint("left_on IS NULL OR left_on >= hired_on", name="leaves_after_being_hired"),
        CheckConstraint("probation_end IS NULL OR probation_end >= hired_on", name="probation_ends_after_being_hired"),
    )

    no: Mapped[Code] = mapped_column(unique=True, info={"label": N_("Staff no."), "serial": "E{n:05d}"})
    name: Mapped[PersonName]
    sex: Mapped[Sex | None]
    department_id: Mapped[int | None] = mapped_column(ForeignKey(Department.id), index=True)
    post_id: Mapped[int | None] = mapped_column(ForeignKey(Post.id), index=True)
    category: Mapped[StaffCategory] = mapped_column(default=StaffCategory.ADMIN)
    status: Mapped[StaffStatus] = mapped_column(default=StaffStatus.ACTIVE)
    manager_id: Mapped[int | None] = mapped_column(
        ForeignKey("staff.id"), index=True, info={"label": N_("Direct manager")}
    )
    phone: Mapped[Phone | None]
    email: Mapped[Email | None]
    id_number: Mapped[IdNumber | None]
    hired_on: Mapped[Day]
    probation_end: Mapped[Day | None]
    left_on: Mapped[Day | None]
    confidentiality_signed_on: Mapped[Day | None]
    monthly_salary: Mapped[Money | None] = mapped_column(info={"secrecy": "pay"})
    note: Mapped[Note | None]

    branch: Mapped[Branch] = relationship()
    department: Mapped[Department | None] = relationship(foreign_keys=[department_id])
    post: Mapped[Post | None] = relationship()
    manager: Mapped["Staff | None"] = relationship(remote_side="Staff.id")
    postings: Mapped[list["StaffPosting"]] = relationship(back_populates="staff", foreign_keys="StaffPosting.staff_id")
    credentials: Mapped[list["Credential"]] = relationship(back_populates="staff", foreign_keys="Credential.staff_id")

    def check(self) -> None:
        if self.status is StaffStatus.LEFT and self.left_on is None:
            raise RuleBroken(N_("%(name)s has left: enter the last day."), field="left_on", name=self.name)
        above = self.manager
        while above is not None:
            if above is self:
                raise RuleBroken(
                    N_("%(name)s cannot report to themselves, not even through others."),
                    field="manager",
                    name=self.name,
                )
            above = above.manager

    def reports_to(self, other: "Staff") -> bool:
        """Whether *other* stands above this person, directly or through others."""
        above = self.manager
        while above is not None:
            if above is other:
                return True
            above = above.manager
        return False

    def valid_credential(self, kind: "CredentialKind", on: date) -> "Credential | None":
        """A verified credential of *kind* that is in force on the day *on*."""
        return next((c for c in self.credentials if c.kind is kind and c.in_force(on)), None)


class StaffPosting(Model):
    """Where somebody worked, as what, from when to when: history decides who was whose manager."""

    __icon__ = "history"
    __title__ = ("staff", "from_on")
    __key__ = ("staff", "from_on")
    __part_of__ = "staff"
    __owner__ = ("staff",)
    __table_args__ = (
        UniqueConstraint("staff_id", "from_on"),
        CheckConstraint("to_on IS NULL OR to_on >= from_on", name="ends_after_it_starts"),
    )

    staff_id: Mapped[int] = mapped_column(ForeignKey(Staff.id), index=True)
    branch_id: Mapped[int] = mapped_column(ForeignKey(Branch.id), index=True)
    department_id: Mapped[int | None] = mapped_column(ForeignKey(Department.id))
    post_id: Mapped[int | None] = mapped_column(ForeignKey(Post.id))
    manager_id: Mapped[int | None] = mapped_column(ForeignKey(Staff.id), info={"label": N_("Direct manager")})
    from_on: Mapped[Day]
    to_on: Mapped[Day | None]

    staff: Mapped[Staff] = relationship(back_populates="postings", foreign_keys=[staff_id])
    branch: Mapped[Branch] = relationship()
    department: Mapped[Department | None] = relationship()
    post: Mapped[Post | None] = relationship()
    manager: Mapped[Staff | None] = relationship(foreign_keys=[manager_id])

    def check(self) -> None:
        for other in self.staff.postings:
            if other is not self and other.deleted_at is None and self._overlaps(other):
                raise RuleBroken(
                    N_("%(name)s already holds a post from %(start)s: end that posting first."),
                    field="from_on", name=self.staff.name, start=other.from_on,
                )  # fmt: skip

    def _overlaps(self, other: "StaffPosting") -> bool:
        return self.from_on <= (other.to_on or date.max) and other.from_on <= (self.to_on or date.max)


class CredentialKind(Choice):
    NURSE_LICENCE = "nurse_licence", N_("Nurse licence")
    DOCTOR_LICENCE = "doctor_licence", N_("Doctor licence")
    AESTHETIC_LEAD_DOCTOR = "aesthetic_lead_doctor", N_("Lead doctor in aesthetic medicine")
    HEALTH_CERTIFICATE = "health_certificate", N_("Health certificate")
    CAREGIVER_LEVEL = "caregiver_level", N_("Caregiver grade")
    INFANT_CARE = "infant_care", N_("Infant care certificate")
    DIETITIAN = "dietitian", N_("Dietitian certificate")
    THERAPIST = "therapist", N_("Therapist certificate")
    FIRST_AID = "first_aid", N_("First-aid certificate")


class CredentialStatus(Choice):
    SUBMITTED = "submitted", N_("Awaiting verification"), "amber"
    VERIFIED = "verified", N_("Verified"), "green"
    EXPIRING = "expiring", N_("Expiring"), "amber"
    EXPIRED = "expired", N_("Expired"), "red"
    RENEWED = "renewed", N_("Replaced by a newer one"), "neutral"


class Credential(Model):
    """A licence or certificate; without it in force its holder may not do what it stands for (SM-22)."""

    __icon__ = "shield-lock"
    __title__ = ("staff", "kind")
    __key__ = ("kind", "number")
    __part_of__ = "staff"
    __owner__ = ("staff",)
    __table_args__ = (
        UniqueConstraint("kind", "number"),
        CheckConstraint("expires_on IS NULL OR expires_on > issued_on", name="expires_after_issue"),
    )

    staff_id: Mapped[int] = mapped_column(ForeignKey(Staff.id), index=True)
    kind: Mapped[CredentialKind]
    number: Mapped[Code]
    issued_on: Mapped[Day]
    expires_on: Mapped[Day | None]
    place_of_practice_id: Mapped[int | None] = mapped_column(
        ForeignKey(Branch.id), info={"label": N_("Place of practice")}
    )
    scope: Mapped[Title | None] = mapped_column(info={"label": N_("Scope of practice")})
    status: Mapped[CredentialStatus] = mapped_column(default=CredentialStatus.SUBMITTED)
    verified_by_id: Mapped[int | None] = mapped_column(ForeignKey(Staff.id), info={"derived": True})
    verified_at: Mapped[Instant | None] = mapped_column(info={"derived": True})

    staff: Mapped[Staff] = relationship(back_populates="credentials", foreign_keys=[staff_id])
    place_of_practice: Mapped[Branch | None] = relationship()
    verified_by: Mapped[Staff | None] = relationship(foreign_keys=[verified_by_id])

    def in_force(self, on: date) -> bool:
        """Whether it was verified and had not run out on the day *on*."""
        verified = self.status in {CredentialStatus.VERIFIED, CredentialStatus.EXPIRING}
        return verified and self.issued_on <= on and (self.expires_on is None or on <= self.expires_on)

    @transition("status", {CredentialStatus.SUBMITTED}, CredentialStatus.VERIFIED, label=N_("Verify"), tone="green")
    def verify(self) -> None:
        """Confirm that the original was seen; the holder cannot confirm their own."""
        verifier = acting_staff(self)
        if verifier is not None and verifier.id == self.staff_id:
            raise RuleBroken(
                N_("%(name)s cannot verify their own credential: ask a colleague in HR."),
                name=self.staff.name,
            )
        if self.expires_on is not None and self.expires_on < clock.today():
            raise RuleBroken(
                N_("This credential ran out on %(day)s: register the renewed one."),
                field="expires_on",
                day=self.expires_on,
            )
        self.verified_by = verifier
        self.verified_at = clock.now()

    @transition(
        "status",
        {CredentialStatus.VERIFIED},
        CredentialStatus.EXPIRING,
        label=N_("Mark as expiring"),
        by_clock=True,
    )
    def warn(self) -> None:
        """Ninety days before it runs out."""

    @transition(
        "status",
        {CredentialStatus.VERIFIED, CredentialStatus.EXPIRING},
        CredentialStatus.EXPIRED,
        label=N_("Mark as expired"),
        by_clock=True,
    )
    def expire(self) -> None:
        """The day after its last day."""

    @transition(
        "status",
        {CredentialStatus.VERIFIED, CredentialStatus.EXPIRING, CredentialStatus.EXPIRED},
        CredentialStatus.RENEWED,
        label=N_("Replace by a newer one"),
    )
    def renew(self) -> None:
        """Close it because the renewed credential is registered and verified."""
        newer = [
            c for c in self.staff.credentials if c.kind is self.kind and c is not self and c.issued_on > self.issued_on
        ]
        if not any(c.status is CredentialStatus.VERIFIED for c in newer):
            raise RuleBroken(N_("Register and verify the renewed credential of %(name)s first."), name=self.staff.name)


@clock.duty("credential.expiry")
def expire_credentials(session: Session) -> int:
    """Warn ninety days ahead, expire the day after the last day."""
    today = clock.today()
    standing = {CredentialStatus.VERIFIED, CredentialStatus.EXPIRING}
    due = select(Credential).where(Credential.status.in_(standing), Credential.expires_on <= today + EXPIRY_WARNING)
    moved = 0
    for credential in session.scalars(due).all():
        if credential.expires_on is not None and credential.expires_on < today:
            credential.expire()
            moved += 1
        elif credential.status is CredentialStatus.VERIFIED:
            credential.warn()
            moved += 1
    return moved


def acting_staff(record: Model) -> Staff | None:
    """Who is at work in the record's session; None for the clock, for seeding and outside a session."""
    session = object_session(record)
    principal = session.info.get("principal") if session is not None else None
    if session is None or principal is None or principal.staff_id is None:
        return None
    with session.no_autoflush:
        return session.get(Staff, principal.staff_id, execution_options={"unscoped": "who is acting"})


def staff_on(session: Session, day: date) -> list[Staff]:
    """Everybody employed on *day*, by staff number."""
    employed = select(Staff).where(Staff.hired_on <= day, (Staff.left_on.is_(None)) | (Staff.left_on >= day))
    return list(session.scalars(employed.order_by(Staff.no)))

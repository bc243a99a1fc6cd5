"""The houses: branches, their departments, and the posts people hold."""

from datetime import date

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .base import BranchScoped, Code, Count, Day, Model, Name, Phone, Title
from .choices import N_, Choice
from .errors import RuleBroken

AREA = N_("Organisation")


class LineOfBusiness(Choice):
    POSTPARTUM = "postpartum", N_("Postpartum care"), "green"
    ELDER = "elder", N_("Elder care"), "blue"
    AESTHETIC = "aesthetic", N_("Aesthetic medicine"), "amber"
    MIXED = "mixed", N_("Mixed"), "neutral"


class DepartmentKind(Choice):
    NURSING = "nursing", N_("Nursing")
    MEDICAL = "medical", N_("Medical")
    CUSTOMER_SERVICE = "customer_service", N_("Customer service")
    SALES = "sales", N_("Sales and front desk")
    HR = "hr", N_("Human resources")
    FINANCE = "finance", N_("Finance")
    LOGISTICS = "logistics", N_("Logistics")
    MANAGEMENT = "management", N_("Management")
    OTHER = "other", N_("Other")


class Branch(Model):
    """One house: a postpartum centre, an elder-care home or an aesthetic clinic."""

    __icon__ = "home"
    __title__ = ("name",)
    __key__ = ("code",)
    __table_args__ = (
        CheckConstraint(
            "closed_on IS NULL OR opened_on IS NULL OR closed_on >= opened_on", name="closes_after_opening"
        ),
        CheckConstraint("bed_capacity >= 0", name="bed_capacity_not_negative"),
    )

    code: Mapped[Code] = mapped_column(unique=True)
    name: Mapped[Name]
    line: Mapped[LineOfBusiness] = mapped_column(info={"label": N_("Line of business")})
    address: Mapped[Title | None] = mapped_column(info={"search": False})
    phone: Mapped[Phone | None] = mapped_column(info={"secrecy": None})
    licence_no: Mapped[Code | None] = mapped_column(info={"label": N_("Licence no.")})
    licence_expires_on: Mapped[Day | None]
    opened_on: Mapped[Day | None]
    closed_on: Mapped[Day | None]
    bed_capacity: Mapped[Count] = mapped_column(default=0)

    departments: Mapped[list["Department"]] = relationship(back_populates="branch")

    def is_open(self, on: date) -> bool:
        return (self.opened_on is None or self.opened_on <= on) and (self.closed_on is None or self.closed_on > on)


class Department(BranchScoped, Model):
    """A department of one branch."""

    __icon__ = "columns-3"
    __title__ = ("name",)
    __key__ = ("branch", "code")
    __table_args__ = (UniqueConstraint("branch_id", "code"),)

    code: Mapped[Code]
    name: Mapped[Name]
    kind: Mapped[DepartmentKind] = mapped_column(default=DepartmentKind.OTHER)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("department.id"), info={"label": N_("Parent department")})
    head_id: Mapped[int | None] = mapped_column(
        ForeignKey("staff.id", use_alter=True), info={"label": N_("Head of department")}
    )

    branch: Mapped[Branch] = relationship(back_populates="departments")
    parent: Mapped["Department | None"] = relationship(remote_side="Department.id")
    head: Mapped["Staff | None"] = relationship(foreign_keys=[head_id], post_update=True)  # type: ignore[name-defined]  # noqa: F821

    def check(self) -> None:
        above: Department | None = self.parent
        while above is not None:
            if above is self:
                raise RuleBroken(
                    N_("“%(name)s” cannot be below itself: choose another parent department."),
                    field="parent",
                    name=self.name,
                )
            above = above.parent


class Post(Model):
    """A post people hold, the same in every branch."""

    __icon__ = "id-badge-2"
    __title__ = ("name",)
    __key__ = ("code",)
    __shared__ = True

    code: Mapped[Code] = mapped_column(unique=True)
    name: Mapped[Name]
    department_kind: Mapped[DepartmentKind | None]
    is_clinical: Mapped[bool] = mapped_column(default=False)
    is_consulting_qualified: Mapped[bool] = mapped_column(default=False)
    ladder_code: Mapped[Code | None]
    level: Mapped[Count | None]

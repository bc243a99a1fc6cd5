"""What the houses sell: service items, and packages of them at a list and a floor price."""

from decimal import Decimal

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .base import Code, Count, Model, Money, Name, Note, Score
from .choices import N_, Choice
from .clients import ClientLine
from .errors import RuleBroken
from .staff import CredentialKind

AREA = N_("Contracts")


class ServiceUnit(Choice):
    TIME = "time", N_("Per time")
    NIGHT = "night", N_("Per night")
    DAY = "day", N_("Per day")
    SESSION = "session", N_("Per session")
    PIECE = "piece", N_("Per piece")


class ServiceItem(Model):
    """One thing a house does for a client."""

    __icon__ = "stethoscope"
    __title__ = ("name",)
    __key__ = ("code",)
    __shared__ = True
    __table_args__ = (CheckConstraint("minutes IS NULL OR minutes > 0", name="takes_some_minutes"),)

    code: Mapped[Code] = mapped_column(unique=True)
    name: Mapped[Name]
    line: Mapped[ClientLine] = mapped_column(info={"label": N_("Line of business")})
    unit: Mapped[ServiceUnit] = mapped_column(default=ServiceUnit.TIME)
    minutes: Mapped[Count | None]
    needs_credential: Mapped[CredentialKind | None] = mapped_column(info={"label": N_("Credential of the performer")})
    description: Mapped[Note | None]


class Package(Model):
    """Service items sold together."""

    __icon__ = "folder"
    __title__ = ("name",)
    __key__ = ("code",)
    __shared__ = True
    __table_args__ = (
        CheckConstraint("list_price >= 0", name="list_price_not_negative"),
        CheckConstraint("floor_price >= 0", name="floor_price_not_negative"),
        CheckConstraint("floor_price <= list_price", name="floor_price_at_most_the_list_price"),
    )

    code: Mapped[Code] = mapped_column(unique=True)
    name: Mapped[Name]
    line: Mapped[ClientLine] = mapped_column(info={"label": N_("Line of business")})
    nights: Mapped[Count | None]
    list_price: Mapped[Money]
    floor_price: Mapped[Money] = mapped_column(
        info={"help": N_("An agreed price below it needs the director's approval.")}
    )
    is_on_sale: Mapped[bool] = mapped_column(default=True)

    items: Mapped[list["PackageItem"]] = relationship(back_populates="package")

    def check(self) -> None:
        if self.list_price is not None and self.floor_price is not None and self.floor_price > self.list_price:
            raise RuleBroken(
                N_("The floor price %(floor)s lies above the list price %(list)s."),
                field="floor_price", floor=self.floor_price, list=self.list_price,
            )  # fmt: skip


class PackageItem(Model):
    """How much of a service item a package holds."""

    __icon__ = "columns-3"
    __title__ = ("package", "item")
    __key__ = ("package", "item")
    __part_of__ = "package"
    __shared__ = True
    __table_args__ = (
        UniqueConstraint("package_id", "item_id"),
        CheckConstraint("quantity > 0", name="quantity_is_positive"),
    )

    package_id: Mapped[int] = mapped_column(ForeignKey(Package.id), index=True)
    item_id: Mapped[int] = mapped_column(ForeignKey(ServiceItem.id), index=True)
    quantity: Mapped[Score] = mapped_column(default=Decimal(1))

    package: Mapped[Package] = relationship(back_populates="items")
    item: Mapped[ServiceItem] = relationship()

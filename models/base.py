"""Base classes and the column vocabulary every model is declared with. Knows no web.

A column is declared with a word of this vocabulary, and its SQL type, form field, list cell,
filter, import parser and search tokens follow from the word::

    agreed_amount: Mapped[Money] = mapped_column(info={"help": N_("After discount, in CNY")})

``info`` may carry: ``label`` and ``help`` (msgids), ``secrecy`` (a class of secrecy: contact,
identity, health, pay …), ``derived`` (set by rules, never typed), ``serial`` (a number pattern
filled in when left empty), ``search`` (False keeps a text out of the search), ``list`` (False
keeps it out of lists), ``sort`` (True or False against the kind's habit).
"""

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, ClassVar

import sqlalchemy as sa
from sqlalchemy import ForeignKey, MetaData, Numeric, String, Text, event
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column, registry

from . import clock_source
from .choices import N_, Choice

__all__ = [
    "Base", "BranchScoped", "Code", "Count", "Day", "Email", "IdNumber", "Instant", "Json", "Model", "Money",
    "Name", "Note", "Percent", "PersonName", "Phone", "Score", "Secret", "Title", "UTCDateTime", "snake_case",
]  # fmt: skip


class UTCDateTime(sa.TypeDecorator[datetime]):
    """Aware datetimes, stored as UTC; a naive one is a programmer's error."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Any) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"naive datetime {value!r}: pass an aware one, such as clock.now()")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _dialect: Any) -> datetime | None:
        if value is None:
            return None
        # PostgreSQL answers in the zone of its own settings.
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _word(type_: Any, kind: str, **info: Any) -> Any:
    # What a word says by default stands apart: SQLAlchemy lets a word's info overrule the column's own.
    return mapped_column(type_, info={"kind": kind, "word": info})


Code = Annotated[str, _word(String(40), "code")]
Name = Annotated[str, _word(String(80), "name")]
PersonName = Annotated[str, _word(String(80), "name", label=N_("Full name"))]
Title = Annotated[str, _word(String(160), "text")]
Note = Annotated[str, _word(Text, "note")]
Email = Annotated[str, _word(String(160), "email", secrecy="contact")]
Phone = Annotated[str, _word(String(40), "phone", secrecy="contact")]
IdNumber = Annotated[str, _word(String(40), "id_number", secrecy="identity")]
Money = Annotated[Decimal, _word(Numeric(12, 2), "money")]
Percent = Annotated[Decimal, _word(Numeric(6, 2), "percent")]
Score = Annotated[Decimal, _word(Numeric(8, 2), "number")]
Count = Annotated[int, _word(sa.Integer, "number")]
Day = Annotated[date, _word(sa.Date, "day")]
Instant = Annotated[datetime, _word(UTCDateTime, "instant")]
Json = Annotated[Any, _word(sa.JSON(none_as_null=True), "json")]
Secret = Annotated[str, _word(String(255), "secret")]

_PLAIN_KINDS: dict[type, str] = {
    bool: "bool",
    int: "number",
    str: "text",
    date: "day",
    datetime: "instant",
    Decimal: "number",
}


def snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


class Base(DeclarativeBase):
    """Everything with a table. Records that people keep derive from Model instead."""

    __table__: ClassVar[sa.Table]

    registry = registry(
        metadata=MetaData(
            naming_convention={
                "ix": "ix_%(table_name)s_%(column_0_N_name)s",
                "uq": "uq_%(table_name)s_%(column_0_N_name)s",
                "ck": "ck_%(table_name)s_%(constraint_name)s",
                "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
                "pk": "pk_%(table_name)s",
            }
        ),
        type_annotation_map={
            datetime: UTCDateTime,
            Enum: sa.Enum(
                Enum,
                native_enum=False,
                create_constraint=False,  # one sentence-named CHECK per column instead: see _name_choice_checks
                length=40,
                values_callable=lambda members: [m.value for m in members],
                validate_strings=True,
            ),
        },
    )

    @declared_attr.directive
    def __tablename__(cls) -> str:
        return snake_case(cls.__name__)

    def __init_subclass__(cls, **kw: Any) -> None:
        super().__init_subclass__(**kw)
        table = cls.__dict__.get("__table__")
        if table is not None:
            type.__setattr__(
                cls, "__tablename__", table.name
            )  # plain from here on: the directive would work it out at every use
            _name_choice_checks(table)
            _index_sort_columns(cls, table)
            # SQLite would give a number again once the youngest record is gone, and with it that record's history.
            table.dialect_kwargs["sqlite_autoincrement"] = issubclass(cls, Model) and len(table.primary_key) == 1


class Model(Base):
    """A record that people keep: versioned, stamped, recyclable, journaled, permitted, searchable.

    Class attributes a model may set (all optional):

    ``__label__``    its noun, a msgid; by default the class name in words
    ``__area__``     the menu group, a msgid; by default the module's ``AREA``
    ``__icon__``     an icon of the sprite
    ``__title__``    attributes whose values name a record to people, relations allowed
    ``__key__``      attributes that identify a record in a file: its natural key
    ``__part_of__``  the relation to the record it is a part of: it follows that record's row scope and its bin
    ``__owner__``    relations (dotted) to the staff whose own record it is, for the scopes own and team
    ``__shared__``   True for reference data that every branch sees
    ``__list__``     attributes shown in lists, when the first seven are not the best
    """

    __abstract__ = True

    __label__: ClassVar[str]
    __area__: ClassVar[str]
    __icon__: ClassVar[str] = "folder"
    __title__: ClassVar[tuple[str, ...]]
    __key__: ClassVar[tuple[str, ...]] = ()
    __part_of__: ClassVar[str | None] = None
    __owner__: ClassVar[tuple[str, ...]] = ()
    __shared__: ClassVar[bool] = False
    __list__: ClassVar[tuple[str, ...] | None] = None

    id: Mapped[int] = mapped_column(primary_key=True, sort_order=-100, info={"label": N_("Record no."), "system": True})
    version: Mapped[int] = mapped_column(sort_order=900, info={"system": True})
    created_at: Mapped[Instant] = mapped_column(default=clock_source.now, sort_order=901, info={"system": True})
    updated_at: Mapped[Instant] = mapped_column(
        default=clock_source.now, onupdate=clock_source.now, sort_order=902, info={"system": True}
    )
    deleted_at: Mapped[Instant | None] = mapped_column(sort_order=903, index=True, info={"system": True})

    @declared_attr.directive
    def __mapper_args__(cls) -> dict[str, Any]:
        return {"version_id_col": cls.version}

    def check(self) -> None:
        """Raise RuleBroken when the record's values do not fit each other; called before every flush."""

    def derive(self) -> None:
        """Set the derived columns from the others; called before every flush."""

    def __str__(self) -> str:
        parts = [getattr(self, name, None) for name in type(self).__title__]
        return " · ".join(_in_title(p) for p in parts if p is not None) or f"#{self.id}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.__dict__.get('id')}>"


def _in_title(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value.astimezone(clock_source.HOUSE_ZONE):%Y-%m-%d %H:%M}"
    return str(getattr(value, "label", value))


class BranchScoped:
    """A record that belongs to one branch and is seen by those whose scope holds the branch."""

    branch_id: Mapped[int] = mapped_column(ForeignKey("branch.id"), index=True, sort_order=-50)


def _name_choice_checks(table: sa.Table) -> None:
    for column in table.columns:
        if isinstance(column.type, sa.Enum) and column.type.enums:
            table.append_constraint(sa.CheckConstraint(column.in_(column.type.enums), name=f"{column.name}_is_known"))


def _index_sort_columns(cls: type[Base], table: sa.Table) -> None:
    """Keyset pages need an index that ends in the primary key for each column a list sorts by."""
    if not issubclass(cls, Model):
        return
    for column in table.columns:
        if column.info.get("sort") and len(table.primary_key) == 1:
            sa.Index(f"ix_{table.name}_{column.name}_order", column, *table.primary_key)


@event.listens_for(sa.Column, "after_parent_attach")
def _give_kind(column: sa.Column[Any], table: Any) -> None:
    """Columns declared without a word take their kind from their Python type; columns that lists sort by are marked."""
    if not isinstance(table, sa.Table):
        return
    info = {**column.info.get("word", {}), **column.info}
    info.pop("word", None)
    if "kind" not in info:
        if (
            isinstance(column.type, sa.Enum)
            and isinstance(column.type.enum_class, type)
            and issubclass(column.type.enum_class, Choice)
        ):
            info["kind"] = "choice"
        elif column.foreign_keys:
            info["kind"] = "relation"
        else:
            try:
                info["kind"] = _PLAIN_KINDS.get(column.type.python_type, "text")
            except NotImplementedError:
                info["kind"] = "json"
    info.setdefault("sort", info["kind"] in {"code", "name", "day", "instant", "money"} and not info.get("system"))
    column.info = info

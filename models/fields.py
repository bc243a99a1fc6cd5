"""What a model declares, read back as plain data: the one description forms, lists, imports,
exports, filters, search, journal and policy share."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import RelationshipDirection, RelationshipProperty

from .base import Base, Model
from .choices import Choice
from .workflow import state_columns, words


@dataclass(frozen=True)
class Field:
    """One column of a model as people meet it.

    key -- the attribute people speak of: for a foreign key the relation ("client"), else the column ("name")
    attr -- the mapped column attribute ("client_id", "name")
    kind -- code, name, text, note, email, phone, id_number, money, percent, number, day, instant, bool,
            choice, relation, json, secret
    secrecy -- class of secrecy, or None
    required -- must be given: NOT NULL and nothing fills it in
    state -- moved by transitions alone; derived -- set by rules alone; system -- kept by the kit
    """

    model: type[Model]
    key: str
    attr: str
    column: sa.Column[Any]
    kind: str
    label: str
    help: str | None
    secrecy: str | None
    required: bool
    state: bool
    derived: bool
    system: bool
    serial: str | None
    choices: type[Choice] | None
    target: type[Model] | None

    @property
    def writable(self) -> bool:
        """Whether a person may ever type it."""
        return not (self.state or self.derived or self.system or self.kind == "secret")

    @property
    def searchable(self) -> bool:
        habit = self.kind in {"code", "name", "phone", "id_number", "email"}
        return bool(self.column.info.get("search", habit)) and self.kind != "secret"

    @property
    def sortable(self) -> bool:
        return bool(self.column.info.get("sort")) or self.attr == "id"

    @property
    def length(self) -> int | None:
        return getattr(self.column.type, "length", None) if isinstance(self.column.type, sa.String) else None

    @property
    def scale(self) -> int | None:
        """Decimal places of a number; None for whole numbers and other kinds."""
        return self.column.type.scale if isinstance(self.column.type, sa.Numeric) else None

    def __repr__(self) -> str:
        return f"<Field {self.model.__tablename__}.{self.key} {self.kind}>"


@cache
def fields_of(model: type[Model]) -> tuple[Field, ...]:
    """Every column of *model*, in the order of its declaration."""
    mapper = sa.inspect(model)
    relation_of = {
        column: relation
        for relation in mapper.relationships
        if relation.direction is RelationshipDirection.MANYTOONE
        for column in relation.local_columns
    }
    return tuple(_field(model, p.key, p.columns[0], relation_of.get(p.columns[0])) for p in mapper.column_attrs)


def _field(model: type[Model], attr: str, column: Any, relation: RelationshipProperty[Any] | None) -> Field:
    info = column.info
    target = relation.mapper.class_ if relation is not None else None
    fills_itself = column.default is not None or column.server_default is not None or info.get("serial")
    choices = getattr(column.type, "enum_class", None)
    key = relation.key if relation is not None else attr
    return Field(
        model=model,
        key=key,
        attr=attr,
        column=column,
        kind=info["kind"] if target is None else "relation",
        label=info.get("label") or words(key),
        help=info.get("help"),
        secrecy=info.get("secrecy"),
        required=not column.nullable and not fills_itself and not info.get("system") and not info.get("derived"),
        state=attr in state_columns(model),
        derived=bool(info.get("derived")),
        system=bool(info.get("system")),
        serial=info.get("serial"),
        choices=choices,
        target=target,
    )


@cache
def field_map(model: type[Model]) -> dict[str, Field]:
    """Fields by key and, for foreign keys, by column attribute too."""
    return {name: f for f in fields_of(model) for name in (f.attr, f.key)}


def field(model: type[Model], name: str) -> Field:
    """The field called *name*; KeyError when there is none."""
    return field_map(model)[name]


@cache
def relations_of(model: type[Model]) -> tuple[Field, ...]:
    """The fields that point at another record."""
    return tuple(f for f in fields_of(model) if f.target is not None)


def own_fields(model: type[Model]) -> tuple[Field, ...]:
    """The fields people know: everything but what the kit keeps for itself."""
    return tuple(f for f in fields_of(model) if not f.system and f.kind != "secret")


@cache
def list_fields(model: type[Model]) -> tuple[Field, ...]:
    """The fields a list shows when nobody chose columns."""
    if model.__list__ is not None:
        return tuple(field(model, name) for name in model.__list__)
    shown = [
        f for f in own_fields(model) if f.kind not in {"note", "json"} and f.column.info.get("list", True) is not False
    ]
    return tuple(shown[:8])


@cache
def models() -> tuple[type[Model], ...]:
    """Every model, in the order of declaration."""
    order = list(Base.metadata.tables)
    found = (m.class_ for m in Base.registry.mappers if issubclass(m.class_, Model))
    return tuple(sorted(found, key=lambda model: order.index(model.__tablename__)))


@cache
def by_table() -> dict[str, type[Model]]:
    return {m.__tablename__: m for m in models()}


@event.listens_for(Base, "instrument_class", propagate=True)
def _look_again(_mapper: Any, _class: type) -> None:
    """A model declared after somebody asked for all models is one of them too: it must not stay unguarded."""
    for known in (models, by_table, parts_of, references_to):
        known.cache_clear()


def model_named(table: str) -> type[Model]:
    """The model kept in *table*; KeyError when there is none."""
    return by_table()[table]


def label_of(model: type[Model]) -> str:
    """The model's noun, an English msgid."""
    declared: str | None = model.__dict__.get("__label__")
    return declared or words(model.__tablename__)


@cache
def title_paths(model: type[Model]) -> tuple[str, ...]:
    """The dotted column paths that together name a record: relations in ``__title__`` are followed.

    Contract("client", "no") -> ("client.name", "no")
    """
    paths: list[str] = []
    for name in model.__title__:
        found = field(model, name)
        if found.target is None:
            paths.append(name)
        else:
            paths += [f"{name}.{path}" for path in title_paths(found.target)]
    return tuple(paths)


@cache
def parts_of(model: type[Model]) -> tuple[tuple[type[Model], Field], ...]:
    """Models whose records are parts of a record of *model*, with the field that says so."""
    return tuple(
        (child, field(child, child.__part_of__))
        for child in models()
        if child.__part_of__ is not None and field(child, child.__part_of__).target is model
    )


@cache
def references_to(model: type[Model]) -> tuple[tuple[type[Model], Field], ...]:
    """Every field of another record that points at a record of *model*, parts included."""
    return tuple((other, f) for other in models() for f in fields_of(other) if f.target is model)

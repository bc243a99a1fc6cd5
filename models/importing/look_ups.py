"""Texts that name other records -> those records: fetched for a whole file in a few statements."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from .. import references
from ..base import Model
from ..choices import N_
from ..errors import Label, RuleBroken
from ..fields import Field, field_map, fields_of, label_of, own_fields
from ..fields import field as field_of
from ..flush import check_value

Context = tuple[Any, ...]
"""Values of the relations a target shares with the row that names it: (branch id,) for a department of a staff row."""


@dataclass(eq=False)
class NewLookUp:
    """A small look-up record that the file names and the house lacks; made when the plan is applied."""

    model: type[Model]
    text: str
    values: dict[str, Any] = field(default_factory=dict)


class LookUp:
    """Finds the records of *target* that rows of *model* name.

    shared -- relations that target's key and the model both have: beside 上海店 the department 护理部 is 上海's
    """

    def __init__(self, model: type[Model], f: Field) -> None:
        assert f.target is not None
        self.field, self.target = f, f.target
        self.shared = tuple(name for name in self.target.__key__ if _same_relation(model, self.target, name))
        self.by_key: dict[str, set[int]] = defaultdict(set)
        self.by_title: dict[str, set[int]] = defaultdict(set)
        self.in_context: dict[tuple[Context, str], set[int]] = defaultdict(set)
        self.titles: dict[int, str] = {}

    def fetch(self, session: Session, texts: set[str]) -> None:
        """Load what *texts* may name, in portions."""
        if not texts:
            return
        columns = self._searched()
        if not columns:
            self._load(session, None)
            return
        for portion in references.in_portions(sorted(_parts_of(texts))):
            numbers = [int(p[1:]) for p in portion if re.fullmatch(r"#\d{1,9}", p)]
            found = [column.in_(portion) for column in columns]
            self._load(session, sa.or_(*found, self.target.id.in_(numbers)) if numbers else sa.or_(*found))

    def _searched(self) -> list[Any]:
        """The target's own columns of text that a cell may quote: of its key, and of its title."""
        names = dict.fromkeys((*self.target.__key__, *self.target.__title__))
        return [getattr(self.target, n) for n in names if _is_plain_text(field_of(self.target, n))]

    def _load(self, session: Session, condition: Any) -> None:
        paths = references.paths_to_text(self.target)
        links = [field_of(self.target, name).attr for name in self.shared]
        titles = len(paths) - len(references.key_paths(self.target))
        for id_, found in references.fetch_paths(session, self.target, (*paths, *links), condition).items():
            self._know(id_, found[:titles], found[titles : len(paths)], found[len(paths) :])

    def _know(self, id_: int, title_values: Context, key_values: Context, context: Context) -> None:
        title, key = references.title_text(title_values), references.key_text_of(self.target, key_values)
        self.by_key[references.tidy(key)].add(id_)
        self.titles[id_] = references.tidy(title)
        self.by_title[references.tidy(title)].add(id_)
        if self.shared:
            paths = references.key_paths(self.target)
            own = [v for path, v in zip(paths, key_values, strict=True) if path.partition(".")[0] not in self.shared]
            for text in (title, references.JOINT.join(map(references.part_text, own))):
                self.in_context[context, references.tidy(text)].add(id_)

    def find(self, text: str, context: Context) -> int | None:
        """The id of the record that *text* names beside *context*; None when there is none.

        Raises RuleBroken when several bear the title, or when title and key contradict each other.
        """
        text = references.tidy(text)
        near = self.shared and all(isinstance(part, int) for part in context)
        found = (
            self.by_key.get(text)
            or (self.in_context.get((context, text)) if near else self.by_title.get(text))
            or set()
        )
        if len(found) == 1:
            return next(iter(found))
        if found:
            raise RuleBroken(
                N_("Several of “%(noun)s” are called “%(name)s”: write the code, or “title (code)”."),
                noun=Label(label_of(self.target)), name=text,
            )  # fmt: skip
        return self._find_split(text, context)

    def _find_split(self, text: str, context: Context) -> int | None:
        for title, key in references.split_reference(text):
            found = self.by_key.get(key) or self.in_context.get((context, key), set())
            if len(found) == 1:
                id_ = next(iter(found))
                if self.titles[id_] in {title, ""} or not self._title_is_plain():
                    return id_
                raise RuleBroken(
                    N_("“%(key)s” is the code of “%(found)s”, not of “%(title)s”: correct one of them."),
                    key=key, found=self.titles[id_], title=title,
                )  # fmt: skip
        return None

    def _title_is_plain(self) -> bool:
        return all(_is_plain_text(field_of(self.target, name)) for name in self.target.__title__)

    def missing(self, text: str) -> RuleBroken:
        return RuleBroken(
            N_("There is no %(noun)s “%(name)s”, or you may not see it: write its code or its exact name."),
            field=self.field.key, noun=Label(label_of(self.target)), name=text,
        )  # fmt: skip

    def new(self, text: str, context: Context) -> NewLookUp | None:
        """A record to make for *text*; None when this target is no small look-up.

        One is small when a code that people choose is its key and it needs no more than a code, a name
        and what the row already says.
        """
        own = [name for name in self.target.__key__ if name not in self.shared]
        if len(own) != 1 or field_of(self.target, own[0]).kind != "code" or field_of(self.target, own[0]).serial:
            return None
        names = [n for n in self.target.__title__ if field_of(self.target, n).kind == "name"]
        needed = {f.key for f in own_fields(self.target) if f.required}
        if not needed <= {*self.shared, *own, *names} or any(part is None for part in context):
            return None
        title, key = next(iter(references.split_reference(text)), (text, text))
        code = key.rpartition(references.JOINT)[2]
        values = {own[0]: code, **dict.fromkeys(names, title), **dict(zip(self.shared, context, strict=True))}
        for name in (own[0], *names):
            check_value(field_of(self.target, name), values[name])
        return NewLookUp(self.target, text, values)


def _same_relation(model: type[Model], target: type[Model], name: str) -> bool:
    there, here = field_of(target, name), field_map(model).get(name)
    return there.target is not None and here is not None and here.target is there.target


def _is_plain_text(f: Field) -> bool:
    return f.target is None and f.choices is None and isinstance(f.column.type, sa.String)


def _parts_of(texts: set[str]) -> set[str]:
    """Whatever part of a text may stand in a column of its own: the whole, title, key, and the key's pieces."""
    parts: set[str] = set()
    for text in map(references.tidy, texts):
        wholes = {text, *(part for pair in references.split_reference(text) for part in pair)}
        parts |= wholes
        for whole in wholes:
            parts.update(whole.split(references.JOINT))
    return parts - {""}


class ExistingRow:
    """A record's values by attribute; the names are kept once for all rows."""

    __slots__ = ("_at", "_values")

    def __init__(self, at: dict[str, int], values: Sequence[Any]) -> None:
        self._at, self._values = at, values

    def __getitem__(self, attr: str) -> Any:
        return self._values[self._at[attr]]


def fetch_existing(session: Session, model: type[Model], attrs: Sequence[str], condition: Any) -> Iterator[ExistingRow]:
    """The rows of *model* that fulfil *condition*, the recycled ones too: their keys are taken."""
    columns, at = [getattr(model, attr) for attr in attrs], {attr: n for n, attr in enumerate(attrs)}
    statement = sa.select(*columns).where(condition).execution_options(include_deleted=True)
    for row in session.execute(statement):
        yield ExistingRow(at, tuple(row))


def comparable_attrs(model: type[Model]) -> set[str]:
    """Attributes that an IN can be asked of: plain columns; nothing encrypted or structured, no fractions of a second."""
    return {
        f.attr
        for f in fields_of(model)
        if f.kind not in {"json", "note", "secret", "instant"} and not isinstance(f.column.type, sa.TypeDecorator)
    }

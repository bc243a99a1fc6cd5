"""How one record is named inside another's row of a file: by its natural key, with its title for people.

Department(branch SH01, code N1, name 护理部) is written ``护理部 (SH01 / N1)``; reading takes that, the key
alone, the title alone where it is unique, and the last part of the key beside a row of the same branch.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from functools import cache
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from .base import Model
from .clock import HOUSE_ZONE
from .fields import field, title_paths

JOINT = " / "
AT_ONCE = 4000  # values of one IN: SQLite takes 32,766, PostgreSQL 65,535


@cache
def key_paths(model: type[Model]) -> tuple[str, ...]:
    """The dotted column paths that together are a record's natural key; ("id",) for a model without one to show.

    Department("branch", "code") -> ("branch.code", "code")
    """
    paths: list[str] = []
    for name in _open_key(model) or ("id",):
        target = field(model, name).target
        paths += [name] if target is None else [f"{name}.{path}" for path in key_paths(target)]
    return tuple(paths)


def _open_key(model: type[Model]) -> tuple[str, ...]:
    """The natural key, unless part of it is a secret: what names a record is shown to all who see that it is named."""
    return () if any(field(model, name).secrecy for name in model.__key__) else model.__key__


def key_text(record: Model) -> str:
    """The natural key of *record* as files write it."""
    return key_text_of(type(record), [_follow(record, path) for path in key_paths(type(record))])


def key_text_of(model: type[Model], values: Iterable[Any]) -> str:
    """The same from the key's values, in the order of ``key_paths``: ``("SH01", "N1")`` -> ``SH01 / N1``."""
    if not _open_key(model):
        return "".join(f"#{value}" for value in values)
    return JOINT.join(part_text(value) for value in values)


def part_text(value: Any) -> str:
    """One value of a key as text, the same in every language."""
    if value is None:
        return "-"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, datetime):
        return value.astimezone(HOUSE_ZONE).isoformat(sep=" ", timespec="seconds")[:19]
    if isinstance(value, date):
        return value.isoformat()
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def reference_text(title: str, key: str) -> str:
    """What a cell says that names a record: ``护理部 (SH01 / N1)``; the key alone when the title adds nothing."""
    return key if not title or title == key else f"{title} ({key})"


def reference(record: Model | None) -> str | None:
    """``reference_text`` of a record; None for none."""
    if record is None:
        return None
    title = title_text([_follow(record, path) for path in title_paths(type(record))])
    return reference_text(title, key_text(record))


def title_text(values: Iterable[Any]) -> str:
    """A title from its values, in the order of ``fields.title_paths``; the same in every language."""
    return " · ".join(part_text(value) for value in values if value is not None)


def paths_to_text(model: type[Model]) -> tuple[str, ...]:
    """The column paths that ``text_from_paths`` needs: the title's, then the key's."""
    return (*title_paths(model), *key_paths(model))


def text_from_paths(model: type[Model], values: Sequence[Any]) -> str:
    """``reference_text`` from the values of ``paths_to_text``, for reports and exports that select columns."""
    split = len(title_paths(model))
    return reference_text(title_text(values[:split]), key_text_of(model, values[split:]))


def tidy(text: str) -> str:
    """*text* with one blank on either side of each slash and none inside brackets."""
    return re.sub(r"\s*\)", ")", re.sub(r"\s*\(\s*", " (", re.sub(r"\s*/\s*", JOINT, text))).strip()


def split_reference(text: str) -> list[tuple[str, str]]:
    """Every way to read ``title (key)``: brackets may be part of either."""
    if not text.endswith(")"):
        return []
    return [(text[: found.start()], text[found.end() : -1]) for found in re.finditer(r"\s*\(", text)]


def in_portions(values: Iterable[Any], size: int = AT_ONCE) -> Iterator[list[Any]]:
    """*values* in lists of at most *size*."""
    source = iter(values)
    while portion := list(islice(source, size)):
        yield portion


def fetch_paths(
    session: Session, model: type[Model], paths: Sequence[str], condition: Any = None
) -> dict[int, tuple[Any, ...]]:
    """The values at the dotted *paths* of the records that fulfil *condition*, by record number.

    One statement per relation on the way, whatever the number of rows. What the person at work may not
    see is None. (Joins would be one statement, but need aliases where two paths meet.)
    """
    heads = [path.partition(".")[0] for path in paths]
    attrs = [field(model, head).attr for head in heads]
    statement = sa.select(model.id, *(getattr(model, attr) for attr in dict.fromkeys(attrs)))
    at = {attr: n for n, attr in enumerate(dict.fromkeys(attrs), start=1)}
    rows = session.execute(statement if condition is None else statement.where(condition)).all()
    columns: list[Any] = []
    for head, attr, path in zip(heads, attrs, paths, strict=True):
        beyond = path.partition(".")[2]
        found = [row[at[attr]] for row in rows]
        columns.append(_beyond(session, field(model, head).target, beyond, found) if beyond else found)
    return {row[0]: values for row, values in zip(rows, zip(*columns, strict=True), strict=True)} if columns else {}


def _beyond(session: Session, target: type[Model] | None, path: str, ids: list[Any]) -> list[Any]:
    assert target is not None
    values: dict[int, tuple[Any, ...]] = {}
    for portion in in_portions(set(ids) - {None}):
        values |= fetch_paths(session, target, (path,), target.id.in_(portion))
    return [values[id_][0] if id_ in values else None for id_ in ids]


def _follow(record: Any, path: str) -> Any:
    for name in path.split("."):
        record = getattr(record, name) if record is not None else None
    return record

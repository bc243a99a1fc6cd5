"""Which column of a file is which field: by our labels in every language, and by what other people write."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

from ..base import Model
from ..choices import N_
from ..errors import RuleBroken
from ..fields import Field, field, field_map, label_of, own_fields
from ..spelling import Labels, aliases, fold, without_brackets

ROW_TITLE, REASON_TITLE = N_("Row in your file"), N_("Reason of refusal")
"""Columns that an error file adds and that an import passes over."""

_CLOSE_ENOUGH = 0.88
_LONG_ENOUGH = 6  # 入职时间 and 离职时间 differ by one of four characters


def importable_fields(model: type[Model]) -> tuple[Field, ...]:
    """What a column may be mapped to: the record number, the version, and every own field."""
    return (field(model, "id"), *own_fields(model), field(model, "version"))


def known_titles(model: type[Model], labels: Labels) -> list[str]:
    """Every spelling of every column title, folded: what ``sheets.find_header`` looks for."""
    return list(_spellings(model, labels))


def guess_mapping(model: type[Model], titles: Sequence[str], labels: Labels) -> dict[int, str]:
    """Column index -> field key, for the titles that are recognised; each field is given to one column.

    A title is compared whole, without what stands in brackets, without the model's noun before it
    (员工姓名), as the last part of a two-row title, and at last by likeness.
    """
    known, ours = _spellings(model, labels), {fold(s) for t in (ROW_TITLE, REASON_TITLE) for s in labels.of(t)}
    mapping: dict[int, str] = {}
    for ways in zip(*(_readings(model, title) for title in titles), strict=True):
        found = {n: known[way] for n, way in enumerate(ways) if n not in mapping and way in known and way not in ours}
        _give(mapping, found)
    like = {n: _likest(fold(title), known) for n, title in enumerate(titles) if n not in mapping}
    _give(mapping, {n: key for n, key in like.items() if key is not None})
    return dict(sorted(mapping.items()))


def _give(mapping: dict[int, str], found: dict[int, str]) -> None:
    """Take over what was found; a field that is taken stays with the first column."""
    for n, key in found.items():
        if key not in mapping.values():
            mapping[n] = key


def _readings(model: type[Model], title: str) -> tuple[str, ...]:
    """The title as written, then with less and less around it; all folded."""
    bare = without_brackets(title)
    last = bare.rpartition("/")[2]
    return (
        fold(title),
        fold(bare),
        *(_without_noun(model, fold(text)) for text in (title, bare)),
        fold(last),
        _without_noun(model, fold(last)),
    )


def _without_noun(model: type[Model], title: str) -> str:
    nouns = sorted(map(fold, aliases()["nouns"].get(model.__tablename__, [])), key=len, reverse=True)
    noun = next((n for n in nouns if title.startswith(n) and title != n), "")
    return title.removeprefix(noun)


def _likest(title: str, known: dict[str, str]) -> str | None:
    if len(title) < _LONG_ENOUGH:
        return None
    close = difflib.get_close_matches(title, [k for k in known if len(k) >= _LONG_ENOUGH], 1, _CLOSE_ENOUGH)
    return known[close[0]] if close else None


def _spellings(model: type[Model], labels: Labels) -> dict[str, str]:
    """Folded title -> field key; our own labels come before aliases, earlier fields before later ones.

    A bare "ID" is another system's number: it names the natural key, never our record number.
    """
    known: dict[str, str] = {}
    fields = importable_fields(model)
    nouns = list(labels.of(label_of(model)))
    for f in fields:
        for label in labels.of(f.label):
            _add(known, label, f.key)
            for noun in nouns:
                _add(known, noun + label, f.key)
    for f in fields:
        if not f.system:
            for spelling in (f.key, f.attr, *aliases()["fields"].get(f.key, ())):
                _add(known, spelling, f.key)
    return known


def _add(known: dict[str, str], spelling: str, key: str) -> None:
    if folded := fold(spelling):
        known.setdefault(folded, key)


def checked_mapping(model: type[Model], titles: Sequence[str], mapping: dict[int, str]) -> dict[int, Field]:
    """The fields that columns are mapped to; RuleBroken for an unknown field, a secret one, or one given twice."""
    chosen: dict[int, Field] = {}
    for n, key in mapping.items():
        found = named_field(model, key)
        before = next((m for m, f in chosen.items() if f is found), None)
        if before is not None:
            raise RuleBroken(
                N_("Columns “%(first)s” and “%(second)s” cannot both be “%(what)s”: map one of them."),
                first=titles[before], second=titles[n], what=found.label,
            )  # fmt: skip
        chosen[n] = found
    return chosen


def named_field(model: type[Model], key: str) -> Field:
    """The importable field called *key*, by key or column; RuleBroken naming those there are."""
    found = field_map(model).get(key)
    if found is None or found not in importable_fields(model):
        raise RuleBroken(
            N_("“%(key)s” is no column that can be read in: choose one of %(options)s."),
            key=key, options=", ".join(f.key for f in importable_fields(model)),
        )  # fmt: skip
    return found


def named_mapping(model: type[Model], titles: Sequence[str], named: dict[str, str]) -> dict[int, str]:
    """``{title as written: field key}`` -> ``{column index: field key}``; RuleBroken for a title the file lacks."""
    at = {re.sub(r"\s+", " ", title).strip(): n for n, title in reversed(list(enumerate(titles)))}
    missing = [title for title in named if title not in at]
    if missing:
        raise RuleBroken(
            N_("The file has no column “%(title)s”: its columns are %(titles)s."),
            title=missing[0], titles=", ".join(filter(None, titles)),
        )  # fmt: skip
    return {at[title]: named_field(model, key).key for title, key in named.items()}


def merged_mapping(guessed: Mapping[int, str], chosen: Iterable[tuple[int, str]]) -> dict[int, str]:
    """The guess, overruled by what a person chose; a chosen field is taken from the column that was guessed.

    chosen -- (column index, field key), such as ``named_mapping(…).items()``
    """
    ruled = dict(chosen)
    kept = {n: key for n, key in guessed.items() if n not in ruled and key not in ruled.values()}
    return dict(sorted({**kept, **ruled}.items()))

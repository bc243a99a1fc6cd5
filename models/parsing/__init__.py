"""A raw cell of a file -> the value of a field, or a refusal that names what stands there and what to write.

Nothing is guessed: a cell that two people could read differently is refused.
"""

from collections.abc import Callable
from typing import Any

from ..choices import N_
from ..errors import Label, RuleBroken
from ..fields import Field
from ..flush import check_value
from ..sheets import ErrorCell, Raw, is_blank
from ..spelling import PLAIN, Labels, live
from . import days, numbers, texts, words

Parser = Callable[[Raw], Any]

_TEXT_KINDS = {"code", "name", "text", "note", "email", "phone", "id_number", "relation"}
_ABSENT = {"-", "--", "—", "——", "/", "//", "－"}


def parse(field: Field, raw: Raw, labels: Labels = PLAIN) -> Any:
    """The value of *raw* for *field*; None for a blank cell. For many cells of one field ask ``parser`` once.

    A relation's value is the text that names the record: importing resolves it.
    Raises RuleBroken naming the value and the remedy, with the field's key.
    """
    return parser(field, labels)(raw)


def parser(field: Field, labels: Labels = PLAIN) -> Parser:
    """The function that ``parse`` is for one field."""
    read = _reader(field, labels)
    is_text = field.kind in _TEXT_KINDS

    def parse_cell(raw: Raw) -> Any:
        if isinstance(raw, str):
            raw = live(raw).replace("_x000D_\n", "\n").replace("_x000D_", "\n")
        if is_blank(raw) or (not is_text and isinstance(raw, str) and raw.strip() in _ABSENT):
            return None
        try:
            _complain_of_failure(field, raw)
            value = read(raw)
            check_value(field, value)
        except RuleBroken as broken:
            broken.field = broken.field or field.key
            raise
        return (
            raw if type(value) is str and value == raw else value
        )  # one string, not two, for each cell of a large file

    return parse_cell


def is_masked(field: Field, raw: Raw) -> bool:
    """Whether *raw* is what somebody sees who may see the field only in part."""
    return field.secrecy is not None and isinstance(raw, str) and "••••" in raw


def _complain_of_failure(field: Field, raw: Raw) -> None:
    if isinstance(raw, ErrorCell):
        raise RuleBroken(
            N_("The formula of this cell failed, it shows %(value)s: enter the value itself."), value=raw.code
        )
    if is_masked(field, raw):
        raise RuleBroken(N_("“%(value)s” is hidden in part: enter it in full, or leave the column out."), value=raw)


def _reader(field: Field, labels: Labels) -> Parser:
    if field.choices is not None:
        return words.choice_reader(field.choices, labels)
    if field.kind == "bool":
        return words.bool_reader(labels)
    if field.kind in {"money", "percent", "number"}:
        return numbers.reader(field)
    return _READERS.get(field.kind, _no_reader(field))


def _no_reader(field: Field) -> Parser:
    def refuse(_raw: Raw) -> Any:
        raise RuleBroken(N_("“%(what)s” is never read from a file: leave the column out."), what=Label(field.label))

    return refuse


_READERS: dict[str, Parser] = {
    "code": texts.code,
    "name": texts.line,
    "text": texts.line,
    "note": texts.note,
    "email": texts.line,
    "phone": texts.phone,
    "id_number": texts.id_number,
    "relation": texts.reference,
    "day": days.day,
    "instant": days.instant,
    "json": texts.json_value,
}

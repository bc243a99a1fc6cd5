"""Texts, codes, telephone and identity numbers, which a spreadsheet may have taken for numbers or dates."""

import json
import re
from datetime import date, datetime, time
from typing import Any

from .. import values
from ..choices import N_
from ..errors import RuleBroken

_LOST_DIGITS = N_("“%(value)s” has lost digits because the cell held a number: enter it again as text.")
_EXACT = 10**15  # spreadsheets keep fifteen digits of a number
_SCIENTIFIC = re.compile(r"(\d)(?:\.(\d+))?[eE]\+?(\d{1,2})")


def line(raw: Any) -> Any:
    """One line of text; a number or date cell as it reads."""
    return values.line(_text(raw))


def note(raw: Any) -> Any:
    """Running text; line breaks inside are kept."""
    return values.prose(_text(raw))


def code(raw: Any) -> Any:
    """A code; a whole number is taken as its digits, a date is what a spreadsheet made of something like 3-5."""
    if isinstance(raw, (date, time, bool)):
        raise RuleBroken(
            N_("“%(value)s” is a date or truth value where a code is expected: the spreadsheet converted it. Enter it again as text."),
            value=str(raw),
        )  # fmt: skip
    return values.line(_digits(raw))


def phone(raw: Any) -> Any:
    """A telephone number; 13800138000.0 is repaired, 1.38E+10 is refused, and so are two numbers in one cell."""
    text = _complete(str(_digits(raw)))
    tidy = values.line(text) or ""
    parts = [p for p in re.split(r"[、,;/|\s]+", tidy) if len(re.sub(r"\D", "", p)) >= 7]
    if len(parts) > 1:
        raise RuleBroken(
            N_("“%(value)s” holds several telephone numbers: keep one and put the others in the note."), value=text
        )
    return values.phone(tidy.replace("分机", "转").replace("转:", "转"))


def id_number(raw: Any) -> Any:
    """An identity number as text; a number cell with more than fifteen digits has lost the rest for good."""
    if isinstance(raw, (int, float)) and not isinstance(raw, bool) and abs(raw) >= _EXACT:
        raise RuleBroken(_LOST_DIGITS, value=f"{raw:.0f}")
    number = values.id_number(_complete(str(_digits(raw))))
    if isinstance(number, str) and re.fullmatch(r"\d{15}000", number) and values.resident_id_problem(number):
        raise RuleBroken(_LOST_DIGITS, value=number)
    return number


def reference(raw: Any) -> Any:
    """The text that names another record."""
    return values.line(_digits(raw) if not isinstance(raw, (date, time)) else _text(raw))


def json_value(raw: Any) -> Any:
    try:
        return json.loads(raw) if isinstance(raw, str) else raw
    except ValueError:
        raise RuleBroken(N_("“%(value)s” is not written in JSON: copy it from an export."), value=raw) from None


def _text(raw: Any) -> Any:
    if isinstance(raw, str):
        return raw
    if isinstance(raw, bool):
        return str(raw).upper()
    if isinstance(raw, datetime):
        return raw.isoformat(sep=" ", timespec="seconds")
    return raw.isoformat() if isinstance(raw, (date, time)) else _digits(raw)


def _digits(raw: Any) -> Any:
    """A number cell as the text it shows: 17.0 -> 17."""
    if isinstance(raw, int):
        return str(raw)
    if not isinstance(raw, float):
        return raw if isinstance(raw, str) else _text(raw)
    if abs(raw) >= _EXACT:
        raise RuleBroken(_LOST_DIGITS, value=f"{raw:.0f}")
    return f"{raw:.15g}"


def _complete(text: str) -> str:
    """13800138000.0 and 1.3800138000E+10 hold every digit and are repaired; 1.38E+10 does not."""
    text = text.strip()
    if re.fullmatch(r"\d+\.0+", text):
        return text.partition(".")[0]
    if found := _SCIENTIFIC.fullmatch(text):
        digits = found[1] + (found[2] or "")
        if len(digits) < int(found[3]) + 1 or len(digits) > 15:
            raise RuleBroken(_LOST_DIGITS, value=text)
        return digits[: int(found[3]) + 1]
    return text

"""What one value of each kind may be: how it is tidied, what is wrong with it, how it is masked."""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

from .choices import N_
from .errors import RuleBroken

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff\ud800-\udfff]")
_INVISIBLE = re.compile("[\u200b-\u200d\u2060\ufeff\u00ad]")
_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_ID_CHECK = "10X98765432"


@dataclass(frozen=True)
class Kind:
    """How values of one kind behave; every part is optional."""

    tidy: Callable[[Any], Any] | None = None
    check: Callable[[Any], None] | None = None
    mask: Callable[[str], str] | None = None


def line(text: Any) -> Any:
    """One line: full-width forms folded, invisible characters gone, blanks trimmed; blank is None."""
    if not isinstance(text, str):
        return text
    folded = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
    return " ".join(folded.split()) or None


def prose(text: Any) -> Any:
    """Running text: line ends as \\n, trailing blanks gone, wording untouched; blank is None."""
    if not isinstance(text, str):
        return text
    return text.replace("\r\n", "\n").replace("\r", "\n").strip() or None


def phone(text: Any) -> Any:
    """A telephone number in digits: separators and the +86 prefix gone, an extension kept as ``x12``."""
    tidy = line(text)
    if not isinstance(tidy, str):
        return tidy
    number, _, extension = tidy.replace("转", "x").partition("x")
    digits = re.sub(r"[\s()\-.]", "", number)
    digits = re.sub(r"^(?:\+86|0086)+(?=[0-9])", "", digits)
    if extension.strip():
        return f"{digits}x{extension.strip()}"
    return digits or tidy  # what has no digit stays as typed, to be refused as typed


def id_number(text: Any) -> Any:
    """An identity number without blanks, letters in capitals."""
    tidy = line(text)
    return tidy.replace(" ", "").upper() if isinstance(tidy, str) else tidy


def check_text(text: Any) -> None:
    if isinstance(text, str) and _CONTROL.search(text):
        raise RuleBroken(N_("The text holds a control character that cannot be printed: delete it and type it anew."))


def check_phone(number: Any) -> None:
    if isinstance(number, str) and not re.fullmatch(r"\+?[0-9]{3,20}(x[0-9]{1,6})?", number):
        raise RuleBroken(
            N_("“%(value)s” is not a telephone number: use digits, with the area code for a landline."),
            value=number,
        )


def check_email(address: Any) -> None:
    check_text(address)
    if isinstance(address, str) and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", address):
        raise RuleBroken(N_("“%(value)s” is not an e-mail address."), value=address)


def resident_id_problem(number: str) -> str | None:
    """What is wrong with an 18-character resident identity number; None when it is sound.

    MOD 11-2 check digit and a real birth date. The region is not judged: numbers were first
    issued in the 1980s, so a resident born in 1938 carries a county code of later years.
    Source: docs/rules.md, identity numbers.
    """
    if not re.fullmatch(r"[0-9]{17}[0-9X]", number):
        return N_("An identity number has 17 digits and a last digit or X; “%(value)s” has not.")
    if resident_birth_date(number) is None:
        return N_("Digits 7 to 14 of “%(value)s” are no birth date.")
    if _ID_CHECK[sum(int(d) * w for d, w in zip(number, _ID_WEIGHTS, strict=False)) % 11] != number[17]:
        return N_("The last digit of “%(value)s” does not fit the others: compare it with the card.")
    return None


def resident_birth_date(number: str) -> date | None:
    try:
        return date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return None


def with_check_digit(seventeen: str) -> str:
    """The full identity number for its first seventeen digits."""
    return seventeen + _ID_CHECK[sum(int(d) * w for d, w in zip(seventeen, _ID_WEIGHTS, strict=True)) % 11]


def mask_phone(number: str) -> str:
    return number[:3] + "•" * 4 + number[-4:] if len(number) >= 9 else "•" * 4 + number[-2:]


def mask_id(number: str) -> str:
    return number[:6] + "•" * 8 + number[-4:] if len(number) >= 15 else "•" * 6 + number[-2:]


def mask_text(_text: str) -> str:
    return "•" * 6


KINDS: dict[str, Kind] = {
    "code": Kind(line, check_text),
    "name": Kind(line, check_text),
    "text": Kind(line, check_text),
    "note": Kind(prose, check_text),
    "email": Kind(line, check_email),
    "phone": Kind(phone, check_phone, mask_phone),
    "id_number": Kind(id_number, check_text, mask_id),
}
PLAIN = Kind()


def kind(name: str) -> Kind:
    """The behaviour of a kind; kinds without any (money, day, number …) behave plainly."""
    return KINDS.get(name, PLAIN)


def mask(name: str, value: Any) -> str:
    """*value* as somebody may see it who may only see that it is there."""
    return (kind(name).mask or mask_text)(str(value))

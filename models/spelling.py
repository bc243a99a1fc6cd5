"""How files spell what we know: labels in every language, folded titles, and text made inert for spreadsheets."""

import re
import tomllib
import unicodedata
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Protocol

_ALIASES = Path(__file__).resolve().parent.parent / "seed" / "reference" / "aliases.toml"

_BRACKETS = re.compile(r"\([^()]*\)|\[[^\[\]]*\]|【[^【】]*】")
_LIVE = r"(?:\s*[=+\-@＝＋－＠]|[\t\r\n])"
_FORMULA = re.compile("'*" + _LIVE)
_GUARDED = re.compile("'+" + _LIVE)


class Labels(Protocol):
    """What the caller knows of translations: web pages ask the catalogues, the command line all of them."""

    def of(self, msgid: str) -> list[str]:
        """Every spelling of *msgid*: English and each translation."""

    def show(self, msgid: str) -> str:
        """*msgid* in the reader's language."""


class PlainLabels:
    """Labels in English alone."""

    def of(self, msgid: str) -> list[str]:
        return [msgid]

    def show(self, msgid: str) -> str:
        return msgid


PLAIN = PlainLabels()


def fold(text: str) -> str:
    """*text* without case, width, blanks and punctuation: two titles that fold alike are one title."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).casefold())


def without_brackets(text: str) -> str:
    """``联系电话（必填）`` -> ``联系电话``: what stands in brackets explains a title."""
    return _BRACKETS.sub("", unicodedata.normalize("NFKC", text)).strip()


def folded(labels: Labels, msgids: Iterable[str]) -> set[str]:
    """Every spelling of every msgid, folded."""
    return {fold(spelling) for msgid in msgids for spelling in labels.of(msgid)}


def inert(text: str) -> str:
    """*text* with a quote before it when a spreadsheet would run it; ``live`` takes the quote away."""
    return "'" + text if _FORMULA.match(text) else text


def live(text: str) -> str:
    """The text that ``inert`` was given."""
    return text[1:] if text.startswith("'") and _GUARDED.match(text) else text


@cache
def aliases() -> dict[str, dict[str, list[str]]]:
    """Further spellings: ``{"nouns": {table: […]}, "fields": {key: […]}, "choices": {stored value: […]}}``."""
    return tomllib.loads(_ALIASES.read_text(encoding="utf-8"))

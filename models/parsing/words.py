"""Choices and yes or no, by any word that means them; an unknown word is an error, never "no"."""

import unicodedata
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from ..choices import N_, Choice
from ..errors import OneOf, RuleBroken
from ..spelling import Labels, aliases, fold

YES, NO = N_("Yes"), N_("No")

_TRUE = ("是", "有", "√", "✓", "✔", "对", "對", "y", "yes", "true", "t", "1", "真", "on")
_FALSE = ("否", "无", "無", "没有", "×", "✗", "✘", "错", "錯", "n", "no", "false", "f", "0", "假", "off")


def choice_reader(choices: type[Choice], labels: Labels) -> Callable[[Any], Choice]:
    """Reads a member by its stored value, its label in any language, or an alias.

    A label that two members share in some language is refused, naming both.
    """
    known = _members(choices, labels)

    def read(raw: Any) -> Choice:
        found = known.get(_word(raw), set())
        if len(found) == 1:
            return next(iter(found))
        if found:
            raise RuleBroken(
                N_("“%(value)s” may be any of %(options)s: write one of them."), value=str(raw), options=OneOf(found)
            )
        raise RuleBroken(
            N_("“%(value)s” is not among the choices: write one of %(options)s."),
            value=str(raw),
            options=OneOf(choices),
        )

    return read


def _members(choices: type[Choice], labels: Labels) -> dict[str, set[Choice]]:
    """Members by folded word; a nearer spelling hides a farther one: value, then label, then alias."""
    known: dict[str, set[Choice]] = {}
    for spellings in (_values, lambda member: labels.of(member.label), _aliases):
        found = defaultdict(set)
        for member in choices:
            for spelling in spellings(member):
                found[_word(spelling)].add(member)
        known = {**found, **known}
    return known


def _values(member: Choice) -> list[str]:
    return [member.value]


def _aliases(member: Choice) -> list[str]:
    return aliases()["choices"].get(member.value, [])


def bool_reader(labels: Labels) -> Callable[[Any], bool]:
    """Reads yes or no from a truth value, 1 or 0, or a word of either list."""
    known = {_word(w): True for w in (*_TRUE, *labels.of(YES))} | {_word(w): False for w in (*_FALSE, *labels.of(NO))}

    def read(raw: Any) -> bool:
        if isinstance(raw, bool):
            return raw
        if (answer := known.get(_word(raw))) is not None:
            return answer
        raise RuleBroken(N_("“%(value)s” is neither yes nor no: write 是 or 否."), value=str(raw))

    return read


def _word(raw: Any) -> str:
    text = f"{raw:.15g}" if isinstance(raw, float) else str(raw)
    return fold(text) or unicodedata.normalize("NFKC", text).strip()

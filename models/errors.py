"""Refusals that are meant for the person at the screen."""

from collections.abc import Iterable
from typing import Any

from .choices import Choice


class Label:
    """A msgid among a refusal's parameters: the view floor translates it."""

    def __init__(self, label: str) -> None:
        self.label = label

    def __str__(self) -> str:
        return self.label


class Labels:
    """Several msgids among a refusal's parameters: the view floor translates each."""

    def __init__(self, labels: Iterable[str]) -> None:
        self.labels = tuple(labels)

    def __str__(self) -> str:
        return ", ".join(self.labels)


class OneOf(Labels):
    """Several choices among a refusal's parameters, in the order of their declaration."""

    def __init__(self, members: Iterable[Choice]) -> None:
        known = list(members)
        ordered = sorted(known, key=list(type(known[0])).index) if known else []
        super().__init__(member.label for member in ordered)


class RuleBroken(Exception):
    """A rule refused the change: says what is wrong, with the values, and what to do.

    text -- an English sentence (a msgid) with named %-placeholders
    field -- the attribute it speaks of, when it speaks of one
    params -- values for the placeholders: plain values, choices or records
    """

    def __init__(self, text: str, *, field: str | None = None, **params: Any) -> None:
        super().__init__(text)
        self.text = text
        self.field = field
        self.params = params

    def __str__(self) -> str:
        return self.text % {key: _shown(value) for key, value in self.params.items()} if self.params else self.text


class StaleRecord(RuleBroken):
    """Somebody saved the record after this person opened it."""


class Forbidden(RuleBroken):
    """The permission rules refused: carries the reason a Decision gave."""


def _shown(value: Any) -> str:
    return str(getattr(value, "label", value))

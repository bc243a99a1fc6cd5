"""The arithmetic of assessments: totals, levels and adjustments, on plain values. Knows no model."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol, TypeVar

from .choices import N_
from .errors import RuleBroken

RISK_EVENT_DAYS = 30
RISK_EVENTS_THAT_COUNT = 2


class Band(Protocol):
    """A level as the arithmetic needs it."""

    @property
    def label(self) -> str: ...
    @property
    def low(self) -> int: ...
    @property
    def high(self) -> int: ...


AnyBand = TypeVar("AnyBand", bound=Band)


# -- levels -----------------------------------------------------------------------------------------


def coverage_problem(bands: Iterable[Band], full: int) -> RuleBroken | None:
    """What keeps *bands* from covering 0 to *full* without gap or overlap; None when nothing does."""
    free = 0
    before: Band | None = None
    for band in sorted(bands, key=lambda band: (band.low, band.high)):
        if band.low > free:
            return _gap(free, band.low - 1)
        if before is not None and band.low < free:
            return _overlap(before, band)
        free, before = band.high + 1, band
    if before is not None and before.high > full:
        return RuleBroken(
            N_("“%(level)s” reaches to %(high)s, but the full score is %(full)s: let it end there."),
            field="bands", level=before.label, high=before.high, full=full,
        )  # fmt: skip
    return _gap(free, full) if free <= full else None


def _gap(low: int, high: int) -> RuleBroken:
    return RuleBroken(
        N_("No level holds the scores %(low)s to %(high)s: add one or widen its neighbours."),
        field="bands", low=low, high=high,
    )  # fmt: skip


def _overlap(first: Band, second: Band) -> RuleBroken:
    return RuleBroken(
        N_("“%(first)s” and “%(second)s” both hold the scores %(low)s to %(high)s: let one end before the other starts."),
        field="bands", first=first.label, second=second.label, low=second.low, high=min(first.high, second.high),
    )  # fmt: skip


def band_of(total: int, bands: Iterable[AnyBand]) -> AnyBand | None:
    """The level that holds *total*."""
    return next((band for band in bands if band.low <= total <= band.high), None)


@dataclass(frozen=True)
class Adjustment:
    """A fact that holds: it makes the level one worse, or sets it outright to *level*, counted from 0, the best."""

    level: int | None = None


def adjust(initial: int, worst: int, holding: Sequence[Adjustment], *, stack: bool = False) -> tuple[int, list[bool]]:
    """The level after the adjustments that hold, and for each of them whether it moved the level.

    Levels are counted from 0, the best, to *worst*, and the adjustments work in their order. A level set
    outright is never better than what it replaces. Of several reasons to make it one worse only the first counts, unless they *stack*.
    Source: GB/T 42195-2022; its public texts do not settle whether two rises add up, so one is the default.
    """
    level, moved, risen = initial, [], False
    for adjustment in holding:
        target = min(level + 1, worst) if adjustment.level is None else max(level, adjustment.level)
        if adjustment.level is None and risen and not stack:
            target = level
        risen = risen or adjustment.level is None
        moved.append(target != level)
        level = target
    return level, moved


# -- facts ------------------------------------------------------------------------------------------


def recent_events(dates: Iterable[date], on: date) -> list[date]:
    """The dates within the 30 days up to *on*, both ends counted: an event 31 days ago is none of them."""
    return sorted(day for day in dates if 0 <= (on - day).days <= RISK_EVENT_DAYS)


# -- conditions -------------------------------------------------------------------------------------


def parse_condition(condition: str) -> tuple[str, frozenset[str]]:
    """The item's code and the option codes of a condition: ``delivery=vaginal,forceps``."""
    code, _, options = condition.partition("=")
    return code.strip(), frozenset(o.strip() for o in options.split(",") if o.strip())


def is_asked(condition: str | None, chosen: Mapping[str, str | None]) -> bool:
    """Whether an item with this condition is asked, given the option codes chosen by item code."""
    if condition is None:
        return True
    code, wanted = parse_condition(condition)
    return chosen.get(code) in wanted

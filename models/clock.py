"""Time: now and today, working days, and everything that happens because time passed."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

import chinese_calendar
from sqlalchemy import select
from sqlalchemy.orm import Mapped, Session, mapped_column

from .base import Day, Model, Name
from .choices import N_, Choice
from .clock_source import HOUSE_ZONE, at, now, start_from

__all__ = [
    "HOUSE_ZONE",
    "CalendarDay",
    "DayKind",
    "add_working_days",
    "at",
    "duty",
    "end_of",
    "is_workday",
    "local_day",
    "now",
    "start_from",
    "tick",
    "today",
    "working_days_between",
]  # fmt: skip


def today() -> date:
    """The day it is in the house's zone."""
    return now().astimezone(HOUSE_ZONE).date()


def local_day(instant: datetime) -> date:
    """The day *instant* falls on in the house's zone."""
    return instant.astimezone(HOUSE_ZONE).date()


def end_of(day: date) -> datetime:
    """The last instant of *day* in the house's zone."""
    return datetime.combine(day, time.max, HOUSE_ZONE)


class DayKind(Choice):
    WORKDAY = "workday", N_("Working day"), "green"
    WEEKEND = "weekend", N_("Weekend"), "neutral"
    HOLIDAY = "holiday", N_("Public holiday"), "red"
    MAKEUP = "makeup_workday", N_("Make-up working day"), "amber"


class CalendarDay(Model):
    """A day that differs from what the published calendar says, or one beyond it."""

    __label__ = N_("Calendar day")
    __area__ = N_("Organisation")
    __icon__ = "calendar-event"
    __title__ = ("day",)
    __key__ = ("day",)
    __shared__ = True

    day: Mapped[Day] = mapped_column(unique=True)
    kind: Mapped[DayKind]
    festival: Mapped[Name | None]


def is_workday(session: Session, day: date) -> bool:
    """Whether people work on *day*: the calendar table first, then the published calendar with its make-up
    days, then Monday to Friday for years not yet published."""
    return _works(_told(session, day, day), day)


def add_working_days(session: Session, day: date, count: int) -> date:
    """The day *count* working days after *day*; the day itself is not counted."""
    told: dict[date, DayKind] = {}
    told_until = day
    while count > 0:
        day += timedelta(days=1)
        if day > told_until:
            told_until = day + timedelta(days=2 * count + 10)
            told = _told(session, day, told_until)
        count -= _works(told, day)
    return day


def working_days_between(session: Session, start: date, end: date) -> int:
    """Working days after *start* up to and including *end*; 0 when end is not after start."""
    told = _told(session, start, end)
    days = (start + timedelta(days=n) for n in range(1, (end - start).days + 1))
    return sum(_works(told, day) for day in days)


def _told(session: Session, first: date, last: date) -> dict[date, DayKind]:
    """What the calendar table says of the days from *first* to *last*."""
    days = select(CalendarDay.day, CalendarDay.kind).where(
        CalendarDay.day.between(first, last), CalendarDay.deleted_at.is_(None)
    )
    # A deadline is the same for everybody, also for those who may not look at the table.
    rows = session.execute(days, execution_options={"unscoped": "the house's calendar"})
    return {row.day: row.kind for row in rows}


def _works(told: dict[date, DayKind], day: date) -> bool:
    if day in told:
        return told[day] in {DayKind.WORKDAY, DayKind.MAKEUP}
    try:
        return bool(chinese_calendar.is_workday(day))
    except NotImplementedError:
        return day.weekday() < 5


# -- duties ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Duty:
    """Something that happens because time passed; running it twice changes nothing more."""

    name: str
    run: Callable[[Session], int]


DUTIES: list[Duty] = []


def duty(name: str) -> Callable[[Callable[[Session], int]], Callable[[Session], int]]:
    """Register a function ``(session) -> how many records it moved`` that every tick runs."""

    def register(run: Callable[[Session], int]) -> Callable[[Session], int]:
        DUTIES.append(Duty(name, run))
        return run

    return register


def tick(session: Session) -> dict[str, int]:
    """Run every duty once and return how many records each moved. Idempotent."""
    return {d.name: d.run(session) for d in DUTIES}

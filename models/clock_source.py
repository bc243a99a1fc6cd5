"""The one source of the time: everything else asks ``now()``.

It stands apart from clock.py so that base.py can stamp records without knowing the calendar.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

HOUSE_ZONE = ZoneInfo("Asia/Shanghai")

_frozen: ContextVar[datetime | None] = ContextVar("frozen_instant", default=None)
_offset = timedelta(0)


def now() -> datetime:
    """The present instant, aware, in UTC; whole microseconds."""
    return _frozen.get() or datetime.now(UTC) + _offset


def start_from(instant: datetime) -> None:
    """Let the process's clock run on from *instant* (an aware datetime): rehearsals and demos only."""
    global _offset
    _offset = instant.astimezone(UTC) - datetime.now(UTC)


@contextmanager
def at(instant: datetime) -> Iterator[None]:
    """Stop the clock at *instant* (an aware datetime) inside the block, for this thread of work."""
    if instant.tzinfo is None:
        raise ValueError(f"naive datetime {instant!r}: pass an aware one")
    token = _frozen.set(instant.astimezone(UTC))
    try:
        yield
    finally:
        _frozen.reset(token)

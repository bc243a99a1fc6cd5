"""Days and instants in every spelling that Chinese offices use; ambiguous ones are refused."""

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any

from .. import clock
from ..choices import N_
from ..errors import RuleBroken

_NO_DAY = N_("“%(value)s” gives no day: write it in full, like 2024-03-05.")
_NO_YEAR = N_("“%(value)s” gives no year: write it in full, like 2024-03-05.")
_AMBIGUOUS = N_("“%(value)s” can be read as several dates: write the year in four digits, like 2024-03-05.")
_NOT_IN_CALENDAR = N_("There is no day “%(value)s” in the calendar: correct it.")
_STILL_GOING = N_("“%(value)s” is no date: leave the cell blank when it still goes on.")
_NO_DATE = N_("“%(value)s” is no date: write it like 2024-03-05.")

_SPAN = (1850, 2200)
_SERIALS = (7_000, 100_000)  # 1919 to 2173; anything smaller is rather a year, anything larger a month like 202403
_EPOCH = date(1899, 12, 30)

_DATE = r"(?P<date>[\d年月日号/.\-]+)"
_TIME = (
    r"(?P<half>上午|早上|凌晨|中午|下午|晚上|am|pm)?\s*(?P<hour>\d{1,2})\s*[:时点]\s*(?P<minute>\d{1,2})?"
    r"(?:\s*[:分]\s*(?P<second>\d{1,2})(?:[.,](?P<fraction>\d{1,9}))?)?\s*[秒分]?\s*(?P<half2>am|pm)?\s*"
    r"(?P<zone>z|[+-]\d{2}:?\d{2})?"
)
_WHOLE = re.compile(rf"{_DATE}(?:\s*t?\s*{_TIME})?", re.IGNORECASE)
_WEEKDAY = re.compile(r"\(?(?:星期|周|礼拜)[一二三四五六日天]\)?")
_YEAR_FIRST = re.compile(r"(\d{4})(?:[-/.]|年)(\d{1,2})(?:[-/.]|月)(\d{1,2})[日号.]?")
_YEAR_LAST = re.compile(r"(\d{1,2})[-/.](\d{1,2})[-/.](\d{4})")
_SHORT_YEAR = re.compile(r"(\d{2})([-/.年])(\d{1,2})[-/.月](\d{1,2})([日号]?)")
_COMPACT = re.compile(r"(\d{4})(\d{2})(\d{2})")
_MONTH = re.compile(r"\d{4}(?:[-/.]|年)\d{1,2}月?[.]?|\d{4}年?|(?:19|20)\d{4}")
_WITHOUT_YEAR = re.compile(r"\d{1,2}(?:[-/.]|月)\d{1,2}[日号]?")
_CHINESE = re.compile(
    r"([〇○零一二三四五六七八九\d]+)年([一二三四五六七八九十\d]+)月(?:([一二三四五六七八九十\d]+)[日号]?)?"
)
_DIGITS = {c: str(n) for n, c in enumerate("零一二三四五六七八九")} | {"〇": "0", "○": "0"}
_GOING_ON = {"至今", "迄今", "现在", "目前", "今", "长期", "永久", "present", "now"}


@dataclass(frozen=True)
class _Moment:
    day: date
    at: time | None = None
    zone: timezone | None = None


def day(raw: Any) -> date:
    """The day in a cell; a time of day beside it is dropped, one with an offset read in the house's zone."""
    moment = _moment(raw)
    return clock.local_day(_instant(moment)) if moment.zone is not None else moment.day


def instant(raw: Any) -> datetime:
    """The instant in a cell, in UTC; without an offset it is told in the house's zone, without a time it is midnight."""
    return _instant(_moment(raw)).astimezone(UTC)


def _instant(moment: _Moment) -> datetime:
    return datetime.combine(moment.day, moment.at or time(), moment.zone or clock.HOUSE_ZONE)


def _moment(raw: Any) -> _Moment:
    if isinstance(raw, datetime):
        whole = raw if raw.tzinfo else (raw + timedelta(microseconds=500)).replace(microsecond=0)
        return _in_span(_Moment(whole.date(), whole.time(), raw.tzinfo), raw)  # type: ignore[arg-type]
    if isinstance(raw, date):
        return _in_span(_Moment(raw), raw)
    if isinstance(raw, (int, float)) and not isinstance(raw, bool):
        return _from_number(raw)
    if isinstance(raw, str):
        return _from_text(raw)
    raise RuleBroken(_NO_DATE, value=str(raw))


def _from_number(number: float) -> _Moment:
    """A number cell: 20240305, or a day's serial number; 2024 and 2024.3 are rather a year and a month."""
    if number == int(number) and (written := _COMPACT.fullmatch(str(int(number)))):
        return _moment_of(written.groups(), number)
    if not _SERIALS[0] <= number < _SERIALS[1]:
        raise RuleBroken(_NO_DAY if 1900 <= number < 2100 or _MONTH.fullmatch(str(number)) else _NO_DATE, value=number)
    seconds = round((number - int(number)) * 86_400)
    stamp = datetime.combine(_EPOCH, time()) + timedelta(days=int(number), seconds=seconds)
    return _Moment(stamp.date(), stamp.time() if seconds else None)


def _from_text(raw: str) -> _Moment:
    text = _tidy(raw)
    if text.casefold() in _GOING_ON or text.casefold().rstrip("止") in _GOING_ON:
        raise RuleBroken(_STILL_GOING, value=raw)
    whole = _WHOLE.fullmatch(text)
    if whole is None:
        raise RuleBroken(_NO_DATE, value=raw)
    moment = _moment_of(_numbers(whole["date"], raw), raw)
    return moment if whole["hour"] is None else _Moment(moment.day, *_clock(whole, raw))


def _tidy(raw: str) -> str:
    text = _WEEKDAY.sub(" ", unicodedata.normalize("NFKC", raw)).replace("。", ".")
    text = _CHINESE.sub(_arabic, text)
    text = re.sub(r"\s*([年月/.\-])\s*(?=\d)", r"\1", text)
    text = re.sub(r"(?<=[日号])(?=\d)", " ", text)
    return re.sub(r"(?<=\d)\s+(?=[年月日号])", "", " ".join(text.split()))


def _arabic(found: re.Match[str]) -> str:
    year = "".join(_DIGITS.get(c, c) for c in found[1])
    return f"{year}年{_count(found[2])}月" + (f"{_count(found[3])}日" if found[3] else "")


def _count(text: str) -> str:
    """十 -> 10, 十二 -> 12, 三十一 -> 31, 5 -> 5."""
    if "十" not in text:
        return "".join(_DIGITS.get(c, c) for c in text)
    tens, _, ones = text.partition("十")
    return (_DIGITS.get(tens, tens) or "1") + (_DIGITS.get(ones, ones) or "0")


def _numbers(text: str, raw: str) -> tuple[str, str, str]:
    """Year, month and day as written in *text*."""
    if found := _YEAR_FIRST.fullmatch(text) or _COMPACT.fullmatch(text):
        return found[1], found[2], found[3]
    if found := _YEAR_LAST.fullmatch(text):
        return _year_last(int(found[1]), int(found[2]), found[3], raw)
    if found := _SHORT_YEAR.fullmatch(text):
        return _short_year(found, raw)
    if _MONTH.fullmatch(text):
        raise RuleBroken(_NO_DAY, value=raw)
    if _WITHOUT_YEAR.fullmatch(text):
        raise RuleBroken(_NO_YEAR, value=raw)
    three = re.fullmatch(r"\d{1,2}[-/.]\d{1,2}[-/.]\d{1,2}", text)
    raise RuleBroken(_AMBIGUOUS if three else _NO_DATE, value=raw)


def _year_last(first: int, second: int, year: str, raw: str) -> tuple[str, str, str]:
    """05/13/2024 and 13/05/2024 can be read in one way, 05/03/2024 in two."""
    if first != second and first <= 12 and second <= 12:
        raise RuleBroken(_AMBIGUOUS, value=raw)
    month, day_ = (second, first) if first > 12 else (first, second)
    return year, str(month), str(day_)


def _short_year(found: re.Match[str], raw: str) -> tuple[str, str, str]:
    """24.3.5 is 5 March 2024: 24 is no month and the lone 5 no year. 24.3.25, 05.3.4 and 3/5/24 may be others.

    With 年 the first number is the year for sure; only its century may be in doubt.
    """
    short, this = int(found[1]), clock.today().year - 2000
    if found[2] == "年":
        if this + 1 < short <= 50:
            raise RuleBroken(_AMBIGUOUS, value=raw)
        return str(short + (2000 if short <= this + 1 else 1900)), found[3], found[4]
    if not 13 <= short <= this + 1 or len(found[4]) == 2:
        raise RuleBroken(_AMBIGUOUS, value=raw)
    return str(2000 + short), found[3], found[4]


def _moment_of(parts: tuple[Any, ...], raw: Any) -> _Moment:
    try:
        return _in_span(_Moment(date(*map(int, parts))), raw)
    except ValueError:
        raise RuleBroken(_NOT_IN_CALENDAR, value=raw) from None


def _in_span(moment: _Moment, raw: Any) -> _Moment:
    if not _SPAN[0] <= moment.day.year <= _SPAN[1]:
        raise RuleBroken(N_("“%(value)s” lies too far from today: correct the year."), value=str(raw))
    return moment


def _clock(found: re.Match[str], raw: str) -> tuple[time, timezone | None]:
    hour = int(found["hour"])
    half = (found["half"] or found["half2"] or "").casefold()
    if half in {"下午", "晚上", "pm"} and hour < 12:
        hour += 12
    elif half in {"凌晨", "上午", "早上", "am"} and hour == 12:
        hour = 0
    micro = int((found["fraction"] or "0").ljust(6, "0")[:6])
    try:
        return time(hour, int(found["minute"] or 0), int(found["second"] or 0), micro), _zone(found["zone"])
    except ValueError:
        raise RuleBroken(N_("“%(value)s” holds no time of day: write it like 2024-03-05 14:05."), value=raw) from None


def _zone(text: str | None) -> timezone | None:
    if text is None:
        return None
    if text in {"z", "Z"}:
        return UTC
    hours, minutes = int(text[1:3]), int(text[-2:])
    return timezone((-1 if text[0] == "-" else 1) * timedelta(hours=hours, minutes=minutes))

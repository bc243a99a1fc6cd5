"""Money, percentages and plain numbers, in figures, with 万 and 亿, or in Chinese numerals."""

import re
import unicodedata
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import cn2an
import sqlalchemy as sa

from ..choices import N_
from ..errors import RuleBroken
from ..fields import Field
from ..sheets import PercentCell

_NO_NUMBER = N_("“%(value)s” is no number: write figures alone, like 1234.5.")
_FIGURES = re.compile(r"(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?|\.\d+")
_UNITS = {"亿": 10**8, "千万": 10**7, "百万": 10**6, "万": 10**4, "千": 10**3}
_CHINESE = re.compile(r"[零〇一二两三四五六七八九十百千万亿壹贰叁肆伍陆柒捌玖拾佰仟萬億貳參陸兩点負负]+")
_YUAN = re.compile(r"^(?:¥|rmb|cny|人民币)\s*|\s*(?:元整?|圆整?|圓整?|rmb|cny|整|正)$", re.IGNORECASE)
_JIAO_FEN = re.compile(r"(.+?)[元圆圓](?:零|〇)?(?:(.)角)?(?:零|〇)?(?:(.)分)?[整正]?")
_FOREIGN = re.compile(r"[$€£₩]|usd|eur|gbp|hkd|twd|jpy|美元|港币|港元|欧元|日元|台币|新台币", re.IGNORECASE)


def reader(field: Field) -> Callable[[Any], Any]:
    """The function that reads cells for a field of kind money, percent or number."""
    read = {"money": money, "percent": percent}.get(field.kind, number)
    column = field.column.type
    if isinstance(column, sa.Integer):
        return lambda raw: _whole(read(raw), raw)
    if isinstance(column, sa.Float):
        return lambda raw: float(read(raw))
    return lambda raw: _settled(read(raw), field.scale)


def money(raw: Any) -> Decimal:
    """An amount in yuan: ¥1,234.50, 3.98万, 1.2亿, 壹万贰仟元整, (1,234) for a negative one."""
    if isinstance(raw, str):
        text = _plain(raw)
        if _FOREIGN.search(text):
            raise RuleBroken(N_("“%(value)s” is not in yuan: convert it."), value=raw)
        if found := _JIAO_FEN.fullmatch(text):
            jiao, fen = (_decimal(part, raw) if part else Decimal(0) for part in found.group(2, 3))
            return _decimal(_YUAN.sub("", found[1]), raw) + jiao / 10 + fen / 100
        return _signed(text, raw, lambda part: _decimal(_YUAN.sub("", _YUAN.sub("", part)), raw))
    return number(raw)


def percent(raw: Any) -> Decimal:
    """A percentage as it is said: 85 for 85 %. A bare number up to 1 could be a share, so it is refused."""
    if isinstance(raw, PercentCell):
        return _from_float(raw) * 100
    if isinstance(raw, str) and _plain(raw).endswith("%"):
        return number(_plain(raw)[:-1])
    value = number(raw)
    if 0 < abs(value) <= 1:
        raise RuleBroken(
            N_("“%(value)s” may mean %(value)s %% or %(hundredfold)s %%: write it with the %% sign."),
            value=value, hundredfold=f"{(value * 100).normalize():f}",
        )  # fmt: skip
    return value


def number(raw: Any) -> Decimal:
    """A number: 1,234.5, -3, 3.98万, 三十."""
    if isinstance(raw, (int, float)) and not isinstance(raw, bool):
        return _from_float(raw)
    if not isinstance(raw, str):
        raise RuleBroken(_NO_NUMBER, value=str(raw))
    return _signed(_plain(raw), raw, lambda part: _decimal(part, raw))


def _from_float(raw: float) -> Decimal:
    """The number as a spreadsheet shows it: beyond fifteen digits a float holds noise."""
    return Decimal(raw) if isinstance(raw, int) else Decimal(f"{raw:.15g}")


def _plain(raw: str) -> str:
    return unicodedata.normalize("NFKC", raw).replace(" ", "").replace("−", "-")


def _signed(text: str, raw: str, read: Callable[[str], Decimal]) -> Decimal:
    if text.startswith("(") and text.endswith(")"):
        return -read(text[1:-1])
    currency = _YUAN.match(text)
    after = text[currency.end() :] if currency and currency.start() == 0 else text
    if after.startswith(("-", "+")):
        return read(after[1:]) * (-1 if after[0] == "-" else 1)
    return read(text)


def _decimal(text: str, raw: str) -> Decimal:
    """Figures with or without a unit, or Chinese numerals. 1.2E+10 is refused: digits may be lost."""
    unit = next((u for u in _UNITS if text.endswith(u)), None)
    figures = text.removesuffix(unit) if unit else text
    if _FIGURES.fullmatch(figures):
        return Decimal(figures.replace(",", "")) * (_UNITS[unit] if unit else 1)
    if re.fullmatch(r"[\d.]+e\+?\d+", text, re.IGNORECASE):
        raise RuleBroken(N_("“%(value)s” has lost digits: enter the whole number."), value=raw)
    if not _CHINESE.fullmatch(text):
        raise RuleBroken(_NO_NUMBER, value=raw)
    try:
        return Decimal(str(cn2an.cn2an(text, "smart")))
    except ValueError:
        raise RuleBroken(_NO_NUMBER, value=raw) from None


def _whole(value: Decimal, raw: Any) -> int:
    if value != int(value):
        raise RuleBroken(N_("“%(value)s” is no whole number."), value=str(raw))
    return int(value)


def _settled(value: Decimal, scale: int | None) -> Decimal:
    """The value with the places its column keeps; one with more is left for the check to refuse."""
    rounded = value if scale is None or not value.is_finite() else round(value, scale)
    return rounded if rounded == value else value

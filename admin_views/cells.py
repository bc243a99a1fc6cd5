"""How a value looks: one function per field, prepared once and called for every row."""

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from flask import url_for
from flask_babel import gettext
from markupsafe import Markup, escape

from models import clock, values
from models.fields import Field
from models.policy import Level

from . import ui
from .language import show

Format = Callable[[Any], Markup]

EMPTY = Markup('<span class="nil">—</span>')
NOTE_LENGTH = 80


def formatter(field: Field, *, short: bool = True) -> Format:
    """A function from a value of *field* to what a page shows; *short* cuts long texts for lists."""
    plain = _FORMATS.get(field.kind, _text)
    if field.kind == "note" and not short:
        plain = _prose
    return lambda value: EMPTY if value is None or value == "" else plain(value)


def masked(field: Field, level: Level, value: Any, pk: int) -> Markup:
    """A secret value as *level* lets it be seen: its mask, with an eye when it may be shown on request."""
    if value is None or value == "":
        return EMPTY
    mask = values.mask(field.kind, value)
    if level is not Level.REVEAL:
        return Markup('<span class="num">{}</span>').format(mask)
    return Markup(
        '<span class="masked" data-masked><span class="num">{}</span>'
        '<button type="button" class="ibtn" data-reveal data-name="{}" data-pk="{}" data-url="{}" aria-label="{}">{}</button></span>'
    ).format(
        mask, field.key, pk, url_for(f"{field.model.__tablename__}.reveal"),
        gettext("Show %(what)s in full (recorded)", what=gettext(field.label)), ui.icon("eye", "i-s"),
    )  # fmt: skip


def editable(field: Field, shown: Markup, value: Any, pk: int, version: int) -> Markup:
    """A cell that turns into an input where it stands."""
    return Markup(
        '<button type="button" class="cell" data-cell data-pk="{}" data-name="{}" data-value="{}" data-version="{}">{}</button>'
    ).format(pk, field.key, raw(field, value), version, shown)


def raw(field: Field, value: Any) -> str:
    """*value* as an input holds it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, datetime):
        return f"{value.astimezone(clock.HOUSE_ZONE):%Y-%m-%dT%H:%M}"
    if isinstance(value, Decimal):
        return f"{value:f}"
    return str(getattr(value, "value", value))


def _text(value: Any) -> Markup:
    return escape(show(value))


def _note(value: str) -> Markup:
    flat = " ".join(value.split())
    cut = flat if len(flat) <= NOTE_LENGTH else flat[:NOTE_LENGTH] + "…"
    return escape(cut)


def _prose(value: str) -> Markup:
    return Markup("<br>").join(value.split("\n"))


def _money(value: Decimal) -> Markup:
    sign = "−" if value < 0 else ""
    return Markup('<span class="num">{}<small>¥</small>{:,.2f}</span>').format(sign, abs(value))


def _percent(value: Decimal) -> Markup:
    return Markup('<span class="num">{}%</span>').format(f"{value.normalize():f}")


def _number(value: Any) -> Markup:
    told = f"{value.normalize():f}" if isinstance(value, Decimal) else f"{value}"
    return Markup('<span class="num">{}</span>').format(told)


def _day(value: date) -> Markup:
    return Markup('<time class="num" datetime="{}">{}</time>').format(value.isoformat(), value.isoformat())


def _instant(value: datetime) -> Markup:
    local = value.astimezone(clock.HOUSE_ZONE)
    return Markup('<time class="num" datetime="{}">{:%Y-%m-%d %H:%M}</time>').format(local.isoformat(), local)


def _bool(value: bool) -> Markup:
    if value:
        return Markup('<span class="yes">{}<span class="sr">{}</span></span>').format(
            ui.icon("check", "i-s"), gettext("Yes")
        )
    return Markup('<span class="nil">—<span class="sr">{}</span></span>').format(gettext("No"))


def _choice(value: Any) -> Markup:
    tones = {member.tone for member in type(value)}
    return ui.badge(gettext(value.label), value.tone) if len(tones) > 1 else escape(gettext(value.label))


def _json(value: Any) -> Markup:
    if isinstance(value, list):
        return escape("、".join(show(item) if not isinstance(item, dict) else str(item) for item in value))
    if isinstance(value, dict):
        return escape("；".join(f"{key}：{item}" for key, item in value.items()))
    return escape(str(value))


_FORMATS: dict[str, Format] = {
    "money": _money,
    "percent": _percent,
    "number": _number,
    "day": _day,
    "instant": _instant,
    "bool": _bool,
    "choice": _choice,
    "note": _note,
    "json": _json,
}

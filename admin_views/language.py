"""Saying things in the reader's language: refusals, choices, records, days."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from babel.support import Translations
from flask import Flask, g, has_request_context, request
from flask_babel import gettext

from models import clock
from models.base import Model
from models.choices import Choice
from models.errors import Label, Labels, RuleBroken

from .extensions import babel

# The language's code on the page, the locale of its catalogue, its name in itself.
LANGUAGES = (("zh-Hans", "zh_Hans_CN", "简体中文"), ("zh-Hant", "zh_Hant_TW", "繁體中文"), ("en", "en", "English"))
DEFAULT = "zh-Hans"
COOKIE = "lang"
TRANSLATIONS = Path(__file__).resolve().parent.parent / "translations"


def init(app: Flask) -> None:
    babel.init_app(
        app,
        default_locale="zh_Hans_CN",
        default_timezone="Asia/Shanghai",
        default_translation_directories=str(TRANSLATIONS),
        locale_selector=lambda: _locale_of(code()),
    )


def code() -> str:
    """The reader's language: "zh-Hans", "zh-Hant" or "en"."""
    if not has_request_context():
        return DEFAULT
    if "language" not in g:
        wanted = request.cookies.get(COOKIE, DEFAULT)
        g.language = wanted if wanted in {c for c, _, _ in LANGUAGES} else DEFAULT
    return str(g.language)


def _locale_of(wanted: str) -> str:
    return next(locale for c, locale, _ in LANGUAGES if c == wanted)


def show(value: Any) -> str:
    """*value* as a person reads it: choices and labels translated, days and instants in the house's way."""
    if value is None:
        return ""
    if isinstance(value, Labels):
        return "、".join(gettext(label) for label in value.labels)
    if isinstance(value, Choice | Label):
        return gettext(value.label)
    if isinstance(value, Model):
        return title(value)
    if isinstance(value, bool):
        return gettext("Yes") if value else gettext("No")
    if isinstance(value, datetime):
        return f"{value.astimezone(clock.HOUSE_ZONE):%Y-%m-%d %H:%M}"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:,f}"
    return str(value)


def title(record: Model) -> str:
    """The record's name: its title attributes, shown and joined."""
    parts = [getattr(record, name) for name in type(record).__title__]
    return join(parts) or f"#{record.id}"


def join(parts: Any) -> str:
    return " · ".join(show(part) for part in parts if part is not None)


def tell(broken: RuleBroken) -> str:
    """A refusal in the reader's language, its values shown."""
    return sentence(broken.text, broken.params)


def sentence(text: str, params: Mapping[str, Any]) -> str:
    told = gettext(text)
    return told % {key: show(value) for key, value in params.items()} if params else told


class Spellings:
    """Every spelling of a msgid, for matching the headers of files; and the reader's one, for writing them."""

    def of(self, msgid: str) -> list[str]:
        return [msgid, *(str(c.gettext(msgid)) for c in _catalogues())]

    def show(self, msgid: str) -> str:
        return gettext(msgid)


@cache
def _catalogues() -> tuple[Any, ...]:
    return tuple(Translations.load(str(TRANSLATIONS), [locale]) for c, locale, _ in LANGUAGES if c != "en")

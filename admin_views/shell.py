"""What stands around every page: menu, person, languages, and where one is."""

from dataclasses import dataclass
from typing import Any

from flask import Flask, g, request, url_for
from flask_babel import gettext

from models import fields as declared
from models import policy
from models.base import Model

from . import language
from .generated import area_of
from .pages import address


@dataclass(frozen=True)
class NavLink:
    label: str
    url: str
    icon: str
    current: bool


class Shell:
    """The frame of a page, worked out only as far as its template asks."""

    def __init__(self, crumb: str | None, view: Any) -> None:
        self._crumb, self._view = crumb, view
        self._principal = g.get("principal")

    brand = property(lambda self: gettext("Kanghu"))
    lang = property(lambda self: language.code())
    theme = property(lambda self: request.cookies.get("theme", "auto"))
    rail = property(lambda self: request.cookies.get("rail", ""))
    home_url = property(lambda self: url_for("admin.index"))
    logout_url = property(lambda self: url_for("access.sign_out"))
    search_url = property(lambda self: url_for("finding.everywhere"))
    can_search = property(lambda self: self._principal is not None)

    @property
    def user(self) -> tuple[str, str, str] | None:
        who = self._principal
        if who is None:
            return None
        subtitle = who.subtitle or "、".join(role.label for role in who.roles)
        return who.name, subtitle, who.name[:1].upper()

    @property
    def languages(self) -> list[tuple[str, str, str, bool]]:
        here = language.code()
        return [(code, name, url_for("access.set_language"), code == here) for code, _, name in language.LANGUAGES]

    @property
    def groups(self) -> list[tuple[str, list[NavLink]]]:
        """The menu: what the person may open, by area."""
        found: dict[str, list[NavLink]] = {
            "": [NavLink(gettext("Home"), self.home_url, "layout-dashboard", request.endpoint == "admin.index")]
        }
        for model in declared.models():
            if model.__part_of__ is None and policy.decide(self._principal, "view", model):
                here = request.endpoint is not None and request.endpoint.split(".")[0] == model.__tablename__
                link = NavLink(gettext(declared.label_of(model)), address(model, "index_view"), model.__icon__, here)
                found.setdefault(gettext(area_of(model)), []).append(link)
        return list(found.items())

    @property
    def crumbs(self) -> list[tuple[str, str | None]]:
        model: type[Model] | None = getattr(self._view, "model", None)
        if model is None:
            return [(self._crumb or gettext("Home"), None)]
        noun = gettext(declared.label_of(model))
        told: list[tuple[str, str | None]] = [(gettext(area_of(model)), None), (noun, address(model, "index_view"))]
        return [*told, (self._crumb, None)] if self._crumb else told


def init(app: Flask) -> None:
    @app.context_processor
    def around() -> dict[str, Any]:
        return {"shell": Shell(g.get("crumb"), g.get("view")), "lang": language.code()}

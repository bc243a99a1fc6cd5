"""One search box for the whole house."""

from typing import Any

from flask import Blueprint, g, render_template, request
from flask_babel import gettext

from models import fields as declared
from models import policy, search
from models.base import Model

from . import language
from .extensions import db
from .pages import address

blueprint = Blueprint("finding", __name__)


@blueprint.get("/admin/search/")
def everywhere() -> Any:
    """What *q* finds in every list the person may see, best first: a fragment for the palette."""
    typed = request.args.get("q", "").strip()[:100]
    groups = [
        (gettext(declared.label_of(model)), model.__icon__, [_found(record) for record in records])
        for model, records in (search.everywhere(db.session(), typed) if typed else [])
    ]
    return render_template("admin/_palette.html", results=groups, query=typed, pages=_pages(typed))


def _found(record: Model) -> tuple[str, str, str]:
    model = type(record)
    keys = [k for k in model.__key__ if k not in model.__title__ and declared.field(model, k).secrecy is None]
    return (
        language.title(record),
        address(model, "details_view", id=record.id),
        language.join(getattr(record, k) for k in keys),
    )


def _pages(typed: str) -> list[tuple[str, str, str]]:
    """Lists whose name holds what was typed; all that may be opened when nothing was."""
    folded = search.fold(typed)
    shown = []
    for model in declared.models():
        label = gettext(declared.label_of(model))
        if folded in search.fold(label) and policy.decide(g.principal, "view", model):
            shown.append((label, address(model, "index_view"), model.__icon__))
    return shown[:8]

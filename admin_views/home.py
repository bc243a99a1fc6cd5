"""The start page: the lists one works in, and what happened lately in them."""

from typing import Any

from flask import g
from flask_admin import AdminIndexView, expose
from flask_babel import format_date, gettext

from models import clock, policy, workflow
from models import fields as declared
from models.base import Model

from . import language, listing, pages
from .extensions import db

TILES = 4
BLOCKS = 3
ROWS = 5


class HomeView(AdminIndexView):  # type: ignore[misc]
    """Greets the person and shows the newest records of the lists they move things in."""

    @expose("/")
    def index(self) -> Any:
        mine = [
            m
            for m in declared.models()
            if m.__part_of__ is None and not m.__shared__ and policy.decide(g.principal, "view", m)
        ]
        worked_in = sorted(mine, key=lambda m: not pages.actions_for(m, g.principal))
        home = {
            "greeting": gettext("Hello, %(name)s", name=g.principal.name),
            "date_text": format_date(clock.today(), format="full"),
            "tiles": [
                (gettext(declared.label_of(m)), _counted(m), pages.address(m, "index_view"), "")
                for m in worked_in[:BLOCKS]
            ],
            "blocks": [_block(m) for m in worked_in[:BLOCKS]],
        }
        return self.render("admin/index.html", home=home)


def _counted(model: type[Model]) -> str:
    number, more = listing.count(db.session(), listing.Query(model, g.principal))
    return f"{number:,}" + ("+" if more else "")


def _block(model: type[Model]) -> dict[str, Any]:
    query = listing.Query(model, g.principal, size=ROWS)
    states = [declared.field(model, s) for s in sorted(workflow.state_columns(model))[:1]]
    selection = listing.Selection(model, (*states, declared.field(model, "updated_at")))
    rows = listing.page(db.session(), query, selection).rows
    return {
        "title": gettext(declared.label_of(model)),
        "more_url": pages.address(model, "index_view"),
        "empty": gettext("Nothing here yet"),
        "size": "w1",
        "rows": [_row(model, selection, states, row) for row in rows[:ROWS]],
    }


def _row(model: type[Model], selection: listing.Selection, states: Any, row: Any) -> tuple[Any, ...]:
    """Title, address, subtitle, badge, when, whether it is late: as the template lists them."""
    state = row[selection.paths[states[0].key].start] if states else None
    mark = (language.show(state), state.tone) if state is not None else None
    title = language.join(row[selection.title]) or f"#{row[0]}"
    when = language.show(row[selection.paths["updated_at"].start])
    return title, pages.address(model, "details_view", id=row[0]), "", mark, when, False

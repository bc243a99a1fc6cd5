"""What every template may call: icons, badges, and addresses of assets that change with their content."""

import hashlib
import mimetypes
import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from flask import Flask, Response, request
from markupsafe import Markup, escape

STATIC = Path(__file__).resolve().parent.parent / "static"
_TAGGED = "/static/v-<tag>/<path:filename>"

# A slim container has no /etc/mime.types, and a browser runs no module that is served as octets.
mimetypes.add_type("text/javascript", ".js")
mimetypes.add_type("image/svg+xml", ".svg")
mimetypes.add_type("font/woff2", ".woff2")


@cache
def fingerprint() -> str:
    """Ten hex digits that change whenever any static file does."""
    digest = hashlib.sha256()
    for path in sorted(path for path in STATIC.rglob("*") if path.is_file()):
        digest.update(path.relative_to(STATIC).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:10]


def asset(path: str) -> str:
    """The address of a static file, good for ever: other content gets another address.

    The tag is a folder of the address and not its query, so what a file names relatively
    (a module its imports, a stylesheet its font) is found under the same tag.
    """
    return f"/static/v-{fingerprint()}/{path}"


@cache
def icon_names() -> frozenset[str]:
    """The icons in the sprite; vendor.json is where to ask for more."""
    return frozenset(re.findall(r'<symbol id="([^"]+)"', (STATIC / "vendor" / "icons.svg").read_text()))


@cache
def icon(name: str | None, cls: str = "") -> Markup:
    """An icon of the sprite, hidden from screen readers; an unknown name shows a folder."""
    shown = name if name in icon_names() else "folder"
    return Markup('<svg class="{}" aria-hidden="true"><use href="{}#{}"></use></svg>').format(
        f"i {cls}".strip(), asset("vendor/icons.svg"), shown
    )


def badge(label: object, tone: str | None = "neutral") -> Markup:
    """A word with its tone: neutral, green, blue, amber or red."""
    return Markup('<span class="badge t-{}">{}</span>').format(tone or "neutral", label)


def with_cells(columns: Sequence[Any], rows: Sequence[Any]) -> Iterator[tuple[Any, Markup]]:
    """Each row of a list with the markup of its cells.

    In Python, because the same loop in a template costs three times as much. A row has a cell per
    column, or a cell per column that is shown.
    """
    shown = [column for column in columns if not column.hidden]
    whole = bool(rows) and len(rows[0].cells) == len(columns)
    cards = count()
    openings = [_opening(column, cards) for column in (columns if whole else shown)]
    for row in rows:
        yield row, Markup("".join(_cells(row, openings)))


def _opening(column: Any, cards: Iterator[int]) -> tuple[Markup, bool] | None:
    """The tag that opens a column's cells, and whether they are titles; None for a hidden column.

    On a phone the columns chosen for the card stand in two columns by turns: k0 and k1.
    """
    if column.hidden:
        return None
    place = "c-title" if column.is_title else f"on-card k{next(cards) % 2}" if column.on_card else ""
    tag = Markup('<td class="{}" data-label="{}">').format(f"{column.align} {place}".strip(), column.label)
    return tag, column.is_title


def _cells(row: Any, openings: list[tuple[Markup, bool] | None]) -> Iterator[str]:
    for opening, cell in zip(openings, row.cells, strict=True):
        if opening is None:
            continue
        tag, is_title = opening
        if is_title and row.url:
            yield f'{tag}<a class="title" href="{escape(row.url)}">{escape(cell)}</a></td>'
        else:
            yield f"{tag}{escape(cell)}</td>"


def register(app: Flask) -> None:
    """Give templates their globals and serve the tagged addresses of static files."""
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals.update(icon=icon, badge=badge, asset=asset, with_cells=with_cells)
    app.add_url_rule(_TAGGED, endpoint="static", view_func=app.view_functions["static"])
    app.url_value_preprocessor(_drop_tag)
    app.after_request(_keep_tagged)
    if app.debug:
        app.before_request(_forget)


def _drop_tag(endpoint: str | None, values: dict[str, Any] | None) -> None:
    if endpoint == "static" and values:
        values.pop("tag", None)


def _keep_tagged(response: Response) -> Response:
    """Let browsers keep what was asked for by its present tag, and nothing else, for a year."""
    if request.path.startswith(f"/static/v-{fingerprint()}/") and response.status_code in (200, 304):
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return response


def _forget() -> None:
    """While developing, an edited stylesheet shows on the next request."""
    fingerprint.cache_clear()
    icon.cache_clear()
    icon_names.cache_clear()

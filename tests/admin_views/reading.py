"""What a browser makes of a page: its forms as they would be sent, its links, its words."""

import base64
import html
import json
import re
from html.parser import HTMLParser
from typing import Any


class Form:
    """One form of a page: where it goes, and the pairs it would post if nobody touched it."""

    def __init__(self, attributes: dict[str, str | None]) -> None:
        self.action, self.method = attributes.get("action") or "", (attributes.get("method") or "get").lower()
        self.pairs: list[tuple[str, str]] = []
        self.names: set[str] = set()
        self.options: dict[str, list[str]] = {}
        self.outputs: set[str] = set()  # fields that are only shown

    def with_(self, **values: Any) -> list[tuple[str, str]]:
        """The pairs with some values replaced; a field that is not there yet is added."""
        kept = [(name, value) for name, value in self.pairs if name not in values]
        return kept + [(name, value) for name, value in values.items() if value is not None]

    def value(self, name: str) -> str | None:
        return dict(self.pairs).get(name)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.form: Form | None = None
        self.select: tuple[str, list[tuple[str, bool]]] | None = None
        self.text_of: str | None = None
        self.text = ""

    def handle_starttag(self, tag: str, given: list[tuple[str, str | None]]) -> None:
        attributes = dict(given)
        if tag == "form":
            self.form = Form(attributes)
            self.forms.append(self.form)
        elif self.form is None:
            return
        elif tag == "input":
            self._input(self.form, attributes)
        elif tag == "select":
            self.select = (attributes.get("name") or "", [])
        elif tag == "option" and self.select is not None:
            self.select[1].append((attributes.get("value") or "", "selected" in attributes))
        elif tag == "textarea":
            self.text_of, self.text = attributes.get("name") or "", ""
        elif tag == "output" and attributes.get("id"):
            self.form.outputs.add(str(attributes["id"]))

    def _input(self, form: Form, attributes: dict[str, str | None]) -> None:
        name, kind = attributes.get("name"), attributes.get("type") or "text"
        if not name:
            return
        form.names.add(name)
        if kind in {"checkbox", "radio"}:
            if "checked" in attributes:
                form.pairs.append((name, attributes.get("value") or "on"))
        elif kind not in {"submit", "button", "file"}:
            form.pairs.append((name, _typed(kind, attributes.get("value") or "")))

    def handle_data(self, data: str) -> None:
        if self.text_of is not None:
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self.form = None
        elif self.form is None:
            return
        elif tag == "select" and self.select is not None:
            name, options = self.select
            self.form.names.add(name)
            self.form.options[name] = [value for value, _ in options]
            if options:
                chosen = next((value for value, selected in options if selected), options[0][0])
                self.form.pairs.append((name, chosen))
            self.select = None
        elif tag == "textarea" and self.text_of is not None:
            # A browser drops one line end after the tag and sends every other one as CRLF.
            text = re.sub(r"^(\r\n|\n|\r)", "", self.text)
            self.form.names.add(self.text_of)
            self.form.pairs.append((self.text_of, re.sub(r"\r\n|\r|\n", "\r\n", text)))
            self.text_of = None


_SHAPES = {
    "date": r"\d{4,}-\d\d-\d\d",
    "datetime-local": r"\d{4,}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,3})?)?",
}


def _typed(kind: str, value: str) -> str:
    """What stays of *value* in an input: browsers empty days that are none and take line ends out of lines."""
    if kind in _SHAPES:
        return value if re.fullmatch(_SHAPES[kind], value) else ""
    return value if kind == "hidden" else re.sub(r"[\r\n]", "", value)


def forms(page: str) -> list[Form]:
    reader = _Reader()
    reader.feed(page)
    return reader.forms


def main_form(page: str) -> Form:
    """The form of the page's body: menus and the like stand outside ``main``."""
    return forms(main(page))[0]


def main(page: str) -> str:
    start = page.find("<main")
    return page[start : page.find("</main>", start)] if start >= 0 else page


def rows(page: str) -> list[int]:
    """The record numbers of a list's rows, in their order."""
    return [int(n) for n in re.findall(r'<tr data-row="(\d+)"', page)]


def links(page: str) -> list[str]:
    return [html.unescape(href) for href in re.findall(r'href="([^"]*)"', page)]


def next_page(page: str) -> str | None:
    found = re.search(r'rel="next" href="([^"]+)"', page)
    return html.unescape(found.group(1)) if found else None


def words(page: str) -> str:
    """The text of a page's body, blanks collapsed."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", main(page))).split())


def cursors(page: str) -> list[Any]:
    """What the cursors in a page's links hold."""
    found = re.findall(r"[?&](?:after|before)=([\w-]+)", " ".join(links(page)))
    return [json.loads(base64.urlsafe_b64decode(c + "=" * (-len(c) % 4))) for c in found]

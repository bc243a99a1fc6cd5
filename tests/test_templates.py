"""What every template, stylesheet and script promises: nothing inline, nothing untranslated, nothing foreign."""

import ast
import gzip
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from flask import Flask
from jinja2 import Environment, FileSystemLoader

from admin_views import ui
from scripts import vendor

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
SCRIPTS = sorted((ROOT / "static" / "ui").glob("*.js"))
STYLES = sorted((ROOT / "static" / "ui").glob("*.css"))
EVERY_TEMPLATE = pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.relative_to(ROOT).as_posix())

BUDGET = 45_000  # bytes of JavaScript and CSS, gzipped, that a page may load
CHINESE = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef]")
JINJA = re.compile(
    r"\{% block main_class %\}.*?\{% endblock %\}"  # names of classes, no text
    r"|\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}",
    re.DOTALL,
)
WORD = re.compile(r"[^\W\d_]{2,}")

# The name of the house, shown only when a page has nothing else to go by; and what keyboards print.
NOT_TRANSLATED = {"Kanghu", "Ctrl K", "Ctrl S"}


class Page(HTMLParser):
    """The tags of a template, and every text of it that a person would read."""

    SPOKEN = {"alt", "title", "placeholder", "aria-label", "data-confirm", "data-confirm-body", "data-ok"}

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.texts += [value for name, value in attrs if name in self.SPOKEN and value]
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if not {"kbd", "script"} & set(self.open):
            self.texts.append(data.strip())


def bare(path: Path) -> Page:
    """The template without what Jinja fills in."""
    return Page(JINJA.sub("", path.read_text()))


# -- strict Content-Security-Policy --


@EVERY_TEMPLATE
def test_a_template_has_no_inline_style_or_script(path: Path) -> None:
    page = bare(path)

    inline = [
        f"<{tag} {name}>" for tag, attrs in page.tags for name in attrs if name == "style" or name.startswith("on")
    ]
    inline += [tag for tag, _ in page.tags if tag == "style"]
    inline += [
        "<script>" for tag, attrs in page.tags
        if tag == "script" and "src" not in attrs and attrs.get("type") != "application/json"
    ]  # fmt: skip

    assert inline == []
    assert "javascript:" not in path.read_text()
    assert "hx-on" not in path.read_text()


@EVERY_TEMPLATE
def test_a_template_compiles(path: Path) -> None:
    environment = Environment(loader=FileSystemLoader(ROOT / "templates"), extensions=["jinja2.ext.i18n"])

    environment.get_template(path.relative_to(ROOT / "templates").as_posix())


@EVERY_TEMPLATE
def test_every_post_form_carries_the_token(path: Path) -> None:
    forms = re.findall(r"<form\b[^>]*method=\"post\".*?</form>", path.read_text(), re.DOTALL)

    assert [form for form in forms if not re.search(r"\{\{ (lib\.)?hidden\(|csrf_token\(\)", form)] == []


# -- languages --


@EVERY_TEMPLATE
def test_every_text_of_a_template_goes_through_gettext(path: Path) -> None:
    texts = {text for text in bare(path).texts if WORD.search(text)}

    assert texts - NOT_TRANSLATED == set()


@pytest.mark.parametrize("path", [*TEMPLATES, *SCRIPTS, *STYLES], ids=lambda path: path.name)
def test_texts_are_english_msgids(path: Path) -> None:
    assert CHINESE.findall(path.read_text()) == []


def test_scripts_say_only_what_the_page_translates_for_them() -> None:
    source = (ROOT / "templates" / "admin" / "_strings.html").read_text()

    given = dict(re.findall(r'^  ("(?:[^"]+)"): _\(("(?:[^"]+)")', source, re.MULTILINE))
    said = {ast.literal_eval(text) for path in SCRIPTS for text in re.findall(r"\bt\(('[^']+')", path.read_text())}

    assert all(key == msgid for key, msgid in given.items())
    assert {ast.literal_eval(key) for key in given} == said


# -- assets --


def test_vendored_files_are_the_ones_in_the_lock() -> None:
    assert vendor.problems() == []


def test_every_icon_named_in_a_template_or_script_is_in_the_sprite() -> None:
    named = {
        name
        for path in [*TEMPLATES, *SCRIPTS]
        for name in re.findall(r"\bicon\([\"']([a-z0-9-]+)[\"']", path.read_text())
    }

    assert named - ui.icon_names() == set()
    assert named != set()


def test_every_asset_named_in_a_template_exists() -> None:
    source = "".join(path.read_text() for path in TEMPLATES)
    names = set(re.findall(r"asset\([\"']([^\"'~]+)[\"']\)", source))
    names |= {f"ui/{path.name}" for path in [*SCRIPTS, *STYLES] if f'"{path.stem}"' in source}

    assert {name for name in names if not (ui.STATIC / name).is_file()} == set()
    assert {f"ui/{path.name}" for path in [*SCRIPTS, *STYLES]} <= names, "a file that no page loads"


def test_scripts_and_styles_stay_within_their_budget() -> None:
    files = [*SCRIPTS, *STYLES, ui.STATIC / "vendor" / "htmx.min.js"]

    assert sum(len(gzip.compress(path.read_bytes(), 6)) for path in files) <= BUDGET


def test_dark_is_the_same_whether_chosen_or_the_systems() -> None:
    source = (ui.STATIC / "ui" / "base.css").read_text()
    chosen, systems = (
        re.findall(r"[\w-]+:[^;]+;", re.search(rf'\[data-theme="{theme}"\] \{{([^}}]+)\}}', source)[1])
        for theme in ("dark", "auto")
    )

    assert [" ".join(line.split()) for line in chosen] == [" ".join(line.split()) for line in systems]


def test_an_asset_is_kept_for_a_year_under_its_tag_and_no_other() -> None:
    app = Flask("assets", root_path=str(ROOT))
    ui.register(app)
    client = app.test_client()

    tagged = client.get(ui.asset("ui/base.css"))
    outdated = client.get("/static/v-0123456789/ui/base.css")
    plain = client.get("/static/ui/base.css")

    assert tagged.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert [answer.status_code for answer in (tagged, outdated, plain)] == [200, 200, 200]
    assert "immutable" not in outdated.headers["Cache-Control"] + plain.headers["Cache-Control"]


def test_an_unknown_icon_shows_a_folder() -> None:
    assert ui.icon("no-such-icon") == ui.icon("folder")


def test_a_badge_escapes_its_label() -> None:
    assert ui.badge("<b>", "red") == '<span class="badge t-red">&lt;b&gt;</span>'

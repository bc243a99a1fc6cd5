"""The ground that other tests stand on: databases, the browser, the live server, the lock file."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from playwright.sync_api import Page
from sqlalchemy import create_engine, text

from tests import postgres
from tests.browser import VIEWPORTS
from tests.conftest import REALDATA_ABSENT, ROOT

LOCK = (ROOT / "requirements.lock").read_text()

# Draws one character black on white and gives its pixels as text, one digit each.
DRAW = """character => {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 48;
    const pen = canvas.getContext("2d");
    pen.font = "40px sans-serif";
    pen.fillText(character, 2, 40);
    const pixels = pen.getImageData(0, 0, 48, 48).data;
    return Array.from({length: 48 * 48}, (_, at) => pixels[4 * at + 3] > 127 ? "1" : "0").join("");
}"""


# -- databases --


@pytest.mark.postgres
def test_a_fresh_postgres_database_sorts_and_classifies_in_utf8(postgres_database_url: str) -> None:
    with create_engine(postgres_database_url).connect() as connection:
        row = connection.execute(
            text(
                "SELECT pg_encoding_to_char(encoding), datcollate, datctype, '康' ~ '[[:alpha:]]'"
                " FROM pg_database WHERE datname = current_database()"
            )
        ).one()

    assert row == ("UTF8", "C.UTF-8", "C.UTF-8", True)


@pytest.mark.postgres
def test_every_fresh_postgres_database_is_another_and_can_be_dropped(postgres_url: str) -> None:
    first, second = (postgres.fresh_database(postgres_url) for _ in range(2))

    postgres.drop_database(first, beside=postgres_url)
    postgres.drop_database(second, beside=postgres_url)

    assert first != second
    with create_engine(postgres_url).connect() as connection:
        names = connection.execute(text("SELECT datname FROM pg_database")).scalars().all()
    assert first.rsplit("/")[-1] not in names


def test_a_database_is_empty_and_keeps_chinese(database_url: str) -> None:
    engine = create_engine(database_url)

    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE client (name varchar(40) NOT NULL)"))
        connection.execute(text("INSERT INTO client VALUES ('李欣怡')"))
        name = connection.execute(text("SELECT name FROM client")).scalar_one()
    engine.dispose()

    assert name == "李欣怡"


# -- browser --


@pytest.mark.browser
def test_the_browser_draws_chinese_glyphs_and_not_boxes(page: Page, console_errors: list[str]) -> None:
    page.goto("data:text/html;charset=utf-8,<title>康护</title><h1>中文：康护</h1>")

    drawn = {character: page.evaluate(DRAW, character) for character in "中文康护"}

    # Without a Chinese font all four would be the same box.
    assert len(set(drawn.values())) == 4
    assert all(pixels.count("1") > 100 for pixels in drawn.values())
    assert page.title() == "康护"
    assert page.screenshot().startswith(b"\x89PNG")
    assert console_errors == []


@pytest.mark.browser
@pytest.mark.parametrize("viewport", VIEWPORTS)
def test_a_page_has_the_size_it_was_asked_for(open_page: Callable[..., Page], viewport: str) -> None:
    page = open_page(viewport)
    page.set_content("<meta name=viewport content='width=device-width'>")

    assert tuple(page.evaluate("[innerWidth, innerHeight]")) == VIEWPORTS[viewport]


@pytest.mark.browser
def test_the_browser_is_in_chinese_and_in_shanghai(page: Page) -> None:
    settings = page.evaluate("[navigator.language, Intl.DateTimeFormat().resolvedOptions().timeZone]")

    assert settings == ["zh-CN", "Asia/Shanghai"]


@pytest.mark.browser
def test_what_a_page_complains_of_is_collected(page: Page, console_errors: list[str]) -> None:
    page.set_content("<script>console.error('bed 8302-1'); console.log('fine'); throw new Error('lost')</script>")

    assert console_errors == ["bed 8302-1", "lost"]


@pytest.mark.browser
def test_the_browser_visits_a_live_server(page: Page, live_server: Callable[[Flask], str]) -> None:
    app = Flask(__name__)
    app.add_url_rule("/", view_func=lambda: "<p>康护在此</p>")

    page.goto(live_server(app))

    assert page.inner_text("p") == "康护在此"


# -- skipping --


@pytest.mark.parametrize(
    ("no_skip", "skip", "closing"),
    [
        ("0", "pytest.skip('no bed')", "1 skipped"),
        ("1", "pytest.skip('no bed')", "1 failed"),
        ("1", "pytest.importorskip('no_such_module')", "1 failed"),
        ("1", f"pytest.skip({REALDATA_ABSENT!r})", "1 skipped"),
    ],
)
def test_a_skip_is_a_failure_where_nothing_may_skip(no_skip: str, skip: str, closing: str, tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text(f"import pytest\n\ndef test_one():\n    {skip}\n")

    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", "--rootdir", tmp_path, tmp_path],
        env=os.environ | {"KANGHU_NO_SKIP": no_skip},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert closing in run.stdout.splitlines()[-1]


# -- dependencies --


def test_the_lock_names_no_index_and_no_folder_of_a_machine() -> None:
    stray = re.findall(r"\w+://.*|file:.*|.*--(?:extra-)?index.*|.*--find-links.*|.*/(?:home|root|tmp|opt)/.*", LOCK)

    assert stray == []


def test_every_locked_package_is_pinned_and_hashed() -> None:
    entries = [entry for entry in re.split(r"\n(?=\S)", LOCK) if not entry.startswith("#")]

    unpinned = [entry for entry in entries if not re.match(r"[\w.-]+(\[.*\])?==\S+.*\\\n", entry)]
    unhashed = [entry for entry in entries if "--hash=sha256:" not in entry]

    assert unpinned == []
    assert unhashed == []


def test_the_lock_pins_every_dependency_named_in_pyproject() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = settings["project"]["dependencies"] + settings["dependency-groups"]["test"]
    pinned = {
        canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", LOCK, re.MULTILINE)
    }

    unmet = [
        str(wanted)
        for wanted in map(Requirement, named)
        if not wanted.specifier.contains(pinned.get(canonicalize_name(wanted.name), "0"))
    ]

    assert unmet == [], "run `make lock`"

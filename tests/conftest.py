"""Fixtures for every test: databases of both kinds, a browser, a live server, real files.

On a developer's machine a test whose needs are missing skips and says why. With KANGHU_NO_SKIP=1, as in
.ci/run, it fails instead.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import hypothesis
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests import browser, postgres

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = Path(__file__).resolve().parent / "output"
NO_SKIP = os.environ.get("KANGHU_NO_SKIP") == "1"
REALDATA_ABSENT = "../shared/realdata is not there: these files are not ours to carry"

# Two shared cores make any deadline a matter of luck; in CI the examples are the same every time.
hypothesis.settings.register_profile("kanghu", deadline=None, print_blob=True, derandomize=bool(os.environ.get("CI")))
hypothesis.settings.load_profile("kanghu")

FAILED = pytest.StashKey[bool]()


def skip_or_fail(reason: str) -> NoReturn:
    """Skip with a reason, or fail with it where nothing may skip."""
    if NO_SKIP:
        pytest.fail(f"Nothing may skip here (KANGHU_NO_SKIP=1): {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Refuse skips where nothing may skip, and remember a failure for the fixtures that end after it."""
    report = yield
    _refuse_skip(report)
    if report.failed:
        item.stash[FAILED] = True
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector):
    """Refuse a whole module's skip, such as importorskip's, where nothing may skip."""
    report = yield
    _refuse_skip(report)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    # An expected failure is reported as skipped too. The real files are not in the repository and no
    # package brings them, so a clone without them skips those tests in CI as well, with this reason.
    if not NO_SKIP or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if REALDATA_ABSENT not in reason:
        report.outcome = "failed"
        report.longrepr = f"Nothing may skip here (KANGHU_NO_SKIP=1): {reason}"


# -- databases --


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server for this run: KANGHU_TEST_POSTGRES_URL, or a private cluster per worker.

    Tests do not work in the database it names; they make their own with postgres.fresh_database(url).
    """
    given = os.environ.get("KANGHU_TEST_POSTGRES_URL")
    if given:
        yield given
        return
    with ExitStack() as stack:
        try:
            url = stack.enter_context(postgres.private_cluster())
        except postgres.CannotStart as problem:
            skip_or_fail(str(problem))
        yield url


@pytest.fixture
def postgres_database_url(postgres_url: str) -> Iterator[str]:
    """A new, empty PostgreSQL database."""
    url = postgres.fresh_database(postgres_url)
    yield url
    postgres.drop_database(url, beside=postgres_url)


@pytest.fixture
def sqlite_database_url(tmp_path: Path) -> str:
    """A new SQLite database, whose file does not exist yet."""
    return f"sqlite:///{tmp_path / 'kanghu.db'}"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest) -> str:
    """A new, empty database; the test runs once on SQLite and once on PostgreSQL."""
    return request.getfixturevalue(f"{request.param}_database_url")


# -- browser --


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A Chromium without a window, shared by the tests of this worker."""
    with sync_playwright() as playwright:
        program = browser.find_chromium(playwright)
        if program is None:
            skip_or_fail("no Chromium is installed (Debian: chromium)")
        running = browser.launch(playwright, program)
        yield running
        running.close()


@pytest.fixture
def console_errors() -> list[str]:
    """What the consoles of this test's pages called errors; a test asserts that it is empty."""
    return []


@pytest.fixture
def open_page(
    chromium: Browser, console_errors: list[str], request: pytest.FixtureRequest
) -> Iterator[Callable[..., Page]]:
    """Open a page as a new person: open_page("phone"); see VIEWPORTS for the sizes.

    Other keywords go to Playwright's new_context. When the test fails, tests/output/ has a picture.
    """
    contexts = []

    def open_one(viewport: str = "desk", **options: object) -> Page:
        context = browser.new_context(chromium, viewport, **options)
        contexts.append(context)
        # A page opened by the page itself is listened to as well.
        context.on("page", lambda page: browser.collect_errors(page, console_errors))
        return context.new_page()

    yield open_one

    name = re.sub(r"[^\w.-]+", "-", request.node.nodeid.removeprefix("tests/"))
    for number, context in enumerate(contexts):
        if request.node.stash.get(FAILED, False):
            browser.keep_screenshots(context, OUTPUT, f"{name}-{number}")
        context.close()


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Page:
    """One page at a desk."""
    return open_page()


@pytest.fixture
def live_server() -> Iterator[Callable[[Callable[..., object]], str]]:
    """Serve an application for this test: base_url = live_server(app)."""
    with ExitStack() as stack:
        yield lambda app: stack.enter_context(browser.serving(app))


# -- real files --


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of public, unclean files that nobody on this project wrote."""
    folder = ROOT.parent / "shared" / "realdata"
    if not folder.is_dir():
        pytest.skip(REALDATA_ABSENT)
    return folder

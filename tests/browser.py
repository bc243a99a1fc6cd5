"""A real Chromium, and a server in a thread for it to visit."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, Playwright
from werkzeug.serving import WSGIRequestHandler, make_server

# The three sizes that every screen must serve: a desk, an upright tablet on the ward, a phone.
VIEWPORTS = {"desk": (1440, 900), "tablet": (820, 1180), "phone": (390, 844)}

# Without the --disable flags Chromium calls home at every start and fills closed networks with refusals.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium(playwright: Playwright) -> str | None:
    """The system's Chromium, or else the one that Playwright has installed for itself."""
    for name in NAMES:
        program = shutil.which(name)
        if program:
            return program
    own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


def launch(playwright: Playwright, program: str) -> Browser:
    """Start the browser without a window."""
    return playwright.chromium.launch(executable_path=program, args=ARGUMENTS, headless=True)


def new_context(browser: Browser, viewport: str = "desk", **options: object) -> BrowserContext:
    """A person's own browser: in Chinese, in Shanghai, with no cookies yet.

    viewport -- a key of VIEWPORTS; tablet and phone are touched, not clicked.
    """
    width, height = VIEWPORTS[viewport]
    settings: dict[str, object] = {
        "viewport": {"width": width, "height": height},
        "locale": "zh-CN",
        "timezone_id": "Asia/Shanghai",
        "has_touch": viewport != "desk",
        "is_mobile": viewport == "phone",
    }
    return browser.new_context(**(settings | options))


def collect_errors(page: Page, errors: list[str]) -> None:
    """Write to `errors` what the page's console calls an error and what its scripts fail to catch."""
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))


class QuietHandler(WSGIRequestHandler):
    """Serves without a log line per request."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


@contextmanager
def serving(app: Callable[..., object]) -> Iterator[str]:
    """Serve a WSGI application on a free port of this machine and give its base URL."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=QuietHandler)
    thread = threading.Thread(target=server.serve_forever, name="live-server", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def keep_screenshots(context: BrowserContext, folder: Path, name: str) -> None:
    """Save what each open page shows, so that a failed test can be looked at."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, page in enumerate(context.pages):
        # A page that crashed or still loads cannot be drawn; the test has already failed for its own reason.
        with suppress(Exception):
            page.screenshot(path=folder / f"{name}-{number}.png", timeout=5_000)

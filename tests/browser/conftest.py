"""A headless browser before a running service; without Chromium these tests say so and skip.

`.ci/browser` installs it; `.ci/run` does that first, so that nothing is skipped there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from tests.process.reaching import Reached, reached

#: What Chromium's program is called, by distribution.
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")

#: The longest that a test waits for a page to show something, in milliseconds.
PATIENCE_MS = 30_000


@dataclass
class Watched:
    """A page, and what went wrong on it."""

    page: Page
    url: str
    errors: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        """Go to a path of the service."""
        answer = self.page.goto(f"{self.url}{path}")
        assert answer is not None
        return self.page


def chromium() -> str | None:
    """Where Chromium is: named by CHROMIUM, or found."""
    given = os.environ.get("CHROMIUM")
    return given or next(filter(None, map(shutil.which, NAMES)), None)


# For one module only: while playwright is open, its loop is the running one of this thread, and
# no other test could run a loop of its own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    program = chromium()
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium is missing: .ci/browser installs it")
        pytest.skip("Chromium is missing: apt-get install chromium, or CHROMIUM=/path/to/it")
    with sync_playwright() as playwright:
        # Chromium's own sandbox needs what containers and root do not have.
        opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reached]:
    """A running service."""
    with reached(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser that remembers nothing of other tests."""
    with browser.new_context() as opened:
        opened.set_default_timeout(PATIENCE_MS)
        yield opened


@pytest.fixture
def visitor(context: BrowserContext, door: Reached) -> Iterator[Watched]:
    """A page of somebody without a session; it must end without an error on its console."""
    watched = Watched(context.new_page(), door.url)

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            watched.errors.append(f"{watched.page.url}: {message.text}")

    watched.page.on("console", note)
    watched.page.on("pageerror", lambda error: watched.errors.append(str(error)))
    yield watched
    assert [] == watched.errors


@pytest.fixture
def operator(visitor: Watched, door: Reached) -> Watched:
    """A page of the operator, who followed the link of `bg-charm-service open`."""
    code = door.service.request("POST", "/api/login-codes")["code"]
    visitor.open(f"/login?code={code}")
    return visitor

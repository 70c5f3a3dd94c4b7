"""Makes the pictures of README: runs a service with a few charms and photographs its pages.

    .venv/bin/python docs/screenshots.py

Needs Chromium (Debian: apt-get install chromium), or CHROMIUM=/path/to/it. Takes two minutes,
so that the charts have something to show.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"

#: How long charms run before the pictures are taken, in seconds.
RUNNING_SECONDS = 110

FEED = '''
import random, time
from bg_charm_service import Charm, Secret

class Feed(Charm):
    """Follows a feed and keeps its newest entries."""
    url: str = "https://example.org/feed.xml"
    token: Secret[str] = "not shown"
    entries: list[dict[str, str]] = []
    fetched: int = 0

    def bg_updater(self, event: dict) -> None:
        time.sleep(random.random() * 0.12)
        print("fetched", self.url)
        if random.random() < 0.08:
            raise ConnectionError("example.org: connection reset by peer")
        self.fetched += 1
        self.entries = [{"title": f"Entry {n}", "link": f"{self.url}#{n}"} for n in range(30)]
'''

MAILBOX = '''
from bg_charm_service import Charm

class Mailbox(Charm):
    """Counts unread mails."""
    folder: str = "INBOX"
    unread: int = 0

    def bg_updater(self, event: dict) -> None:
        print("connecting to imap.example.org, folder", self.folder)
        raise PermissionError("401 Unauthorized: the token has expired")
'''

ARCHIVE = '''
import time
from bg_charm_service import Charm

class Archive(Charm):
    """Keeps what is older than a month."""
    kept: int = 0

    def bg_updater(self, event: dict) -> None:
        time.sleep(1.3)
        self.kept += 1
'''

#: Source, space, cause, integration; nothing registers a charm without an integration.
CHARMS = (
    (FEED, "news", "hacker news", "manual"),
    (FEED, "news", "lwn", "manual"),
    (FEED, "news", "python insider", "manual"),
    (MAILBOX, "ana", "inbox", "gmail"),
    (FEED, "ana", "calendar", "gcal"),
    (ARCHIVE, "archive", "monthly", "manual"),
    (FEED, "lab", "experiment", ""),
)


class Command:
    """The program on one data directory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._program = [sys.executable, "-m", "bg_charm_service", f"--data-dir={folder / 'data'}"]

    def run(self, *arguments: str) -> str:
        """Run a command; give what it prints."""
        done = subprocess.run(
            [*self._program, *arguments], cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE
        )
        return done.stdout

    @contextmanager
    def service(self) -> Iterator[str]:
        """Run the service; give the address of its page."""
        flags = ["--listen=127.0.0.1:0", "--log-format=json", "--interval=4", "--demo"]
        told = self._folder / "log"
        with (
            told.open("w") as log,
            subprocess.Popen([*self._program, *flags], cwd=ROOT, stdout=log) as process,
        ):
            try:
                yield self._address(told, process)
            finally:
                process.send_signal(signal.SIGTERM)

    def _address(self, told: Path, process: subprocess.Popen[bytes]) -> str:
        while process.poll() is None:
            lines = [json.loads(line) for line in told.read_text().splitlines(keepends=True)[:-1]]
            events = {line.get("event"): line for line in lines}
            if {"listening", "started"} <= events.keys():
                return str(events["listening"]["url"])
            time.sleep(0.1)
        sys.exit("The service did not start.")

    def add(self, source: str, space: str, cause: str, integration: str) -> str:
        """Add a charm; give its address."""
        file = self._folder / "charm.py"
        file.write_text(source.lstrip())
        register = ["--register", "--integration", integration] if integration else []
        added = self.run(
            "charm", "add", str(file), "--space", space, "--cause", cause, *register, "--json"
        )
        charm = json.loads(added)
        return f"{charm['space']}/{charm['charm_id']}"


def photograph(browser: Browser, command: Command, url: str, charm: str) -> None:
    """Take the list and the page of a charm, light and dark."""
    for scheme in ("light", "dark"):
        context = browser.new_context(viewport={"width": 1280, "height": 860})
        page = context.new_page()
        page.emulate_media(color_scheme="light" if scheme == "light" else "dark")
        page.goto(json.loads(command.run("open", "--json"))["url"])
        page.wait_for_selector(".list")
        page.screenshot(path=IMAGES / f"list-{scheme}.png")
        page.goto(f"{url}/charms/{charm}")
        page.locator(".runs summary").first.click()
        page.screenshot(path=IMAGES / f"charm-{scheme}.png")
        context.close()


def main() -> None:
    """Make all pictures."""
    program = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if program is None:
        sys.exit("Chromium is missing: apt-get install chromium, or CHROMIUM=/path/to/it")
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        command = Command(Path(folder))
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        with command.service() as url:
            added = {
                cause: command.add(source, space, cause, integration)
                for source, space, cause, integration in CHARMS
            }
            time.sleep(RUNNING_SECONDS)
            photograph(browser, command, url, added["inbox"])
        browser.close()


if __name__ == "__main__":
    main()

"""Makes the pictures of the documents: runs a service with charms of all kinds, takes its pages.

    make screenshots
    python -m demos.screenshots [--seconds SECONDS] [--folder FOLDER]

Needs Chromium (Debian: apt-get install chromium), or CHROMIUM=/path/to/it. Takes two minutes,
so that the charts have something to show.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import click
from playwright.sync_api import Browser, FloatRect, sync_playwright

from demos.service import ROOT, Program

IMAGES = ROOT / "docs" / "images"

#: How long charms run before the pictures are taken, in seconds.
RUNNING_SECONDS = 110.0

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
            raise ValueError("not well-formed: line 12, column 7")
        self.fetched += 1
        self.entries = [{"title": f"Entry {n}", "link": f"{self.url}#{n}"} for n in range(30)]
'''

INVOICES = '''
from bg_charm_service import Charm

class Invoices(Charm):
    """Collects the invoices of the month."""
    folder: str = "invoices"
    found: int = 0

    def bg_updater(self, event: dict) -> None:
        print("reading", self.folder)
        raise LookupError(f"there is no folder {self.folder!r} any more")
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

WEATHER = '''
from bg_charm_service import Charm, ProviderDown

class Weather(Charm):
    """Keeps the temperature of one place."""
    place: str = "Oslo"
    celsius: int = 0

    def bg_updater(self, event: dict) -> None:
        raise ProviderDown("connection refused", host="api.weather.example")
'''

SEARCH = '''
from bg_charm_service import Charm, Wait

class Search(Charm):
    """Counts what a search finds."""
    searches: int = 0

    def bg_updater(self, event: dict) -> None:
        raise Wait(5400, "the quota of this hour is used up")
'''

MAILBOX = '''
from bg_charm_service import Charm, Secret, SignInNeeded

class Mailbox(Charm):
    """Counts unread mails."""
    token: Secret[str] = "of-last-year"
    unread: int = 12

    def bg_updater(self, event: dict) -> None:
        raise SignInNeeded("the token was revoked", url="https://accounts.example.org/oauth")
'''

PARCEL = '''
from bg_charm_service import Charm, Stop

class Parcel(Charm):
    """Follows a parcel until it has arrived."""
    where: str = "at the door"

    def bg_updater(self, event: dict) -> None:
        raise Stop("the parcel was delivered")
'''

HEADLINES = '''
from bg_charm_service import Charm

class Headlines(Charm):
    """Keeps the newest headlines."""
    expects = {"headlines": "20s"}
    headlines: list[str] = []
    polls: int = 0

    def bg_updater(self, event: dict) -> None:
        self.polls += 1
'''

REPORT = '''
from bg_charm_service import Charm

class Report(Charm):
    """Writes the report of the day."""
    cron = "0 8 * * mon-fri"
    time_zone = "Europe/Oslo"
    written: int = 0

    def bg_updater(self, event: dict) -> None:
        self.written += 1

    def tell(self, event: dict) -> None:
        self.remind("tell", {}, after="2h", name="evening")
'''

#: Source, space, cause, integration; nothing registers a charm without an integration.
CHARMS = (
    (FEED, "news", "hacker news", "manual"),
    (HEADLINES, "news", "headlines", "manual"),
    (WEATHER, "home", "weather in oslo", "manual"),
    (WEATHER, "home", "weather in bergen", "manual"),
    (SEARCH, "home", "flats", "manual"),
    (PARCEL, "home", "parcel", "manual"),
    (MAILBOX, "ana", "inbox", "gmail"),
    (INVOICES, "ana", "invoices", "manual"),
    (REPORT, "work", "daily report", "manual"),
    (FEED, "work", "tickets", "manual"),
    (ARCHIVE, "archive", "monthly", "manual"),
    (FEED, "lab", "experiment", ""),
)

#: Pages of charms that are photographed: the cause, and how much of the page is of interest.
SHOWN = {
    "charm": ("invoices", 860),
    "sign-in": ("inbox", 460),
    "down": ("weather in oslo", 460),
    "waiting": ("flats", 460),
    "stopped": ("parcel", 460),
    "stale": ("headlines", 460),
    "paused": ("tickets", 460),
    "schedule": ("daily report", 860),
}

#: The window, in pixels.
_WIDTH, _HEIGHT = 1280, 860


def photograph(browser: Browser, program: Program, added: dict[str, str], folder: Path) -> None:
    """Take the list, what needs attention, and the pages of charms, light and dark."""
    for scheme in ("light", "dark"):
        context = browser.new_context(viewport={"width": _WIDTH, "height": _HEIGHT}, locale="en-GB")
        page = context.new_page()
        page.emulate_media(color_scheme="light" if scheme == "light" else "dark")
        page.goto(json.loads(program.run("open", "--json"))["url"])
        page.wait_for_selector(".list")
        page.screenshot(path=folder / f"list-{scheme}.png", full_page=True)
        page.goto(f"{program.url}/attention")
        page.screenshot(path=folder / f"attention-{scheme}.png", full_page=True)
        for name, (cause, height) in SHOWN.items():
            page.goto(f"{program.url}/charms/{added[cause]}")
            if page.locator(".runs summary").count():
                page.locator(".runs summary").first.click()
            seen: FloatRect = {"x": 0, "y": 0, "width": _WIDTH, "height": height}
            page.screenshot(path=folder / f"{name}-{scheme}.png", clip=seen)
        context.close()


@click.command()
@click.option("--seconds", default=RUNNING_SECONDS, show_default=True, help="How long charms run.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=IMAGES,
    show_default=True,
    help="Where the pictures go.",
)
def main(seconds: float, folder: Path) -> None:
    """Make all pictures."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        sys.exit("Chromium is missing: apt-get install chromium, or CHROMIUM=/path/to/it")
    folder.mkdir(exist_ok=True, parents=True)
    with tempfile.TemporaryDirectory() as work, sync_playwright() as playwright:
        program = Program(Path(work))
        source = Path(work) / "charm.py"
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        with program.service("--interval=4", "--demo"):
            added = {}
            for text, space, cause, integration in CHARMS:
                source.write_text(text.lstrip())
                added[cause] = program.add(
                    source, space=space, cause=cause, integration=integration
                )
            program.run("charm", "send", added["daily report"], "{}", "--stream", "tell")
            program.run("pause", added["tickets"])
            time.sleep(seconds)
            photograph(browser, program, added, folder)
        browser.close()


if __name__ == "__main__":
    main()

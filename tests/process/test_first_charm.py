"""`make mail` on a terminal asks for a mailbox and shows it; elsewhere, and later, it does not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.fakes.discord import CHANNEL, TOKEN, FakeDiscord, fake_discord
from tests.fakes.http_server import FakeServer, answer
from tests.process.running import ROOT
from tests.process.terminal import typed
from tests.process.test_calendar_importer import DAY, ITEMS, Calendar
from tests.process.test_mail_importer import Box
from tests.real_servers import PASSWORD, dovecot, radicale

COMMAND = [sys.executable, "-m", "demos.first_charm", "mail", "--set", "is_plain=true", "--"]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A mailbox with three mails."""
    with dovecot(tmp_path) as server:
        box = Box(server, "")
        box.append(1, 2, 3)
        yield box
        box.imap.logout()


def asked(folder: Path, *answers: tuple[str, str]) -> tuple[int, str]:
    """Run it on a terminal, and answer what it asks."""
    return typed([*COMMAND, "--data-dir", str(folder), "--sandbox=auto"], *answers)


def test_a_mailbox_is_there_after_three_answers(tmp_path: Path, box: Box) -> None:
    """Wrong ones are told, and asked for once more; the password is never shown."""
    data = tmp_path / "data"
    code, seen = asked(
        data,
        ("IMAP server", f"127.0.0.1:{box.port}"),
        ("User", box.user),
        ("Password", "wrong"),
        ("That did not work: 127.0.0.1 refused user", ""),
        ("User", ""),
        ("Password", PASSWORD),
    )
    assert 0 == code, seen
    assert "3 mails, the newest:" in seen
    assert "you@example.org  Grüße 3\n" in seen
    assert PASSWORD not in seen
    assert (0, "") == asked(data)


PAGE = """<!doctype html><html><head><title>News</title>
<link rel="alternate" type="application/rss+xml" href="/feed.xml"></head><body></body></html>"""
FEED = """<rss version="2.0"><channel><title>News</title>
<item><title>It rains</title><link>http://x/1</link><guid>1</guid></item></channel></rss>"""


def command(name: str, data: Path, *given: str) -> list[str]:
    """What `make` runs first."""
    flags = ("--data-dir", str(data), "--sandbox=auto")
    return [sys.executable, "-m", "demos.first_charm", name, *given, "--", *flags]


def test_calendars_are_there_after_three_answers(tmp_path: Path) -> None:
    """What is no calendar is told, and asked for once more."""
    (tmp_path / "server").mkdir()
    with radicale(tmp_path / "server") as running, httpx2.Client() as client, FakeServer() as web:
        web.on("/", answer(200, PAGE, content_type="text/html"))
        Calendar(running, client).put("one", ITEMS["one"])
        code, seen = typed(
            command("calendar", tmp_path / "data"),
            ("Address, that of a CalDAV account", f"{web.url}/"),
            ("User", ""),
            ("Password", ""),
            ("is a web page, and no calendar: take the address", running.url),
            ("User", "me"),
            ("Password", "any"),
        )
    assert 0 == code, seen
    assert "1 events, the next:" in seen
    assert f"{DAY:%Y-%m-%d}T10:00:00+00:00" in seen


def test_a_feed_is_there_after_one_answer(tmp_path: Path) -> None:
    """A page that is none is told with the feeds that it links to."""
    with FakeServer() as server:
        server.on("/", answer(200, PAGE, content_type="text/html"))
        server.on("/feed.xml", answer(200, FEED))
        code, seen = typed(
            command("rss", tmp_path / "data"),
            ("Address of the feed", "no address"),
            ("Address of the feed: it is one of RSS, Atom or JSON Feed", f"{server.url}/"),
            (f"it links to these: {server.url}/feed.xml", f"{server.url}/feed.xml"),
        )
    assert 0 == code, seen
    assert "1 entries, the newest:\n  It rains  http://x/1\n" in seen


def test_a_channel_is_there_after_two_answers(tmp_path: Path) -> None:
    """A bot that may not read it is told what to give it."""
    for discord in fake_discord():
        discord.write("Hello\x1b[2J")
        # For polls too.
        discord.refusals = [403] * 1000

        def let_in(seen: str, discord: FakeDiscord = discord) -> str:
            discord.refusals.clear()
            return TOKEN

        code, seen = typed(
            command("discord", tmp_path / "data", "--set", f'base="{discord.base}"'),
            ("Token of the bot", TOKEN),
            ("Id of the channel", CHANNEL),
            ("may not read the channel 4242: invite it to the server", ""),
            # Nothing was typed, and a secret is not offered.
            ("Token of the bot", let_in),
            ("Id of the channel", ""),
        )
        assert 0 == code, seen
        assert "1 message, the newest:" in seen
        assert "Ada  Hello [2J\n" in seen
        assert TOKEN not in seen


def test_nothing_is_asked_where_nobody_is(tmp_path: Path) -> None:
    """As in a unit, or in a pipe."""
    done = subprocess.run(
        [*COMMAND, "--data-dir", str(tmp_path / "data")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=ROOT,
        check=True,
    )
    assert (b"", b"") == (done.stdout, done.stderr)
    assert not (tmp_path / "data").exists()

"""The feed reader on feeds that real programs have made: what is stored is what was published.

`.ci/servers` installs the programs, and `.ci/run` does that first; without them these tests skip.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bg_charm_service.workers.runtime.charm_binding import changes, load_class
from tests.fakes.http_server import FakeServer, answer
from tests.feed_generators import GENERATORS, SITE, Post
from tests.process.running import ROOT

Rss: type[Any] = load_class((ROOT / "charms" / "rss.py").read_text(), "rss.py")

#: Two come out on one day, in which some programs tell entries apart by the day.
POSTS = [
    Post("c", "Third & last", "Three words here.", datetime(2025, 1, 3, 12, tzinfo=UTC)),
    Post("b", "Second", "Two words.", datetime(2025, 1, 2, 18, tzinfo=UTC)),
    Post(
        *("a", 'A "first" — Grüße', "One.", datetime(2025, 1, 2, 9, tzinfo=UTC)),
        sound="http://cdn.example/a.mp3",
    ),
]

#: A new one, one that was written anew, and one that is gone.
LATER = [
    Post("d", "Fourth", "Four.", datetime(2025, 1, 4, 12, tzinfo=UTC)),
    replace(POSTS[0], title="Third, corrected"),
    POSTS[2],
]

#: The makers of sites make no podcasts, and npm's feed leaves the sound out of a JSON Feed.
WITH_SOUND = {"Rss201rev2Feed.xml", "Atom1Feed.xml", "rss.xml", "atom.xml"}


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A server for the feeds."""
    with FakeServer() as server:
        yield server


@pytest.mark.parametrize("generator", GENERATORS)
def test_what_is_stored_is_what_was_published(
    generator: str, tmp_path: Path, server: FakeServer
) -> None:
    """A first sync, a steady poll, a change, a new post and one that is gone, in each feed."""
    make = GENERATORS[generator]
    first, later = make(tmp_path, POSTS), make(tmp_path, LATER)
    for name, body in first.items():
        server.on(f"/{name}", answer(200, body), answer(200, body), answer(200, later[name]))
        charm = Rss(url=f"{server.url}/{name}")

        poll(charm)
        stored = {one.id: one for one in charm.items}
        assert 3 == len(stored), name
        assert ("Posts", titles(POSTS)) == (charm.title, titles(charm.items)), name
        dates = [one.published for one in charm.items]
        assert [post.published for post in POSTS] == dates, name
        assert all(one.link.startswith(f"{SITE}/") for one in charm.items), name
        assert 3 == len({one.link for one in charm.items}), name
        assert "words here" in f"{charm.items[0].summary} {charm.items[0].content}", name
        sounds = {file.url for one in charm.items for file in one.files}
        assert ({POSTS[2].sound} if name in WITH_SOUND else set()) == sounds, name

        steady = Rss(**kept(charm))
        poll(steady)
        assert {} == changes(steady).writes, name

        poll(charm)
        assert titles([*LATER[:2], *POSTS[1:]]) == titles(charm.items), name
        # Each is who it was before: one came, and the one that is gone stays.
        (new,) = {one.id for one in charm.items} - stored.keys()
        assert new == charm.items[0].id, name


def poll(charm: Any) -> None:
    """Run the handler that the service polls."""
    asyncio.run(charm.bg_updater({}))


def kept(charm: Any) -> dict[str, Any]:
    """What is stored of a charm."""
    names = ("url", "title", "items", "body_hash", "read_url")
    return {name: getattr(charm, name) for name in names}


def titles(things: list[Any]) -> list[str]:
    """Their titles, in order."""
    return [one.title for one in things]

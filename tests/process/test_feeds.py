"""The feed reader in a real service: killed in the middle of a sync, and with an OPML file."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.feeds import SITE, day, item, ok, rss, three
from tests.fakes.http_server import Answer, FakeServer, Seen, answer
from tests.process.running import PATIENCE_SECONDS, ROOT, Service

SOURCE = (ROOT / "charms" / "rss.py").read_text()

OPML = (ROOT / "tests" / "fixtures" / "feeds.opml").read_text()

FLAGS = ("--interval=3600", "--max-concurrent=1")


class Publisher:
    """A feed that grows, and holds back one answer at the place that a test names."""

    def __init__(self) -> None:
        self.titles: dict[int, str] = {}
        self.held_at: float | None = None
        self.asked = threading.Event()
        self.may_go_on = threading.Event()

    def publish(self, *numbers: int, edition: str = "first") -> None:
        """Write items, or write them anew."""
        self.titles |= {number: f"{edition} {number}" for number in numbers}

    def hold(self, share: float) -> None:
        """Let the next answer stop once so much of it is sent."""
        self.held_at = share
        self.asked.clear()

    def __call__(self, seen: Seen) -> Answer:
        numbers = sorted(self.titles, reverse=True)
        body = rss(
            *(item(f"g{n}", self.titles[n], f"{SITE}/{n}", day(n), f"text {n}") for n in numbers)
        )
        etag = f'"{hash(tuple(self.titles.items())) & 0xFFFFFF:x}"'
        if seen.headers.get("if-none-match") == etag:
            return answer(304, ETag=etag)
        whole = ok(body, ETag=etag)
        share, self.held_at = self.held_at, None
        if share is None:
            return whole
        held = whole.stalled(int(share * len(body)))
        return replace(held, when_sent=self.asked.set)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A server for the feed."""
    with FakeServer() as server:
        yield server


def test_killed_in_the_middle_of_a_sync_it_loses_and_doubles_nothing(
    tmp_path: Path, server: FakeServer
) -> None:
    """After KILL of the service or the worker, whatever had come of the feed: what is stored is
    what the server has, each item once, and the ETag that belongs to it.
    """
    publisher = Publisher()
    publisher.publish(1, 2, 3)
    server.on("/feed", publisher)
    url = f"{server.url}/feed"
    with Service(tmp_path / "data", *FLAGS) as service:
        charm = service.add(SOURCE, values={"url": url}, register=True)
        charm.wait_for("run.succeeded")
        for number, share, target in ((4, 0, "service"), (6, 0.5, "worker"), (8, 1, "service")):
            publisher.publish(number, number + 1)
            publisher.publish(number - 1, edition=f"edition {number}")
            publisher.hold(share)
            job = charm.send("bgUpdater")
            assert publisher.asked.wait(PATIENCE_SECONDS)
            if target == "worker":
                for pid in service.worker_pids():
                    os.kill(pid, signal.SIGKILL)
                charm.wait_until_settled(job, attempt=2)
            else:
                service.kill()
                service.start()
                charm.wait_for("run.succeeded")

            items = charm.get("items")
            numbers = sorted(publisher.titles, reverse=True)
            assert [f"g{n}" for n in numbers] == [one["id"] for one in items]
            assert [publisher.titles[n] for n in numbers] == [one["title"] for one in items]
        assert "success" == charm.run()["status"]
        newest = server.asked("/feed")[-1]
        assert 304 == publisher(newest).status


def test_feeds_of_an_opml_file_are_polled(tmp_path: Path, server: FakeServer) -> None:
    """Each gets a charm, once; what is added to the file is polled, what is taken out is not."""
    for name in ("one", "two", "three", "four"):
        server.on(f"/{name}", ok(three(2, 1)))
    file = tmp_path / "feeds.opml"
    opml = OPML.replace("PORT", str(server.port))
    file.write_text(opml)
    service = Service(
        tmp_path / "data", *FLAGS, "--integration=opml", OPML_FILE=str(file), OPML_SPACE="news"
    )
    with service:
        service.wait_for("run.succeeded", times=3)
        before = listed(service)
        assert {"one", "two", "three"} == before.keys()
        assert {"T"} == {one["title"] for one in before.values()}
        assert {2} == {len(one["items"]) for one in before.values()}
        service.stop()

        opml = opml.replace('xmlurl="', 'isComment="true" xmlurl="')
        file.write_text(opml.replace('<outline text="Off" isComment="true">', "<outline>"))
        service.start()
        service.wait_for("run.succeeded")
        after = listed(service)
        assert {"one": True, "two": False, "three": True, "four": True} == {
            name: one["is_due"] for name, one in after.items()
        }
        assert {name: one["ref"] for name, one in before.items()} == {
            name: after[name]["ref"] for name in before
        }


def listed(service: Service) -> dict[str, dict[str, Any]]:
    """The state of each charm of the space, by the last part of its feed's address."""
    found = {}
    for one in service.request("GET", "/api/charms?space=news")["charms"]:
        ref = f"{one['space']}/{one['charm_id']}"
        state = {
            name: service.request("GET", f"/api/charms/{ref}/state/{name}")
            for name in ("url", "title", "items")
        }
        found[state["url"].rpartition("/")[2]] = {
            **state,
            "ref": ref,
            "is_due": one["next_due"] is not None,
        }
    return found


DESCRIBING = """
from bg_charm_service.integration import IntegrationCellConfig, charm_source

class Describing:
    id = "describing"
    name = "Describing"

    def initialize(self):
        pass

    def get_integration_config(self):
        return IntegrationCellConfig(
            id=self.id, name=self.name, space_id="system", fetch_charms=self.fetch_charms,
        )

    def fetch_charms(self):
        described = {"space": "demo", "source": charm_source("counter"), "file": "counter.py"}
        return [
            {**described, "cause": "well", "set": {"counter": 5}},
            {**described, "cause": "wrong value", "set": {"counter": "many"}},
            {**described, "cause": "no code", "source": "class Broken("},
            {**described, "cause": "no space", "space": "did:key:nonsense"},
        ]

integration = Describing()
"""


def test_what_is_described_wrongly_costs_the_others_nothing(tmp_path: Path) -> None:
    """It is told once, by its cause or place and with the reason; the others are polled."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "describing.py").write_text(DESCRIBING)
    flags = (f"--integrations-dir={tmp_path / 'mine'}", "--integration=describing")
    with Service(tmp_path / "data", *FLAGS, *flags) as service:
        service.wait_for("run.succeeded")
        (charm,) = service.request("GET", "/api/charms?space=demo")["charms"]
        path = f"/api/charms/{charm['space']}/{charm['charm_id']}/state/counter"
        assert 6 == service.request("GET", path)
        told = [line["message"] for line in service.lines if line["event"] == "scan"]
    assert 3 == len(told)
    text = "\n".join(told)
    assert "Listed item 3: Invalid space ID: did:key:nonsense" in text
    assert "wrong value was not added: counter: " in text
    assert "no code was not added: " in text
    assert "counter.py" in text

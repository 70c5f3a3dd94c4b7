"""Events from outside: signed deliveries of real senders' kinds, taken by a listener of its own."""

from __future__ import annotations

import json
import re
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.fakes import senders
from tests.fakes.senders import Request
from tests.process.running import PATIENCE_SECONDS, Refused, RunningCharm, Service

CATCHER = """\
from typing import Any

from bg_charm_service import Charm, Secret, hook


class Catcher(Charm):
    github_secret: Secret[str] = "the secret of github"
    slack_secret: Secret[str] = "the secret of slack"
    hub_secret: Secret[str] = "the secret of the hub"
    topic: str = "https://example.org/feed"
    seen: list[Any] = []
    polls: int = 0
    url: str = ""
    lease: float | None = None

    @hook(sign="websub", secret="hub_secret", topic="topic", poke=True)
    def bg_updater(self, event: dict[str, Any]) -> None:
        self.polls += 1
        self.url = (self.hook_url("pushed") or "").partition("/hook/")[0]
        self.lease = self.hook_lease("bg_updater")
        print("reached at", self.hook_url("pushed"))

    @hook(sign="github", secret="github_secret")
    def pushed(self, event: dict[str, Any]) -> None:
        if event["body"].get("fail"):
            raise ValueError("it was told to")
        self.seen.append([event["type"], event["id"], event["body"]])

    @hook(sign="slack", secret="slack_secret")
    def asked(self, event: dict[str, Any]) -> None:
        self.seen.append(event["body"])
"""

GITHUB, SLACK, HUB = "the secret of github", "the secret of slack", "the secret of the hub"


@dataclass(frozen=True)
class Caught:
    """A service that takes hooks, and a charm with some."""

    service: Service
    base: str
    charm: RunningCharm

    def url(self, stream: str, charm: RunningCharm | None = None) -> str:
        """Where a stream is reached."""
        hooks = self.service.request("GET", f"{(charm or self.charm).path}/hooks")
        return str(next(one["url"] for one in hooks if one["stream"] == stream))

    def deliver(self, request: Request, stream: str = "pushed") -> httpx2.Response:
        """Deliver to the charm."""
        return request.post(self.url(stream))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that takes hooks, and tries nothing again."""
    flags = (
        *("--interval=3600", "--max-retries=0", "--max-concurrent=1"),
        *("--listen=localhost:0", "--hook-listen=127.0.0.1:0"),
    )
    with Service(tmp_path_factory.mktemp("hooks") / "data", *flags) as running:
        yield running


@pytest.fixture
def caught(service: Service, request: pytest.FixtureRequest) -> Caught:
    """A charm of a test's own."""
    base = str(service.wait_for("hooks_listening")["url"])
    charm = service.add(CATCHER, cause=request.node.name, register=True)
    charm.wait_for("run.succeeded")
    return Caught(service, base, charm)


def seen(charm: RunningCharm) -> list[object]:
    """What a charm has seen, once nothing waits for it."""
    charm.service.request("POST", f"{charm.path}/run")
    found: list[object] = charm.service.request("GET", f"{charm.path}/state/seen")
    return found


def push(number: int, **more: object) -> Request:
    """A push of GitHub."""
    return senders.github(GITHUB, {"number": number, **more}, delivery=f"delivery {number}")


def test_a_delivery_is_an_event(caught: Caught) -> None:
    """It is answered with 202, and the handler gets its body, its type and its id, in order."""
    for number in range(3):
        answer = caught.deliver(push(number))
        assert (202, b"") == (answer.status_code, answer.content)
    expected = [["push", f"delivery {n}", {"number": n}] for n in range(3)]
    assert expected == seen(caught.charm)


def test_an_id_counts_once_unless_its_event_was_given_up(caught: Caught) -> None:
    """GitHub's "Redeliver" keeps the id: it is applied once, and again only after it failed."""
    assert 202 == caught.deliver(push(1)).status_code
    assert 202 == caught.deliver(push(1)).status_code
    assert [["push", "delivery 1", {"number": 1}]] == seen(caught.charm)
    # The id of one address is nothing to another.
    other = caught.service.add(CATCHER, cause="another", register=True)
    other.wait_for("run.succeeded")
    assert 202 == push(1).post(caught.url("pushed", other)).status_code
    assert 1 == len(seen(other))
    failing = push(2, fail=True)
    assert 202 == caught.deliver(failing).status_code
    caught.charm.wait_for("run.failed")
    assert 1 == caught.charm.show()["dead_letter_count"]
    # It is delivered again, and what was given up makes room for it.
    assert 202 == caught.deliver(failing).status_code
    caught.charm.wait_for("run.failed", times=2)
    (letter,) = caught.charm.show()["dead_letters"]
    requeued = caught.service.request(
        "POST", "/api/dead-letters/requeue", {"job": letter["job_id"]}
    )
    # What is tried again waits, or runs: it is no dead letter, and is not taken once more.
    caught.charm.wait_until_settled(requeued["requeued"][0])
    assert 1 == caught.charm.show()["dead_letter_count"]


def test_what_leads_nowhere_is_answered_alike(caught: Caught) -> None:
    """An unknown address, a wrong signature, an old time, a hub that was not asked: all 404."""
    good = caught.url("pushed")
    forged = senders.github("another secret", {"number": 1}, delivery="1")
    old = senders.slack_event(SLACK, {"type": "x"}, at=time.time() - 400)
    nobody = f"{caught.base}/hook/{'A' * 43}"
    answers = [
        forged.post(good),
        replace(push(1), body=b"{}").post(good),
        Request(b"").post(good),
        old.post(caught.url("asked")),
        push(1).post(nobody),
        push(1).post(good + "A"),
        push(1).post(f"{caught.base}/hook/{'é' * 43}"),
        httpx2.get(good, trust_env=False),
        httpx2.get(nobody, trust_env=False),
        httpx2.put(good, trust_env=False),
    ]
    forms = {(one.status_code, one.content, tuple(sorted(one.headers.keys()))) for one in answers}
    assert [(404, b"", ("connection", "content-length", "content-type", "date"))] == list(forms)
    assert [] == seen(caught.charm)
    [told] = re.findall(
        r'^bg_charm_hook_requests_total{status="404"} (\S+)$',
        caught.service.page("/metrics"),
        re.MULTILINE,
    )
    assert len(answers) <= float(told)


def test_nothing_else_is_reached_through_it(caught: Caught) -> None:
    """No page, no API, no file: through a tunnel that adds no header, everybody is on loopback."""
    paths = ["/", "/api/status", "/api/charms", "/metrics", "/healthz", "/login", "/docs"]
    paths += ["/static/style.css", "/hook", "/hook/", "//hook/x", "/hook/../api/status", "/live"]
    paths += [f"/charms/{caught.charm.ref}", f"/api/charms/{caught.charm.ref}/hooks"]
    for number, path in enumerate(paths):
        for method in ("GET", "POST", "DELETE"):
            answer = httpx2.request(method, caught.base + path, trust_env=False)
            assert answer.status_code in (404, 429), (method, path, number)
            assert answer.content in (b"", b"Too many; try again later.\n")
    # And what comes to the page's port is no hook.
    page = str(caught.service.wait_for("listening")["url"])
    assert 404 == push(1).post(caught.url("pushed").replace(caught.base, page)).status_code


def test_ten_a_second_come_to_an_address(caught: Caught) -> None:
    """What is over that is refused before its body is read, with a time to try again."""
    url = urlsplit(caught.url("pushed"))
    head = f"POST {url.path} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n"
    with ExitStack() as stack:
        connections = []
        for _ in range(40):
            connection = socket.create_connection((str(url.hostname), url.port or 0))
            connections.append(stack.enter_context(connection))
            connection.settimeout(PATIENCE_SECONDS)
            connection.sendall(head.encode())
        # No byte of a body comes: what is answered has not read it, and the others wait for it.
        answered, _, _ = select.select(connections, [], [], PATIENCE_SECONDS)
        refused = answered[0].recv(4096).split(b"\r\n")
    assert refused[0].startswith(b"HTTP/1.1 429")
    assert b"retry-after: 1" in refused
    other = caught.deliver(senders.slack_event(SLACK, {"type": "x"}, at=time.time()), "asked")
    assert 202 == other.status_code


def test_a_body_has_a_limit(caught: Caught) -> None:
    """1 MB, whether it is announced or comes in pieces; what is just under it is taken."""
    large = senders.github(GITHUB, {"text": "x" * (1024 * 1024)}, delivery="large")
    assert 413 == caught.deliver(large).status_code
    url = caught.url("pushed")

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(large.body), 65536):
            yield large.body[start : start + 65536]

    try:
        answer = httpx2.post(url, content=pieces(), headers=large.headers, trust_env=False)
        assert 413 == answer.status_code
    except httpx2.TransportError:
        pass  # It hung up before all was sent.
    fits = senders.github(GITHUB, {"text": '"' * (512 * 1024 - 100)}, delivery="fits")
    assert 202 == caught.deliver(fits).status_code
    (event,) = seen(caught.charm)
    assert "fits" == event[1]  # type: ignore[index]


def test_slack_is_answered_what_it_asks(caught: Caught) -> None:
    """The challenge of its first request, at once, and nothing is queued for it."""
    question = {"type": "url_verification", "challenge": "a challenge", "token": "t"}
    request = senders.slack_event(SLACK, question, at=time.time())
    answer = caught.deliver(request, "asked")
    assert (200, "a challenge") == (answer.status_code, answer.text)
    command = senders.slack(
        SLACK,
        b"command=%2Fbuild&text=now&trigger_id=1.2.3",
        at=time.time(),
        content_type="application/x-www-form-urlencoded",
    )
    assert 202 == caught.deliver(command, "asked").status_code
    assert [{"command": "/build", "text": "now", "trigger_id": "1.2.3"}] == seen(caught.charm)


def test_a_hub_is_answered_what_was_asked_for(caught: Caught) -> None:
    """The topic that the charm's field has, and no other; its lease is told to the charm."""
    url, topic = caught.url("bgUpdater"), "https://example.org/feed"
    asked = {
        "hub.mode": "subscribe",
        "hub.topic": topic,
        "hub.challenge": "a word",
        "hub.lease_seconds": "864000",
    }
    for wrong in (
        {"hub.topic": "https://example.org/other"},
        {"hub.mode": "unsubscribe"},
        {"hub.mode": "denied"},
        {"hub.challenge": ""},
    ):
        refused = httpx2.get(url, params=asked | wrong, trust_env=False)
        assert (404, b"") == (refused.status_code, refused.content)
    answer = httpx2.get(url, params=asked, trust_env=False)
    assert (200, "a word") == (answer.status_code, answer.text)
    caught.charm.run()
    lease = caught.service.request("GET", f"{caught.charm.path}/state/lease")
    assert abs(lease - time.time() - 864000) < PATIENCE_SECONDS


def test_pokes_are_polls(caught: Caught) -> None:
    """However many come while it is polled, they are one poll after that; no body is kept."""
    gate = caught.service.gate()
    blocker = caught.service.add(values={"mode": "wait", "folder": str(gate.folder)})
    with_gate = caught.service.later("POST", f"{blocker.path}/run")
    gate.wait_for_run()
    # The only worker is busy: the first poke makes a poll that waits, the others find it.
    for number in range(5):
        fat = senders.hub(HUB, b"<feed>%d</feed>" % number)
        assert 202 == caught.deliver(fat, "bgUpdater").status_code
    found = caught.service.request("GET", f"/api/jobs?space=test&charm={caught.charm.charm_id}")
    waiting = [job for job in found["jobs"] if job["status"] == "pending"]
    assert ["poll"] == [job["origin"] for job in waiting]
    gate.let_go()
    with_gate.result(PATIENCE_SECONDS)
    caught.charm.wait_for("run.succeeded", times=2)
    assert 2 == caught.service.request("GET", f"{caught.charm.path}/state/polls")
    wrong = senders.hub("another", b"<feed/>")
    assert 404 == caught.deliver(wrong, "bgUpdater").status_code


def test_an_address_is_shown_to_owners_alone(caught: Caught) -> None:
    """Not in the log, nor on disk, nor in what a run printed; a charm is told its own."""
    url = caught.url("pushed")
    address = url.rpartition("/")[2]
    assert 43 == len(address)
    assert caught.base == caught.service.request("GET", f"{caught.charm.path}/state/url")
    run = caught.charm.runs()[0]
    assert "reached at [secret]\n" == run["log"]
    files = b"".join(
        path.read_bytes() for path in caught.service.data_dir.glob("*") if path.is_file()
    )
    assert address.encode() not in files
    assert address not in json.dumps(caught.service.lines)
    assert address in caught.service.page(f"/charms/{caught.charm.ref}")
    assert address in caught.service.cli("hooks", "list", caught.charm.ref).stdout
    page = str(caught.service.wait_for("listening")["url"])
    anybody = httpx2.get(f"{page}/charms/{caught.charm.ref}", trust_env=False)
    assert (200, False) == (anybody.status_code, address in anybody.text)
    token = caught.service.request(
        "POST", "/api/tokens", {"name": caught.charm.charm_id, "read_only": True}
    )["token"]
    reader = {"authorization": f"Bearer {token}"}
    refused = httpx2.get(f"{page}{caught.charm.path}/hooks", headers=reader, trust_env=False)
    assert 403 == refused.status_code


def test_a_rotated_address_leads_nowhere(caught: Caught) -> None:
    """The new one does, and what was delivered to the old one counts as delivered."""
    old = caught.url("pushed")
    assert 202 == push(1).post(old).status_code
    told = caught.service.cli("hooks", "rotate", caught.charm.ref, "pushed").stdout.strip()
    assert (told, True) == (caught.url("pushed"), told != old)
    assert 404 == push(2).post(old).status_code
    assert [202, 202] == [push(number).post(told).status_code for number in (1, 2)]
    assert 2 == len(seen(caught.charm))
    with pytest.raises(Refused, match="no hook other"):
        caught.service.request("POST", f"{caught.charm.path}/hooks/other/rotate")
    # New source without the hook has no address, and neither has a removed charm.
    body = {"source": CATCHER.replace('    @hook(sign="github"', "    #"), "file": "c.py"}
    caught.service.request("PUT", f"{caught.charm.path}/source", body)
    assert 404 == push(3).post(told).status_code
    left = caught.service.request("GET", f"{caught.charm.path}/hooks")
    assert ["asked", "bgUpdater"] == [one["stream"] for one in left]
    caught.service.request("DELETE", caught.charm.path)
    answer = senders.slack_event(SLACK, {}, at=time.time()).post(left[0]["url"])
    assert 404 == answer.status_code


def test_an_empty_secret_takes_nothing(caught: Caught) -> None:
    """Whatever it is signed with: nobody shares a secret that is not there."""
    caught.charm.set("github_secret", "")
    empty = senders.github("", {"number": 1}, delivery="1")
    assert 404 == caught.deliver(empty).status_code


def test_a_disabled_charm_keeps_what_comes(caught: Caught) -> None:
    """It waits for the charm to be enabled; a poke is forgotten, since it is polled then anyway."""
    caught.service.request("POST", f"{caught.charm.path}/disable")
    assert 202 == caught.deliver(push(1)).status_code
    assert 202 == caught.deliver(senders.hub(HUB, b""), "bgUpdater").status_code
    caught.service.request("POST", f"{caught.charm.path}/enable")
    assert 1 == len(seen(caught.charm))

"""The stream of events over HTTP: what it tells, where it goes on, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bg_charm_service.domain.identity import space_did
from tests.process.program import COUNTER
from tests.process.reaching import Reached, reached
from tests.process.running import PATIENCE_SECONDS


@dataclass(frozen=True)
class Told:
    """One event as a client reads it."""

    event_id: str
    kind: str
    data: dict[str, Any]


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reached]:
    """A running service."""
    with reached(tmp_path_factory.mktemp("events")) as found:
        yield found


@contextmanager
def following(
    client: httpx2.Client, path: str = "/api/events", after: str | None = None
) -> Iterator[Iterator[Told]]:
    """Follow a stream; inside, its events come one by one."""
    headers = {"last-event-id": after} if after is not None else {}
    with client.stream("GET", path, headers=headers) as answer:
        assert 200 == answer.status_code, answer.read()
        assert "text/event-stream; charset=utf-8" == answer.headers["content-type"]
        told = _events(answer.iter_lines())
        # The stream has begun once it tells its first event; nothing after that is missed.
        yield told


def _events(lines: Iterator[str]) -> Iterator[Told]:
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if line:
            fields[name] = value
        else:
            if "event" in fields:
                data = json.loads(fields["data"])
                yield Told(fields.get("id", ""), fields["event"], data)
            fields = {}


def first(told: Iterator[Told], kind: str, **expected: object) -> Told:
    """Give the first event of a kind with this data."""
    return next(one for one in told if one.kind == kind and expected.items() <= one.data.items())


def test_what_happens_is_told(door: Reached) -> None:
    """Status, registrations and runs come as they happen, with the charm that they are about."""
    with door.client() as client, following(client) as told:
        assert first(told, "status").data["healthy"]
        charm = door.service.add(COUNTER, cause="told", register=True)
        about = {"space": space_did("test"), "charm_id": charm.charm_id}
        first(told, "charm", change="registered", **about)
        run = first(told, "run", **about)
        assert ("success", 1) == (run.data["status"], run.data["number"])
        charm.post("disable")
        first(told, "charm", change="disabled", **about)


def test_the_death_of_a_worker_is_told(door: Reached) -> None:
    """A worker that a charm takes with it is an event, with the cause."""
    charm = door.service.add(cause="deadly", values={"mode": "exit_at_once"})
    with door.client() as client, following(client) as told:
        first(told, "status")
        charm.run()
        died = first(told, "worker", change="died", charm_id=charm.charm_id)
        assert "exit" == died.data["cause"]


def test_the_death_of_an_idle_worker_is_told(door: Reached) -> None:
    """A worker that dies between runs is an event that names no charm."""
    with door.client() as client, following(client) as told:
        first(told, "status")
        (pid, *_) = door.service.worker_pids()
        os.kill(pid, signal.SIGKILL)
        died = first(told, "worker", change="died", pid=pid)
        assert (None, -signal.SIGKILL) == (died.data["cause"], died.data["exit_code"])
        assert "charm_id" not in died.data


def test_a_stream_goes_on_where_it_ended(door: Reached) -> None:
    """With the id of the last event, exactly those after it come; an unknown id is told."""
    charm = door.service.add(COUNTER, cause="resumed")
    with door.client() as client:
        with following(client) as told:
            first(told, "status")
            charm.run()
            known = first(told, "run", charm_id=charm.charm_id)
        for _ in range(3):
            charm.run()
        with following(client, after=known.event_id) as told:
            runs = [first(told, "run").data["number"] for _ in range(3)]
        assert [2, 3, 4] == runs
        for unknown in ("1", "nonsense", "9" * 30):
            with following(client, after=unknown) as told:
                assert "missed" == next(told).kind


def test_a_token_of_a_space_follows_that_space(door: Reached) -> None:
    """Who is limited to a space is told of nothing else, the status included."""
    other = door.service.add(COUNTER, cause="unseen", space="unseen")
    with (
        door.client(door.token("follower", space="test")) as client,
        following(client, after="1") as told,
    ):
        assert "missed" == next(told).kind
        other.run()
        door.charm.run()
        assert door.charm.charm_id == next(told).data["charm_id"]
        refused = client.get("/api/events?space=unseen")
        assert 403 == refused.status_code


def test_pages_are_told_of_changes(door: Reached) -> None:
    """The pulse of a charm's page beats for that charm."""
    other = door.service.add(COUNTER, cause="another")
    with door.client() as client, following(client, f"/live?charm={door.charm.ref}") as told:
        other.run()
        door.charm.run()
        assert "changed" == first(told, "changed").kind


def test_streams_do_not_hold_up_a_stop(tmp_path: Path) -> None:
    """A service that stops ends its streams; nobody has to leave first."""
    with reached(tmp_path) as found, found.client() as client, following(client) as told:
        first(told, "status")
        found.service.stop()
        assert [] == [one for one in told if one.kind == "missed"]


def test_a_stream_ends_with_its_token(door: Reached) -> None:
    """What a token opened is over when it is revoked: the next run is told to others only."""
    with (
        door.client(door.token("revoked")) as client,
        door.client(door.token("keeper")) as keeping,
        following(client) as told,
        following(keeping) as others,
    ):
        first(told, "status")
        first(others, "status")
        door.service.request("DELETE", "/api/tokens/revoked")
        door.charm.run()
        first(others, "run")
        assert is_over(told)


def test_a_stream_ends_when_its_token_expires(door: Reached) -> None:
    """Nobody has to revoke a token whose time is up: some events at most come before the end."""
    with (
        door.client(door.token("brief", expires_seconds=3)) as client,
        following(client) as told,
    ):
        first(told, "status")
        assert len(list(islice(told, 12))) < 12


def test_a_stream_ends_with_its_session(door: Reached) -> None:
    """Signing out ends the streams of the session, and the end of its token does too."""
    with door.signed_in() as session, following(session) as told:
        first(told, "status")
        assert 303 == session.post("/logout", headers=door.origin).status_code
        door.charm.run()
        assert is_over(told)
    with door.client() as client:
        token = door.token("of-a-session")
        assert 303 == client.post("/login", data={"token": token}).status_code
        with following(client) as told:
            first(told, "status")
            door.service.request("DELETE", "/api/tokens/of-a-session")
            door.charm.run()
            assert is_over(told)


def is_over(told: Iterator[Told]) -> bool:
    """Whether a stream ends before it tells of a run."""
    return next((one for one in told if one.kind == "run"), None) is None


def test_many_streams_of_one_keep_nobody_from_following(door: Reached) -> None:
    """However many one peer opens, its oldest end, and the next one to come follows."""
    with ExitStack() as stack:
        opened = [stack.enter_context(closing(raw_stream(door))) for _ in range(210)]
        with door.client() as client, following(client) as told:
            first(told, "status")
        assert b"" == rest_of(opened[0])


def raw_stream(door: Reached) -> socket.socket:
    """Open a stream on a connection of its own; it is open once its head has come."""
    address = door.url.removeprefix("http://")
    host, _, port = address.partition(":")
    one = socket.create_connection((host, int(port)), PATIENCE_SECONDS)
    one.sendall(f"GET /api/events HTTP/1.1\r\nhost: {address}\r\n\r\n".encode())
    head = one.recv(4096)
    assert head.startswith(b"HTTP/1.1 200 "), head
    return one


def rest_of(one: socket.socket) -> bytes:
    """Read until the service hangs up; gives what is behind the last whole chunk."""
    text = b""
    while piece := one.recv(65536):
        text += piece
    *_, last = text.rpartition(b"0\r\n\r\n")
    return last

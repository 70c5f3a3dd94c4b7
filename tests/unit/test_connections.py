"""Limits of connections and deadlines: whoever has too many or is too slow gives way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn

from bg_charm_service.api.connections import ConnectionLimits, Connections
from bg_charm_service.api.http_connection import (
    ANSWER_SECONDS,
    BODY_BYTES_A_SECOND,
    BODY_SECONDS,
    HEAD_SECONDS,
    HttpConnection,
    Operator,
)


class Peer:
    """Whoever is at the other end; notes that it was asked for."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.was_asked = False

    @property
    def name(self) -> str:
        self.was_asked = True
        return self._name


class Connection:
    """A connection that waits, unless it is being answered."""

    def __init__(self, name: str, *, is_waiting: bool = True) -> None:
        self.peer = Peer(name)
        self.is_waiting = is_waiting
        self.is_dropped = False

    def drop(self) -> None:
        self.is_dropped = True

    def note_second(self) -> None: ...


def filled(limits: ConnectionLimits, *names: str) -> tuple[Connections, list[Connection]]:
    """Add connections of these peers, which all have room."""
    connections = Connections(limits)
    added = [Connection(name) for name in names]
    assert all(connections.add(one) for one in added)
    return connections, added


def dropped(added: list[Connection]) -> list[int]:
    """Which were dropped, by their order."""
    return [number for number, one in enumerate(added) if one.is_dropped]


def test_nobody_is_asked_for_while_there_are_few() -> None:
    """Whose a connection is costs nothing until it matters."""
    connections, added = filled(ConnectionLimits(most=10, of_a_peer=3), *"abc")
    assert [False] * 3 == [one.peer.was_asked for one in added]
    connections.add(Connection("d"))
    assert [True] * 3 == [one.peer.was_asked for one in added]


def test_the_longest_waiting_of_a_peer_goes() -> None:
    """A peer with too many loses its oldest half request; others lose nothing."""
    connections, added = filled(ConnectionLimits(most=10, of_a_peer=3), *"abaa")
    assert connections.add(Connection("a"))
    assert [0] == dropped(added)
    assert 4 == len(connections)


def test_what_is_answered_stays() -> None:
    """A peer whose requests are all under way gets no more connections."""
    connections = Connections(ConnectionLimits(most=10, of_a_peer=2))
    added = [Connection("a", is_waiting=False) for _ in range(2)]
    assert [True, True, False] == [connections.add(one) for one in (*added, Connection("a"))]
    assert [] == dropped(added)
    assert connections.add(Connection("b"))


def test_in_all_the_busiest_peer_gives_way() -> None:
    """When all have too many together, the one with the most loses its oldest."""
    connections, added = filled(ConnectionLimits(most=5, of_a_peer=4), *"baaac")
    assert connections.add(Connection("d"))
    assert [1] == dropped(added)
    assert 5 == len(connections)


def test_what_is_over_makes_room() -> None:
    """A connection counts until it ends, and once."""
    connections, added = filled(ConnectionLimits(most=3, of_a_peer=2), *"aab")
    for one in (added[0], added[0], added[2]):
        connections.remove(one)
    assert 1 == len(connections)
    assert connections.add(Connection("a"))
    assert [] == dropped(added)


class Transport(asyncio.Transport):
    """A connection that a test holds both ends of."""

    def __init__(self) -> None:
        super().__init__()
        self.is_aborted = False
        self.unsent = 0

    def abort(self) -> None:
        self.is_aborted = True

    def write(self, data: Any) -> None: ...

    def close(self) -> None: ...

    def is_closing(self) -> bool:
        return self.is_aborted

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_write_buffer_size(self) -> int:
        return self.unsent


Step = Callable[[HttpConnection, Transport], None]


def seconds_until_the_end(*pieces: bytes, each_second: Step | None = None) -> int:
    """How many seconds a connection lives that got these bytes, up to a thousand."""

    async def never(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    async def go() -> int:
        server = uvicorn.Server(uvicorn.Config(never, lifespan="off", log_config=None))
        connections = Connections(ConnectionLimits())
        one = HttpConnection(server.config, server.server_state, Operator(), connections)
        transport = Transport()
        connections.add(one)
        one.connection_made(transport)
        for piece in pieces:
            one.data_received(piece)
        for second in range(1000):
            if transport.is_aborted:
                return second
            if each_second is not None:
                each_second(one, transport)
            connections.note_second()
        return 1000

    return asyncio.run(go())


HEAD = b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 10000000\r\n\r\n"


@pytest.mark.parametrize("sent", [(), (b"GET / HTTP/1.1\r\n",)])
def test_a_head_has_a_deadline(sent: tuple[bytes, ...]) -> None:
    """Nothing, or half a head, is waited for as long, also when it goes on byte by byte."""

    def drip(one: HttpConnection, transport: Transport) -> None:
        one.data_received(b"G" if not sent else b"a")

    assert HEAD_SECONDS + 1 == seconds_until_the_end(*sent)
    assert HEAD_SECONDS + 1 == seconds_until_the_end(*sent, each_second=drip)


def test_a_body_has_a_deadline_that_grows_with_it() -> None:
    """Half a body is waited for a little; one that comes slowly but steadily is not cut off."""

    def flow(one: HttpConnection, transport: Transport) -> None:
        one.flow.resume_reading()
        one.data_received(bytes(BODY_BYTES_A_SECOND))

    def drip(one: HttpConnection, transport: Transport) -> None:
        one.data_received(b"a")

    assert BODY_SECONDS + 1 == seconds_until_the_end(HEAD, b"a")
    assert BODY_SECONDS + 1 == seconds_until_the_end(HEAD, each_second=drip)
    assert 100 < seconds_until_the_end(HEAD, each_second=flow)


def test_a_request_that_waits_for_us_has_none() -> None:
    """However long a run takes that somebody waits for, the connection stays."""
    assert 1000 == seconds_until_the_end(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n")


def test_an_answer_that_nobody_takes_has_one() -> None:
    """Bytes that lie there without one of them being taken are given up."""

    def stand_still(one: HttpConnection, transport: Transport) -> None:
        transport.unsent = 5

    def shrink(one: HttpConnection, transport: Transport) -> None:
        transport.unsent = transport.unsent - 1 if transport.unsent else 5000

    request = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n"
    assert ANSWER_SECONDS + 1 == seconds_until_the_end(request, each_second=stand_still)
    assert 1000 == seconds_until_the_end(request, each_second=shrink)

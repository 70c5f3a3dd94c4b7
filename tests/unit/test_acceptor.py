"""So many connections are taken in a second, and as many at once; the others wait their turn."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack

from bg_charm_service.api.acceptor import Acceptor, Refusals
from tests.simulation.timeline import SimulatedLoop, Timeline

A_SECOND, KNOCKING = 10, 35


def taken_by(*moments: float, a_second: float) -> list[int]:
    """How many of those that knock at once are taken until each moment, in seconds."""
    timeline = Timeline(1_800_000_000.0)
    taken: list[socket.socket] = []

    async def watch(listener: socket.socket) -> list[int]:
        loop = asyncio.get_running_loop()
        begun_at, counts = loop.time(), []
        acceptor = Acceptor(listener, lambda one, _: taken.append(one), Refusals(), 0, a_second)
        for moment in moments:
            await asyncio.sleep(begun_at + moment - loop.time())
            counts.append(len(taken))
        acceptor.close()
        return counts

    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
        listener.setblocking(False)
        for _ in range(KNOCKING):
            stack.enter_context(socket.create_connection(listener.getsockname()))
        runner = stack.enter_context(asyncio.Runner(loop_factory=lambda: SimulatedLoop(timeline)))
        counts = runner.run(watch(listener))
        for one in taken:
            one.close()
    return counts


def test_so_many_are_taken_in_a_second() -> None:
    """Nobody is turned away: who waits is taken later."""
    at_once, after_one, after_two, at_last = taken_by(0.05, 1.0, 2.0, 4.0, a_second=A_SECOND)
    assert A_SECOND == at_once
    assert A_SECOND < after_one <= 2 * A_SECOND
    assert after_one < after_two <= 3 * A_SECOND
    assert KNOCKING == at_last


def test_any_number_is_taken_where_there_is_no_limit() -> None:
    """As on the ports of the API, where each peer has its own."""
    assert [KNOCKING] == taken_by(0.05, a_second=0)

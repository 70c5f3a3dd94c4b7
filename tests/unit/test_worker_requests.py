"""What a worker reads, and in which order it makes use of it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from msgspec import structs

from bg_charm_service.domain.limits import Limits
from bg_charm_service.workers.protocol.messages import (
    TO_WORKER,
    FieldValue,
    GoOn,
    Inspect,
    RunSpec,
    ToWorker,
)
from bg_charm_service.workers.protocol.start_tickets import TicketBox
from bg_charm_service.workers.runtime.requests import Requests
from tests.unit.plain_run import RUN as PLAIN_RUN

RUN = structs.replace(PLAIN_RUN, large=("big",))


class Line(NamedTuple):
    """Both ends of a worker's ways."""

    ours: socket.socket
    box: TicketBox
    requests: Requests

    def send(self, *messages: ToWorker) -> None:
        """Send messages as the pool does."""
        self.ours.sendall(b"".join(map(TO_WORKER.encode, messages)))


@pytest.fixture
def line() -> Iterator[Line]:
    """A supervisor's ends, and a worker's."""
    ours, theirs = socket.socketpair()
    box = TicketBox()
    with ours, theirs, socket.socket(fileno=os.dup(box.their_fd)) as tickets:
        yield Line(ours, box, Requests(theirs, tickets))
    box.close()


def run(number: int, source: str | None = None) -> RunSpec:
    """A run with that number."""
    return structs.replace(RUN, run_id=f"{number}.1", source=source)


def test_request_without_a_ticket_is_passed_over(line: Line) -> None:
    """Requests come by the numbers of their tickets; the source of one left out is kept."""
    inspection = Inspect(
        request_id=4, source="", file_name="", class_name=None, values=(), limits=Limits()
    )
    line.send(run(1), run(2, "text"), run(3), inspection)
    line.box.put([1, 3, 4])
    assert run(1) == line.requests.next()
    assert run(3) == line.requests.next()
    assert {"hash": "text"} == line.requests.sources
    assert isinstance(line.requests.next(), Inspect)


def test_field_comes_past_the_runs_that_wait(line: Line) -> None:
    """A field is found behind the other runs of the batch, which are made later all the same."""
    line.send(run(1), run(2), run(3), FieldValue("big", b"1", "1.1"), run(4))
    line.box.put([1, 2, 3, 4])
    assert run(1) == line.requests.next()
    assert b"1" == line.requests.field("1.1", "big")
    assert [run(2), run(3), run(4)] == [line.requests.next() for _ in range(3)]


def test_field_of_an_earlier_run_is_nobodys(line: Line) -> None:
    """What came too late for the run that asked is not taken for what another asks for."""
    line.send(run(1), run(2), FieldValue("big", b"late", "1.1"), FieldValue("big", b"2", "2.1"))
    line.box.put([1, 2])
    assert [run(1), run(2)] == [line.requests.next() for _ in range(2)]
    assert b"2" == line.requests.field("2.1", "big")


def test_word_to_go_on_comes_past_the_runs_that_wait(line: Line) -> None:
    """A worker that pauses reads on for the word, and loses none of what comes before it."""
    line.send(run(1), run(2), GoOn(), run(3))
    line.box.put([1, 2, 3])
    assert run(1) == line.requests.next()
    line.requests.wait_to_go_on()
    assert [run(2), run(3)] == [line.requests.next() for _ in range(2)]


def test_supervisor_that_is_gone_ends_every_wait(line: Line) -> None:
    """Nothing waits for a supervisor that has closed its ends."""
    line.send(run(1))
    line.box.put([1, 2])
    line.ours.close()
    assert run(1) == line.requests.next()
    assert line.requests.field("1.1", "big") is None
    line.requests.wait_to_go_on()
    assert line.requests.next() is None

"""Tickets: who takes one begins, and what is taken back never begins."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from bg_charm_service.workers.protocol.start_tickets import TicketBox, take_ticket


@pytest.fixture
def box() -> Iterator[TicketBox]:
    """A box of tickets, closed at the end."""
    made = TicketBox()
    yield made
    made.close()


@pytest.fixture
def theirs(box: TicketBox) -> Iterator[socket.socket]:
    """The worker's end of the box."""
    with socket.socket(fileno=os.dup(box.their_fd)) as made:
        yield made


def test_tickets_are_taken_in_their_order(box: TicketBox, theirs: socket.socket) -> None:
    """The worker gets each number once, and waits for nothing while there are any."""
    box.put([1, 2])
    box.put([70_000])
    assert [1, 2, 70_000] == [take_ticket(theirs) for _ in range(3)]


def test_what_is_taken_back_is_what_nobody_took(box: TicketBox, theirs: socket.socket) -> None:
    """The rest is taken back once, and can be put out again."""
    box.put(range(1, 5))
    assert 1 == take_ticket(theirs)
    assert {2, 3, 4} == box.take_back()
    assert set() == box.take_back()
    box.put([3])
    assert 3 == take_ticket(theirs)


def test_each_ticket_has_one_taker(box: TicketBox, theirs: socket.socket) -> None:
    """Taken and taken back at the same time, no ticket is lost and none is had twice."""
    taken: list[int] = []

    def work() -> None:
        while (number := take_ticket(theirs)) != 0:
            assert number is not None
            taken.append(number)

    worker = threading.Thread(target=work)
    worker.start()
    back: list[int] = []
    for first in range(1, 20_000, 20):
        box.put(range(first, first + 20))
        back += box.take_back()
    box.put([0])
    worker.join()
    assert list(range(1, 20_001)) == sorted(taken + back)
    assert sorted(taken) == taken


def test_supervisor_that_is_gone_ends_the_wait(box: TicketBox, theirs: socket.socket) -> None:
    """A worker whose supervisor has died gets no ticket, and does not wait for one."""
    box.close()
    assert take_ticket(theirs) is None


def test_broken_box_holds_up_nobody(box: TicketBox, theirs: socket.socket) -> None:
    """A worker that breaks its box begins nothing, whatever else it sets or writes there."""
    theirs.setblocking(True)
    with pytest.raises(BrokenPipeError):
        theirs.send(b"x")
    theirs.shutdown(socket.SHUT_RDWR)
    box.put([1, 2])
    assert {1, 2} == box.take_back()
    assert set() == box.take_back()


def test_half_a_ticket_is_none(box: TicketBox, theirs: socket.socket) -> None:
    """Where a worker has taken a part of one, nothing is made of what is left."""
    box.put([1, 2])
    assert 3 == len(theirs.recv(3))
    assert 1 not in box.take_back()

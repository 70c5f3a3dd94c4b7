"""Tickets: a worker begins a request only once it has taken that request's ticket.

A ticket is taken by one read of a socket that both sides can read, and the kernel gives each byte
to one reader. So a ticket that is taken back was never begun, and never will be; one that is gone
was begun. The pool puts them out and takes them back; a worker takes the next.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterable

_TICKET = struct.Struct("<I")
_READ_BYTES = 64 * 1024


class TicketBox:
    """The tickets of one worker, each the number of a request; the lowest is the first."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        # Nothing comes from a worker this way: what it writes would lie there for ever.
        self._ours.shutdown(socket.SHUT_RD)
        self._not_out: list[int] = []

    @property
    def their_fd(self) -> int:
        """The descriptor that the worker gets."""
        return self._theirs.fileno()

    def put(self, numbers: Iterable[int]) -> None:
        """Put tickets out, in their order."""
        wanted = list(numbers)
        try:
            self._ours.send(b"".join(map(_TICKET.pack, wanted)))
        except OSError:
            # The worker broke it: these it will never take.
            self._not_out += wanted

    def take_back(self) -> set[int]:
        """Take back all that are not taken; it is certain that their requests were not begun."""
        data = b""
        # Not by a setting of the socket, which the worker could change: it must never block.
        with contextlib.suppress(OSError):
            while more := self._theirs.recv(_READ_BYTES, socket.MSG_DONTWAIT):
                data += more
        whole = len(data) - len(data) % _TICKET.size
        numbers = {number for (number,) in _TICKET.iter_unpack(data[:whole])}
        numbers.update(self._not_out)
        self._not_out = []
        return numbers

    def close(self) -> None:
        """Close both ends of ours; closing twice is fine."""
        self._ours.close()
        self._theirs.close()


def take_ticket(tickets: socket.socket) -> int | None:
    """Wait for the next ticket and take it, in the worker; None when the supervisor is gone."""
    data = tickets.recv(_TICKET.size)
    return int(_TICKET.unpack(data)[0]) if len(data) == _TICKET.size else None

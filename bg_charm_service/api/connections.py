"""The open connections of one kind of listener, and how many there may be, in all and of a peer.

Where there are too many, the one that has waited longest with half a request, or with none, goes
first; what is being answered stays. Whose they are is asked only when there are so many that it
matters. Used by the server.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

#: Limits unless the settings say otherwise.
MOST_CONNECTIONS = 1000
MOST_OF_A_PEER = 200


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How many connections there may be; `reserved` descriptors stay free of them.

    So many are taken `a_second`; 0 for any number.
    """

    most: int = MOST_CONNECTIONS
    of_a_peer: int = MOST_OF_A_PEER
    reserved: int = 0
    a_second: float = 0.0


class Named(Protocol):
    """Whoever is at the other end; to tell the name may cost something the first time."""

    @property
    def name(self) -> str:
        """What it is counted by."""


class Connection(Protocol):
    """An open connection, as it is kept here."""

    @property
    def peer(self) -> Named:
        """Whose it is."""

    @property
    def is_waiting(self) -> bool:
        """Whether no whole head of a request has come that is not answered yet."""

    def drop(self) -> None:
        """End it at once."""

    def note_second(self) -> None:
        """Count a second of waiting for the other end; ends the connection when it was too long."""


class Connections:
    """Connections by peer, the oldest first."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self._of_anybody: dict[Connection, None] = {}
        self._of_peer: dict[str, dict[Connection, None]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Connection]:
        yield from self._of_anybody
        for each in self._of_peer.values():
            yield from each

    def add(self, connection: Connection) -> bool:
        """Take one in, for another one if need be; False when there is no room for it."""
        most = self._limits.most
        of_a_peer = min(self._limits.of_a_peer, most)
        if self._count < of_a_peer:
            # Nobody can have too many.
            self._of_anybody[connection] = None
            self._count += 1
            return True
        self._sort_by_peer()
        name = connection.peer.name
        if len(self._of_peer.get(name, ())) >= of_a_peer and not self._make_room(name):
            return False
        if self._count >= most and not self._make_room(max(self._of_peer, key=self._count_of)):
            return False
        self._of_peer.setdefault(name, {})[connection] = None
        self._count += 1
        return True

    def remove(self, connection: Connection) -> None:
        """Forget one that is over; twice is fine."""
        if connection in self._of_anybody:
            del self._of_anybody[connection]
            self._count -= 1
            return
        if not self._of_peer:
            return
        name = connection.peer.name
        theirs = self._of_peer.get(name, {})
        if connection in theirs:
            del theirs[connection]
            self._count -= 1
            if not theirs:
                del self._of_peer[name]

    def note_second(self) -> None:
        """Let a second pass: those that have kept the service waiting for too long end."""
        for connection in list(self):
            connection.note_second()

    def _count_of(self, name: str) -> int:
        return len(self._of_peer[name])

    def _sort_by_peer(self) -> None:
        for connection in self._of_anybody:
            self._of_peer.setdefault(connection.peer.name, {})[connection] = None
        self._of_anybody.clear()

    def _make_room(self, name: str) -> bool:
        """End the connection of a peer that has waited longest; False where each is answered."""
        waiting = (each for each in self._of_peer[name] if each.is_waiting)
        oldest = next(waiting, None)
        if oldest is None:
            return False
        self.remove(oldest)
        oldest.drop()
        return True

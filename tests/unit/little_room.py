"""A context in which runs have little room, for tests of charms that work in portions."""

from __future__ import annotations

from itertools import cycle


class LittleRoom:
    """Has room for so many further portions, then for none, and so on; for 0 never for any."""

    def __init__(self, portions: int, *, seconds_left: float = 30.0, room: int = 4_000_000) -> None:
        self.seconds_left = seconds_left
        self.room = room
        self._answers = cycle([True] * portions + [False])

    def has_room(self, size_bytes: int = 0, keys: int = 0, *, seconds: float = 5.0) -> bool:
        """Say no, now and then."""
        return next(self._answers)

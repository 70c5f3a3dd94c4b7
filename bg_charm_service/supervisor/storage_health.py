"""Whether the database can be used, as last found: told once when it cannot, and once when it can.

Keeps no work and retries none: whoever found out keeps what it had in hand. Where it was for want
of room, it gives up the reserve of the disk, and takes it again later. Held by the supervisor; the
database itself tells it of each failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from loguru import logger

from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.errors import StorageError, StorageFull
from bg_charm_service.storage.disk_reserve import DiskReserve

#: How long to wait before the database is tried again, in seconds.
RETRY_SECONDS = 1.0


class StorageHealth:
    """The standing of the database."""

    def __init__(self, clock: Clock, reserve: DiskReserve | None = None) -> None:
        self._clock = clock
        self._reserve = reserve
        #: Whether the reserve is kept, so that there is room for more than what is under way.
        self.has_room = True
        #: Called with the size of the reserve, in bytes, when it is given up: the disk is full.
        self.on_full: list[Callable[[int], None]] = []
        #: What is wrong; empty while nothing is known to be.
        self.problem = ""
        #: When to try again, by the steady clock.
        self.retry_at = 0.0

    @property
    def is_waiting(self) -> bool:
        """Whether the database failed a moment ago, and is not to be tried yet."""
        return bool(self.problem) and self._clock.steady() < self.retry_at

    def note(self, error: StorageError) -> None:
        """Remember a failure; the same one is told once."""
        self._find_room(error)
        problem = error.problem
        if problem != self.problem:
            logger.bind(event="storage_problem").error(
                "{}. Nothing is lost; no work is claimed until it works again", problem.rstrip(".")
            )
        self.problem = problem
        self.retry_at = self._clock.steady() + RETRY_SECONDS

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Do something that is left undone, and noted, when the database fails."""
        try:
            yield
        except StorageError as error:
            self.note(error)

    def clear(self) -> None:
        """Remember that something was written; without the reserve that is not the end of it."""
        if not self.problem:
            return
        if not self.has_room and self._reserve is not None:
            self.has_room = self._reserve.hold()
        if self.has_room:
            logger.bind(event="storage_back").info("The database can be used again")
            self.problem = ""
        else:
            self.retry_at = self._clock.steady() + RETRY_SECONDS

    def check_room(self) -> None:
        """Raise StorageFull without the reserve: what is left is for what is under way."""
        if not self.has_room:
            raise StorageFull(self.problem)

    def take_reserve(self) -> None:
        """Have a reserve, at a start; without room for one, that is a problem like the others."""
        if self._reserve is not None and not self._reserve.hold():
            self.has_room = False
            self.note(StorageFull("The disk is nearly full: there is no room for the reserve"))

    def _find_room(self, error: StorageError) -> None:
        """Give up the reserve where there was no room for what was to be written."""
        reserve = self._reserve
        if reserve is None or not (isinstance(error, StorageFull) or reserve.is_needed):
            return
        if reserve.release():
            logger.bind(event="reserve_given_up").warning(
                "The disk is full: the room that was kept for that is used to store what runs did"
            )
        if self.has_room:
            self.has_room = False
            with suppress(OSError):
                size_bytes = reserve.size_bytes
                for listener in self.on_full:
                    listener(size_bytes)

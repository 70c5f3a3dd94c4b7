"""Whether the database can be used, as last found: told once when it cannot, and once when it can.

Keeps no work and retries none: whoever found out keeps what it had in hand. Held by the
supervisor; the database itself tells it of each failure.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from loguru import logger

from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.errors import StorageError

#: How long to wait before the database is tried again, in seconds.
RETRY_SECONDS = 1.0


class StorageHealth:
    """The standing of the database."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
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
        """Remember that something was written."""
        if self.problem:
            logger.bind(event="storage_back").info("The database can be used again")
            self.problem = ""

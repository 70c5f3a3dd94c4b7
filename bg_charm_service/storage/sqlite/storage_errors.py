"""Tells failures of disk or file, which are StorageError, from mistakes in a statement of ours.

Used by the database alone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from types import TracebackType

from bg_charm_service.domain.errors import StorageError


class StorageErrors:
    """Raises StorageError in the place of what sqlite3 raises when disk or file are to blame."""

    def __init__(self, listeners: list[Callable[[StorageError], None]]) -> None:
        self._listeners = listeners

    def __enter__(self) -> None:
        """Watch over what is done inside."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and is_of_the_database(error):
            told = StorageError(f"The database cannot be used: {error}")
            for listener in self._listeners:
                listener(told)
            raise told from error


def is_of_the_database(error: BaseException) -> bool:
    """Whether disk or file are to blame, not a value or a statement of ours."""
    ours = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError)
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, ours)

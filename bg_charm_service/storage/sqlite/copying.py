"""Copies of the database as one file: made while it is in use, whole or not there at all.

The copy is made by SQLite's online backup on the database's own connection, a few pages at a time
from a thread: what is written meanwhile is written to the copy too, so it never starts over.
Called by backups, and when the schema is brought up to date.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from bg_charm_service.domain.errors import BackupError, ServiceStopping
from bg_charm_service.storage.sqlite.log_file import mark_whole
from bg_charm_service.storage.whole_files import written

#: So many pages of 4 kB are copied while the connection's lock is held: a fraction of a
#: millisecond, which is how long the service may have to wait for it.
_STEP_PAGES = 16

#: Between two steps others get the connection, in seconds.
PAUSE_SECONDS = 0.001


def never() -> bool:
    """Let a copy go on to its end."""
    return False


def copy_database(
    connection: sqlite3.Connection,
    target: Path,
    should_stop: Callable[[], bool] = never,
    *,
    pause_seconds: float = PAUSE_SECONDS,
) -> None:
    """Write all that is committed into a new file of mode 0600, and see it to the disk.

    Raises BackupError, or ServiceStopping when asked to stop; a copy that is not whole is removed.
    """
    if sqlite3.threadsafety != 3:
        raise BackupError("This Python's SQLite is not built to be used from two threads.")

    def pause(status: int, remaining: int, total: int) -> None:
        if should_stop():
            raise ServiceStopping("The service is stopping; the backup was given up.")
        if pause_seconds:
            time.sleep(pause_seconds)

    with written(target):
        with _connected(target) as copy:
            connection.backup(copy, pages=_STEP_PAGES, progress=pause, sleep=PAUSE_SECONDS)
        mark_whole(target)


@contextmanager
def _connected(target: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(target, isolation_level=None)) as copy:
            # Nobody reads it before it is whole and synced, so it needs no journal of its own.
            copy.execute("PRAGMA synchronous = OFF")
            copy.execute("PRAGMA journal_mode = OFF")
            yield copy
    except sqlite3.Error as error:
        # Whoever writes the file tells of it, in the same words whatever has failed.
        raise OSError(str(error)) from error

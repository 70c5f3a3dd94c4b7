"""Copies of the database as one file: made while it is in use, whole or not there at all.

The copy is made by SQLite's online backup on the database's own connection, a few pages at a time
from a thread: what is written meanwhile is written to the copy too, so it never starts over.
Called by backups, and when the schema is brought up to date.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bg_charm_service.domain.errors import BackupError, ServiceStopping

#: So many pages of 4 kB are copied while the connection's lock is held: a fraction of a
#: millisecond, which is how long the service may have to wait for it.
_STEP_PAGES = 16

#: Between two steps others get the connection, in seconds.
PAUSE_SECONDS = 0.001

#: Ends the name of a copy that is not whole yet.
PARTIAL = ".partial"


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

    with written(target), _connected(target) as copy:
        connection.backup(copy, pages=_STEP_PAGES, progress=pause, sleep=PAUSE_SECONDS)


@contextmanager
def written(target: Path) -> Iterator[None]:
    """Make a new file of mode 0600, for writing inside; it is synced, or removed after an error.

    Raises BackupError in the place of errors of disk and database.
    """
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise _cannot_write(target, error) from None
    try:
        yield
        sync(target)
    except (OSError, sqlite3.Error) as error:
        discard(target)
        raise _cannot_write(target, error) from error
    except BaseException:
        discard(target)
        raise


def discard(partial: Path) -> None:
    """Remove a copy that nobody wants, if it is there."""
    with suppress(OSError):
        partial.unlink()


def publish(partial: Path, target: Path) -> None:
    """Give a whole copy its name, in the place of what had it; durable when this returns."""
    try:
        os.replace(partial, target)
        sync(target.parent)
    except OSError as error:
        discard(partial)
        raise _cannot_write(target, error) from None


def sync(path: Path) -> None:
    """See a file, or the names in a directory, to the disk."""
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextmanager
def _connected(target: Path) -> Iterator[sqlite3.Connection]:
    copy = sqlite3.connect(target, isolation_level=None)
    try:
        # Nobody reads it before it is whole and synced, so it needs no journal of its own.
        copy.execute("PRAGMA synchronous = OFF")
        copy.execute("PRAGMA journal_mode = OFF")
        yield copy
    finally:
        copy.close()


def _cannot_write(target: Path, error: Exception) -> BackupError:
    reason = (error.strerror if isinstance(error, OSError) else None) or error
    name = target.name.removesuffix(PARTIAL)
    shown = name.removeprefix(".") if name != target.name else name
    return BackupError(f"{target.parent} cannot take the file {shown}: {reason}.")

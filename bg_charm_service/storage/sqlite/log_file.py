"""The write-ahead log beside a database, from one life to the next: that it is there, and on disk.

SQLite takes a missing log for an empty one, and what was committed last is gone without a word. So
a mark in the file's header says whether it needs one. The database with its log always says that it
is whole; only the file by itself, while there is a log, says that it is a part. Whoever folds the
log in, another program too, thereby takes that back. Called by the database.
"""

from __future__ import annotations

import os
import sqlite3
import struct
from contextlib import suppress
from pathlib import Path

from bg_charm_service.domain.errors import DataDirectoryError

#: The mark, SQLite's number of the application: a file that needs its log, and one that does not.
_PART, _WHOLE = 0x42435331, 0x42435330
_PART_BYTES = _PART.to_bytes(4, "big")

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_JOURNAL_AT, _VERSION_AT, _APPLICATION_AT = 18, 60, 68

#: A log that holds nothing is shorter than its own header, in bytes.
_LOG_HEADER_BYTES = 32

_PIECE_BYTES = 1 << 20

#: When the mark could not be set, it is tried again after so many commits.
_RETRY_COMMITS = 100


def check_log(path: Path) -> None:
    """Raise DataDirectoryError for a database whose log is gone, with what it held."""
    if not needs_log(path) or log_bytes(path) >= _LOG_HEADER_BYTES:
        return
    raise DataDirectoryError(
        f"The log {path}-wal is missing or empty, and holds what was stored last: {path} is only a "
        "part of the database. Put the log back, or restore a backup; docs/operating.md says how "
        "to go on without it."
    )


def log_bytes(path: Path) -> int:
    """Give the length of a database's log; 0 where there is none."""
    try:
        return os.stat(f"{path}-wal").st_size
    except FileNotFoundError:
        return 0


def see_to_disk(path: Path) -> None:
    """Write a log that an earlier process left once more, and sync it; raises OSError.

    After a sync that failed the system counts as clean what never got to the disk. Without this,
    what is read from such a log could go with the power, and all that is committed behind it.
    """
    with open(f"{path}-wal", "r+b", buffering=0) as log:
        while piece := log.read(_PIECE_BYTES):
            log.seek(-len(piece), os.SEEK_CUR)
            written = 0
            while written < len(piece):
                written += log.write(piece[written:])
        os.fsync(log.fileno())


class LogMark:
    """The mark of a database that is open.

    `descriptor` reads its file. The mark is gone from there whenever SQLite has folded the log in.
    """

    def __init__(self, connection: sqlite3.Connection, descriptor: int) -> None:
        self._connection = connection
        self._descriptor = descriptor
        self._wait = 0

    def keep(self) -> None:
        """Let the file say that it needs its log; after each commit. Costs nothing if it does."""
        self._wait -= 1
        if self._wait > 0 or os.pread(self._descriptor, 4, _APPLICATION_AT) == _PART_BYTES:
            return
        self._wait = _RETRY_COMMITS
        with suppress(sqlite3.Error):
            self._say(_PART)
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            self._wait = 0
        with suppress(sqlite3.Error):
            self._say(_WHOLE)

    def make_up(self) -> None:
        """Say that the database is whole, where a failure kept that from being said."""
        with suppress(sqlite3.Error):
            if self._connection.execute("PRAGMA application_id").fetchone() == (_PART,):
                self._say(_WHOLE)

    def _say(self, mark: int) -> None:
        self._connection.execute(f"PRAGMA application_id = {mark}")


def mark_whole(path: Path) -> None:
    """Say that a copy, which nobody has open, needs no log."""
    with open(path, "r+b") as file:
        file.seek(_APPLICATION_AT)
        file.write(_WHOLE.to_bytes(4, "big"))


def needs_log(path: Path) -> bool:
    """Whether a file is only a part of a database, by what it says itself."""
    try:
        with open(path, "rb") as file:
            header = file.read(_HEADER_BYTES)
    except FileNotFoundError:
        return False
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        return False
    (application,) = struct.unpack_from(">I", header, _APPLICATION_AT)
    (version,) = struct.unpack_from(">I", header, _VERSION_AT)
    # Earlier versions left no mark. They wrote the schema into the log first, this one never does.
    is_bare = header[_JOURNAL_AT] == 2 and version == 0
    return application == _PART or (application == 0 and is_bare)

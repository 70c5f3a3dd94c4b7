"""The write-ahead log beside a database, from one life to the next: that it is there, and on disk.

The header of the database says whether it needs its log: SQLite itself takes a missing one for an
empty one, and what was committed last is gone without a word. Called by the database.
"""

from __future__ import annotations

import os
import sqlite3
import struct
from contextlib import suppress
from pathlib import Path

from bg_charm_service.domain.errors import DataDirectoryError

#: The number of the application in the header: a database in use, and one that needs no log.
_IN_USE, _WHOLE = 0x42435331, 0x42435330

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_JOURNAL_AT, _VERSION_AT, _APPLICATION_AT = 18, 60, 68

#: A log that holds nothing is shorter than its own header, in bytes.
_LOG_HEADER_BYTES = 32

_PIECE_BYTES = 1 << 20


def check_log(path: Path) -> None:
    """Raise DataDirectoryError for a database whose log is gone, with what it held."""
    if not _needs_log(path) or log_bytes(path) >= _LOG_HEADER_BYTES:
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


def mark_in_use(connection: sqlite3.Connection) -> None:
    """Say that the file is a part of the database; inside the first transaction that writes."""
    connection.execute(f"PRAGMA application_id = {_IN_USE}")


def fold_mark(connection: sqlite3.Connection) -> None:
    """Bring what `mark_in_use` says into the file itself; where there is no room, later."""
    with suppress(sqlite3.Error):
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")


def fold_in(connection: sqlite3.Connection) -> None:
    """Fold the whole log into the file, which needs none then; where that fails, it stays."""
    with suppress(sqlite3.Error):
        if connection.execute("PRAGMA application_id").fetchone() == (_IN_USE,):
            connection.execute(f"PRAGMA application_id = {_WHOLE}")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def mark_whole(path: Path) -> None:
    """Say that a copy, which nobody has open, needs no log."""
    with open(path, "r+b") as file:
        file.seek(_APPLICATION_AT)
        file.write(struct.pack(">I", _WHOLE))


def _needs_log(path: Path) -> bool:
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
    return application == _IN_USE or (application == 0 and is_bare)

"""Which schema a database file has, read from its bytes: nothing is opened, locked or changed.

SQLite itself would fold the log into a file of a newer version when it lets go of it. Called
before a database is opened, by whoever holds the lock of its directory.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_VERSION_AT = 60

#: The log begins with magic, format, page size, number, two salts, two checksums; each page in it
#: with its number, the size of the database where it ends a transaction, salts and checksums.
_LOG = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")


def stored_schema_version(path: Path) -> int:
    """Give the number of the schema, with what the log holds of it; 0 for no database or a new one.

    A log is not checked for pages that a power cut tore: SQLite does that when it opens it.
    """
    try:
        with open(path, "rb") as file:
            header = file.read(_HEADER_BYTES)
    except FileNotFoundError:
        return 0
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        return 0
    try:
        with open(f"{path}-wal", "rb") as log:
            for first_page in _committed_first_pages(log):
                header = first_page
    except FileNotFoundError:
        pass
    return int.from_bytes(header[_VERSION_AT : _VERSION_AT + 4], "big")


def _committed_first_pages(log: BinaryIO) -> Iterator[bytes]:
    """Give the beginning of each first page of the database that a transaction in a log wrote."""
    head = log.read(_LOG.size)
    if len(head) < _LOG.size:
        return
    _, _, page_bytes, _, *salts, _, _ = _LOG.unpack(head)
    waiting: bytes | None = None
    while len(frame := log.read(_FRAME.size)) == _FRAME.size:
        number, size_after, *frame_salts, _, _ = _FRAME.unpack(frame)
        page = log.read(page_bytes)
        if frame_salts != salts or len(page) < page_bytes:
            # Left over from an earlier life of the log.
            return
        if number == 1:
            waiting = page[:_HEADER_BYTES]
        if size_after and waiting is not None:
            yield waiting
            waiting = None

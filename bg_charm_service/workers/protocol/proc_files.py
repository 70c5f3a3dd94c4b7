"""Reads the files that Linux makes up about processes.

Many a second, so without a file object around each, which takes longer than the reading.
Used by whatever looks at processes.
"""

from __future__ import annotations

import os

_READ_BYTES = 64 * 1024


def read_proc(path: str) -> bytes:
    """Give all of such a file; raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = []
        while piece := os.read(fd, _READ_BYTES):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        os.close(fd)

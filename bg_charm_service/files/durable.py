"""Sees to it that what was written is on disk: one file, the names in a directory, or everything.

Used by the storage, and by the packages of charms.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def sync(path: Path) -> None:
    """See a file, or the names in a directory, to the disk; raises OSError."""
    with _opened(path) as fd:
        os.fsync(fd)


def sync_file_system(path: Path) -> None:
    """See all to the disk that was written to the file system of a path; raises OSError.

    Of thousands of files it is faster than to see each there.
    """
    with _opened(path) as fd:
        if ctypes.CDLL(None, use_errno=True).syncfs(fd) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)

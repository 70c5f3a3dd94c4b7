"""The files of an open database: whether they still lie under their names.

SQLite goes on writing to a file that was deleted or replaced, and nobody would ever find what it
wrote. Used by the database before each commit: it costs one look at each name.
"""

from __future__ import annotations

import os
from pathlib import Path

from bg_charm_service.domain.errors import StorageError
from bg_charm_service.storage.records import DiskUsage


class OpenFiles:
    """The database and its log, as they were when they were opened."""

    def __init__(self, path: Path) -> None:
        self._paths = [os.fspath(path), f"{path}-wal"]
        self._found = [_identity(each) for each in self._paths]
        #: Reads the database file. As long as it is in use: to close any descriptor of a file lets
        #: go of all the locks that the process has on it, SQLite's too.
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def check(self) -> None:
        """Raise StorageError when a file is not the one that is open any more."""
        for path, opened in zip(self._paths, self._found, strict=True):
            if _identity(path) != opened:
                raise StorageError(
                    f"The database cannot be used: {path} was deleted, moved or replaced while it "
                    "is in use. Put it back; or save what the service still has with "
                    "`bg-charm-service backup FILE`, stop the service and restore that file"
                )

    def usage(self) -> DiskUsage:
        """How long both files are now."""
        database, log = map(_size_bytes, self._paths)
        return DiskUsage(database, log)

    def close(self) -> None:
        """Let go of the file, once SQLite has; closing twice is fine."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def _size_bytes(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino

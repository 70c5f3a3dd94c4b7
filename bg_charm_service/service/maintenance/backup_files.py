"""The files of a backup directory: their names, which is the newest, and which are too many.

Only files with our own pattern of names are ever listed or deleted. Called by backups.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bg_charm_service.domain.errors import BackupError
from bg_charm_service.storage.whole_files import PARTIAL

_NAME = re.compile(r"bg-charm-service-(\d{8}T\d{6}Z)(?:-\d+)?\.db")


@dataclass(frozen=True, slots=True)
class BackupFile:
    """One backup; `made_at` is in seconds since the epoch."""

    path: str
    made_at: float
    size_bytes: int


def backup_file(path: Path) -> BackupFile:
    """Describe a file by what the file system knows of it; raises FileNotFoundError."""
    found = path.stat()
    return BackupFile(str(path), found.st_mtime, found.st_size)


def backups_in(directory: Path) -> list[BackupFile]:
    """The backups of a directory, the newest first; none where there is no directory."""
    return sorted(_found(directory), key=lambda each: each.made_at, reverse=True)


def free_name(directory: Path, now: float) -> Path:
    """Give the name of a backup that is made now, which no file has yet."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    path, number = directory / f"bg-charm-service-{stamp}.db", 1
    while path.exists():
        number += 1
        path = directory / f"bg-charm-service-{stamp}-{number}.db"
    return path


def prepare(directory: Path) -> None:
    """Make the directory where it is missing, and delete what an interrupted backup left there."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in directory.glob(f".bg-charm-service-*{PARTIAL}"):
            path.unlink()
    except OSError as error:
        raise BackupError(
            f"The backup directory {directory} cannot be used: {error.strerror}."
        ) from None


def prune(directory: Path, keep: int) -> None:
    """Delete all but the newest backups of a directory."""
    for each in backups_in(directory)[keep:]:
        with suppress(OSError):
            Path(each.path).unlink()


def _found(directory: Path) -> Iterator[BackupFile]:
    with suppress(OSError):
        for path in directory.iterdir():
            if _NAME.fullmatch(path.name):
                yield backup_file(path)

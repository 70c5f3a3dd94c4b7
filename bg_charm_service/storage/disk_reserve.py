"""Room on the disk that a data directory keeps for itself, for when somebody has filled the rest.

A file that holds nothing: it is removed where a write finds no room, so that what runs did can be
stored and old history be deleted, and made again when there is room. Decides nothing. Used by the
supervisor's storage health, by whoever opens a data directory, and by the doctor.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

RESERVE_NAME = ".reserve"

#: So much is kept, in bytes: some thousand settlements, and the cleanup of old history.
RESERVE_BYTES = 4 * 1024 * 1024

#: Of a small file system, no more than this part of it.
_SMALLEST_PART = 64

#: It is made only where so many times as much is free: what is left then is for the work.
_ROOM_FACTOR = 2


class DiskReserve:
    """The reserve of one data directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.path = directory / RESERVE_NAME

    @property
    def size_bytes(self) -> int:
        """How much is to be kept; raises OSError."""
        disk = os.statvfs(self._directory)
        return min(RESERVE_BYTES, disk.f_blocks * disk.f_frsize // _SMALLEST_PART)

    @property
    def wanted_bytes(self) -> int:
        """How much has to be free before it is made; raises OSError."""
        return _ROOM_FACTOR * self.size_bytes

    @property
    def is_held(self) -> bool:
        """Whether it is there."""
        try:
            return self.path.lstat().st_size >= self.size_bytes
        except OSError:
            return False

    @property
    def is_needed(self) -> bool:
        """Whether the disk says that it has less room than the reserve; False where it is silent.

        Only an attempt tells for sure: ext4 calls blocks free that nobody can have.
        """
        try:
            return self._free_bytes() < self.size_bytes
        except OSError:
            return False

    @property
    def has_room(self) -> bool:
        """Whether it is there, or can be made as far as the disk says."""
        try:
            return self.is_held or self._free_bytes() >= self.wanted_bytes
        except OSError:
            return False

    def hold(self) -> bool:
        """Have it, from now on; False where there is no room. Holding it twice is fine."""
        if self.is_held:
            return True
        if self.has_room and self._has_room_indeed():
            return True
        self.release()
        return False

    def make_room(self) -> None:
        """Give it up unless as much again can be had, which whoever starts may want."""
        if self.is_held and not self._has_room_indeed():
            self.release()

    def _has_room_indeed(self) -> bool:
        """Make it with as much again, and give that back; False where there is no room for it."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(self.path, flags, 0o600)
            try:
                _take_room(fd, self.wanted_bytes)
                os.ftruncate(fd, self.size_bytes)
            finally:
                os.close(fd)
        except OSError:
            return False
        return True

    def release(self) -> bool:
        """Give the room back; False where there was none."""
        with suppress(OSError):
            self.path.unlink()
            return True
        return False

    def _free_bytes(self) -> int:
        disk = os.statvfs(self._directory)
        # Root may take what the file system keeps for root.
        blocks = disk.f_bavail if os.geteuid() else disk.f_bfree
        return blocks * disk.f_frsize


def _take_room(fd: int, size_bytes: int) -> None:
    if sys.platform == "linux":
        os.posix_fallocate(fd, 0, size_bytes)
    else:
        os.pwrite(fd, bytes(size_bytes), 0)

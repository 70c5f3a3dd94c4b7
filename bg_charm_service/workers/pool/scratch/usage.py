"""Measures what a worker keeps in its scratch directory, while the worker may be changing it.

Bounded: it stops at the first limit that is passed, so that a charm cannot keep the service busy
with counting. Follows no link. Called by the scratch directories.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bg_charm_service.files.removal import open_directory
from bg_charm_service.workers.protocol.processes import read_proc

#: More files and directories than this are too many, whatever their size.
MOST_ENTRIES = 10_000

#: Directories in directories beyond this are too many: each level costs a descriptor to look at.
MOST_LEVELS = 64

#: Every name counts as one block at least, so that empty files are not free.
_LEAST_BYTES = 4096

_BLOCK_BYTES = 512

#: How a line of `maps` ends whose file has no name any more.
_DELETED = b" (deleted)"


@dataclass(frozen=True, slots=True)
class ScratchUsage:
    """What was counted, up to where counting stopped; `excess` says what was too much, if so."""

    used_bytes: int
    excess: str = ""


class _TooMuchError(Exception):
    """Counting has passed a limit."""


def measure(
    directory: Path, pid: int, limit_bytes: int, *, with_hidden: bool = True
) -> ScratchUsage:
    """Count what a directory holds, and what a process holds open without a name.

    A file without a name that is mapped but not open, or on its way through a socket, is hidden:
    it cannot be looked at, and counts as the largest one there can be. To find those takes ten
    times as long as the rest. What cannot be read counts as nothing; may be called in a thread.
    """
    count = _Count(limit_bytes)
    try:
        with contextlib.suppress(OSError):
            count.add_directory(directory)
        sockets = count.add_open(pid)
        if with_hidden:
            count.add_hidden(directory, pid, sockets)
    except _TooMuchError as error:
        return ScratchUsage(count.used_bytes, str(error))
    return ScratchUsage(count.used_bytes)


class _Count:
    def __init__(self, limit_bytes: int) -> None:
        self.used_bytes = 0
        self._limit_bytes = limit_bytes
        self._entries = 0
        self._inodes: set[int] = set()

    def add_directory(self, directory: Path) -> None:
        """Count what the directory holds, by going down and up again with one stack."""
        levels = [_Level(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW))]
        try:
            while levels:
                entry = next(levels[-1].entries, None)
                if entry is None:
                    levels.pop().close()
                    continue
                # What is gone by now counts as nothing.
                with contextlib.suppress(OSError):
                    self._add(entry.stat(follow_symlinks=False))
                    below = levels[-1].open(entry)
                    if below is not None:
                        levels.append(below)
                if len(levels) > MOST_LEVELS:
                    raise _TooMuchError(f"directories more than {MOST_LEVELS} deep")
        finally:
            for level in levels:
                level.close()

    def add_open(self, pid: int) -> list[str]:
        """Count the open files of a process that have no name any more; gives its sockets."""
        sockets = []
        for name in _listed(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                found = os.stat(f"/proc/{pid}/fd/{name}")
                if stat.S_ISREG(found.st_mode) and found.st_nlink == 0:
                    self._add(found)
                elif stat.S_ISSOCK(found.st_mode):
                    sockets.append(name)
        return sockets

    def add_hidden(self, directory: Path, pid: int, sockets: list[str]) -> None:
        """Count the files without a name that are in these sockets, or mapped and not open."""
        for name in sockets:
            with contextlib.suppress(OSError):
                self._use(self._limit_bytes * _sent_files(pid, name))
        for inode in _mapped_unlinked(directory, pid):
            if inode not in self._inodes:
                self._inodes.add(inode)
                self._use(self._limit_bytes)

    def _add(self, found: os.stat_result) -> None:
        # A file with two names, or open twice, is there once.
        if found.st_ino in self._inodes:
            return
        self._inodes.add(found.st_ino)
        self._entries += 1
        if self._entries > MOST_ENTRIES:
            raise _TooMuchError(f"more than {MOST_ENTRIES} files")
        self._use(max(found.st_blocks * _BLOCK_BYTES, _LEAST_BYTES))

    def _use(self, more_bytes: int) -> None:
        self.used_bytes += more_bytes
        if self.used_bytes > self._limit_bytes:
            raise _TooMuchError(f"more than {self._limit_bytes} bytes of files")


class _Level:
    """One directory on the way down."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        try:
            self.entries = os.scandir(fd)
        except OSError:
            # It takes a descriptor of its own.
            os.close(fd)
            raise

    def open(self, entry: os.DirEntry[str]) -> _Level | None:
        if not entry.is_dir(follow_symlinks=False):
            return None
        fd = open_directory(self._fd, entry.name)
        return _Level(fd) if fd is not None else None

    def close(self) -> None:
        self.entries.close()
        os.close(self._fd)


def _listed(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _sent_files(pid: int, fd: str) -> int:
    """Count the descriptors that were sent to a process through a socket, and not received yet."""
    _, _, rest = read_proc(f"/proc/{pid}/fdinfo/{fd}").partition(b"scm_fds:")
    return int(rest.split()[0]) if rest else 0


def _mapped_unlinked(directory: Path, pid: int) -> Iterator[int]:
    """Give the inodes of what is mapped without a name, of this directory or of memory only."""
    try:
        maps = read_proc(f"/proc/{pid}/maps")
    except OSError:
        return
    if _DELETED not in maps:
        return
    places = (os.fsencode(f"{os.path.realpath(directory)}/"), b"/memfd:")
    # Only that ends a line: names may hold what else does elsewhere.
    for line in maps.split(b"\n"):
        if line.endswith(_DELETED):
            *_, inode, path = line.split(maxsplit=5)
            if path.startswith(places):
                yield int(inode)

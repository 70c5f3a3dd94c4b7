"""Removes directory trees that nobody may trust: too deep for a path, huge, full of links.

Follows no link, does not recurse, and has three descriptors open at most: what lies inside a
directory is moved up, until nothing lies inside anything. Used by the scratch directories, and by
the packages of charms.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

#: How a directory is opened that nobody may trust: never what a link leads to.
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

#: A directory that is still not empty after this many attempts has something in it that stays.
_MOST_ATTEMPTS = 3


def open_directory(parent_fd: int, name: str) -> int | None:
    """Open a directory, whatever its permissions; None for what is no directory.

    A link to a directory is none. Whoever owns it may do everything in it from here on, as this
    process then may; raises OSError.
    """
    try:
        try:
            fd = os.open(name, DIRECTORY, dir_fd=parent_fd)
        except PermissionError:
            _permit(parent_fd, name)
            fd = os.open(name, DIRECTORY, dir_fd=parent_fd)
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            return None
        raise
    with contextlib.suppress(OSError):
        os.fchmod(fd, 0o700)
    return fd


def remove_tree(
    name: str, parent_fd: int, should_stop: Callable[[], bool] = lambda: False
) -> list[str]:
    """Remove a directory with all that is in it; gives what could not be removed, and why.

    Takes no room on the disk. The directory's own entries may be renamed; nobody else may write to
    it meanwhile. What is no directory is removed too. What is left when `should_stop` says so can
    be removed by a later call. Raises OSError.
    """
    top_fd = open_directory(parent_fd, name)
    if top_fd is None:
        os.unlink(name, dir_fd=parent_fd)
        return []
    try:
        problems = _TreeRemoval(top_fd, should_stop).run()
    finally:
        os.close(top_fd)
    if not problems:
        # Not empty after a stop.
        with contextlib.suppress(OSError):
            os.rmdir(name, dir_fd=parent_fd)
    return problems


def remove_folder(folder: Path) -> None:
    """Remove a directory with all that is in it, as far as that can be done; one that is gone is
    fine.
    """
    with contextlib.suppress(OSError):
        parent_fd = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            remove_tree(folder.name, parent_fd)
        finally:
            os.close(parent_fd)


class _TreeRemoval:
    """Dissolves one directory after the other right below the top one."""

    def __init__(self, top_fd: int, should_stop: Callable[[], bool]) -> None:
        self._top_fd = top_fd
        self._should_stop = should_stop
        self._waiting = os.listdir(top_fd)
        taken = set(self._waiting)
        self._free_names = (
            name for name in (f"d{number}" for number in itertools.count()) if name not in taken
        )
        self._problems: list[str] = []

    def run(self) -> list[str]:
        while self._waiting and not self._should_stop():
            name = self._waiting.pop()
            with _noting(name, self._problems):
                self._remove(name)
        return self._problems

    def _remove(self, name: str) -> None:
        fd = open_directory(self._top_fd, name)
        if fd is None:
            os.unlink(name, dir_fd=self._top_fd)
            return
        problems: list[str] = []
        try:
            # Entries that are removed while they are listed may make the listing skip some; and
            # what found no room may find it when others are gone.
            for _ in range(_MOST_ATTEMPTS):
                problems = self._empty(fd)
                if self._should_stop() or _is_removed(self._top_fd, name):
                    return
        finally:
            os.close(fd)
        self._problems += problems
        os.rmdir(name, dir_fd=self._top_fd)

    def _empty(self, fd: int) -> list[str]:
        """Remove what lies in a directory, or move it up; gives what could not be, and why."""
        problems: list[str] = []
        directories = []
        with os.scandir(fd) as entries:
            for entry in entries:
                if self._should_stop():
                    return problems
                with _noting(entry.name, problems):
                    if entry.is_dir(follow_symlinks=False):
                        directories.append(entry.name)
                    else:
                        os.unlink(entry.name, dir_fd=fd)
        # Last: a new name may take room, which the files have made.
        for name in directories:
            if self._should_stop():
                break
            with _noting(name, problems):
                if not _is_removed(fd, name):
                    self._move_up(fd, name)
        return problems

    def _move_up(self, fd: int, name: str) -> None:
        new_name = next(self._free_names)
        # To move a directory is to write to its "..".
        with contextlib.suppress(OSError):
            _permit(fd, name)
        os.rename(name, new_name, src_dir_fd=fd, dst_dir_fd=self._top_fd)
        self._waiting.append(new_name)


@contextlib.contextmanager
def _noting(name: str, problems: list[str]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        problems.append(f"{name}: {error.strerror}")


def _is_removed(parent_fd: int, name: str) -> bool:
    try:
        os.rmdir(name, dir_fd=parent_fd)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.EACCES):
            return False
        raise
    return True


def _permit(parent_fd: int, name: str) -> None:
    """Let the owner do everything with a directory, which may be exchanged for a link meanwhile."""
    if sys.platform != "linux":
        os.chmod(name, 0o700, dir_fd=parent_fd, follow_symlinks=False)
        return
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=parent_fd)
    try:
        os.chmod(f"/proc/self/fd/{fd}", 0o700)
    finally:
        os.close(fd)

"""The workers' scratch directories: made, measured, emptied after a run, removed at last.

A charm may leave anything in its own: nothing here follows a link, and whatever takes long is
removed in a thread. To remove takes no room, which a charm may have left none of. The directories
lie side by side below one of ours, which is held open: what somebody puts where a moved one was is
not ours. Called by the pool, and by whoever opens a data directory.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import stat
import sys
import threading
import time
import weakref
from pathlib import Path

from loguru import logger

from bg_charm_service.files.removal import DIRECTORY, open_directory, remove_tree
from bg_charm_service.workers.pool.scratch.usage import ScratchUsage, measure
from bg_charm_service.workers.protocol.leftovers import UNTOUCHED_NS

#: A directory with more than this in it, or in deeper folders, is not emptied on the caller's time.
_INLINE_ENTRIES = 32
_INLINE_BYTES = 4 * 1024 * 1024
_INLINE_DEPTH = 8

#: How long closing waits for a removal under way, in seconds; the rest is for the next start.
_CLOSE_SECONDS = 2.0

#: What is moved away to be removed is called this and a number.
_TRASH = "trash-"

#: An operator may have linked it to another disk.
_ROOT = DIRECTORY & ~os.O_NOFOLLOW


class ScratchRoot:
    """The directory in which each worker has one of its own, named by the worker's number."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._trash_numbers = itertools.count(1)
        self._trash: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._is_closed = threading.Event()
        self._remover: threading.Thread | None = None

    def clear(self, most_seconds: float) -> None:
        """Remove what an earlier life left, for so long at most; `open` sees to the rest.

        Before anything else is done with a data directory: the room may be wanted for that.
        """
        until = time.monotonic() + most_seconds
        # What cannot be removed is told by `open`.
        with contextlib.suppress(OSError):
            fd = os.open(self._path, _ROOT)
            try:
                for name in os.listdir(fd):
                    with contextlib.suppress(OSError):
                        remove_tree(name, fd, lambda: time.monotonic() >= until)
            finally:
                os.close(fd)

    def open(self) -> None:
        """Make the directory, and remove what an earlier life left in it; raises OSError."""
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fd = os.open(self._path, _ROOT)
        # Not by `close`: a removal that goes on may use it until the process ends.
        weakref.finalize(self, os.close, self._fd)
        os.fchmod(self._fd, 0o700)
        for name in os.listdir(self._fd):
            self._throw_away(name)

    def make(self, worker_no: int) -> Path:
        """Make an empty directory that only this user may enter; raises OSError."""
        name = str(worker_no)
        try:
            self._make(name)
        except FileExistsError:
            self._throw_away(name)
            self._make(name)
        return self._of(worker_no)

    def measure(
        self, worker_no: int, pid: int, limit_bytes: int, *, with_hidden: bool = True
    ) -> ScratchUsage:
        """Count what a worker keeps there; bounded, and safe to call in a thread."""
        return measure(self._of(worker_no), pid, limit_bytes, with_hidden=with_hidden)

    def empty(self, worker_no: int) -> bool:
        """Empty the directory if that is quickly done; after False, its worker must be retired."""
        try:
            fd = os.open(str(worker_no), DIRECTORY, dir_fd=self._fd)
        except OSError:
            return False
        try:
            is_empty = _empty_quickly(fd, _Room())
            os.utime(fd, ns=(UNTOUCHED_NS, UNTOUCHED_NS))
            return is_empty
        except OSError:
            return False
        finally:
            os.close(fd)

    def discard(self, worker_no: int) -> None:
        """Remove the directory of a worker that is gone, in a thread unless it is empty."""
        name = str(worker_no)
        try:
            os.rmdir(name, dir_fd=self._fd)
        except FileNotFoundError:
            return
        except OSError:
            self._throw_away(name)

    def close(self) -> None:
        """Stop removing; what is left is removed at the next start. Closing twice is fine."""
        self._is_closed.set()
        if self._remover is not None:
            self._trash.put(None)
            self._remover.join(_CLOSE_SECONDS)
            self._remover = None

    def _make(self, name: str) -> None:
        os.mkdir(name, 0o700, dir_fd=self._fd)
        os.utime(name, ns=(UNTOUCHED_NS, UNTOUCHED_NS), dir_fd=self._fd)

    def _of(self, worker_no: int) -> Path:
        """Where a worker's directory is now, also when the data directory was moved."""
        place = f"/proc/self/fd/{self._fd}"
        root = os.readlink(place) if sys.platform == "linux" else self._path
        return Path(root, str(worker_no))

    def _throw_away(self, name: str) -> None:
        """Let the thread remove something, and move it out of the way until then."""
        trash = self._new_trash_name()
        try:
            os.rename(name, trash, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        except OSError:
            # It is removed where it is: a new name may take room.
            trash = name
        self._trash.put(trash)
        if self._remover is None and not self._is_closed.is_set():
            self._remover = threading.Thread(
                target=self._remove_trash, name="scratch remover", daemon=True
            )
            self._remover.start()

    def _new_trash_name(self) -> str:
        taken = set(os.listdir(self._fd))
        # Renaming would take the place of an empty directory.
        return next(
            trash
            for trash in (f"{_TRASH}{number}" for number in self._trash_numbers)
            if trash not in taken
        )

    def _remove_trash(self) -> None:
        while (name := self._trash.get()) is not None:
            try:
                problems = remove_tree(name, self._fd, self._is_closed.is_set)
            except OSError as error:
                problems = [str(error)]
            if problems:
                _warn(self._path / name, f"{problems[0]} ({len(problems)} in all)")


class _Room:
    """How much one emptying may still remove on the caller's time."""

    def __init__(self) -> None:
        self._entries, self._bytes = _INLINE_ENTRIES, _INLINE_BYTES

    def take(self, size_bytes: int) -> bool:
        """Take an entry of this size; False when there is no room for it."""
        self._entries -= 1
        self._bytes -= size_bytes
        return self._entries >= 0 and self._bytes >= 0


def _empty_quickly(fd: int, room: _Room, depth: int = 0) -> bool:
    """Remove what is in a directory; False where that is more than `room`. Raises OSError.

    Follows no link, also where a thread that the run left puts one meanwhile.
    """
    for name in os.listdir(fd):
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if not room.take(status.st_blocks * 512):
            return False
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(name, dir_fd=fd)
            continue
        inner_fd = open_directory(fd, name) if depth < _INLINE_DEPTH else None
        if inner_fd is not None:
            try:
                if not _empty_quickly(inner_fd, room, depth + 1):
                    return False
            finally:
                os.close(inner_fd)
        # Fails where there is something in it.
        os.rmdir(name, dir_fd=fd)
    return True


def _warn(path: Path, reason: str) -> None:
    logger.bind(event="scratch_left").warning(
        "Not all of {} can be removed: {}; it is tried again at the next start", path, reason
    )

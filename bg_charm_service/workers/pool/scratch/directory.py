"""The workers' scratch directories: made, measured, emptied after a run, removed at last.

A charm may leave anything in its own: nothing here follows a link, and whatever takes long is
removed in a thread. To remove takes no room, which a charm may have left none of. Called by the
pool, and by whoever opens a data directory; the directories lie side by side below one of ours.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import threading
import time
from pathlib import Path

from loguru import logger

from bg_charm_service.workers.pool.scratch.removal import remove_tree
from bg_charm_service.workers.pool.scratch.usage import ScratchUsage, measure
from bg_charm_service.workers.protocol.leftovers import UNTOUCHED_NS

#: A directory with more entries or bytes than this is not emptied on the caller's time.
_INLINE_ENTRIES = 32
_INLINE_BYTES = 4 * 1024 * 1024

#: How long closing waits for a removal under way, in seconds; the rest is for the next start.
_CLOSE_SECONDS = 2.0

#: What is moved away to be removed is called this and a number.
_TRASH = "trash-"


class ScratchRoot:
    """The directory in which each worker has one of its own, named by the worker's number."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._trash_numbers = itertools.count(1)
        self._trash: queue.SimpleQueue[Path | None] = queue.SimpleQueue()
        self._is_closed = threading.Event()
        self._remover: threading.Thread | None = None

    def clear(self, most_seconds: float) -> None:
        """Remove what an earlier life left, for so long at most; `open` sees to the rest.

        Before anything else is done with a data directory: the room may be wanted for that.
        """
        until = time.monotonic() + most_seconds
        # What cannot be removed is told by `open`.
        with contextlib.suppress(OSError):
            for path in self._path.iterdir():
                with contextlib.suppress(OSError):
                    remove_tree(path, lambda: time.monotonic() >= until)

    def open(self) -> None:
        """Make the directory, and remove what an earlier life left in it; raises OSError."""
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.chmod(0o700)
        for path in list(self._path.iterdir()):
            self._throw_away(path)

    def make(self, worker_no: int) -> Path:
        """Make an empty directory that only this user may enter; raises OSError."""
        path = self._of(worker_no)
        with contextlib.suppress(FileExistsError):
            return _make(path)
        self._throw_away(path)
        return _make(path)

    def measure(
        self, worker_no: int, pid: int, limit_bytes: int, *, with_hidden: bool = True
    ) -> ScratchUsage:
        """Count what a worker keeps there; bounded, and safe to call in a thread."""
        return measure(self._of(worker_no), pid, limit_bytes, with_hidden=with_hidden)

    def empty(self, worker_no: int) -> bool:
        """Empty the directory if that is quickly done; after False, its worker must be retired."""
        try:
            fd = os.open(self._of(worker_no), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            is_empty = _empty_quickly(fd)
            os.utime(fd, ns=(UNTOUCHED_NS, UNTOUCHED_NS))
            return is_empty
        except OSError:
            return False
        finally:
            os.close(fd)

    def discard(self, worker_no: int) -> None:
        """Remove the directory of a worker that is gone, in a thread unless it is empty."""
        path = self._of(worker_no)
        try:
            path.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            self._throw_away(path)

    def close(self) -> None:
        """Stop removing; what is left is removed at the next start. Closing twice is fine."""
        self._is_closed.set()
        if self._remover is not None:
            self._trash.put(None)
            self._remover.join(_CLOSE_SECONDS)
            self._remover = None

    def _of(self, worker_no: int) -> Path:
        return self._path / str(worker_no)

    def _throw_away(self, path: Path) -> None:
        """Let the thread remove something, and move it out of the way until then."""
        trash = self._new_trash_name()
        try:
            path.rename(trash)
        except OSError:
            # It is removed where it is: a new name may take room.
            trash = path
        self._trash.put(trash)
        if self._remover is None and not self._is_closed.is_set():
            self._remover = threading.Thread(
                target=self._remove_trash, name="scratch remover", daemon=True
            )
            self._remover.start()

    def _new_trash_name(self) -> Path:
        while True:
            trash = self._path / f"{_TRASH}{next(self._trash_numbers)}"
            # Renaming would take the place of an empty directory.
            if not os.path.lexists(trash):
                return trash

    def _remove_trash(self) -> None:
        while (path := self._trash.get()) is not None:
            try:
                problems = remove_tree(path, self._is_closed.is_set)
            except OSError as error:
                problems = [str(error)]
            if problems:
                _warn(path, f"{problems[0]} ({len(problems)} in all)")


def _make(path: Path) -> Path:
    path.mkdir(mode=0o700)
    os.utime(path, ns=(UNTOUCHED_NS, UNTOUCHED_NS))
    return path


def _empty_quickly(fd: int) -> bool:
    names, size_bytes = [], 0
    with os.scandir(fd) as entries:
        for entry in entries:
            names.append((entry.name, entry.is_dir(follow_symlinks=False)))
            size_bytes += entry.stat(follow_symlinks=False).st_blocks * 512
            if len(names) > _INLINE_ENTRIES or size_bytes > _INLINE_BYTES:
                return False
    for name, is_directory in names:
        if is_directory:
            # Fails where there is something in it.
            os.rmdir(name, dir_fd=fd)
        else:
            os.unlink(name, dir_fd=fd)
    return True


def _warn(path: Path, reason: str) -> None:
    logger.bind(event="scratch_left").warning(
        "Not all of {} can be removed: {}; it is tried again at the next start", path, reason
    )

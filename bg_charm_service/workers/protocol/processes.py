"""What the operating system offers for keeping hold of processes: groups, orphans, parents, sizes.

Linux calls that Python has no name for are made through ctypes; elsewhere they do nothing.
Used by the zygote, the workers, the pool, the scanner, and whoever reads `/proc`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys

# What is called for every run: those of `signal` take up to ten times as long, since they look for
# names of signals, and for those of handlers by raising exceptions.
from _signal import pthread_sigmask as _set_mask  # type: ignore[import-not-found]
from _signal import signal as _set_handler
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Final

_READ_BYTES = 64 * 1024

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

_OWN_SIZES, _OWN_THREADS = "/proc/self/statm", "/proc/self/task"
_OWN_CHILDREN = "/proc/thread-self/children"
_OWN_SIZES_BYTES = 256
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

#: Where a process's sizes stand in that file: what it holds, what of it others may share, and what
#: it has mapped to write to.
_RESIDENT, _SHARED, _DATA = 1, 2, 5

#: A directory is linked from above, from itself, and from each directory in it: one for a thread.
_LINKS_OF_NONE = 2

_own_sizes_fd = -1
_own_threads_fd = -1
_own_children_fd = -1

#: A system call with the same number on every kind of machine, of Linux 5.9.
_CLOSE_RANGE = 436
_LAST_FD = 2**31 - 1

# Linked with the interpreter itself, so that nothing is opened for it.
_libc = ctypes.CDLL(None)
_libc.syscall.argtypes = (ctypes.c_long, ctypes.c_uint, ctypes.c_uint, ctypes.c_uint)
_libc.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)

Handler = Callable[[int, FrameType | None], None] | int

#: What a service manager, a terminal or a person sends to all processes of a service at once, and
#: what would end one that does not mind it: the main process answers for all. What is a fault of
#: the process that gets it, or cannot be minded, is not among them.
SIGNALS_FOR_MAIN = tuple(
    number
    for number in sorted(signal.valid_signals())
    if number
    in (
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTERM,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGALRM,
        signal.SIGVTALRM,
        signal.SIGPROF,
        getattr(signal, "SIGIO", None),
        getattr(signal, "SIGPWR", None),
        getattr(signal, "SIGSTKFLT", None),
    )
    or number >= getattr(signal, "SIGRTMIN", signal.NSIG)
)


#: What is to be given to `set_handler` for a signal that is ignored, or does what it does anyway.
IGNORE: Final = int(signal.SIG_IGN)
DEFAULT: Final = int(signal.SIG_DFL)

#: Lets a signal call this from now on, whatever it did before.
set_handler: Final[Callable[[int, Handler], object]] = _set_handler


def block_only(signals: Iterable[int]) -> None:
    """Let the calling thread block these signals, and no others."""
    _set_mask(signal.SIG_SETMASK, signals)


def leave_signals_to_main() -> None:
    """Go on whatever is sent to the whole service; programs that this process starts do not."""
    for number in SIGNALS_FOR_MAIN:
        # A handler, and not SIG_IGN, which a program that is started would inherit.
        _set_handler(number, _do_nothing)


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    pass


def read_proc(path: str) -> bytes:
    """Give all of a file that Linux makes up about processes; raises OSError.

    Called many times a second: a file object around each would take longer than the reading.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = []
        while piece := os.read(fd, _READ_BYTES):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        os.close(fd)


def set_subreaper() -> None:
    """Let orphaned descendants become children of this process instead of init's."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent_pid: int) -> None:
    """End this process when its parent dies; at once when that has happened already.

    Cleared by a change of user: set it after that.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(0)


def end_group(pid: int) -> None:
    """Kill a process and the group that it leads; one that is gone already is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
    # Only the group of its number: one that does not lead a group yet is still in its parent's. A
    # leader may be reaped while members live on.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def children_of(pid: int) -> list[int]:
    """The direct children of a process."""
    try:
        return [int(child) for child in read_proc(f"/proc/{pid}/task/{pid}/children").split()]
    except OSError:
        # Only where there is no such file: each process forked from here would carry it along.
        import psutil

        with contextlib.suppress(psutil.Error, OSError):
            return [child.pid for child in psutil.Process(pid).children()]
        return []


def keep_own_status_open() -> None:
    """Let this process ask for its own memory, threads and children, by descriptors that it keeps.

    It asks after each run, and where it can open no file any more. Called in its main thread.
    """
    global _own_sizes_fd, _own_threads_fd, _own_children_fd
    with contextlib.suppress(OSError):
        _own_sizes_fd = os.open(_OWN_SIZES, os.O_RDONLY | os.O_CLOEXEC)
        _own_threads_fd = os.open(_OWN_THREADS, os.O_PATH | os.O_CLOEXEC)
        # The last: not every kernel has it.
        _own_children_fd = os.open(_OWN_CHILDREN, os.O_RDONLY | os.O_CLOEXEC)


def own_memory_bytes() -> int:
    """What this process holds in memory and shares with nobody; 0 where nobody can tell."""
    held, _ = _own_sizes()
    return held


def own_untouched_bytes() -> int:
    """What this process has mapped to write to and not touched; 0 where nobody can tell."""
    held, mapped = _own_sizes()
    return max(0, mapped - held)


def _own_sizes() -> tuple[int, int]:
    """What this process holds in memory, and what it has mapped to write to, in bytes."""
    try:
        if _own_sizes_fd >= 0:
            text = os.pread(_own_sizes_fd, _OWN_SIZES_BYTES, 0)
        else:
            text = Path(_OWN_SIZES).read_bytes()
        sizes = text.split()
        held = int(sizes[_RESIDENT]) - int(sizes[_SHARED])
        return held * _PAGE_BYTES, int(sizes[_DATA]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        # Code that runs in this process may have put another file behind the descriptor.
        return 0, 0


def own_thread_count() -> int:
    """How many threads this process has, Python's and others; 0 where nobody can tell."""
    try:
        status = os.stat(_own_threads_fd if _own_threads_fd >= 0 else _OWN_THREADS)
    except OSError:
        return 0
    return max(0, status.st_nlink - _LINKS_OF_NONE)


def has_no_children_of_main_thread() -> bool:
    """Whether it is certain that the main thread has no child processes, also none that ended.

    Those of a thread that is over are the main thread's. Takes a tenth of the time of asking by
    `waitid`, which says it by an exception.
    """
    try:
        return _own_children_fd >= 0 and not os.pread(_own_children_fd, 1, 0)
    except OSError:
        return False


def close_all_fds_but(kept: set[int]) -> None:
    """Close every descriptor of this process that is not named."""
    if not _close_between(kept):
        for fd in sorted({int(name) for name in os.listdir("/dev/fd")} - kept):
            with contextlib.suppress(OSError):
                os.close(fd)


def _close_between(kept: set[int]) -> bool:
    """Close the ranges of descriptors between those; False where the kernel cannot."""
    if sys.platform != "linux":
        return False
    after = [fd + 1 for fd in sorted(kept)]
    ranges = zip([0, *after], [*(fd - 2 for fd in after), _LAST_FD], strict=True)
    return all(
        _libc.syscall(_CLOSE_RANGE, first, last, 0) == 0 for first, last in ranges if first <= last
    )


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        _libc.prctl(option, value, 0, 0, 0)

"""What a run leaves in its worker: threads, children, tasks, memory, changed settings.

Waits for what can be waited for, puts back what can be put back, and names the rest, so that the
worker is replaced before another charm would pay for it. How the process was is noted before its
first run. Used by the worker, after each run.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import thread as executor_thread

from bg_charm_service.workers.protocol.processes import (
    block_only,
    has_no_children_of_main_thread,
    own_memory_bytes,
    own_thread_count,
)
from bg_charm_service.workers.runtime.event_loop import RunEventLoop
from bg_charm_service.workers.runtime.shared_state import SharedState

#: A thread that is over may be counted for so long, in seconds.
_THREAD_END_SECONDS = 0.05

#: Threads that a library may keep while they do nothing, and what counts as nothing: so much
#: processor time, in nanoseconds, of them all over so many seconds.
_MOST_IDLE_THREADS = 16
_STIR_NS = 100_000
_IDLE_SECONDS = 0.0005

#: Between two runs they may use so much more, in nanoseconds: what one has still to do that was
#: held up by a busy machine, and, for each second, what an allocator's thread takes to give memory
#: back (jemalloc's looks twice a second, for as long as it has something to give).
_LATE_NS = 1_000_000
_UPKEEP_NS_A_SECOND = 500_000
_MOST_UPKEEP_NS = 10_000_000

#: The files that names are resolved by are looked at this often, in seconds; it takes as long as
#: a short run.
_OUTDATED_SECONDS = 0.05

#: What a thread of an executor is in while it waits for work, which is done in frames of its own.
_EXECUTORS_CODE = executor_thread._worker.__code__

#: The highest of the descriptors that every process has: input, output, errors.
_LAST_STANDARD_FD = 2


class Cleanup:
    """Compares the process with what it was like before the first run."""

    def __init__(self, event_loop: RunEventLoop, shared: SharedState) -> None:
        self._event_loop = event_loop
        self._outdated: Callable[[], str] = str
        self._outdated_after = 0.0
        self._own_threads = {threading.main_thread()}
        self._shared = shared
        self._umask = 0o077
        self._blocked: set[int | signal.Signals] = set()
        self._stack_bytes = 0
        self._most_files = 0
        self._thread_count = 0
        #: How many other threads were let be, and what processor time they all had used then, by
        #: which moment; None while there are none. And at the beginning of the run under way.
        self._let_be = 0
        self._idle_since_ns: int | None = None
        self._idle_since = 0.0
        self._began_ns: int | None = None
        self._most_bytes = 0

    def begin(self, most_bytes: int, outdated: Callable[[], str]) -> None:
        """Note how things are before the first run; it may leave so much memory, 0 for any.

        `outdated` says what of the machine has changed since this process began.
        """
        self._outdated = outdated
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        self._blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        # Asking for it sets it to what the system would take.
        self._stack_bytes = threading.stack_size()
        threading.stack_size(self._stack_bytes)
        self._most_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._thread_count = own_thread_count()
        self._most_bytes = most_bytes

    def wait_for_rest(self) -> str:
        """Wait for threads and child processes; gives what cannot be waited for: daemon threads.

        Runs under a deadline, which interrupts the wait.
        """
        if not self.leftovers():
            return ""
        while waited_for := [thread for thread in self._foreign_threads() if not thread.daemon]:
            # One of an executor may only begin to wait meanwhile.
            waited_for[0].join(_THREAD_END_SECONDS)
        _wait_for_children()
        # A daemon thread that is just about to end is no leak.
        patience = time.monotonic() + _THREAD_END_SECONDS
        for thread in self._foreign_threads():
            thread.join(max(0.0, patience - time.monotonic()))
        return self.leftovers()

    def leftovers(self) -> str:
        """Name what is alive that was not before the run; empty when there is nothing."""
        # In this order: the children of a thread are the main thread's once it is gone.
        if own_thread_count() == self._thread_count > 0 and has_no_children_of_main_thread():
            return self._event_loop.leftovers()
        left = [_described(thread) for thread in self._foreign_threads()]
        if _has_children():
            left.append("a child process")
        if on_loop := self._event_loop.leftovers():
            left.append(on_loop)
        return ", ".join(left)

    def clear_up(self) -> str:
        """Put back what the run has changed; names what makes this process unfit for another."""
        # First of all: what comes next makes use of what a run may have replaced.
        changed = self._shared.put_back()
        self._put_back()
        self._event_loop.renew()
        return (
            changed
            or self._open_files()
            or self._library_threads()
            or self._kept_memory()
            or self._outdated_names()
        )

    def _foreign_threads(self) -> list[threading.Thread]:
        alive = threading.enumerate()
        if len(alive) == 1:
            # This one: a run is always over in the main thread.
            return []
        foreign = [one for one in alive if one not in self._own_threads and one.is_alive()]
        return [one for one in foreign if not _waits_for_work(one)] if foreign else []

    @property
    def has_idle_threads(self) -> bool:
        """Whether a run left threads of a library, which were let be."""
        return self._idle_since_ns is not None

    def has_stirred(self) -> bool:
        """Whether a thread that was let be has worked since its run ended."""
        if self._idle_since_ns is None:
            return False
        self._began_ns = _others_cpu_ns()
        seconds = time.monotonic() - self._idle_since
        upkeep_ns = min(seconds * _UPKEEP_NS_A_SECOND, _MOST_UPKEEP_NS)
        return self._began_ns - self._idle_since_ns > _LATE_NS + upkeep_ns

    def _put_back(self) -> None:
        """Put back what is no charm's to keep, whatever its module did with it."""
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        faulthandler.cancel_dump_traceback_later()
        block_only(self._blocked)
        threading.stack_size(self._stack_bytes)
        os.umask(self._umask)

    def _open_files(self) -> str:
        """Name the files left open when they are half of what the next run may have open."""
        # A new descriptor gets the lowest number that is free.
        try:
            lowest = os.dup(1)
        except OSError:
            return "all files open that there may be"
        os.close(lowest)
        if lowest <= _LAST_STANDARD_FD:
            return "a closed standard stream"
        return f"{lowest} open files" if lowest > self._most_files // 2 else ""

    def _library_threads(self) -> str:
        """Name the threads that a run left which Python knows nothing of.

        A few that do nothing are let be: pools of threads that wait for the next call, without
        which a library would have to be loaded anew for each run. `has_stirred` watches them.
        """
        began_ns, self._began_ns, self._idle_since_ns = self._began_ns, None, None
        more = own_thread_count() - self._thread_count
        if more <= 0:
            return ""
        if began_ns is not None and more == self._let_be:
            now_ns = _others_cpu_ns()
            if now_ns <= began_ns + _STIR_NS:
                # The same as before, and none of them did anything all along.
                self._let_them_be(more, now_ns)
                return ""
        # One that has just ended is counted for a moment longer, and one that has just worked
        # looks around for more.
        patience = time.monotonic() + _THREAD_END_SECONDS
        before_ns = _others_cpu_ns()
        while time.monotonic() <= patience:
            time.sleep(_IDLE_SECONDS)
            more = own_thread_count() - self._thread_count
            if more <= 0:
                return ""
            now_ns = _others_cpu_ns()
            if now_ns <= before_ns + _STIR_NS and more <= _MOST_IDLE_THREADS:
                self._let_them_be(more, now_ns)
                return ""
            before_ns = now_ns
        return f"{more} threads of a library that work, or are many"

    def _let_them_be(self, count: int, used_ns: int) -> None:
        self._let_be, self._idle_since_ns = count, used_ns
        self._idle_since = time.monotonic()

    def _kept_memory(self) -> str:
        """Name the memory that a run left behind, where the next charm could pay for it."""
        held = own_memory_bytes() if self._most_bytes else 0
        return f"{held // 1_000_000} MB of memory" if held > self._most_bytes else ""

    def _outdated_names(self) -> str:
        now = time.monotonic()
        if now < self._outdated_after:
            return ""
        found = self._outdated()
        self._outdated_after = time.monotonic() + _OUTDATED_SECONDS
        return found


def _waits_for_work(thread: threading.Thread) -> bool:
    """Whether a thread is one of an executor that somebody keeps, and has nothing to do.

    Dask has one for its whole life. To wait for it is to wait for ever; it is let be with those of
    other libraries.
    """
    frame = sys._current_frames().get(thread.ident or 0)
    if frame is None or frame.f_code is not _EXECUTORS_CODE:
        return False
    queue = executor_thread._threads_queues.get(thread)
    return queue is not None and queue.empty() and "work_item" not in frame.f_locals


def _described(thread: threading.Thread) -> str:
    """Name a thread, and whose it is where that is not a thread's usual class."""
    kind = type(thread)
    whose = kind.__module__.partition(".")[0]
    is_plain = whose in ("threading", "concurrent") or not kind.__name__
    return f"thread {thread.name!r}" + ("" if is_plain else f" ({kind.__name__} of {whose})")


def _others_cpu_ns() -> int:
    """The processor time of all threads but this one, those that are over included."""
    # First: while processor time has a limit, the kernel brings that of the process up to date at
    # ticks only, some milliseconds late, but whenever a thread asks for its own.
    own_ns = time.thread_time_ns()
    return time.process_time_ns() - own_ns


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _wait_for_children() -> None:
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return

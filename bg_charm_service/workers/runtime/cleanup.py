"""What a run leaves in its worker: threads, children, tasks, memory, changed settings.

Waits for what can be waited for, puts back what can be put back, and names the rest, so that the
worker is replaced before another charm would pay for it. How the process was is noted before its
first run. Used by the worker, after each run.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable

from bg_charm_service.workers.protocol.processes import (
    own_memory_bytes,
    own_thread_count,
    set_handler,
)
from bg_charm_service.workers.runtime.event_loop import RunEventLoop

#: A thread that is over may be counted for so long, in seconds.
_THREAD_END_SECONDS = 0.05

#: The files that names are resolved by are looked at this often, in seconds; it takes as long as
#: a short run.
_OUTDATED_SECONDS = 0.05

#: Python ignores these from its start, so that a write that fails is an error, and no death.
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)

#: What a process may lower for itself and not raise again.
_LIMITS = (
    resource.RLIMIT_CPU,
    resource.RLIMIT_NOFILE,
    resource.RLIMIT_FSIZE,
    resource.RLIMIT_STACK,
    resource.RLIMIT_AS,
    resource.RLIMIT_DATA,
    resource.RLIMIT_NPROC,
)

#: The highest of the descriptors that every process has: input, output, errors.
_LAST_STANDARD_FD = 2


class Cleanup:
    """Compares the process with what it was like before the first run.

    `outdated` says what of the machine has changed since this process began.
    """

    def __init__(self, event_loop: RunEventLoop, outdated: Callable[[], str]) -> None:
        self._event_loop = event_loop
        self._outdated = outdated
        self._outdated_after = 0.0
        self._own_threads = {threading.main_thread()}
        self._settings: ProcessSettings | None = None
        self._thread_count = 0
        self._most_bytes = 0

    def begin(self, most_bytes: int) -> None:
        """Note how things are before the first run; it may leave so much memory, 0 for any."""
        self._settings = ProcessSettings()
        self._thread_count = own_thread_count()
        self._most_bytes = most_bytes

    def wait_for_rest(self) -> str:
        """Wait for threads and child processes; gives what cannot be waited for: daemon threads.

        Runs under a deadline, which interrupts the wait.
        """
        if not self.leftovers():
            return ""
        while waited_for := [thread for thread in self._foreign_threads() if not thread.daemon]:
            waited_for[0].join()
        _wait_for_children()
        # A daemon thread that is just about to end is no leak.
        patience = time.monotonic() + _THREAD_END_SECONDS
        for thread in self._foreign_threads():
            thread.join(max(0.0, patience - time.monotonic()))
        return self.leftovers()

    def leftovers(self) -> str:
        """Name what is alive that was not before the run; empty when there is nothing."""
        left = [f"thread {thread.name!r}" for thread in self._foreign_threads()]
        if _has_children():
            left.append("a child process")
        if on_loop := self._event_loop.leftovers():
            left.append(on_loop)
        return ", ".join(left)

    def clear_up(self) -> str:
        """Put back what the run has changed; names what makes this process unfit for another."""
        changed = self._settings.put_back() if self._settings is not None else ""
        self._event_loop.renew()
        return changed or self._library_threads() or self._kept_memory() or self._outdated_names()

    def _foreign_threads(self) -> list[threading.Thread]:
        alive = threading.enumerate()
        if len(alive) == 1:
            # This one: a run is always over in the main thread.
            return []
        return [one for one in alive if one not in self._own_threads and one.is_alive()]

    def _library_threads(self) -> str:
        """Name the threads that a run left which Python knows nothing of."""
        more = own_thread_count() - self._thread_count
        if more <= 0:
            return ""
        # One that has just ended is counted for a moment longer.
        patience = time.monotonic() + _THREAD_END_SECONDS
        while more > 0 and time.monotonic() <= patience:
            time.sleep(0.001)
            more = own_thread_count() - self._thread_count
        return f"{more} threads of a library" if more > 0 else ""

    def _kept_memory(self) -> str:
        """Name the memory that a run left behind, where the next charm could pay for it."""
        held = own_memory_bytes()
        return f"{held} bytes of memory" if 0 < self._most_bytes < held else ""

    def _outdated_names(self) -> str:
        now = time.monotonic()
        if now < self._outdated_after:
            return ""
        found = self._outdated()
        self._outdated_after = time.monotonic() + _OUTDATED_SECONDS
        return found


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


class ProcessSettings:
    """The settings of this process as they were when this was made."""

    def __init__(self) -> None:
        self._folder = os.getcwd()
        self._environ = os.environ
        # Compared as the bytes that it is kept in: decoding it all takes as long as a short run.
        self._environ_bytes: dict[bytes, bytes] = vars(os.environ)["_data"]
        self._environ_before = dict(self._environ_bytes)
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        self._blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._recursion = sys.getrecursionlimit()
        # Asking for it sets it to what the system would take.
        self._stack_bytes = threading.stack_size()
        threading.stack_size(self._stack_bytes)
        self._outputs = sys.stdout, sys.stderr
        self._watchers = sys.gettrace(), sys.getprofile()
        self._limits = [resource.getrlimit(each) for each in _LIMITS]

    def put_back(self) -> str:
        """Put back what can be, and name what cannot; empty when all is as it was."""
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        for number in _IGNORED:
            set_handler(number, signal.SIG_IGN)
        # Ignored, it would take from others how their child processes ended.
        set_handler(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._blocked)
        socket.setdefaulttimeout(None)
        sys.setrecursionlimit(self._recursion)
        threading.stack_size(self._stack_bytes)
        gc.enable()
        sys.stdout, sys.stderr = self._outputs
        if (sys.gettrace(), sys.getprofile()) != self._watchers:
            sys.settrace(self._watchers[0])
            sys.setprofile(self._watchers[1])
        os.umask(self._umask)
        self._put_environ_back()
        try:
            if os.getcwd() != self._folder:
                os.chdir(self._folder)
        except OSError:
            return "another working directory"
        if self._limits != [resource.getrlimit(each) for each in _LIMITS]:
            return "limits of its own"
        return _open_files(self._limits[_LIMITS.index(resource.RLIMIT_NOFILE)][0])

    def _put_environ_back(self) -> None:
        os.environ = self._environ  # noqa: B003 - the very object, in case of another
        if self._environ_bytes != self._environ_before:
            os.environb.clear()
            os.environb.update(self._environ_before)
            # The clock's zone may have been among it.
            time.tzset()


def _open_files(limit: int) -> str:
    """Name the files left open when they are half of what the next run may have open."""
    # A new descriptor gets the lowest number that is free.
    try:
        lowest = os.dup(1)
    except OSError:
        return "all files open that there may be"
    os.close(lowest)
    if lowest <= _LAST_STANDARD_FD:
        return "a closed standard stream"
    return f"{lowest} open files" if lowest > limit // 2 else ""

"""What a run may change of its process, and the next run of the same worker would pay for.

Taken note of before the first run and put back after each one; what cannot be put back is named,
so that the worker is replaced. Used by the worker.
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

from bg_charm_service.workers.protocol.processes import set_handler

#: Python ignores these from its start, so that a write that fails is an error, and no death.
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)

#: What a process may lower for itself and not raise again.
_LIMITS = tuple(
    getattr(resource, name)
    for name in (
        *("RLIMIT_CPU", "RLIMIT_NOFILE", "RLIMIT_FSIZE", "RLIMIT_STACK", "RLIMIT_AS"),
        *("RLIMIT_DATA", "RLIMIT_NPROC"),
    )
)

#: The highest of the descriptors that every process has: input, output, errors.
_LAST_STANDARD_FD = 2


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

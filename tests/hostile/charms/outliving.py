"""Lives on when its run is over: in the next run, in the next worker, without the service."""

import atexit
import ctypes
import fcntl
import gc
import os
import signal
import socket
import sys
import threading
import time
import weakref

from tests.hostile.charms.hostile import LIBC, Hostile, ends, library

PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_CHILD_SUBREAPER, PR_SET_DUMPABLE = 1, 15, 36, 4
F_SETSIG = 10
KEPT: list[object] = []


@ends("forbidden", "prctl: Operation not permitted")
def survive_the_service(charm: Hostile) -> object:
    """By asking not to be killed with its parent."""
    return library("prctl", PR_SET_PDEATHSIG, 0, 0, 0, 0)


@ends("forbidden", "prctl: Operation not permitted")
def keep_orphans(charm: Hostile) -> object:
    """By taking in what others leave."""
    return library("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@ends("forbidden", "prctl: Operation not permitted")
def hide_from_the_service(charm: Hostile) -> object:
    """By forbidding others to look at its files and memory."""
    return library("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)


@ends("forbidden", "ermi")
def leave_the_session(charm: Hostile) -> None:
    """By a session of its own."""
    os.setsid()


@ends("forbidden", "ermi")
def leave_the_group(charm: Hostile) -> None:
    """By another group of processes, which nobody kills."""
    os.setpgid(0, charm.target["group"])


@ends("success")
def daemon_thread(charm: Hostile) -> object:
    """By a thread that nobody waits for."""
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    return 1


@ends("success")
def thread_of_c(charm: Hostile) -> object:
    """By a thread that Python does not know of."""
    pause = ctypes.cast(LIBC.pause, ctypes.c_void_p)
    return LIBC.pthread_create(ctypes.byref(ctypes.c_ulong()), None, pause, None)


@ends("success")
def timer(charm: Hostile) -> object:
    """By a clock of the kernel's that kills later."""
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.01)
    return 1


@ends("success")
def alarm(charm: Hostile) -> object:
    """By a clock that strikes in the next run."""
    threading.Timer(0.01, lambda: None).start()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    return signal.alarm(1)


@ends("success")
def at_exit(charm: Hostile) -> object:
    """By what is to be done at the end."""
    atexit.register(os.abort)
    return 1


@ends("success")
def trace_function(charm: Hostile) -> object:
    """By a function that is called at every call."""
    sys.setprofile(lambda *_: None)
    return 1


@ends("success")
def finalizer(charm: Hostile) -> object:
    """By what is done when an object goes."""
    KEPT.append(weakref.finalize(threading.Lock(), int))
    gc.callbacks.append(lambda *_: None)
    return 1


@ends("forbidden", "Operation not permitted")
def socket_that_signals(charm: Hostile) -> object:
    """By choosing the signal that tells of a socket; a harmless one."""
    ours, theirs = socket.socketpair()
    KEPT.extend((ours, theirs))
    fcntl.fcntl(ours, F_SETSIG, signal.SIGUSR1)
    return 1


@ends("success")
def module_variable(charm: Hostile) -> object:
    """By a variable of its own module, which nobody forbids."""
    KEPT.append(charm.context.run_id)
    return time.monotonic()

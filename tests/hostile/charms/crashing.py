"""Ends its worker, or breaks it."""

import ctypes
import os
import resource
import signal
import sys
import threading

from tests.hostile.charms.hostile import LIBC, Hostile, ends


@ends("exit", "exit code 1")
def exit_at_once(charm: Hostile) -> object:
    """Past all that Python does at its end."""
    os._exit(1)


@ends("exit", "exit code 0")
def exit_as_if_all_were_well(charm: Hostile) -> object:
    """With the code for success."""
    os._exit(0)


@ends("signal", "SIGABRT")
def abort(charm: Hostile) -> object:
    """As C's assertions do."""
    os.abort()


@ends("signal", "SIGSEGV")
def null(charm: Hostile) -> object:
    """By reading where nothing is."""
    return ctypes.string_at(0)


@ends("signal", "SIGSEGV")
def jump_to_nowhere(charm: Hostile) -> object:
    """By running what is no code."""
    return ctypes.CFUNCTYPE(ctypes.c_int)(1)()


@ends("signal", "SIGABRT")
def abort_in_c(charm: Hostile) -> object:
    """As C's library does when a program has damaged its memory."""
    return LIBC.abort()


@ends("signal", "SIGSEGV")
def end_as_if_the_stack_were_full(charm: Hostile) -> None:
    """By the signal of a library that calls itself for ever."""
    signal.raise_signal(signal.SIGSEGV)


@ends("signal", "SIG")
def kill_itself(charm: Hostile) -> None:
    """With the signal that nobody catches."""
    signal.raise_signal(signal.SIGKILL)


@ends("signal", "SIG")
def terminate_itself(charm: Hostile) -> None:
    """With the polite one."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.raise_signal(signal.SIGTERM)


@ends("signal", "SIGXCPU")
def out_of_time(charm: Hostile) -> object:
    """By a limit that it sets itself."""
    resource.setrlimit(resource.RLIMIT_CPU, (1, 2))
    while True:
        pass


@ends("error", "SystemExit: 3")
def exit_politely(charm: Hostile) -> object:
    """As a program does."""
    sys.exit(3)


@ends("error", "KeyboardInterrupt")
def interrupt(charm: Hostile) -> object:
    """As somebody at a keyboard does."""
    raise KeyboardInterrupt


@ends("success")
def exit_in_a_thread(charm: Hostile) -> object:
    """In a thread, which ends that thread."""
    thread = threading.Thread(target=sys.exit)
    thread.start()
    thread.join()
    return 1


@ends("error", "hostile")
def error_without_a_text(charm: Hostile) -> object:
    """With an error that cannot be shown."""

    class Hidden(Exception):
        def __str__(self) -> str:
            raise ValueError("hostile")

        __repr__ = __str__

    try:
        raise Hidden
    except Hidden as error:
        raise RuntimeError("hostile") from error


@ends("error", "x")
def error_with_a_long_text(charm: Hostile) -> object:
    """With one that is as long as a book."""
    raise ValueError("x" * 10_000_000)


@ends("exit", "")
def close_everything(charm: Hostile) -> None:
    """By closing its way to the service."""
    os.closerange(0, 1024)


@ends("exit", "")
def replace_everything(charm: Hostile) -> object:
    """By putting nothing in the place of its way to the service."""
    nothing = os.open("/dev/null", os.O_RDWR)
    for fd in range(64):
        if fd != nothing:
            os.dup2(nothing, fd)
    return 1


@ends("error", "PermissionError: claimed")
def claim_to_be_forbidden(charm: Hostile) -> object:
    """By an error that looks like a wall."""
    raise PermissionError("claimed")

"""Goes on when its time is up, and does not want to be told so."""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import threading
import time
from typing import Any

from tests.hostile.charms.hostile import Hostile, ends

# None of these comes to an end, so that a short time is as good as a long one.
Hostile.limits = {"timeout": 0.3}


@ends("timeout", "Timed out after 0.3 s")
def sleep(charm: Hostile) -> None:
    """By sleeping."""
    time.sleep(3600)


@ends("timeout", "Timed out after 0.3 s")
async def sleep_asynchronously(charm: Hostile) -> object:
    """By waiting for what never comes."""
    return await asyncio.Event().wait()


@ends("timeout", "Timed out after 0.3 s")
async def refuse_to_be_cancelled(charm: Hostile) -> None:
    """By catching all that there is, for ever."""
    while True:
        with contextlib.suppress(BaseException):
            await asyncio.Event().wait()


@ends("timeout", "Timed out after 0.3 s")
def catch_everything(charm: Hostile) -> None:
    """The same without a loop."""
    while True:
        with contextlib.suppress(BaseException):
            while True:
                time.sleep(3600)


@ends("timeout", "Timed out after 0.3 s")
def catch_once_and_succeed(charm: Hostile) -> object:
    """By taking the stop for a detail, and ending as if all were well."""
    with contextlib.suppress(BaseException):
        time.sleep(3600)
    return 1


@ends("timeout", "Timed out after 0.3 s")
def ignore_the_alarm(charm: Hostile) -> None:
    """By not hearing the clock."""
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    time.sleep(3600)


@ends("timeout", "Timed out after 0.3 s")
def turn_the_alarm_off(charm: Hostile) -> None:
    """By stopping the clock."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    time.sleep(3600)


@ends("timeout", "Timed out after 0.3 s")
def block_all_signals(charm: Hostile) -> None:
    """By hearing nothing."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    time.sleep(3600)


@ends("timeout", "Timed out after 0.3 s")
def forget_the_deadline(charm: Hostile) -> object:
    """By changing the code that keeps it."""
    from bg_charm_service.workers.runtime import deadline

    deadline.Deadline._strike = lambda *_: None  # type: ignore[method-assign]
    signal.signal(signal.SIGALRM, lambda *_: None)
    return threading.Event().wait()


@ends("timeout", "Timed out after 0.3 s")
def sleep_in_c(charm: Hostile) -> object:
    """By holding Python's own lock meanwhile."""
    return ctypes.PyDLL(None).sleep(3600)


@ends("timeout", "Timed out after 0.3 s")
def stop_itself(charm: Hostile) -> object:
    """By lying down: a stopped process hears nothing."""
    signal.raise_signal(signal.SIGSTOP)
    return threading.Event().wait()


@ends("timeout", "Timed out after 0.3 s")
def wait_for_a_thread(charm: Hostile) -> object:
    """By a thread that has to be waited for."""
    threading.Thread(target=threading.Event().wait).start()
    return 1


@ends("timeout", "Timed out after 0.3 s")
def wait_in_a_thread(charm: Hostile) -> object:
    """By threads that each wait for another."""
    locks: list[Any] = [threading.Lock() for _ in range(4)]
    for lock in locks:
        lock.acquire()
    for lock in locks:
        threading.Thread(target=lock.acquire).start()
    return 1


@ends("timeout", "Timed out after 0.3 s")
def read_nothing(charm: Hostile) -> object:
    """By reading from where nothing is written."""
    ours, _theirs = socket.socketpair()
    return ours.recv(1)


@ends("timeout", "Timed out after 0.3 s")
def take_the_words_of_the_service(charm: Hostile) -> object:
    """By reading what the service sends to the worker, so that this never hears of it."""
    for fd in range(3, 64):
        with contextlib.suppress(OSError):
            one = socket.socket(fileno=os.dup(fd))
            one.settimeout(None)
            return one.recv(1000).decode()
    return 0


@ends("protocol", "broke the protocol")
def half_a_frame(charm: Hostile) -> object:
    """By promising a little to the service and never keeping that."""
    for fd in range(3, 64):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as one:
            one.sendall(b"\0\0\1\0half")
    return threading.Event().wait()

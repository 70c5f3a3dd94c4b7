"""Uses the processor, and nothing but it."""

import ctypes
import hashlib
import re
import signal
import threading

from tests.hostile.charms.hostile import LIBC, Hostile, ends

Hostile.limits = {"cpu": 0.3}


def burn() -> None:
    """Count, for ever."""
    number = 0
    while True:
        number += 1


@ends("cpu", "processor time")
def burn_in_python(charm: Hostile) -> None:
    """In Python's own loop."""
    burn()


@ends("cpu", "processor time")
def burn_in_threads(charm: Hostile) -> object:
    """In threads, while the main one sleeps."""
    for _ in range(4):
        threading.Thread(target=burn).start()
    return threading.Event().wait()


@ends("cpu", "processor time")
def burn_in_c(charm: Hostile) -> object:
    """In C, which no signal of Python's interrupts."""
    return len(hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000))


@ends("cpu", "processor time")
def burn_in_c_with_the_lock(charm: Hostile) -> object:
    """In C, and no thread of Python's gets a turn."""
    return sum(range(10**12))


@ends("cpu", "processor time")
def burn_in_a_pattern(charm: Hostile) -> None:
    """In searches through a long text, each of which comes to its end."""
    text = "a" * 4_000_000
    while True:
        re.search("b", text)


@ends("cpu", "processor time")
def burn_in_a_power(charm: Hostile) -> None:
    """In large numbers, as keys are made of."""
    modulus = (1 << 4096) - 1
    while True:
        pow(7, modulus - 2, modulus)


@ends("cpu", "processor time")
def burn_and_ignore(charm: Hostile) -> None:
    """And does not hear that it is to stop."""
    signal.signal(signal.SIGPROF, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_PROF, 0)
    burn()


@ends("cpu", "processor time")
def burn_and_catch(charm: Hostile) -> None:
    """And catches what stops it."""
    while True:
        try:
            burn()
        except BaseException:
            continue


@ends("cpu", "processor time")
def burn_in_a_thread_of_c(charm: Hostile) -> object:
    """In a thread that Python does not know of."""
    loop = ctypes.CFUNCTYPE(None)(burn)
    LIBC.pthread_create(ctypes.byref(ctypes.c_ulong()), None, loop, None)
    return threading.Event().wait()

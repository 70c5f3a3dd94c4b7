"""Starts more threads than it may have."""

import asyncio
import ctypes
import threading
from concurrent.futures import ThreadPoolExecutor

from tests.hostile.charms.hostile import LIBC, Hostile, ends

#: More than the limit; few enough for a machine on which nothing holds it.
MANY = 60


@ends("threads", "thread")
def threads(charm: Hostile) -> object:
    """Python's own."""
    for _ in range(MANY):
        threading.Thread(target=threading.Event().wait).start()
    return threading.Event().wait()


@ends("threads", "thread")
def daemon_threads(charm: Hostile) -> object:
    """Those that nobody waits for."""
    for _ in range(MANY):
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    return threading.Event().wait()


@ends("threads", "thread")
def threads_of_c(charm: Hostile) -> object:
    """Those that Python does not know of."""
    pause = ctypes.cast(LIBC.pause, ctypes.c_void_p)
    attributes = ctypes.create_string_buffer(64)
    LIBC.pthread_attr_init(attributes)
    LIBC.pthread_attr_setstacksize(attributes, ctypes.c_size_t(64 * 1024))
    for _ in range(MANY):
        LIBC.pthread_create(ctypes.byref(ctypes.c_ulong()), attributes, pause, None)
    return threading.Event().wait()


@ends("threads", "thread")
def as_many_as_can_be(charm: Hostile) -> object:
    """Those that Python does not know of, without end; few enough for a machine without limits."""
    pause = ctypes.cast(LIBC.pause, ctypes.c_void_p)
    attributes = ctypes.create_string_buffer(64)
    LIBC.pthread_attr_init(attributes)
    LIBC.pthread_attr_setstacksize(attributes, ctypes.c_size_t(64 * 1024))
    for _ in range(2000):
        LIBC.pthread_create(ctypes.byref(ctypes.c_ulong()), attributes, pause, None)
    return threading.Event().wait()


@ends("threads", "thread")
def pool(charm: Hostile) -> object:
    """A pool of them."""
    with ThreadPoolExecutor(MANY) as workers:
        for _ in range(MANY):
            workers.submit(threading.Event().wait)
    return 1


@ends("threads", "thread")
async def of_a_loop(charm: Hostile) -> None:
    """A loop's."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(MANY))
    await asyncio.gather(*(asyncio.to_thread(threading.Event().wait) for _ in range(MANY)))

"""Takes memory, by every way that there is to it."""

import ctypes
import mmap
import os
import threading

from tests.hostile.charms.hostile import Hostile, ends

MEGABYTE = 1024 * 1024

#: What is taken at most where nothing holds it: more than the limit, and little for a machine.
MOST_MEGABYTES = 512


@ends("memory", "emory")
def list_of_blocks(charm: Hostile) -> object:
    """Piece by piece."""
    return len([os.urandom(MEGABYTE) for _ in range(MOST_MEGABYTES)])


@ends("memory", "emory")
def one_text(charm: Hostile) -> object:
    """In one go: a text of a gigabyte."""
    return len("x" * 1024 * MEGABYTE)


@ends("memory", "emory")
def one_text_as_state(charm: Hostile) -> object:
    """The same, to be stored."""
    return "x" * 1024 * MEGABYTE


@ends("memory", "emory")
def small_objects(charm: Hostile) -> object:
    """Very many, very small."""
    return len([[number] for number in range(MOST_MEGABYTES * MEGABYTE // 100)])


@ends("forbidden", "Operation not permitted")
def shared_memory(charm: Hostile) -> object:
    """Memory that others could share: one page is refused as much of it would be."""
    mmap.mmap(-1, mmap.PAGESIZE).close()
    return 1


@ends("forbidden", "Operation not permitted")
def file_in_memory(charm: Hostile) -> object:
    """A file in memory: an empty one is refused as a full one would be."""
    os.close(os.memfd_create("file"))
    return 1


@ends("threads", "can't start new thread")
def stacks_of_threads(charm: Hostile) -> object:
    """Stacks, which are given before they are used."""
    threading.stack_size(64 * MEGABYTE)
    threads = []
    for _ in range(MOST_MEGABYTES // 64):
        thread = threading.Thread(target=fill_the_stack)
        thread.start()
        threads.append(thread)
    return threading.Event().wait()


def fill_the_stack() -> None:
    """Write to all of a thread's stack."""
    ctypes.memset(ctypes.create_string_buffer(48 * MEGABYTE), 1, 48 * MEGABYTE)
    threading.Event().wait()


@ends("memory", "emory")
def catch_and_go_on(charm: Hostile) -> object:
    """Again and again, whatever it is told."""
    kept: list[bytes] = []
    for size in (16 * MEGABYTE, MEGABYTE, 65536):
        try:
            while len(kept) < MOST_MEGABYTES:
                kept.append(os.urandom(size))
        except MemoryError:
            continue
    return os.urandom(64 * MEGABYTE).hex()


@ends("memory", "emory")
def by_the_kernel(charm: Hostile) -> object:
    """By asking the kernel, past every library."""
    blocks = []
    for _ in range(MOST_MEGABYTES // 16):
        block = mmap.mmap(-1, 16 * MEGABYTE, flags=mmap.MAP_PRIVATE)
        block.write(b"x" * 16 * MEGABYTE)
        blocks.append(block)
    return len(blocks)


@ends("error", "RecursionError")
def recursion(charm: Hostile) -> object:
    """By calls within calls."""
    return recursion(charm)

"""Fills its scratch directory, and makes it hard to empty."""

import ctypes
import os
import threading

from tests.hostile.charms.hostile import Hostile, ends, library

MEGABYTE = 1024 * 1024

#: Takes room beyond a file's end, and leaves its length as it is.
KEEP_SIZE = 1
OFF_T = ctypes.c_longlong


@ends("scratch", "it may keep 8M in files")
def one_file(charm: Hostile) -> object:
    """A file that grows."""
    with open(charm.context.scratch / "file", "wb") as file:
        return sum(file.write(b"x" * MEGABYTE) for _ in range(64))


@ends("scratch", "it may keep 8M in files")
def one_file_with_holes(charm: Hostile) -> object:
    """A file that says that it is a terabyte long."""
    with open(charm.context.scratch / "file", "wb") as file:
        return file.truncate(1 << 40)


@ends("scratch", "it may keep 8M in files")
def one_file_reserved(charm: Hostile) -> None:
    """A file that has its place before it is written."""
    with open(charm.context.scratch / "file", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, 64 * MEGABYTE)


@ends("error", "not supported")
def reserved_without_growing(charm: Hostile) -> None:
    """Room for a file that stays empty, which no limit of lengths counts."""
    with open(charm.context.scratch / "file", "wb") as file:
        library("fallocate", file.fileno(), KEEP_SIZE, OFF_T(0), OFF_T(64 * MEGABYTE))


@ends("scratch", "scratch")
def many_files_reserved(charm: Hostile) -> object:
    """Files that have their place before they are written, none of which is too large."""
    for number in range(64):
        with open(charm.context.scratch / str(number), "wb") as file:
            os.posix_fallocate(file.fileno(), 0, MEGABYTE)
    return threading.Event().wait()


@ends("scratch", "scratch")
def many_files(charm: Hostile) -> object:
    """Files, none of which is too large."""
    for number in range(64):
        (charm.context.scratch / str(number)).write_bytes(b"x" * MEGABYTE)
    return threading.Event().wait()


@ends("scratch", "scratch")
def files_without_names(charm: Hostile) -> object:
    """Files that no list shows, since they were removed and are still open."""
    kept = []
    for number in range(24):
        path = charm.context.scratch / str(number)
        kept.append(open(path, "wb"))
        kept[-1].write(b"x" * MEGABYTE)
        kept[-1].flush()
        path.unlink()
    return threading.Event().wait()


@ends("scratch", "scratch")
def memory_of_files_without_names(charm: Hostile) -> object:
    """The same, open no more, but in memory."""
    import mmap

    kept = []
    for number in range(24):
        path = charm.context.scratch / str(number)
        path.write_bytes(b"x" * MEGABYTE)
        with open(path, "r+b") as file:
            kept.append(mmap.mmap(file.fileno(), 0))
        path.unlink()
    return threading.Event().wait()


@ends("scratch", "scratch")
def very_many_empty_files(charm: Hostile) -> object:
    """Files that take no room but a name each."""
    for number in range(200_000):
        os.close(os.open(charm.context.scratch / str(number), os.O_CREAT | os.O_WRONLY))
    return threading.Event().wait()


@ends("scratch", "more than 64 deep")
def deep_tree(charm: Hostile) -> object:
    """Directories in directories, deeper than a path may be long."""
    os.chdir(charm.context.scratch)
    for _ in range(1200):
        os.mkdir("deeper")
        os.chdir("deeper")
    os.chdir("/")
    # A run that ends before anybody looks has broken nothing: its directory is emptied.
    return threading.Event().wait()


@ends("success")
def without_rights(charm: Hostile) -> object:
    """A directory made so that its owner may not read it."""
    os.umask(0o777)
    folder = charm.context.scratch / "closed"
    folder.mkdir()
    return 1


@ends("success")
def strange_names(charm: Hostile) -> object:
    """Names that are no text."""
    for name in (b"\xff\xfe", b"new\nline", b" ", b"-rf", b"x" * 255):
        os.close(os.open(bytes(charm.context.scratch) + b"/" + name, os.O_CREAT))
    return len(os.listdir(charm.context.scratch))


@ends("success")
def leave_a_word(charm: Hostile) -> object:
    """A word for the charm that comes next."""
    found = sorted(os.listdir(charm.context.scratch))
    (charm.context.scratch / "word").write_text("of a charm")
    return found

"""Writes, changes and removes files that are not in its scratch directory."""

import ctypes
import mmap
import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path

from tests.hostile.charms.hostile import Hostile, ends, library

RENAME_EXCHANGE = 2
AT_FDCWD = -100


def unchanged(before: os.stat_result, after: os.stat_result) -> None:
    """Raise RuntimeError when a file has the mode and the time that it had."""
    if (before.st_mode, before.st_mtime_ns) == (after.st_mode, after.st_mtime_ns):
        raise RuntimeError("nothing was changed")


@ends("forbidden", "Permission denied")
def create_beside_the_secret(charm: Hostile) -> object:
    """A file in the data directory."""
    return Path(charm.target["data_dir"], "planted").write_text("planted")


@ends("forbidden", "Permission denied")
def overwrite_the_secret(charm: Hostile) -> object:
    """Another text in a file that is there."""
    return Path(charm.target["secret"]).write_text("overwritten")


@ends("forbidden", "ermi")
def truncate_the_secret(charm: Hostile) -> None:
    """Nothing in a file that is there."""
    os.truncate(charm.target["key"], 0)


@ends("forbidden", "Permission denied")
def append_to_the_database(charm: Hostile) -> object:
    """Something at the end of the database; nothing here, where nothing holds it."""
    with open(charm.target["database"], "ab") as file:
        return file.write(b"")


@ends("forbidden", "Permission denied")
def remove_the_secret(charm: Hostile) -> None:
    """A file less."""
    Path(charm.target["secret"]).unlink()


@ends("forbidden", "ermi")
def rename_the_secret(charm: Hostile) -> None:
    """The same file by another name."""
    os.rename(charm.target["secret"], charm.target["secret"] + ".gone")


@ends("forbidden", "ermi")
def move_out_of_scratch(charm: Hostile) -> None:
    """A file of its own, put elsewhere."""
    own = charm.context.scratch / "own"
    own.write_text("planted")
    os.rename(own, Path(charm.target["home"], "scratch"))


@ends("forbidden", "renameat2")
def exchange_with_the_secret(charm: Hostile) -> object:
    """A file of its own in the place of another."""
    own = charm.context.scratch / "own"
    own.write_text("planted")
    names = (bytes(own), charm.target["secret"].encode())
    return library("renameat2", AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE)


@ends("forbidden", "Permission denied")
def create_in_the_home(charm: Hostile) -> object:
    """A file that the operator's shell would run."""
    return Path(charm.target["home"], ".profile").write_text("echo planted")


@ends("forbidden", "Permission denied")
def create_in_tmp(charm: Hostile) -> None:
    """A file where everybody may write."""
    path = Path("/tmp", charm.target["unique"])
    path.write_text("planted")
    path.unlink()


@ends("forbidden", "Permission denied")
def create_in_shared_memory(charm: Hostile) -> None:
    """A file that is memory, where others look for theirs."""
    path = Path("/dev/shm", charm.target["unique"])
    path.write_text("planted")
    path.unlink()


@ends("forbidden", "Permission denied")
def change_the_installed_library(charm: Hostile) -> object:
    """A module that every charm imports."""
    import pydantic

    with open(pydantic.__file__, "ab") as file:
        return file.write(b"")


@ends("forbidden", "Permission denied")
def plant_a_module(charm: Hostile) -> object:
    """A file that would be loaded in the place of a module."""
    import pydantic

    path = Path(pydantic.__file__).parent / charm.target["unique"]
    path.write_text("planted")
    return path.unlink()


@ends("forbidden", "Permission denied")
def make_a_directory(charm: Hostile) -> object:
    """A directory beside its own."""
    path = charm.context.scratch.parent / charm.target["unique"]
    path.mkdir()
    return path.rmdir()


@ends("forbidden", "ermi")
def write_through_a_link(charm: Hostile) -> object:
    """By a link in its own directory."""
    link = charm.context.scratch / "link"
    link.symlink_to(charm.target["key"])
    return link.write_text("overwritten")


@ends("error", "Invalid cross-device link")
def link_into_scratch(charm: Hostile) -> object:
    """A second name for a file of others, to have it emptied or written as its own."""
    link = charm.context.scratch / "link"
    os.link(charm.target["key"], link)
    return link.write_text("overwritten")


@ends("forbidden", "ermi")
def leave_links_to_be_emptied(charm: Hostile) -> object:
    """Links in its directory that lead to others' files when that is emptied."""
    for name in ("home", "data_dir", "key", "secret"):
        (charm.context.scratch / name).symlink_to(charm.target[name])
    return sorted(os.listdir(charm.context.scratch))


@ends("forbidden", "ermi")
def leave_a_link_in_a_tree(charm: Hostile) -> object:
    """The same, deep in a tree that is too much to empty in one go."""
    folder = charm.context.scratch
    for _ in range(20):
        folder = folder / "folder"
        folder.mkdir()
        for number in range(20):
            (folder / str(number)).symlink_to(charm.target["home"])
    return 20


@ends("forbidden", "ermi")
def replace_scratch_by_a_link(charm: Hostile) -> None:
    """A link in the place of its own directory, so that what it leads to is emptied."""
    scratch = charm.context.scratch
    scratch.rename(scratch.with_name(charm.target["unique"]))
    scratch.symlink_to(charm.target["home"])


@ends("forbidden", "ermi")
def remove_scratch(charm: Hostile) -> None:
    """Its own directory itself."""
    shutil.rmtree(charm.context.scratch)


@ends("error", "RuntimeError: nothing was changed")
def change_rights(charm: Hostile) -> None:
    """A key that everybody may read."""
    before = os.stat(charm.target["key"])
    os.chmod(charm.target["key"], 0o666)
    unchanged(before, os.stat(charm.target["key"]))


@ends("error", "RuntimeError: nothing was changed")
def change_rights_by_a_descriptor(charm: Hostile) -> None:
    """The same, of a file that it may read."""
    with open(os.__file__) as file:
        before = os.fstat(file.fileno())
        os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode) ^ 0o111)
        unchanged(before, os.fstat(file.fileno()))


@ends("forbidden", "ermi")
def change_owner(charm: Hostile) -> None:
    """A key that is somebody else's."""
    os.chown(charm.target["key"], 65534, 65534)


@ends("error", "RuntimeError: nothing was changed")
def make_a_program_of_the_owner(charm: Hostile) -> None:
    """A file that runs as whoever owns it."""
    path = charm.context.scratch / "program"
    path.write_text("#!/bin/sh\n")
    before = path.stat()
    path.chmod(0o4755)
    unchanged(before, path.stat())


@ends("error", "RuntimeError: nothing was changed")
def change_times(charm: Hostile) -> None:
    """A file that seems to be old."""
    before = os.stat(charm.target["key"])
    os.utime(charm.target["key"], (0, 0))
    unchanged(before, os.stat(charm.target["key"]))


@ends("forbidden", "ermi")
def change_attributes(charm: Hostile) -> None:
    """Something written beside a file's contents."""
    os.setxattr(charm.target["key"], "user.planted", b"1")


@ends("forbidden", "ermi")
def make_a_device(charm: Hostile) -> None:
    """A device in its own directory; this one is the one that throws everything away."""
    os.mknod(charm.context.scratch / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))


@ends("forbidden", "ermi")
def make_a_socket(charm: Hostile) -> object:
    """A place in its directory that others could talk to."""
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(charm.context.scratch / "socket"))
    return 1


@ends("forbidden", "ermi")
def mount_over_the_home(charm: Hostile) -> object:
    """An empty file system in the place of the operator's files."""
    done = library("mount", b"none", charm.target["empty"].encode(), b"tmpfs", 0, None)
    library("umount", charm.target["empty"].encode())
    return done


@ends("forbidden", "Permission denied")
def open_a_device(charm: Hostile) -> object:
    """A device, as disks and memory are; this one does nothing."""
    with open("/dev/full", "wb") as device:
        return device.fileno()


@ends("forbidden", "Permission denied")
def write_to_a_terminal(charm: Hostile) -> None:
    """What somebody at a screen would read."""
    fd = os.open("/dev/ptmx", os.O_RDWR)
    os.close(fd)


@ends("forbidden", "Permission denied")
def settings_of_the_machine(charm: Hostile) -> object:
    """How the kernel behaves."""
    path = Path("/proc/sys/kernel/printk")
    return path.write_text(path.read_text())


@ends("forbidden", "Permission denied")
def score_of_the_service(charm: Hostile) -> object:
    """Who dies first when memory is short."""
    return Path(f"/proc/{charm.target['service']}/oom_score_adj").write_text("0")


@ends("forbidden", "ermi")
def by_memory_shared_with_a_file(charm: Hostile) -> None:
    """By memory that is a file's."""
    with (
        open(charm.target["key"], "r+b") as file,
        mmap.mmap(file.fileno(), 0) as memory,
    ):
        memory[0:4] = b"hurt"
        memory.flush()


@ends("forbidden", "ermission denied")
def in_a_temporary_file_elsewhere(charm: Hostile) -> object:
    """A file without a name, in somebody else's directory."""
    with tempfile.TemporaryFile(dir=charm.target["home"]) as file:
        return file.write(b"planted")


@ends("forbidden", "ermi")
def by_quota_of_the_disk(charm: Hostile) -> object:
    """What the file system allows to others."""
    return library("quotactl", 0x800007 << 8, b"/", 0, ctypes.create_string_buffer(256))

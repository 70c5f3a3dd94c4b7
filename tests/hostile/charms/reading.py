"""Reads what is none of its business: secrets, data, sources, processes, homes."""

import contextlib
import ctypes
import os
import socket
from pathlib import Path

from tests.hostile.charms.hostile import LIBC, Hostile, call, ends, library

AT_FDCWD = -100


def text_of(path: object) -> str:
    """Give the beginning of a file, as text."""
    return Path(str(path)).read_bytes()[:100_000].decode(errors="replace")


@ends("forbidden", "Permission denied")
def passphrase_of_the_service(charm: Hostile) -> object:
    """The environment of the process that has it."""
    return text_of(f"/proc/{charm.target['service']}/environ")


@ends("forbidden", "Permission denied")
def environment_of_the_zygote(charm: Hostile) -> object:
    """The environment of its parent."""
    return text_of(f"/proc/{os.getppid()}/environ")


@ends("forbidden", "Permission denied")
def environment_of_init(charm: Hostile) -> object:
    """The environment of the machine's first process."""
    return text_of("/proc/1/environ")


@ends("forbidden", "Permission denied")
def memory_of_the_service(charm: Hostile) -> object:
    """The memory of the process that has the keys."""
    with open(f"/proc/{charm.target['service']}/mem", "rb") as memory:
        return memory.fileno()


@ends("forbidden", "Permission denied")
def own_memory_as_a_file(charm: Hostile) -> object:
    """Its own memory, as a file."""
    with open("/proc/self/mem", "r+b") as memory:
        return memory.fileno()


@ends("forbidden", "Permission denied")
def commands_of_others(charm: Hostile) -> object:
    """What other processes were started with."""
    return [text_of(path) for path in Path("/proc").glob("[0-9]*/cmdline")] or text_of(
        f"/proc/{charm.target['service']}/cmdline"
    )


@ends("forbidden", "Permission denied")
def list_of_processes(charm: Hostile) -> object:
    """Who else runs here."""
    return os.listdir("/proc")


@ends("forbidden", "Permission denied")
def open_files_of_the_service(charm: Hostile) -> object:
    """What the service has open."""
    return os.listdir(f"/proc/{charm.target['service']}/fd")


@ends("forbidden", "Permission denied")
def data_directory(charm: Hostile) -> object:
    """The list of the service's files."""
    return os.listdir(charm.target["data_dir"])


@ends("forbidden", "Permission denied")
def database(charm: Hostile) -> object:
    """The states and sources of all spaces."""
    return text_of(charm.target["database"])


@ends("forbidden", "Permission denied")
def secret_in_the_data_directory(charm: Hostile) -> object:
    """A file beside the database."""
    return text_of(charm.target["secret"])


@ends("forbidden", "Permission denied")
def scratch_of_another_worker(charm: Hostile) -> object:
    """Files that a charm of another space works on."""
    root = charm.context.scratch.parent
    return [os.listdir(root / name) for name in os.listdir(root)]


@ends("forbidden", "Permission denied")
def home(charm: Hostile) -> object:
    """The list of the operator's files."""
    return os.listdir(charm.target["home"])


@ends("forbidden", "Permission denied")
def key_in_the_home(charm: Hostile) -> object:
    """A key of the operator's."""
    return text_of(charm.target["key"])


@ends("forbidden", "Permission denied")
def homes(charm: Hostile) -> object:
    """Everybody's."""
    return [os.listdir("/root"), os.listdir("/home")]


@ends("forbidden", "Permission denied")
def passwords(charm: Hostile) -> object:
    """The machine's hashes of passwords."""
    return text_of("/etc/shadow")


@ends("forbidden", "Permission denied")
def temporary_files_of_others(charm: Hostile) -> object:
    """What others left where everybody may write."""
    return os.listdir("/tmp")


@ends("forbidden", "Permission denied")
def checkout(charm: Hostile) -> object:
    """The folder in which the service's own files lie, and by default its data."""
    return os.listdir(charm.target["checkout"])


@ends("forbidden", "Permission denied")
def by_a_symbolic_link(charm: Hostile) -> object:
    """By a link in its own directory."""
    link = charm.context.scratch / "link"
    link.symlink_to(charm.target["secret"])
    return text_of(link)


@ends("error", "Invalid cross-device link")
def by_a_hard_link(charm: Hostile) -> object:
    """By a second name in its own directory."""
    link = charm.context.scratch / "link"
    os.link(charm.target["secret"], link)
    return text_of(link)


@ends("forbidden", "Permission denied")
def by_going_up(charm: Hostile) -> object:
    """By going up from a directory that is its own."""
    own = os.open(charm.context.scratch, os.O_RDONLY)
    up = os.open("../../secret.txt", os.O_RDONLY, dir_fd=own)
    return os.read(up, 1000).decode()


@ends("forbidden", "Permission denied")
def by_a_path_alone(charm: Hostile) -> object:
    """By a descriptor that is no right, turned into one that is."""
    path = os.open(charm.target["data_dir"], os.O_PATH)
    file = os.open("secret.txt", os.O_RDONLY, dir_fd=path)
    return os.read(file, 1000).decode()


@ends("forbidden", "Permission denied")
def by_the_root_of_a_process(charm: Hostile) -> object:
    """By the way to all files that every process has."""
    return text_of(f"/proc/self/root{charm.target['secret']}")


@ends("forbidden", "name_to_handle_at: Operation not permitted")
def by_a_handle(charm: Hostile) -> object:
    """By the kernel's own name of a file; here of its own directory."""
    handle, mount = (ctypes.c_uint * 2)(), ctypes.c_int()
    path = bytes(charm.context.scratch)
    return library("name_to_handle_at", AT_FDCWD, path, handle, ctypes.byref(mount), 0)


@ends("forbidden", "open_by_handle_at: Operation not permitted")
def by_opening_a_handle(charm: Hostile) -> object:
    """By the call that opens such a name; here of nothing."""
    return library("open_by_handle_at", -1, None, os.O_RDONLY)


@ends("error", "getxattr: Operation not supported")
def access_list_of_the_key(charm: Hostile) -> object:
    """Who else may read a key."""
    path = os.fsencode(charm.target["key"])
    return library("getxattr", path, b"system.posix_acl_access", None, 0)


@ends("error", "Operation not supported")
def notes_beside_the_secret(charm: Hostile) -> object:
    """What programs keep beside a file's contents: where it came from, what it is."""
    return os.listxattr(charm.target["secret"])


@ends("error", "Operation not supported")
def notes_beside_a_link(charm: Hostile) -> object:
    """The same, of a link itself."""
    return os.listxattr(charm.target["home"], follow_symlinks=False)


@ends("error", "Operation not supported")
def notes_by_a_descriptor(charm: Hostile) -> object:
    """The same, of a file that is open."""
    with open(os.__file__) as file:
        return os.listxattr(file.fileno())


@ends("error", "listxattrat: Operation not supported")
def notes_by_the_newer_call(charm: Hostile) -> object:
    """The same, by the call that came with Linux 6.13."""
    return call("listxattrat", AT_FDCWD, os.fsencode(charm.target["key"]), 0, None, 0)


@ends("error", "getxattrat: Operation not supported")
def a_note_by_the_newer_call(charm: Hostile) -> object:
    """One of them, by the call that came with Linux 6.13; here of nothing."""
    path = os.fsencode(charm.target["key"])
    return call("getxattrat", AT_FDCWD, path, 0, b"user.note", None, 0)


@ends("error", "file_getattr: Operation not supported")
def flags_of_the_key(charm: Hostile) -> object:
    """How the file system keeps a file, by the call that came with Linux 6.17; here of nothing."""
    return call("file_getattr", AT_FDCWD, os.fsencode(charm.target["key"]), None, 0, 0)


@ends("forbidden", "Permission denied")
def by_the_working_directory(charm: Hostile) -> object:
    """By going there first."""
    os.chdir(charm.target["data_dir"])
    return text_of("secret.txt")


@ends("forbidden", "Operation not permitted")
def by_another_root(charm: Hostile) -> object:
    """By calling another directory the root."""
    os.chroot(charm.target["data_dir"])
    return text_of("/secret.txt")


@ends("forbidden", "inotify_init: Operation not permitted")
def by_a_watch(charm: Hostile) -> object:
    """By being told what happens to the service's files."""
    fd = library("inotify_init")
    return library("inotify_add_watch", fd, charm.target["data_dir"].encode(), 0xFFF)


@ends("error", "RuntimeError: nothing was inherited")
def by_what_was_left_open(charm: Hostile) -> object:
    """By descriptors that the service forgot to close."""
    # The worker has its own directory open, and its own files in /proc.
    own_files = ("/proc/self/statm", "/proc/self/task", "/proc/thread-self/children")
    own = [os.stat(path) for path in (charm.context.scratch, *own_files)]
    found: list[object] = []
    for fd in range(3, 1024):
        for look in (os.listdir, lambda file: os.pread(file, 100, 0).decode(errors="replace")):
            with contextlib.suppress(OSError):
                if not any(os.path.samestat(os.fstat(fd), one) for one in own):
                    found.append(look(fd))
    if not found:
        raise RuntimeError("nothing was inherited")
    return found


@ends("error", "RuntimeError: nothing of the operator's")
def own_environment(charm: Hostile) -> object:
    """What the service had in its environment when it started this process."""
    found = {name: value for name, value in os.environ.items() if "OPERATOR_PASS" in name + value}
    environ = ctypes.POINTER(ctypes.c_char_p).in_dll(LIBC, "environ")
    index = 0
    while environ[index]:
        if b"OPERATOR_PASS" in environ[index]:
            found[str(index)] = environ[index].decode()
        index += 1
    if not found:
        raise RuntimeError("nothing of the operator's")
    return found


@ends("forbidden", "Operation not permitted")
def by_asking_the_service(charm: Hostile) -> object:
    """The service itself, on its socket."""
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(charm.target["socket"])
        one.sendall(b"GET /api/charms HTTP/1.0\r\n\r\n")
        return one.recv(1000).decode()

"""What a charm might try, and which wall refuses it: one line each."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import resource
import signal
import socket
import struct
from dataclasses import dataclass, field
from pathlib import Path

from bg_charm_service.workers.sandbox import Wall
from tests.unit.walled import Attempt, Place, system_call

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Deed:
    """Something that a wall refuses.

    `needs` says what it takes to do it where there are no walls.
    """

    name: str
    wall: Wall
    action: Attempt
    needs: str = ""
    errors: tuple[str, ...] = field(default=("PermissionError",))


def _opened(path: str | Path, flags: int = os.O_RDONLY) -> None:
    os.close(os.open(path, flags, 0o600))


def _forked() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def _cloned(call: str, *arguments: object) -> None:
    child = system_call(call, *arguments)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def _spawned(_: Place) -> None:
    child = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(child, 0)


def _became_another(_: Place) -> None:
    os.execv("/bin/true", ["true"])  # noqa: S606  # no shell is the point


def _paired_with(kind: socket.SocketKind) -> None:
    for end in socket.socketpair(socket.AF_UNIX, kind):
        end.close()


def _made(family: int, kind: int, protocol: int = 0) -> None:
    socket.socket(family, kind, protocol).close()


def _bound() -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))


def _listening() -> None:
    with socket.socket() as one:
        one.listen()


def _sent_with_a_flag() -> None:
    """Send with a flag that the filter refuses; between these two ends it means nothing."""
    one, other = socket.socketpair()
    with one, other:
        one.send(b"x", socket.MSG_FASTOPEN)


def _connected(port: int) -> str:
    with socket.socket() as one:
        try:
            one.connect(("127.0.0.1", port))
        except ConnectionRefusedError:
            return "nobody listens"
    return "connected"


def _controlled(action: int, value: int) -> None:
    """Set something on a descriptor of one's own."""
    reading, writing = os.pipe()
    try:
        fcntl.fcntl(writing, action, value)
    finally:
        os.close(reading)
        os.close(writing)


def _asked_of_socket(request: int, value: int) -> None:
    """Set something of a socket of one's own that has to do with signals."""
    one, other = socket.socketpair()
    with one, other:
        fcntl.ioctl(one, request, struct.pack("i", value))


def _shared(make: str, end: str, *arguments: int) -> None:
    """Make something that other processes can take part in, and remove it again."""
    made = system_call(make, 0, *arguments, 0o600)
    system_call(end, made, 0, 0)


def _truncated(mine: Path) -> None:
    """Truncate a file that is open for reading only."""
    mine.write_text("mine")
    _opened(mine, os.O_RDONLY | os.O_TRUNC)


def _truncated_by_name(mine: Path) -> None:
    mine.write_text("mine")
    os.truncate(mine, 0)


def _synced(path: Path) -> None:
    """Write everything of the disk that this lies on."""
    fd = os.open(path, os.O_RDONLY)
    try:
        system_call("syncfs", fd)
    finally:
        os.close(fd)


def _limited_parent() -> None:
    resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE)


def _traced() -> None:
    """Trace the parent's memory."""
    buffer = ctypes.create_string_buffer(8)
    vector = struct.pack("PN", ctypes.addressof(buffer), 8)
    spot = struct.pack("PN", id(None), 8)
    system_call(
        "process_vm_readv",
        os.getppid(),
        ctypes.create_string_buffer(vector),
        1,
        ctypes.create_string_buffer(spot),
        1,
        0,
    )


def _moved(mine: Path, there: Path) -> None:
    """Make a file and move it."""
    mine.write_text("mine")
    mine.rename(there)


def _attribute_of(path: Path) -> str:
    """Read who may do what with a file, beyond its mode; most have no such list."""
    try:
        return os.getxattr(path, "system.posix_acl_access").hex()
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
        return "none"


def _attributes_by_descriptor(path: Path) -> list[str]:
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.listxattr(fd)
    finally:
        os.close(fd)


def _reserved(mine: Path, mode: int) -> None:
    """Make a file, and reserve room in it."""
    with mine.open("wb") as file:
        system_call("fallocate", file.fileno(), mode, 0, 1 << 16)


def _queued(pid: int) -> None:
    """Send the null signal with a payload."""
    info = ctypes.create_string_buffer(128)
    struct.pack_into("iii", info, 0, 0, 0, -1)
    system_call("rt_sigqueueinfo", pid, 0, info)


def _checked(result: int) -> None:
    """Raise what the C library reports."""
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


F, N, C, P, S = Wall.FILES, Wall.NETWORK, Wall.CALLS, Wall.PRIVILEGES, Wall.SIGNALS
ROOT = "root"
XATTR = "a file system with attributes"
NEVER = "the end of the process"

#: What the kernel says of a name that may not lead from one directory to another.
_LINKING = ("OSError", "PermissionError")

#: How "not supported" is raised; a file system without attributes says the same by itself.
_UNSUPPORTED = ("OSError",)

DEEDS = [
    Deed("read a file", F, lambda at: at.file.read_text()),
    Deed("read its environment in /proc", F, lambda _: _opened("/proc/self/environ")),
    Deed("write its memory in /proc", F, lambda _: _opened("/proc/self/mem", os.O_RDWR)),
    Deed("read what the kernel tells in /sys", F, lambda _: os.listdir("/sys")),
    Deed("read the list of users", F, lambda _: _opened("/etc/passwd")),
    Deed("list a directory", F, lambda at: os.listdir(at.outside)),
    Deed("list the root directory", F, lambda _: os.listdir("/")),
    Deed("write a file", F, lambda at: _opened(at.file, os.O_WRONLY)),
    Deed("make a file", F, lambda at: _opened(at.outside / "new", os.O_WRONLY | os.O_CREAT)),
    Deed("make a directory", F, lambda at: (at.outside / "new").mkdir()),
    Deed("remove a file", F, lambda at: at.file.unlink()),
    Deed("move a file out", F, lambda at: _moved(at.scratch / "mine", at.outside / "mine")),
    Deed("move a file in", F, lambda at: at.file.rename(at.scratch / "stolen"), "", _LINKING),
    Deed("link a file in", F, lambda at: os.link(at.file, at.scratch / "l"), "", _LINKING),
    Deed("make a symbolic link", F, lambda at: (at.scratch / "l").symlink_to(at.file)),
    Deed("make a fifo", F, lambda at: os.mkfifo(at.scratch / "fifo")),
    Deed("remove its directory", F, lambda at: at.scratch.rmdir(), ROOT),
    Deed("open a device of memory", F, lambda _: _opened("/dev/zero")),
    Deed("take memory of /dev/shm", F, lambda _: os.listdir("/dev/shm")),
    Deed("truncate what it may read", C, lambda at: _truncated(at.scratch / "mine")),
    Deed("truncate by name", C, lambda at: _truncated_by_name(at.scratch / "mine")),
    Deed("change an owner", C, lambda at: os.chown(at.scratch, os.getuid(), os.getgid())),
    Deed("change an attribute", C, lambda at: os.setxattr(at.scratch, "user.a", b"1"), XATTR),
    Deed("list attributes", C, lambda at: os.listxattr(at.file), XATTR, _UNSUPPORTED),
    Deed("read an attribute", C, lambda at: _attribute_of(at.file), XATTR, _UNSUPPORTED),
    Deed(
        *("list attributes of a link", C),
        lambda at: os.listxattr(at.file, follow_symlinks=False),
        *(XATTR, _UNSUPPORTED),
    ),
    Deed(
        *("list attributes by a descriptor", C),
        lambda at: _attributes_by_descriptor(at.scratch),
        *(XATTR, _UNSUPPORTED),
    ),
    Deed(
        "reserve room in a file", C, lambda at: _reserved(at.scratch / "mine", 0), "", _UNSUPPORTED
    ),
    Deed(
        "reserve room past its end",
        C,
        lambda at: _reserved(at.scratch / "mine", 1),
        "",
        _UNSUPPORTED,
    ),
    Deed("fork", C, lambda _: _forked()),
    Deed("fork by clone", C, lambda _: _cloned("clone", signal.SIGCHLD, 0, 0, 0, 0)),
    Deed("start a program", C, _spawned),
    Deed("become a program", C, _became_another, NEVER),
    Deed("lead a session", C, lambda _: os.setsid()),
    Deed("send datagrams", C, lambda _: _made(socket.AF_INET, socket.SOCK_DGRAM)),
    Deed("send over IPv6", C, lambda _: _made(socket.AF_INET6, socket.SOCK_DGRAM)),
    Deed("send raw packets", C, lambda _: _made(socket.AF_INET, socket.SOCK_RAW, 1), ROOT),
    Deed("talk to services", C, lambda _: _made(socket.AF_UNIX, socket.SOCK_STREAM)),
    Deed("talk to the kernel", C, lambda _: _made(socket.AF_NETLINK, socket.SOCK_RAW)),
    Deed("stream another way", C, lambda _: _made(socket.AF_INET, socket.SOCK_STREAM, 262)),
    Deed("pair datagram sockets", C, lambda _: _paired_with(socket.SOCK_DGRAM)),
    Deed("send with a flag", C, lambda _: _sent_with_a_flag()),
    Deed("listen", C, lambda _: _listening()),
    Deed("bind a port", C, lambda _: _bound()),
    Deed("make a file in memory", C, lambda _: os.close(os.memfd_create("x"))),
    Deed("share memory without a file", C, lambda _: mmap.mmap(-1, 4096).close()),
    Deed("watch files", C, lambda _: os.close(system_call("inotify_init1", 0))),
    Deed("share memory", C, lambda _: _shared("shmget", "shmctl", 4096)),
    Deed("share messages", C, lambda _: _shared("msgget", "msgctl")),
    Deed("leave the namespace", C, lambda _: system_call("unshare", 0x20000), ROOT),
    Deed("become another user", C, lambda _: os.setuid(os.getuid())),
    Deed("change the root", C, lambda at: os.chroot(at.scratch), ROOT),
    Deed("write all disks", C, lambda at: _synced(at.scratch)),
    Deed("be less nice", C, lambda _: os.nice(1)),
    Deed("outlive its parent", C, lambda _: _checked(_libc.prctl(1, 0, 0, 0, 0))),
    Deed("hide from those who watch", C, lambda _: _checked(_libc.prctl(4, 0, 0, 0, 0))),
    Deed("ask for its personality", C, lambda _: system_call("personality", 0xFFFFFFFF)),
    Deed("filter further", C, lambda _: _checked(_libc.prctl(22, 1, 0, 0, 0)), NEVER),
    Deed("limit its parent", C, lambda _: _limited_parent()),
    Deed("read its parent's memory", C, lambda _: _traced(), ROOT),
    Deed("be traced", C, lambda _: system_call("ptrace", 0, 0, 0, 0)),
    Deed("grow a pipe", C, lambda _: _controlled(1031, 1 << 16)),
    Deed("notify of a directory", C, lambda _: _controlled(10, 0)),
    Deed("own a pipe", C, lambda _: _controlled(8, os.getpid())),
    Deed("own a socket", C, lambda _: _asked_of_socket(0x8901, os.getpid())),
    Deed("be told of a socket", C, lambda _: _asked_of_socket(0x5452, 1)),
    Deed("reach a port", N, lambda _: _connected(9)),
    Deed("see whether its parent lives", S, lambda _: os.kill(os.getppid(), 0)),
    Deed("wake its parent", S, lambda _: os.kill(os.getppid(), signal.SIGCONT)),
    Deed("hold its parent", S, lambda _: system_call("pidfd_open", os.getppid(), 0)),
    Deed("queue a signal", S, lambda _: _queued(os.getppid())),
]

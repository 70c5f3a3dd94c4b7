"""Tells connections that come out of the service itself: from its workers, and what they started.

A charm has no business with the service it runs in, and must not get at it through an address
that it was given. Against a charm that means harm, a sandbox is the wall, not this. Linux only;
elsewhere, and where it cannot be known, nobody is taken for a charm.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bg_charm_service.api.auth.allowed_origins import is_loopback
from bg_charm_service.workers.protocol.processes import children_of, read_proc

#: What the kernel lists of connections: both, since an IPv6 socket may speak IPv4.
_TABLES = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))

#: Longer lines of ancestors are a ring of numbers given anew.
_MOST_ANCESTORS = 64


def is_from_own_child(connection: Any) -> bool:
    """Whether a process below this one is at the other end of an accepted socket."""
    if connection.family == socket.AF_UNIX:
        size = struct.calcsize("3i")
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        return _is_below(struct.unpack("3i", credentials)[0])
    ours, theirs = connection.getsockname(), connection.getpeername()
    if not is_loopback(theirs[0]) and theirs[0] != ours[0]:
        return False
    inode = _inode(theirs, ours)
    if inode is None:
        return False
    # One that was closed already belongs to nobody, and nobody waits for its answer.
    return inode == 0 or any(_holds(pid, inode) for pid in _descendants(os.getpid()))


def _is_below(pid: int) -> bool:
    for _ in range(_MOST_ANCESTORS):
        if pid <= 1:
            return False
        try:
            stat = read_proc(f"/proc/{pid}/stat")
        except OSError:
            return False
        # The name of the program stands in brackets, and may hold anything.
        pid = int(stat.rpartition(b")")[2].split()[1])
        if pid == os.getpid():
            return True
    return False


def _descendants(pid: int) -> Iterator[int]:
    for child in children_of(pid):
        yield child
        yield from _descendants(child)


def _holds(pid: int, inode: int) -> bool:
    wanted = f"socket:[{inode}]"
    try:
        return any(os.readlink(entry.path) == wanted for entry in os.scandir(f"/proc/{pid}/fd"))
    except OSError:
        return False


def _inode(local: tuple[Any, ...], remote: tuple[Any, ...]) -> int | None:
    """Give the number of the socket at one end of a connection; None where none is listed."""
    wanted = {
        (_written(local, mapped=mapped), _written(remote, mapped=mapped))
        for mapped in (False, True)
    }
    for table in _TABLES:
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            words = line.split()
            if (words[1], words[2]) in wanted:
                return int(words[9])
    return None


def _written(name: tuple[Any, ...], *, mapped: bool) -> str:
    """Write an address as the kernel does: words of four bytes in the machine's own order."""
    address = ipaddress.ip_address(name[0])
    packed = address.packed
    if mapped and address.version == 4:
        packed = bytes(10) + b"\xff\xff" + packed
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words) + f":{name[1]:04X}"

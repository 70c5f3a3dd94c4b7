"""Who is at the other end of a connection: what its limits count by, and whether it is a charm.

A charm has no business with the service it runs in, and must not get at it through an address
that it was given. Against a charm that means harm, a sandbox is the wall, not this. Linux only;
elsewhere, and where it cannot be known, nobody is taken for a charm. Used by the server.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Iterable, Iterator

from bg_charm_service.api.auth.allowed_origins import is_loopback
from bg_charm_service.api.auth.connection_owners import (
    GONE,
    ConnectionOwners,
    Owner,
    SocketName,
)
from bg_charm_service.api.auth.shared_look import SharedLook
from bg_charm_service.workers.protocol.processes import children_of, read_proc

#: Whoever opens the socket of the data directory.
OPERATOR = "operator"

#: Users of this machine, where it cannot be told which.
THIS_MACHINE = "this machine"

#: Longer lines of ancestors are a ring of numbers given anew.
_MOST_ANCESTORS = 64

#: So much longer than a look at the files of all processes below took are the pauses between two.
_PROCESSES_PAUSE = 4.0


class Peers:
    """Finds out about connections; made once for all of them."""

    def __init__(self) -> None:
        self._owners = ConnectionOwners()
        self._below = SharedLook(_held_below, pause_times=_PROCESSES_PAUSE)

    def at(self, theirs: SocketName, ours: SocketName) -> Peer:
        """Give who is at the other end of a connection; nothing is asked for yet."""
        return Peer(self, theirs, ours)

    def owner_now(self, theirs: SocketName, ours: SocketName) -> Owner | None:
        """Give the owner of an end on this machine; None where that cannot be told at once."""
        return self._owners.find_now(theirs, ours)

    async def is_from_own_child(self, theirs: SocketName, ours: SocketName) -> bool:
        """Whether a process below this one has an end on this machine, or nobody any more.

        One that was closed already belongs to nobody, and nobody waits for its answer.
        """
        owner = await self._owners.find(theirs, ours)
        if owner is None or owner == GONE:
            return owner == GONE
        # Processes below are of our user, unless that is one who may become any other.
        if os.geteuid() != 0 and owner.uid != os.geteuid():
            return False
        if await self._below.ask(owner.inode):
            return True
        # It may have been closed while we looked.
        return await self._owners.find(theirs, ours) not in (owner, None)

    def close(self) -> None:
        """Find out nothing more; closing twice is fine."""
        self._owners.close()


class Peer:
    """The other end of one connection on a port; what is found out of it stays."""

    def __init__(self, peers: Peers, theirs: SocketName, ours: SocketName) -> None:
        self._peers = peers
        self._theirs = theirs
        self._ours = ours
        self._name = ""
        self._is_from_own_child: bool | None = None

    @property
    def name(self) -> str:
        """What limits are counted by: on this machine a user, elsewhere an address."""
        if not self._name:
            self._name = self._local_name() if self._is_local else address_group(self._theirs[0])
        return self._name

    async def is_from_own_child(self) -> bool:
        """Whether it is a process below this one, such as a worker's, or gone already."""
        if self._is_from_own_child is None:
            self._is_from_own_child = self._is_local and await self._peers.is_from_own_child(
                self._theirs, self._ours
            )
        return self._is_from_own_child

    @property
    def _is_local(self) -> bool:
        return is_loopback(self._theirs[0]) or self._theirs[0] == self._ours[0]

    def _local_name(self) -> str:
        owner = self._peers.owner_now(self._theirs, self._ours)
        return THIS_MACHINE if owner is None or owner == GONE else f"user {owner.uid}"


def address_group(host: str) -> str:
    """Give what counts as one address: whoever has an IPv6 address has a network of them."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def is_from_own_child(connection: socket.socket) -> bool:
    """Whether a process below this one has connected a Unix socket."""
    size = struct.calcsize("3i")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    pid: int = struct.unpack("3i", credentials)[0]
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


def _held_below(inodes: Iterable[int]) -> dict[int, bool]:
    """Find those sockets that a process below this one has open."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    return {wanted[link]: True for link in _open_below() if link in wanted}


def _open_below() -> Iterator[str]:
    for pid in _descendants(os.getpid()):
        directory = f"/proc/{pid}/fd"
        try:
            names = os.listdir(directory)
        except OSError:
            continue
        for name in names:
            try:
                yield os.readlink(f"{directory}/{name}")
            except OSError:
                continue


def _descendants(pid: int) -> Iterator[int]:
    for child in children_of(pid):
        yield child
        yield from _descendants(child)

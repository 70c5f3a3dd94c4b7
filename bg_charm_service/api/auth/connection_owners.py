"""Asks the kernel who has the other end of a connection on this machine: which user, which socket.

One question to `sock_diag` takes some microseconds, however many connections there are. Where that
is refused, the list of all connections is read, at most a small share of the time. Linux only;
elsewhere nobody can tell. Used by `peers`.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bg_charm_service.api.auth.shared_look import SharedLook

#: A socket's name as Python gives it: address and port; of IPv6 its flow and interface too.
SocketName = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Owner:
    """Who has one end of a connection; `inode` 0 when that end was closed already."""

    uid: int
    inode: int


#: Of an end that is closed, or not there any more: nobody waits for an answer there.
GONE = Owner(uid=-1, inode=0)

#: So much longer than a look at the list took are the pauses between two.
_TABLE_PAUSE = 20.0

#: Before an IPv4 address that an IPv6 socket speaks.
_MAPPED = bytes(10) + b"\xff\xff"

#: What the kernel lists of connections: both, since an IPv6 socket may speak IPv4.
_TABLES = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))


class ConnectionOwners:
    """Gives the owner of the other end of a connection, by the names of its two ends."""

    def __init__(self) -> None:
        self._diag = SockDiag.open()
        self._table = SharedLook(_look_into_tables, pause_times=_TABLE_PAUSE)

    def find_now(self, theirs: SocketName, ours: SocketName) -> Owner | None:
        """Give the owner; None where it cannot be found out at once."""
        if self._diag is not None:
            try:
                return self._diag.find(theirs, ours)
            except OSError:
                # Refused, or not built in: that does not change any more.
                self._diag.close()
                self._diag = None
        return None

    async def find(self, theirs: SocketName, ours: SocketName) -> Owner | None:
        """Give the owner, after a while maybe; None where nobody can tell."""
        owner = self.find_now(theirs, ours)
        return owner if owner is not None else await self._table.ask((theirs, ours))

    def close(self) -> None:
        """Ask no more; closing twice is fine."""
        if self._diag is not None:
            self._diag.close()
            self._diag = None


class SockDiag:
    """The kernel's own answers about TCP sockets (NETLINK_SOCK_DIAG, `inet_diag_req_v2`)."""

    _NETLINK_SOCK_DIAG = 4
    _SOCK_DIAG_BY_FAMILY = 20
    _NLMSG_ERROR = 2
    _NLM_F_REQUEST = 1
    _ALL_STATES = 0xFFFFFFFF
    _LISTENING = 10
    _HEADER = struct.Struct("=IHHII")
    #: Family, protocol, what more is wanted; states.
    _REQUEST = struct.Struct("=BBBxI")
    #: Ports and addresses as on the wire, the interface, and no cookie of an earlier answer.
    _ENDS = struct.Struct("!HH16s16s")
    _NO_COOKIE = struct.pack("=II", 0xFFFFFFFF, 0xFFFFFFFF)
    #: Of an answer: family, state and timers, then the ends, and behind these what we want.
    _STATE_AT = 1
    _PORTS_AT = 4
    _OWNER_AT = 64
    _OWNER = struct.Struct("=II")
    _READ_BYTES = 8192

    def __init__(self) -> None:
        """Raises OSError where such a socket is not to be had."""
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, self._NETLINK_SOCK_DIAG)
        self._number = 0
        self._is_proven = False

    @classmethod
    def open(cls) -> SockDiag | None:
        """Open it; None where the system has none, or does not let us."""
        if not hasattr(socket, "AF_NETLINK"):
            return None
        try:
            return cls()
        except OSError:
            return None

    def close(self) -> None:
        """Ask no more."""
        self._socket.close()

    def find(self, theirs: SocketName, ours: SocketName) -> Owner:
        """Give the owner of one end; GONE when it is not there. Raises OSError when it is no use.

        What the kernel says of a connection that it does not know, it also says where nobody
        taught it to answer: so at first our own end, which is there, is asked for too.
        """
        owner = self._ask(theirs, ours)
        if owner is not None:
            self._is_proven = True
            return owner
        if not self._is_proven:
            if self._ask(ours, theirs) is None:
                raise OSError(errno.EOPNOTSUPP, "the kernel does not know our own connection")
            self._is_proven = True
        return GONE

    def _ask(self, local: SocketName, remote: SocketName) -> Owner | None:
        self._number = (self._number + 1) % 2**32
        self._socket.send(self._question(local, remote))
        while True:
            answer = self._socket.recv(self._READ_BYTES)
            _, kind, _, number, _ = self._HEADER.unpack_from(answer)
            # Others are answers to what was given up.
            if number == self._number:
                return self._owner_in(answer, kind, local, remote)

    def _question(self, local: SocketName, remote: SocketName) -> bytes:
        address = ipaddress.ip_address(local[0])
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        interface = local[3] if len(local) > 3 else 0
        ends = self._ENDS.pack(
            local[1], remote[1], address.packed, ipaddress.ip_address(remote[0]).packed
        )
        body = (
            self._REQUEST.pack(family, socket.IPPROTO_TCP, 0, self._ALL_STATES)
            + ends
            + struct.pack("=I", interface)
            + self._NO_COOKIE
        )
        size = self._HEADER.size + len(body)
        kind, flags = self._SOCK_DIAG_BY_FAMILY, self._NLM_F_REQUEST
        return self._HEADER.pack(size, kind, flags, self._number, 0) + body

    def _owner_in(
        self, answer: bytes, kind: int, local: SocketName, remote: SocketName
    ) -> Owner | None:
        if kind == self._NLMSG_ERROR:
            (code,) = struct.unpack_from("=i", answer, self._HEADER.size)
            if -code == errno.ENOENT:
                return None
            raise OSError(-code, os.strerror(-code))
        body = answer[self._HEADER.size :]
        uid, inode = self._OWNER.unpack_from(body, self._OWNER_AT)
        # In the place of a connection that is gone, whoever listens on its port is told of.
        is_asked_for = struct.unpack_from("!HH", body, self._PORTS_AT) == (local[1], remote[1])
        is_open = is_asked_for and body[self._STATE_AT] != self._LISTENING and inode != 0
        return Owner(uid, inode) if is_open else GONE


def _look_into_tables(
    wanted: Iterable[tuple[SocketName, SocketName]],
) -> dict[tuple[SocketName, SocketName], Owner]:
    """Find ends in the list of all connections."""
    found = {}
    tables = [text for text in map(_read, _TABLES) if text]
    for theirs, ours in wanted:
        # Each end is listed in the family of its own socket.
        for local, remote in zip(_written(theirs), _written(ours), strict=True):
            line = f": {local} {remote} ".encode()
            for table in tables:
                _, _, rest = table.partition(line)
                if rest:
                    words = rest.split(maxsplit=7)
                    uid, inode = int(words[4]), int(words[6])
                    found[theirs, ours] = Owner(uid, inode) if inode else GONE
    return found


def _read(table: Path) -> bytes:
    try:
        return table.read_bytes()
    except OSError:
        return b""


def _written(name: SocketName) -> tuple[str, str]:
    """Write an address as the kernel does, as IPv6 and, where it is one, as IPv4.

    Those are words of four bytes in the machine's own order.
    """
    address = ipaddress.ip_address(name[0])
    if address.version == 4:
        short, long = address.packed, _MAPPED + address.packed
    else:
        long = address.packed
        short = long.removeprefix(_MAPPED)
    return _as_words(long, name[1]), _as_words(short, name[1])


def _as_words(packed: bytes, port: int) -> str:
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words) + f":{port:04X}"

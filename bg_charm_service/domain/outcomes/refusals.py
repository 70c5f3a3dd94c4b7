"""What of its surroundings refused something to a charm, and what to do about it, in words.

A worker finds out which refusal it was (`workers/runtime/refusals.py`); what to do about a port or
a limit depends on what is set, which only the supervisor knows (`supervisor/refusal_advice.py`).
Pure.
"""

from __future__ import annotations

import shlex
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

#: A path or a program is told with so many characters.
SUBJECT_CHARACTERS: Final = 200


class RefusalKind(StrEnum):
    """What was refused; all but the last two by a wall."""

    PORT = "port"  #: a connection to a port that is not open
    NAMES = "names"  #: looking up a name, where the port for that is not open
    UDP = "udp"  #: a socket of datagrams
    UNIX = "unix"  #: a Unix socket
    SOCKET = "socket"  #: any other socket that is not TCP's
    LISTEN = "listen"  #: taking a port for itself
    PROGRAM = "program"  #: starting a program
    PROCESS = "process"  #: starting a process
    LOCK = "lock"  #: a lock between processes, which lies in /dev/shm
    MEMORY = "memory"  #: memory that processes share
    SIGNAL = "signal"  #: a signal to another process
    FILE = "file"  #: a file or folder that is closed to it
    CALL = "call"  #: any other system call
    FIREWALL = "firewall"  #: no wall: a port that is open to it
    PERMISSION = "permission"  #: no wall: a file that the service's user may not read either

    @property
    def is_wall(self) -> bool:
        """Whether a wall around the charm refused it, and not the machine."""
        return self not in (RefusalKind.FIREWALL, RefusalKind.PERMISSION)


class Refusal(msgspec.Struct, frozen=True):
    """One refusal: the port that it was about, or the path or program."""

    kind: RefusalKind
    port: Annotated[int, Meta(ge=0, le=65535)] = 0
    subject: Annotated[str, Meta(max_length=SUBJECT_CHARACTERS)] = ""


_THREADS: Final = "use threads (`concurrent.futures.ThreadPoolExecutor`)"

_TOLD: Final = {
    RefusalKind.PORT: "port {port} is not open to it",
    RefusalKind.NAMES: "names cannot be looked up, since port {port} is not open to it",
    RefusalKind.UDP: "UDP is not possible here: use TCP, to ask name servers too (`tcp=True` in "
    "dnspython)",
    RefusalKind.UNIX: "Unix sockets are not possible here: connect by TCP to a port that is open",
    RefusalKind.SOCKET: "only TCP is possible here",
    RefusalKind.LISTEN: "listening on a port is not possible here: a charm can only connect to one",
    RefusalKind.PROGRAM: "starting programs is not possible here{subject}: use a library of "
    "Python instead",
    RefusalKind.PROCESS: f"starting processes is not possible here: {_THREADS}",
    RefusalKind.LOCK: f"multiprocessing needs /dev/shm, which is closed to it: {_THREADS}",
    RefusalKind.MEMORY: "memory that processes share is not possible here: use bytes, or "
    "`mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE)`",
    RefusalKind.SIGNAL: "signals to other processes are not possible here",
    RefusalKind.FILE: "{subject} is closed to it: a charm reads libraries, and writes into "
    "its scratch directory (`self.context.scratch`) only",
    RefusalKind.CALL: "its walls do not allow that: see docs/security.md",
    RefusalKind.FIREWALL: "port {port} is open to it: a firewall of this machine refused that, or "
    "the service's unit",
    RefusalKind.PERMISSION: "the service's user may not read {subject}",
}


def told(refusal: Refusal) -> str:
    """Say what was refused, and what to do instead where that depends on nothing."""
    subject = quoted(refusal.subject) if refusal.subject else ""
    if refusal.kind is RefusalKind.PROGRAM and subject:
        subject = f" ({subject})"
    if not subject and refusal.kind is not RefusalKind.PROGRAM:
        subject = "this file"
    return _TOLD[refusal.kind].format(port=refusal.port, subject=subject)


def quoted(subject: str) -> str:
    """Write a path or a program as it would be typed, on one line."""
    return shlex.quote("".join(each if each.isprintable() else "?" for each in subject))

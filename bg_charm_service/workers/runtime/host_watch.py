"""What a run asked of the system last, seen by an audit hook, for errors that do not say it.

The host that it connected to, and what walls refuse: ports, sockets, programs, processes. A label,
and no more: nothing is allowed or refused by it. Installed once in each worker, and asked where a
run has failed, or where it ends with something refused that no exception showed.
"""

from __future__ import annotations

import os
import socket
import sys
from collections import deque
from collections.abc import Callable
from pathlib import PosixPath
from types import CodeType
from typing import Any, Final, NamedTuple

from bg_charm_service.domain.outcomes.refusals import SUBJECT_CHARACTERS, Refusal, RefusalKind
from bg_charm_service.domain.outcomes.run_endings import is_host

#: So many of the newest attempts of a run are remembered.
_MOST_ATTEMPTS: Final = 32

#: Of what a socket is made as, flags aside.
_TYPE_MASK: Final = 0xF

#: Parts of the standard library that ask programs for what they can do without.
_DO_WITHOUT: Final = frozenset({"platform", "uuid", "ctypes.util", "webbrowser"})


class Attempt(NamedTuple):
    """What would be refused where a wall stands, and the call that asked for it.

    `code` and `instruction` are those of the code of Python that made the call; without an
    instruction it is announced by that function, which then makes the call. `is_told` where an
    exception or a number may have hidden it from whoever reads of the run.
    """

    refusal: Refusal
    code: CodeType
    instruction: int | None = None
    is_told: bool = False


class HostWatch:
    """The last name that was looked up, the last address that was connected to, and attempts."""

    def __init__(self) -> None:
        self._is_installed = False
        self._name: tuple[object, object] | None = None
        self._address: object = None
        self._attempts: deque[Attempt] = deque(maxlen=_MOST_ATTEMPTS)
        self._see = self._hook()

    def install(self) -> None:
        """See what this process does from now on; it cannot be undone, and twice is once."""
        if not self._is_installed:
            self._is_installed = True
            sys.addaudithook(self._see)

    def begin(self) -> None:
        """Forget what was seen: another run begins."""
        self._name = self._address = None
        if self._attempts:
            self._attempts.clear()

    @property
    def host(self) -> str:
        """The host that was asked for last; empty for none.

        An address goes by the name that was looked up before, unless that was for another port.
        """
        name, port = self._name or ("", None)
        if isinstance(name, bytes):
            name = name.decode("ascii", "replace")
        address = self._address
        if isinstance(address, tuple) and len(address) >= 2:
            is_of_name = bool(name) and port in (None, address[1], str(address[1]))
            name = name if is_of_name else address[0]
        host = name.lower() if isinstance(name, str) else ""
        return host if is_host(host) else ""

    @property
    def port(self) -> int | None:
        """The port that was connected to last; None when nothing was since the last look-up."""
        return _port_of(self._address)

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """What the run tried that walls may refuse, the newest last."""
        return tuple(self._attempts)

    def _hook(self) -> Callable[[str, tuple[Any, ...]], None]:
        """What is called for everything that is audited, in any thread: it only remembers.

        It never fails. A function: at each event the interpreter asks its hooks for an attribute
        that they do not have, and a method takes four times as long to say so.
        """

        def see(event: str, args: tuple[Any, ...]) -> None:
            read = _READERS.get(event)
            if read is not None:
                refusal = read(self, args)
                if refusal is not None:
                    self._note(event, refusal)

        return see

    def _note(self, event: str, refusal: Refusal) -> None:
        try:
            caller = sys._getframe(2)
        except ValueError:
            # Called by a library's own thread, without any code of Python around it.
            return
        # `subprocess` announces it by itself, and starts it some lines later.
        instruction = None if event == "subprocess.Popen" else caller.f_lasti
        is_told = event in _TOLD and not _is_done_without(event)
        self._attempts.append(Attempt(refusal, caller.f_code, instruction, is_told))

    def _look_up(self, args: tuple[Any, ...]) -> None:
        self._name, self._address = (args[0], args[1]), None

    def _connect(self, args: tuple[Any, ...]) -> Refusal | None:
        self._address = args[1]
        port = _port_of(args[1])
        return Refusal(RefusalKind.PORT, port) if port is not None else None


def _port_of(address: object) -> int | None:
    is_internet = isinstance(address, tuple) and len(address) >= 2 and isinstance(address[1], int)
    return address[1] if is_internet and 0 <= address[1] <= 65535 else None  # type: ignore[index]


def _socket(_watch: HostWatch, args: tuple[Any, ...]) -> Refusal | None:
    _, family, kind, _ = args
    if family == socket.AF_UNIX:
        return Refusal(RefusalKind.UNIX)
    if family in (socket.AF_INET, socket.AF_INET6):
        if kind & _TYPE_MASK == socket.SOCK_STREAM:
            return None
        if kind & _TYPE_MASK == socket.SOCK_DGRAM:
            return Refusal(RefusalKind.UDP)
    return Refusal(RefusalKind.SOCKET)


def _mapping(_watch: HostWatch, args: tuple[Any, ...]) -> Refusal | None:
    return Refusal(RefusalKind.MEMORY) if args[0] == -1 else None


def _signal(_watch: HostWatch, args: tuple[Any, ...]) -> Refusal | None:
    return Refusal(RefusalKind.SIGNAL) if args[0] != os.getpid() else None


def _program(_watch: HostWatch, args: tuple[Any, ...]) -> Refusal:
    # A shell's own name says nothing: the command that it is given does.
    words = args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else ()
    is_shell = len(words) > 2 and words[1] in ("-c", b"-c")
    command = _text(words[2]) if is_shell else ""
    return Refusal(RefusalKind.PROGRAM, subject=_first_word(command) or _text(args[0]))


def _system(_watch: HostWatch, args: tuple[Any, ...]) -> Refusal:
    return Refusal(RefusalKind.PROGRAM, subject=_first_word(_text(args[0])))


def _database(_watch: HostWatch, args: tuple[Any, ...]) -> Refusal:
    return Refusal(RefusalKind.FILE, subject=_text(args[0]))


def _always(kind: RefusalKind) -> Callable[[HostWatch, tuple[Any, ...]], Refusal]:
    refusal = Refusal(kind)
    return lambda _watch, _args: refusal


def _text(value: object) -> str:
    """Give a text as it is, and an object of somebody's own never: it may do anything."""
    if type(value) is bytes:
        value = value.decode("utf-8", "replace")
    elif type(value) is PosixPath:
        value = str(value)
    return value[:SUBJECT_CHARACTERS] if type(value) is str else ""


def _first_word(command: str) -> str:
    """What a command starts; what it is given may be nobody's business."""
    return command.split(maxsplit=1)[0] if command.strip() else ""


def _is_done_without(event: str) -> bool:
    """Whether the standard library starts a program that it can do without."""
    if event != "subprocess.Popen":
        return False
    frame: Any = sys._getframe(3)
    for _ in range(10):
        if frame is None:
            return False
        if frame.f_globals.get("__name__") in _DO_WITHOUT:
            return True
        frame = frame.f_back
    return False


#: What is audited, and who reads it.
_READERS: Final[dict[str, Callable[[HostWatch, tuple[Any, ...]], Refusal | None]]] = {
    "socket.connect": HostWatch._connect,
    "socket.getaddrinfo": HostWatch._look_up,
    "socket.__new__": _socket,
    "socket.bind": _always(RefusalKind.LISTEN),
    "subprocess.Popen": _program,
    "os.exec": _program,
    "os.posix_spawn": _program,
    "os.system": _system,
    "os.fork": _always(RefusalKind.PROCESS),
    "os.forkpty": _always(RefusalKind.PROCESS),
    "os.kill": _signal,
    "mmap.__new__": _mapping,
    "sqlite3.connect": _database,
}

#: What a run is told of where no exception shows it: others are tried by libraries that go on.
_TOLD: Final = frozenset(
    {"socket.connect", "subprocess.Popen", "os.posix_spawn", "os.exec", "os.system", "os.fork"}
)

#: What this process has seen.
HOSTS: Final = HostWatch()

"""The walls of the file system and of the ports: Landlock, the kernel's own sandbox.

A ruleset says what is allowed, and everything else that it handles is refused. Each one that is
enforced is a layer that only ever tightens. Which paths and ports, others say.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterable
from contextlib import suppress
from enum import IntFlag, auto
from functools import cache

from bg_charm_service.domain.errors import SandboxError
from bg_charm_service.workers.sandbox.kernel import quick_call, system_call
from bg_charm_service.workers.sandbox.syscalls import (
    LANDLOCK_ADD_RULE,
    LANDLOCK_CREATE_RULESET,
    LANDLOCK_RESTRICT_SELF,
)

_ASK_VERSION = 1
_PATH_RULE, _PORT_RULE = 1, 2


class _Right(IntFlag):
    """What a ruleset can say of files, in the kernel's order."""

    EXECUTE = auto()
    WRITE_FILE = auto()
    READ_FILE = auto()
    READ_DIR = auto()
    REMOVE_DIR = auto()
    REMOVE_FILE = auto()
    MAKE_CHAR = auto()
    MAKE_DIR = auto()
    MAKE_REG = auto()
    MAKE_SOCK = auto()
    MAKE_FIFO = auto()
    MAKE_BLOCK = auto()
    MAKE_SYM = auto()
    REFER = auto()
    TRUNCATE = auto()
    IOCTL_DEV = auto()


#: With which version of Landlock how many rights over files came to be.
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}

_BIND_TCP, _CONNECT_TCP = 1, 2
_ABSTRACT_SOCKETS, _SIGNALS = 1, 2

PORTS_VERSION = 4
SCOPES_VERSION = 6
_LINUX_VERSIONS = {1: "5.13", PORTS_VERSION: "6.7", SCOPES_VERSION: "6.12"}

#: To read a file, or a directory with all beneath it.
READ = int(_Right.READ_FILE | _Right.READ_DIR)

#: The same, and to run programs there: for a process that is to start some.
RUN = READ | int(_Right.EXECUTE)

#: To make symbolic links, beside `WRITE`.
LINK = int(_Right.MAKE_SYM)

#: No links, devices, fifos or sockets: whoever empties the directory meets files and folders only.
WRITE = int(
    _Right.WRITE_FILE
    | _Right.TRUNCATE
    | _Right.MAKE_REG
    | _Right.MAKE_DIR
    | _Right.REMOVE_FILE
    | _Right.REMOVE_DIR
    | _Right.REFER
)

#: What can be said of a file; the other rights are over what is in a directory.
_OVER_FILES = int(
    _Right.EXECUTE | _Right.WRITE_FILE | _Right.READ_FILE | _Right.TRUNCATE | _Right.IOCTL_DEV
)


@cache
def version() -> int:
    """Give the version of Landlock that this kernel speaks; 0 when it speaks none."""
    try:
        return system_call(LANDLOCK_CREATE_RULESET, None, 0, _ASK_VERSION)
    except OSError:
        return 0


def file_rights() -> int:
    """Every right over files that this kernel can refuse."""
    return (1 << _FILE_RIGHTS[min(version(), max(_FILE_RIGHTS))]) - 1


class HeldPath:
    """A path that many rulesets allow something of: opened once, and again where it was replaced.

    A rule counts for the file that is open, whatever lies under its name by then.
    """

    def __init__(self, path: str, rights: int) -> None:
        self._path = path
        self._rights = rights
        self._fd = -1
        self._found: tuple[int, int] | None = None
        self._rule = ctypes.create_string_buffer(0)
        self._address = 0

    def rule(self, handled: int) -> int:
        """Give the address of a ruleset's rule that handles these rights; 0 for what is gone."""
        try:
            status = os.stat(self._path)
        except OSError:
            return 0
        if (status.st_dev, status.st_ino) != self._found:
            self._open(handled)
        return self._address

    def _open(self, handled: int) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._found, self._address = -1, None, 0
        with suppress(OSError):
            self._fd = os.open(self._path, os.O_PATH | os.O_CLOEXEC)
            status = os.fstat(self._fd)
            self._found = (status.st_dev, status.st_ino)
            self._rule = _path_rule(self._fd, status, self._rights & handled)
            self._address = ctypes.addressof(self._rule)


class Ruleset:
    """What is allowed of what is handled; SandboxError where the kernel cannot handle it.

    To be closed once it is enforced.
    """

    def __init__(self, *, files: bool = False, ports: bool = False, scopes: bool = False) -> None:
        needed = (1, PORTS_VERSION if ports else 1, SCOPES_VERSION if scopes else 1)
        _require(max(needed))
        # A layer that does not speak of moving files refuses it, whatever the other layers say.
        self._rights = file_rights() if files else file_rights() & _Right.REFER
        handled = (
            self._rights,
            _BIND_TCP | _CONNECT_TCP if ports else 0,
            _ABSTRACT_SOCKETS | _SIGNALS if scopes else 0,
        )
        # An older kernel takes a longer structure only if what it does not know is empty.
        attributes = ctypes.create_string_buffer(struct.pack("=3Q", *handled), 24)
        self.fd = system_call(LANDLOCK_CREATE_RULESET, attributes, 24, 0)
        if self._rights and not files:
            self.allow_path("/", _Right.REFER)

    def allow_path(self, path: str, rights: int) -> None:
        """Allow this of a file, or of a directory and all beneath it.

        A link stands for what it leads to. Nothing is allowed of what is not there.
        """
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return
        try:
            self._allow(fd, rights)
        finally:
            os.close(fd)

    def allow_paths(self, held: Iterable[HeldPath]) -> None:
        """Allow of paths what their rules say; nothing of those that are not there."""
        for one in held:
            rule = one.rule(self._rights)
            if rule:
                quick_call(LANDLOCK_ADD_RULE, self.fd, _PATH_RULE, rule, 0)

    def allow_held(self, path: str, rights: int) -> None:
        """Allow this of a file for as long as this process lives; it is held open from now on.

        For files of /proc, which the kernel makes anew when nobody has them open: a rule counts
        for the one that it was made for. Nothing is allowed of what is not there.
        """
        with suppress(OSError):
            self._allow(os.open(path, os.O_PATH | os.O_CLOEXEC), rights)

    def _allow(self, fd: int, rights: int) -> None:
        rule = _path_rule(fd, os.fstat(fd), rights & self._rights)
        system_call(LANDLOCK_ADD_RULE, self.fd, _PATH_RULE, rule, 0)

    def allow_port(self, port: int) -> None:
        """Allow TCP connections to this port, of any address."""
        rule = ctypes.create_string_buffer(struct.pack("=2Q", _CONNECT_TCP, port))
        system_call(LANDLOCK_ADD_RULE, self.fd, _PORT_RULE, rule, 0)

    def enforce(self) -> None:
        """Put this thread, and those it starts, behind the ruleset.

        It must have given up gaining privileges before.
        """
        system_call(LANDLOCK_RESTRICT_SELF, self.fd, 0)

    def close(self) -> None:
        """Close it; what is enforced stays so."""
        os.close(self.fd)


def _path_rule(fd: int, status: os.stat_result, rights: int) -> ctypes.Array[ctypes.c_char]:
    allowed = rights if stat.S_ISDIR(status.st_mode) else rights & _OVER_FILES
    return ctypes.create_string_buffer(struct.pack("=Qi", allowed, fd))


def _require(least: int) -> None:
    """Raise SandboxError, with the reason, where Landlock is missing or too old."""
    if version() >= least:
        return
    if version() > 0:
        came_with = _LINUX_VERSIONS[least]
        raise SandboxError(
            f"it needs Landlock {least}, of Linux {came_with}; here is Landlock {version()}"
        )
    try:
        system_call(LANDLOCK_CREATE_RULESET, None, 0, _ASK_VERSION)
    except OSError as error:
        raise SandboxError(_why_missing(error)) from None


def _why_missing(error: OSError) -> str:
    if error.errno == errno.EOPNOTSUPP:
        return "Landlock is switched off; add it to lsm= on the kernel's command line"
    if error.errno == errno.ENOSYS:
        return f"this kernel has no Landlock, which came with Linux {_LINUX_VERSIONS[1]}"
    return f"Landlock is refused: {error.strerror}"

"""Calls of the kernel that Python has no name for, made through ctypes.

Knows no rule; whoever calls says what the numbers mean. Used by the other modules here.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys

IS_LINUX = sys.platform == "linux"

#: The machine's name in `syscalls.TABLES`.
MACHINE = platform.machine()

# Linked with the interpreter itself, so that nothing is opened for it.
_libc = ctypes.CDLL(None, use_errno=True)

Argument = int | ctypes.Array[ctypes.c_char] | ctypes.Structure | None


def system_call(number: int, *arguments: Argument) -> int:
    """Make a system call; raises OSError. Buffers and structures are passed by their address."""
    return _checked(_libc.syscall, ctypes.c_long(number), *map(_as_long, arguments))


def prctl(option: int, *arguments: int) -> int:
    """Change or ask something of this process; raises OSError."""
    padded = (*arguments, 0, 0, 0, 0)[:4]
    return _checked(_libc.prctl, ctypes.c_int(option), *map(ctypes.c_ulong, padded))


def _as_long(value: Argument) -> ctypes.c_long:
    if value is None:
        return ctypes.c_long(0)
    return ctypes.c_long(value if isinstance(value, int) else ctypes.addressof(value))


def _checked(function: ctypes._NamedFuncPointer, *arguments: object) -> int:
    result = int(function(*arguments))
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result

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
_libc.syscall.argtypes = (ctypes.c_long,) * 7
_libc.syscall.restype = ctypes.c_long
_libc.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)

Argument = int | ctypes.Array[ctypes.c_char] | ctypes.Structure | None


def system_call(number: int, *arguments: Argument) -> int:
    """Make a system call; raises OSError. Buffers and structures are passed by their address."""
    first, second, third, fourth, *_ = (*map(_as_int, arguments), 0, 0, 0, 0)
    return quick_call(number, first, second, third, fourth)


def quick_call(number: int, first: int, second: int, third: int, fourth: int) -> int:
    """Make a system call with numbers and addresses; raises OSError."""
    return _checked(_libc.syscall(number, first, second, third, fourth, 0, 0))


def prctl(option: int, *arguments: int) -> int:
    """Change or ask something of this process; raises OSError."""
    padded = (*arguments, 0, 0, 0, 0)[:4]
    return _checked(int(_libc.prctl(option, *padded)))


def _as_int(value: Argument) -> int:
    if value is None:
        return 0
    return value if isinstance(value, int) else ctypes.addressof(value)


def _checked(result: int) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result

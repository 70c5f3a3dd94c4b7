"""The wall of privileges: no capabilities, and no way to gain any.

Used by `walls`.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import struct
from functools import cache

from bg_charm_service.workers.sandbox.kernel import MACHINE, prctl, system_call
from bg_charm_service.workers.sandbox.syscalls import number

_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITY_VERSION_3 = 0x20080522


def give_up_gaining() -> None:
    """Let no program that this process starts gain privileges; the other walls ask for this."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


@cache
def drop_all() -> None:
    """Drop every capability, for good, also for processes forked from this one; raises OSError."""
    _empty_bounding_set()
    prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0))
    nothing = ctypes.create_string_buffer(24)
    capset = number(MACHINE, "capset")
    assert capset is not None
    system_call(capset, header, nothing)


def _empty_bounding_set() -> None:
    """Drop what programs might give back."""
    for capability in itertools.count():
        try:
            prctl(_PR_CAPBSET_DROP, capability)
        except OSError as error:
            # The first number that is none ends it. Whoever may not drop has none to gain either.
            if error.errno in (errno.EINVAL, errno.EPERM):
                return
            raise

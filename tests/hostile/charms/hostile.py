"""The charm that does one deed at each event.

A file of deeds is put behind this one, and both are one source: charms can import no tests.
"""

import ctypes
import os
import platform
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, TypeVar

from bg_charm_service import Charm, Items

#: What each deed must end in: the cause recorded, and words of the error.
ENDS: dict[str, tuple[str, str]] = {}

#: System calls by number: for those that C's library has no function for, or that it changes.
NUMBERS = {
    "io_uring_setup": 425,
    "pidfd_send_signal": 424,
    "pidfd_open": 434,
    "clone3": 435,
    "pidfd_getfd": 438,
    "memfd_secret": 447,
    "getxattrat": 464,
    "listxattrat": 465,
    "file_getattr": 468,
}
NUMBERS |= {
    "x86_64": {
        "clone": 56,
        "fork": 57,
        "vfork": 58,
        "modify_ldt": 154,
        "reboot": 169,
        "init_module": 175,
        "tgkill": 234,
        "kexec_load": 246,
        "add_key": 248,
        "ioprio_set": 251,
        "unshare": 272,
        "rt_tgsigqueueinfo": 297,
        "perf_event_open": 298,
        "setns": 308,
        "kcmp": 312,
        "bpf": 321,
        "execveat": 322,
        "userfaultfd": 323,
    },
    "aarch64": {
        "ioprio_set": 30,
        "unshare": 97,
        "kexec_load": 104,
        "init_module": 105,
        "tgkill": 131,
        "reboot": 142,
        "add_key": 217,
        "clone": 220,
        "rt_tgsigqueueinfo": 240,
        "perf_event_open": 241,
        "setns": 268,
        "kcmp": 272,
        "bpf": 280,
        "execveat": 281,
        "userfaultfd": 282,
    },
}.get(platform.machine(), {})

LIBC = ctypes.CDLL(None, use_errno=True)

Deed = TypeVar("Deed", bound=Callable[..., object])


class Hostile(Charm):
    """Does the deed that an event names, and keeps what came of it."""

    limits: ClassVar[dict[str, object]] = {}
    network: ClassVar[object] = True

    target: dict[str, Any] = {}
    loot: list[Any] = []
    box: Items[str] = Items()

    def bg_updater(self, event: dict[str, Any]) -> Awaitable[object] | None:
        done = globals()[event["deed"]](self)
        if isinstance(done, Awaitable):
            return done
        self.loot.append(done)
        return None


def ends(cause: str, words: str = "") -> Callable[[Deed], Deed]:
    """Declare what a deed must end in."""

    def declare(deed: Deed) -> Deed:
        ENDS[deed.__name__] = (cause, words)
        return deed

    return declare


def call(name: str, *arguments: Any) -> int:
    """Make a system call by its number; raises OSError."""
    return checked(name, LIBC.syscall(NUMBERS[name], *arguments))


def library(name: str, *arguments: Any) -> int:
    """Call a function of C's library; raises OSError."""
    return checked(name, getattr(LIBC, name)(*arguments))


def checked(name: str, result: int) -> int:
    """Give the result of a call that tells of a failure by -1; raises OSError."""
    if result == -1:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")
    return result

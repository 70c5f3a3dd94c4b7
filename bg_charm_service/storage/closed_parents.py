"""Opens the way to a directory whose parents are closed to its owner, for root that becomes it.

systemd keeps what a unit with `DynamicUser=` stores below /var/lib/private, where only root may
go, and shows it to the unit in a mount namespace. This does the same for this process and those
that it starts; nobody else sees a difference. Called by the data directory.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Collection
from pathlib import Path

from bg_charm_service.domain.errors import DataDirectoryError

_CLONE_NEWNS = 0x00020000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8
_MS_BIND, _MS_REC, _MS_SLAVE = 0x1000, 0x4000, 0x80000


def open_way(directory: Path, user: int, groups: Collection[int]) -> None:
    """Let a user reach its directory from this process on; does nothing where it can already.

    To be called by root, before it becomes that user and before there are other threads. Raises
    DataDirectoryError where a parent is in the hands of somebody else, and where this process may
    not have a mount namespace.
    """
    real = Path(os.path.realpath(directory))
    parents = list(reversed(real.parents))
    closed = next((one for one in parents if not _may_enter(one, user, groups)), None)
    if closed is None:
        return
    for parent in parents[: parents.index(closed) + 1]:
        # Whoever could put something else in its place would choose what is mounted over.
        found = parent.lstat()
        is_shared = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
        if found.st_uid != 0 or is_shared or not stat.S_ISDIR(found.st_mode):
            raise DataDirectoryError(
                f"{closed} is closed to the owner of {directory}, and {parent} is not root's alone."
            )
    try:
        _show(real, closed)
    except OSError as error:
        raise DataDirectoryError(
            f"{closed} is closed to the owner of {directory}, and a mount namespace in which it is "
            f"open cannot be had here ({error.strerror})."
        ) from None


def _show(real: Path, closed: Path) -> None:
    """Put an open directory over the closed one, with nothing but the way to the real one in it."""
    # A descriptor of the namespace from before could not be mounted: so it is opened after this.
    _call("unshare", _CLONE_NEWNS)
    _mount(None, "/", None, _MS_REC | _MS_SLAVE)
    opened = os.open(real, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _mount("tmpfs", closed, "tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, "mode=0755,size=64k")
        place = closed
        for name in real.relative_to(closed).parts:
            place /= name
            place.mkdir()
            place.chmod(0o755)
        _mount(f"/proc/self/fd/{opened}", real, None, _MS_BIND | _MS_REC)
    finally:
        os.close(opened)


def _may_enter(directory: Path, user: int, groups: Collection[int]) -> bool:
    """Tell by the mode whether a user may pass; access lists are not looked at."""
    found = directory.stat()
    if found.st_uid == user:
        return bool(found.st_mode & stat.S_IXUSR)
    return bool(found.st_mode & (stat.S_IXGRP if found.st_gid in groups else stat.S_IXOTH))


def _mount(
    source: str | None, target: Path | str, kind: str | None, flags: int, data: str = ""
) -> None:
    _call("mount", source, os.fspath(target), kind, flags, data)


def _call(name: str, *arguments: str | int | None) -> None:
    """Call the C library; raises OSError."""
    # Here, and not when this is imported: other systems have no such functions.
    call = getattr(ctypes.CDLL(None, use_errno=True), name)
    given = [
        os.fsencode(each)
        if isinstance(each, str)
        else each
        if each is None
        else ctypes.c_ulong(each)
        for each in arguments
    ]
    if call(*given) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")

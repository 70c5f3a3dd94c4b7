"""A disk that fails on demand, under a real SQLite: syncs, writes and reads of its files.

A VFS of SQLite in front of the system's, made with ctypes: whatever this process opens goes through
it. Used by the contract's tests, and by processes of the service that tests start with it
(`python -m tests.failing_disk FILE ARGUMENTS…`: its syncs fail while FILE is there).
"""

from __future__ import annotations

import _sqlite3
import ctypes
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

_DATABASE, _LOG = 0x100, 0x80000

_POINTER = ctypes.c_void_p
_METHODS = (
    "close read write truncate sync size lock unlock check_lock control sector traits "
    "map_memory lock_memory barrier unmap_memory fetch unfetch"
)


class _Methods(ctypes.Structure):
    """`sqlite3_io_methods`."""

    _fields_: ClassVar[Any] = [
        ("version", ctypes.c_int),
        *((name, _POINTER) for name in _METHODS.split()),
    ]


class _File(ctypes.Structure):
    """The beginning of each `sqlite3_file`."""

    _fields_: ClassVar[Any] = [("methods", ctypes.POINTER(_Methods))]


#: The name goes on as the pointer that it is: SQLite keeps it.
_Open = ctypes.CFUNCTYPE(
    ctypes.c_int, _POINTER, _POINTER, ctypes.POINTER(_File), ctypes.c_int, _POINTER
)
_Sync = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, ctypes.c_int)
_Transfer = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, _POINTER, ctypes.c_int, ctypes.c_int64)


class _Vfs(ctypes.Structure):
    """`sqlite3_vfs`."""

    _fields_: ClassVar[Any] = [
        ("version", ctypes.c_int),
        ("file_bytes", ctypes.c_int),
        ("path_bytes", ctypes.c_int),
        ("next", _POINTER),
        ("name", _POINTER),
        ("data", _POINTER),
        ("open", _Open),
        *((f"other_{number}", _POINTER) for number in range(17)),
    ]


@dataclass
class FailingDisk:
    """What fails now: each is asked with a file's path, and gives SQLite's code, 0 for none."""

    sync: Callable[[Path], int] = lambda path: 0
    #: These two are asked for files that were opened while one was set. Else two threads of one
    #: connection could wait for each other: for the connection's lock, and for the interpreter's.
    write: Callable[[Path], int] | None = None
    read: Callable[[Path], int] | None = None
    #: Called after each sync that did not fail, with the path of the file.
    synced: Callable[[Path], None] = lambda path: None
    _kept: list[Any] = field(default_factory=list)
    _paths: dict[int, Path] = field(default_factory=dict)
    _instead: dict[tuple[int, bool], _Methods] = field(default_factory=dict)

    def register(self) -> None:
        """Stand before the file system of every connection that is opened from now on."""
        library = ctypes.CDLL(_sqlite3.__file__)
        library.sqlite3_vfs_find.restype = _POINTER
        system = _Vfs.from_address(library.sqlite3_vfs_find(None))
        ours, name = _Vfs.from_buffer_copy(system), ctypes.create_string_buffer(b"failing")
        opened = ctypes.cast(system.open, _POINTER).value
        assert opened is not None
        ours.open = _Open(self._opening(_Open(opened)))
        ours.name = ctypes.cast(name, _POINTER).value
        self._kept += [ours, name, system]
        assert library.sqlite3_vfs_register(ctypes.byref(ours), 1) == sqlite3.SQLITE_OK

    def _opening(self, system: Any) -> Callable[..., int]:
        def open_file(vfs: int, name: int | None, file: Any, flags: int, out: int) -> int:
            code: int = system(vfs, name, file, flags, out)
            if code == sqlite3.SQLITE_OK and name and flags & (_DATABASE | _LOG):
                self._paths[ctypes.addressof(file.contents)] = Path(
                    os.fsdecode(ctypes.string_at(name))
                )
                has_transfers = self.read is not None or self.write is not None
                kind = (ctypes.addressof(file.contents.methods.contents), has_transfers)
                if kind not in self._instead:
                    self._instead[kind] = self._methods(
                        file.contents.methods.contents, has_transfers=has_transfers
                    )
                file.contents.methods = ctypes.pointer(self._instead[kind])
            return code

        return open_file

    def _methods(self, system: _Methods, *, has_transfers: bool) -> _Methods:
        ours = _Methods.from_buffer_copy(system)
        do_sync, do_write = _Sync(system.sync), _Transfer(system.write)
        do_read = _Transfer(system.read)

        def sync(file: int, flags: int) -> int:
            code: int = self.sync(self._paths[file]) or do_sync(file, flags)
            if code == sqlite3.SQLITE_OK:
                self.synced(self._paths[file])
            return code

        def write(file: int, buffer: int, count: int, offset: int) -> int:
            failure = self.write(self._paths[file]) if self.write is not None else 0
            code: int = failure or do_write(file, buffer, count, offset)
            return code

        def read(file: int, buffer: int, count: int, offset: int) -> int:
            failure = self.read(self._paths[file]) if self.read is not None else 0
            code: int = failure or do_read(file, buffer, count, offset)
            return code

        calls: dict[str, Any] = {"sync": _Sync(sync)}
        if has_transfers:
            calls |= {"write": _Transfer(write), "read": _Transfer(read)}
        for method, call in calls.items():
            setattr(ours, method, ctypes.cast(call, _POINTER).value)
            self._kept.append(call)
        return ours


#: The one of this process; registered when it is first wanted.
_DISKS: list[FailingDisk] = []


def failing_disk() -> FailingDisk:
    """Give the disk of this process; connections that were opened before do not go through it."""
    if not _DISKS:
        disk = FailingDisk()
        disk.register()
        _DISKS.append(disk)
    return _DISKS[0]


@contextmanager
def failing(**calls: Callable[..., Any]) -> Iterator[FailingDisk]:
    """Let the disk of this process fail inside."""
    disk = failing_disk()
    before = {name: getattr(disk, name) for name in calls}
    for name, call in calls.items():
        setattr(disk, name, call)
    try:
        yield disk
    finally:
        for name, call in before.items():
            setattr(disk, name, call)


def is_log(path: Path) -> bool:
    """Whether a file is the log of a database."""
    return path.name.endswith("-wal")


def log_syncs_fail(count: int) -> Callable[[Path], int]:
    """Let the next syncs of a log fail, so many of them."""
    left = [count]

    def sync(path: Path) -> int:
        if not is_log(path) or not left[0]:
            return 0
        left[0] -= 1
        return sqlite3.SQLITE_IOERR_FSYNC

    return sync


def main() -> None:
    """Be the service, on a disk whose syncs fail while a file is there."""
    marker = Path(sys.argv[1])
    failing_disk().sync = lambda path: sqlite3.SQLITE_IOERR_FSYNC if marker.exists() else 0
    from bg_charm_service.cli import main as service

    sys.argv = ["bg-charm-service", *sys.argv[2:]]
    service()


if __name__ == "__main__":
    main()

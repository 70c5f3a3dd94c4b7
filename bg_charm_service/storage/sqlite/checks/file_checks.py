"""Checks of the files of a data directory: whose they are, who may read them, and their room."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bg_charm_service.domain.quantities import size_text
from bg_charm_service.storage.data_directory import DATABASE_NAME, LOCK_NAME, user_name
from bg_charm_service.storage.disk_reserve import RESERVE_NAME, DiskReserve
from bg_charm_service.storage.records import Severity, Trouble

#: What only the owner may read; the socket is guarded by the directory.
_PRIVATE = (
    *(DATABASE_NAME, f"{DATABASE_NAME}-wal", f"{DATABASE_NAME}-journal"),
    *(LOCK_NAME, RESERVE_NAME),
)


def file_troubles(data_dir: Path) -> Iterator[Trouble]:
    """Look at the files of a directory, which need not be open."""
    owner = data_dir.stat().st_uid
    yield from _open_to_others(data_dir, 0o700)
    copies = data_dir.glob(f"{DATABASE_NAME}.*")
    for path in [*(data_dir / name for name in _PRIVATE), *sorted(copies)]:
        if not path.exists():
            continue
        yield from _open_to_others(path, 0o600)
        if path.stat().st_uid != owner:
            text = (
                f"{path} belongs to {user_name(path.stat().st_uid)}, and the directory to "
                f"{user_name(owner)}, who cannot use it then: sudo chown {owner} {path}"
            )
            yield Trouble("files", Severity.ERROR, text)
    reserve = DiskReserve(data_dir)
    if not reserve.has_room:
        text = (
            f"The disk of {data_dir} has less than {size_text(reserve.wanted_bytes)} free, and no "
            "room is kept to store what runs did: no run begins until there is some"
        )
        yield Trouble("room", Severity.WARNING, text)


def _open_to_others(path: Path, wanted: int) -> Iterator[Trouble]:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & ~wanted:
        text = f"{path} has mode {mode:o}: others than its owner may use it"
        yield Trouble("files", Severity.ERROR, text, amend=partial(path.chmod, wanted))
    elif mode & wanted & 0o600 != 0o600:
        text = f"{path} has mode {mode:o}: its owner may not use it"
        yield Trouble("files", Severity.ERROR, text, amend=partial(path.chmod, wanted))

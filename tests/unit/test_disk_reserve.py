"""The reserve of the disk: held where there is room for it, given back as a whole."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import pytest

from bg_charm_service.storage.disk_reserve import RESERVE_BYTES, RESERVE_NAME, DiskReserve


@dataclass
class Disk:
    """What the file system says of itself, in blocks."""

    f_blocks: int = 1 << 30
    f_bavail: int = 1 << 29
    f_frsize: int = 4096

    @property
    def f_bfree(self) -> int:
        """With what only root may take."""
        return self.f_bavail if os.geteuid() == 0 else 1 << 29


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """A disk whose room a test sets."""
    disk = Disk()
    monkeypatch.setattr(os, "statvfs", lambda _: disk)
    return disk


@pytest.fixture
def reserve(tmp_path: Path) -> DiskReserve:
    """The reserve of an empty directory."""
    return DiskReserve(tmp_path)


def no_room(fd: int, offset: int, size: int) -> None:
    """Answer as a full disk does."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_it_takes_room_and_gives_it_back(disk: Disk, reserve: DiskReserve, tmp_path: Path) -> None:
    """Held, it takes its size on the disk, for its owner only; released, nothing. Twice is fine."""
    assert not reserve.is_held
    assert reserve.has_room
    for _ in range(2):
        assert reserve.hold()
        assert reserve.is_held
    found = (tmp_path / RESERVE_NAME).stat()
    assert (RESERVE_BYTES, 0o600) == (found.st_size, stat.S_IMODE(found.st_mode))
    assert found.st_blocks * 512 >= RESERVE_BYTES

    assert [True, False] == [reserve.release(), reserve.release()]
    assert not reserve.is_held
    assert [] == list(tmp_path.iterdir())


def test_it_leaves_as_much_as_it_takes(disk: Disk, reserve: DiskReserve, tmp_path: Path) -> None:
    """Where less than twice its size is free it is not made, so that it is not made and given up
    by turns.
    """
    disk.f_bavail = 2 * RESERVE_BYTES // disk.f_frsize - 1
    assert [False, False] == [reserve.has_room, reserve.hold()]
    assert [] == list(tmp_path.iterdir())
    disk.f_bavail += 1
    assert [True, True] == [reserve.has_room, reserve.hold()]
    disk.f_bavail = 0
    assert [True, True] == [reserve.has_room, reserve.hold()]


def test_it_is_needed_where_less_is_free(disk: Disk, reserve: DiskReserve) -> None:
    """With less free than its size, it is what helps."""
    disk.f_bavail = RESERVE_BYTES // disk.f_frsize
    assert not reserve.is_needed
    disk.f_bavail -= 1
    assert reserve.is_needed


def test_it_is_a_small_part_of_a_small_disk(disk: Disk, reserve: DiskReserve) -> None:
    """Of 64 MB it takes 1 MB."""
    disk.f_blocks = 64 * 1024 * 1024 // disk.f_frsize
    assert 1024 * 1024 == reserve.size_bytes


def test_what_cannot_be_made_leaves_nothing(
    disk: Disk, reserve: DiskReserve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is fuller than it says gets its room back."""
    monkeypatch.setattr(os, "posix_fallocate", no_room)
    assert not reserve.hold()
    assert [] == list(tmp_path.iterdir())


def test_a_start_makes_room_only_where_there_is_none(
    disk: Disk, reserve: DiskReserve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the disk says of itself does not count: as much again is tried to be had."""
    reserve.make_room()
    assert not reserve.is_held
    reserve.hold()
    disk.f_bavail = 0
    for _ in range(2):
        reserve.make_room()
        assert reserve.is_held
    monkeypatch.setattr(os, "posix_fallocate", no_room)
    disk.f_bavail = 1 << 29
    reserve.make_room()
    assert not os.path.exists(reserve.path)


def test_a_half_made_one_is_made_whole(disk: Disk, reserve: DiskReserve, tmp_path: Path) -> None:
    """What a kill left of one does not count as one."""
    (tmp_path / RESERVE_NAME).write_bytes(bytes(4096))
    assert not reserve.is_held
    assert reserve.hold()
    assert RESERVE_BYTES == (tmp_path / RESERVE_NAME).stat().st_size


def test_a_link_is_not_followed(disk: Disk, reserve: DiskReserve, tmp_path: Path) -> None:
    """Nothing else is written where somebody has put a link."""
    (tmp_path / RESERVE_NAME).symlink_to(tmp_path / "other")
    assert not reserve.hold()
    assert [] == list(tmp_path.iterdir())


def test_a_directory_that_is_gone_is_no_trouble(tmp_path: Path) -> None:
    """Nobody knows, so nothing is said."""
    reserve = DiskReserve(tmp_path / "none")
    told = [reserve.is_held, reserve.is_needed, reserve.has_room, reserve.hold(), reserve.release()]
    assert [False] * 5 == told

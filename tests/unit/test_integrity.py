"""Whether a file is damaged: told apart from whether somebody could look."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bg_charm_service.domain.errors import BackupError, CannotExamine
from bg_charm_service.storage.data_directory import DATABASE_NAME
from bg_charm_service.storage.records import Severity
from bg_charm_service.storage.sqlite import integrity
from bg_charm_service.storage.sqlite.checks.stopped import examine_stopped
from bg_charm_service.storage.sqlite.database import Database
from bg_charm_service.storage.sqlite.integrity import facts_of, problems_of
from bg_charm_service.storage.sqlite.migrations import STEPS
from bg_charm_service.storage.sqlite.restore import restore_backup
from tests.failing_disk import failing, failing_disk, is_log


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """A database of a hundred pages that nobody has open."""
    failing_disk()
    path = tmp_path / "data" / DATABASE_NAME
    path.parent.mkdir(mode=0o700)
    database = Database.open(path)
    with database.transaction():
        database.executemany(
            "INSERT INTO sources VALUES (?, ?)", [(str(n), "x" * 4000) for n in range(100)]
        )
    database.close()
    return path


def unreadable(pages: int) -> Callable[[Path], int]:
    """Let a database be read for so many reads, and no more."""
    left = [pages]

    def read(path: Path) -> int:
        left[0] -= not is_log(path)
        return sqlite3.SQLITE_IOERR_READ if left[0] < 0 else 0

    return read


@pytest.mark.parametrize("reads", [0, 5, 50])
def test_file_that_cannot_be_read_is_not_damaged(sound: Path, reads: int) -> None:
    """An error of the disk, at whatever page, says that nobody could look."""
    with failing(read=unreadable(reads)), pytest.raises(CannotExamine, match="not known"):
        problems_of(sound)
    assert [] == problems_of(sound)


def test_kind_of_a_file_that_cannot_be_read_is_not_known(sound: Path) -> None:
    """It is neither ours nor another's."""
    with failing(read=unreadable(0)), pytest.raises(CannotExamine):
        facts_of(sound)
    with pytest.raises(CannotExamine):
        facts_of(sound.with_name("missing"))
    assert facts_of(sound).is_ours


@pytest.mark.parametrize("how", ["cut", "torn", "text"])
def test_damaged_file_is_damaged(sound: Path, how: str) -> None:
    """What the file itself shows is told as its damage."""
    if how == "cut":
        os.truncate(sound, 40 * 4096)
    elif how == "torn":
        with open(sound, "r+b") as file:
            file.seek(20 * 4096)
            file.write(b"?" * 20 * 4096)
    else:
        sound.write_text("no database " * 999)
    assert [] != problems_of(sound)


def test_child_tells_the_two_apart(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a process of its own prints is a list for damage, and a text for none that looked."""
    integrity.main(str(sound))
    with failing(read=unreadable(9)):
        integrity.main(str(sound))
    told, failed = (
        json.loads(text) for text in capsys.readouterr().out.replace("]", "]\n").splitlines()
    )
    assert ([], True) == (told, "could not be looked at" in failed)


def test_doctor_of_a_sound_database_that_cannot_be_read(sound: Path) -> None:
    """A stopped database whose pages cannot be read is a warning, not a damaged one."""
    with failing(read=unreadable(60)):
        found = examine_stopped(sound, repair=False, is_full=True)
    assert Severity.WARNING in {one.severity for one in found}
    assert not any("malformed" in one.text or "damaged" in one.text for one in found)


def test_doctor_reads_what_a_full_disk_keeps_in_the_log(sound: Path) -> None:
    """A crash left a log, and there is no room to fold it in: all is sound, and told so."""
    database = Database.open(sound)
    database.probe(write=True)
    with database.transaction():
        database.executemany(
            "INSERT INTO sources VALUES (?, ?)", [(f"b{n}", "x" * 4000) for n in range(500)]
        )
        database.execute("DELETE FROM sources WHERE source_hash LIKE '%7%'")
    killed = sound.with_name("killed.db")
    killed.write_bytes(sound.read_bytes())
    killed.with_name("killed.db-wal").write_bytes(sound.with_name(f"{sound.name}-wal").read_bytes())
    database.close()
    room = [10]

    def write(path: Path) -> int:
        # There is room for a part of it: the file by itself is torn from then on.
        room[0] -= not is_log(path)
        return sqlite3.SQLITE_FULL if room[0] < 0 else 0

    with failing(write=write):
        for _ in range(2):
            found = examine_stopped(killed, repair=False, is_full=True)
            assert {Severity.NOTE} >= {one.severity for one in found}, found
    assert room[0] < 0, (room, killed.stat().st_size, killed.with_name("killed.db-wal").exists())


def test_restore_that_cannot_look_changes_nothing(sound: Path, tmp_path: Path) -> None:
    """A backup that cannot be read is not called damaged, and nothing is replaced."""
    backup, before = tmp_path / "backup.db", sound.read_bytes()
    backup.write_bytes(before)
    with (
        failing(read=unreadable(20)),
        pytest.raises(BackupError, match=r"not known\. Nothing was changed"),
    ):
        restore_backup(backup, sound.parent, force=True)
    assert before == sound.read_bytes()
    assert {DATABASE_NAME, "lock"} == {path.name for path in sound.parent.iterdir()}


@pytest.mark.parametrize("reads", [0, 3, 20])
def test_update_whose_copy_cannot_be_read(sound: Path, reads: int) -> None:
    """The start says why, calls nothing damaged, and leaves file and directory as they were."""
    connection = sqlite3.connect(sound)
    connection.execute(f"PRAGMA user_version = {len(STEPS) - 1}")
    connection.close()
    before: dict[str, Any] = {path.name: path.read_bytes() for path in sound.parent.iterdir()}
    left = [reads]

    def read(path: Path) -> int:
        left[0] -= path.name.endswith(".partial")
        return sqlite3.SQLITE_IOERR_READ if left[0] < 0 else 0

    with failing(read=read), pytest.raises(BackupError, match="disk I/O error") as told:
        Database.open(sound)
    assert "damaged" not in str(told.value)
    assert before == {path.name: path.read_bytes() for path in sound.parent.iterdir()}

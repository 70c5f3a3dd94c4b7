"""The files of a database: one that is gone is noticed, at a start and while it is in use."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from bg_charm_service.domain.errors import DataDirectoryError, StorageError
from bg_charm_service.storage.sqlite.copying import copy_database
from bg_charm_service.storage.sqlite.database import Database
from bg_charm_service.storage.sqlite.integrity import problems_of
from bg_charm_service.storage.sqlite.migrations import STEPS, migrate


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A database in a file."""
    (tmp_path / "data").mkdir()
    opened = Database.open(tmp_path / "data" / "test.db")
    yield opened
    opened.close()


def add(database: Database, name: str) -> None:
    """Write one row."""
    with database.transaction():
        database.execute("INSERT INTO totals VALUES (?, 1)", (name,))


def names(database: Database) -> list[str]:
    """Give the names of all rows but the database's own."""
    sql = "SELECT name FROM totals WHERE name <> 'commits' ORDER BY name"
    return [row[0] for row in database.rows(sql)]


def names_in(path: Path) -> list[str]:
    """Open a database as a start does, give the names in it, and close it."""
    with closing(Database.open(path)) as database:
        return names(database)


def killed(data: Path, to: Path) -> Path:
    """Copy a directory as a killed process leaves it; gives the database."""
    shutil.copytree(data, to)
    return to / "test.db"


def delete(path: Path) -> None:
    """Delete a file."""
    path.rename(path.parent.parent / "elsewhere")


def replace(path: Path) -> None:
    """Put another file in the place of one."""
    delete(path)
    path.write_bytes(b"another")


def move_directory(path: Path) -> None:
    """Take the whole directory away."""
    path.parent.rename(path.parent.parent / "elsewhere")


def put_back(path: Path) -> None:
    """Undo what was done to a file, or to its directory."""
    elsewhere = path.parent.parent / "elsewhere"
    elsewhere.replace(path.parent if elsewhere.is_dir() else path)


GONE: dict[str, Callable[[Path], None]] = {
    "deleted": delete,
    "replaced": replace,
    "moved": move_directory,
}


@pytest.mark.parametrize("file", ["test.db", "test.db-wal"])
@pytest.mark.parametrize("take_away", GONE.values(), ids=GONE)
def test_file_that_is_gone_is_noticed_by_the_next_commit(
    database: Database, tmp_path: Path, take_away: Callable[[Path], None], file: str
) -> None:
    """Nothing is acknowledged that no later start would find; once it is back, all goes on."""
    heard: list[StorageError] = []
    database.on_failure.append(heard.append)
    add(database, "a")
    take_away(tmp_path / "data" / file)
    with pytest.raises(StorageError, match="was deleted, moved or replaced") as refused:
        add(database, "b")
    assert [refused.value] == heard
    for write in (False, True):
        with pytest.raises(StorageError, match="was deleted"):
            database.probe(write=write)
    assert ["a"] == names(database)
    put_back(tmp_path / "data" / file)
    add(database, "c")
    copy = killed(tmp_path / "data", tmp_path / "copy")
    assert ["a", "c"] == names_in(copy)


def test_what_is_gone_can_still_be_saved(database: Database, tmp_path: Path) -> None:
    """A backup of a database whose files were deleted has everything that was acknowledged."""
    add(database, "a")
    shutil.rmtree(tmp_path / "data")
    copy_database(database.connection, tmp_path / "copy.db")
    assert [] == problems_of(tmp_path / "copy.db")
    assert ["a"] == names_in(tmp_path / "copy.db")


def test_another_database_in_its_place_is_left_alone(database: Database, tmp_path: Path) -> None:
    """Closing changes no file that belongs to somebody else."""
    add(database, "a")
    move_directory(tmp_path / "data" / "test.db")
    (tmp_path / "data").mkdir()
    other = Database.open(tmp_path / "data" / "test.db")
    add(other, "b")
    before = {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()}
    database.close()
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()}
    add(other, "c")
    other.close()


@pytest.mark.parametrize("left", ["missing", "empty"])
def test_log_that_was_lost_is_noticed_at_the_start(
    database: Database, tmp_path: Path, left: str
) -> None:
    """A database that is only a part of one is not opened, again and again, and stays as it is."""
    add(database, "a")
    copy = killed(tmp_path / "data", tmp_path / "copy")
    log = copy.with_name("test.db-wal")
    log.unlink()
    if left == "empty":
        log.touch()
    before = copy.read_bytes()
    for opening in (Database.open, Database.examine, Database.open):
        with pytest.raises(DataDirectoryError, match=r"test\.db-wal is missing or empty"):
            opening(copy)
    assert before == copy.read_bytes()
    shutil.copy(tmp_path / "data" / "test.db-wal", log)
    assert ["a"] == names_in(copy)


def test_log_of_an_earlier_version_that_was_lost_is_noticed(tmp_path: Path) -> None:
    """Of a database whose log was never folded in, a file of 4 kB is left, and no schema."""
    connection = sqlite3.connect(tmp_path / "test.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    migrate(connection)
    copy = killed(tmp_path, tmp_path / "copy")
    connection.close()
    copy.with_name("test.db-wal").unlink()
    assert 4096 == copy.stat().st_size
    with pytest.raises(DataDirectoryError, match=r"test\.db-wal is missing or empty"):
        Database.open(copy)


class Stopped(Exception):
    """The process ends here."""


def stop_after(count: int, home: Path) -> type[sqlite3.Connection]:
    """Give a connection whose process ends after so many statements, and what is left is copied."""

    class Connection(sqlite3.Connection):
        left = count

        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            self.left -= 1
            if not self.left:
                shutil.copytree(home, home.with_suffix(".killed"))
            if self.left <= 0:
                raise Stopped
            return super().execute(sql, parameters)

    return Connection


def test_killed_while_it_is_made(tmp_path: Path) -> None:
    """Wherever the making of a database breaks off, the next start does not miss a log."""
    for steps in count(1):
        home = tmp_path / str(steps)
        home.mkdir()
        try:
            made = Database.open(home / "test.db", stop_after(steps, home))
        except Stopped:
            copy = home.with_suffix(".killed")
            copy.joinpath("test.db-wal").unlink(missing_ok=True)
            Database.open(copy / "test.db").close()
            continue
        made.connection.close()
        assert steps > 10
        break


def test_log_that_another_program_folds_in_is_not_missed(
    database: Database, tmp_path: Path
) -> None:
    """Whoever opens and closes what a crash left makes it whole: the service starts."""
    for name in ("a", "b"):
        add(database, name)
        copy = killed(tmp_path / "data", tmp_path / f"copy {name}")
        other = sqlite3.connect(copy)
        other.execute("SELECT * FROM totals").fetchall()
        other.close()
        assert not copy.with_name("test.db-wal").exists()
        assert name in names_in(copy)


def test_lost_log_is_noticed_after_it_was_folded_in(database: Database, tmp_path: Path) -> None:
    """Each time that the log was folded in while in use, what comes after it is missed again."""
    for number in range(5):
        with database.transaction():
            database.executemany(
                "INSERT INTO sources VALUES (?, ?)",
                [(f"{number} {n}", "x" * 4000) for n in range(1500)],
            )
        add(database, f"a{number}")
        copy = killed(tmp_path / "data", tmp_path / f"copy-{number}")
        copy.with_name("test.db-wal").unlink()
        with pytest.raises(DataDirectoryError, match="is missing or empty"):
            Database.open(copy)


def test_copy_of_a_closed_database_needs_no_log(database: Database, tmp_path: Path) -> None:
    """After an orderly end the file alone is the database; a copy made while in use is too."""
    add(database, "a")
    copy_database(database.connection, tmp_path / "copy.db")
    database.close()
    shutil.copy(tmp_path / "data" / "test.db", tmp_path / "closed.db")
    for path in (tmp_path / "copy.db", tmp_path / "closed.db"):
        assert ["a"] == names_in(path)


def test_database_that_was_only_read_is_not_written(database: Database, tmp_path: Path) -> None:
    """Looking at a database changes no byte of it."""
    add(database, "a")
    database.close()
    path = tmp_path / "data" / "test.db"
    before = path.read_bytes()
    again = Database.open(path)
    assert ["a"] == names(again)
    again.close()
    assert before == path.read_bytes()


def test_log_of_an_earlier_process_is_seen_to_the_disk(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a start goes on from is synced first: its bytes are written again, and unchanged."""
    add(database, "a")
    copy = killed(tmp_path / "data", tmp_path / "copy")
    log = copy.with_name("test.db-wal")
    before, synced = log.read_bytes(), list[tuple[str, bytes]]()

    def fail(descriptor: int) -> None:
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), log.read_bytes()))
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(DataDirectoryError, match="Input/output error"):
            Database.open(copy)
    assert [(str(log), before)] == synced
    assert ["a"] == names_in(copy)


def test_schema_is_in_the_file_before_anything_else(database: Database, tmp_path: Path) -> None:
    """A new database is whole without its log until something is stored in it."""
    shutil.copy(tmp_path / "data" / "test.db", tmp_path / "copy.db")
    connection = sqlite3.connect(tmp_path / "copy.db")
    assert (len(STEPS),) == connection.execute("PRAGMA user_version").fetchone()
    connection.close()

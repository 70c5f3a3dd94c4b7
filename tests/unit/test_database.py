"""The one connection to the file: what the embedded engine adds to the contract's transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

import pytest

from bg_charm_service.domain.errors import (
    DataDirectoryError,
    SchemaTooNew,
    StorageError,
)
from bg_charm_service.storage.sqlite.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A database in a file."""
    opened = Database.open(tmp_path / "test.db")
    yield opened
    opened.close()


def add(database: Database, name: str) -> None:
    """Write one row."""
    database.execute("INSERT INTO totals VALUES (?, 1)", (name,))


def names(database: Database) -> list[str]:
    """Give the names of all rows but the database's own."""
    sql = "SELECT name FROM totals WHERE name <> 'commits' ORDER BY name"
    return [row[0] for row in database.rows(sql)]


def test_nothing_is_written_after_sqlite_gave_up(database: Database) -> None:
    """When SQLite itself undoes a transaction (disk full), whoever goes on writing is stopped."""
    (pages,) = database.row("PRAGMA page_count")
    database.execute(f"PRAGMA max_page_count = {pages}")
    with suppress(StorageError), database.transaction():
        add(database, "a")
        with pytest.raises(StorageError, match="full"):
            database.execute("INSERT INTO totals VALUES ('big', zeroblob(9000000))")
        with pytest.raises(StorageError, match="undid the transaction"):
            add(database, "b")
    database.execute("PRAGMA max_page_count = 1000000")
    assert [] == names(database)
    with database.transaction():
        add(database, "c")
    assert ["c"] == names(database)


def test_what_was_deleted_is_in_no_file(tmp_path: Path) -> None:
    """A deleted value is overwritten, however SQLite was built."""
    path = tmp_path / "test.db"
    database = Database.open(path)
    with database.transaction():
        add(database, "what nobody shall read")
    with database.transaction():
        database.execute("DELETE FROM totals WHERE name <> 'commits'")
    (mode,) = database.row("PRAGMA secure_delete")
    database.close()
    assert 1 == mode
    assert b"nobody shall" not in b"".join(each.read_bytes() for each in tmp_path.iterdir())


def test_nothing_written_is_nothing_on_disk(database: Database, tmp_path: Path) -> None:
    """A transaction that changed no row writes nothing to the disk, and is no commit."""
    add_one = "INSERT OR IGNORE INTO totals VALUES ('a', 1)"
    with database.transaction():
        database.execute(add_one)
    log = tmp_path / "test.db-wal"
    before = log.read_bytes(), database.commits
    with database.transaction():
        database.execute(add_one)
        database.execute("DELETE FROM totals WHERE name = 'b'")
        with database.savepoint():
            assert ["a"] == names(database)
    assert before == (log.read_bytes(), database.commits)


@pytest.mark.parametrize("part", ["transaction", "savepoint"])
def test_full_disk_is_a_storage_error(database: Database, part: str) -> None:
    """Whoever writes is told, in the service's own words, that it is the database that fails."""
    (pages,) = database.row("PRAGMA page_count")
    database.execute(f"PRAGMA max_page_count = {pages}")
    step = nullcontext if part == "transaction" else database.savepoint
    with pytest.raises(StorageError, match="cannot be used: database or disk is full"):
        fill(database, step)


@pytest.mark.parametrize(
    "ask",
    [
        lambda database: database.row("SELECT * FROM totals"),
        lambda database: database.rows("SELECT * FROM totals"),
        lambda database: database.execute("INSERT INTO totals VALUES ('a', 1)"),
        lambda database: database.executemany("INSERT INTO totals VALUES (?, 1)", [("a",)]),
        lambda database: database.probe(write=False),
        lambda database: database.probe(write=True),
    ],
)
def test_whatever_fails_outside_a_transaction_is_a_storage_error(
    database: Database, ask: Callable[[Database], object]
) -> None:
    """Plain reads and writes tell of a failing disk in the service's own words too."""
    database.connection.set_progress_handler(lambda: 1, 1)
    with pytest.raises(StorageError, match="cannot be used: interrupted"):
        ask(database)
    database.connection.set_progress_handler(None, 0)
    assert [] == names(database)


def fill(database: Database, step: Callable[[], AbstractContextManager[None]]) -> None:
    """Write more than fits."""
    with database.transaction(), step():
        database.execute("INSERT INTO totals VALUES ('big', zeroblob(9000000))")


def test_wrong_value_is_no_storage_error(database: Database) -> None:
    """A value that breaks a rule of the schema is a fault of its writer, not of the disk."""
    add(database, "a")
    with pytest.raises(sqlite3.IntegrityError), database.transaction():
        add(database, "a")


def test_file_belongs_to_one_connection(database: Database, tmp_path: Path) -> None:
    """While it is open, no other connection can even read the file."""
    add(database, "a")
    other = sqlite3.connect(tmp_path / "test.db", timeout=0)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("SELECT * FROM totals").fetchall()
    other.close()


def test_commits_are_durable(database: Database) -> None:
    """A write-ahead log, synced at each commit."""
    assert ("wal",) == database.row("PRAGMA journal_mode")
    assert (2,) == database.row("PRAGMA synchronous")
    assert (1,) == database.row("PRAGMA foreign_keys")


def test_closed_file_is_one_file(database: Database, tmp_path: Path) -> None:
    """Closing folds the log into the file; closing twice is fine."""
    add(database, "a")
    database.close()
    database.close()
    assert ["test.db"] == [path.name for path in tmp_path.iterdir()]
    again = Database.open(tmp_path / "test.db")
    assert ["a"] == names(again)
    again.close()


def test_other_file_is_refused(tmp_path: Path) -> None:
    """A file that is no database is an error that names it, and stays as it is."""
    path = tmp_path / "test.db"
    path.write_bytes(b"not a database, but long enough to be looked at" * 40)
    before = path.read_bytes()
    with pytest.raises(DataDirectoryError, match=r"test\.db cannot be opened"):
        Database.open(path)
    assert before == path.read_bytes()


def test_refused_file_is_let_go(tmp_path: Path) -> None:
    """A database with a newer schema is closed again, for the version that can open it."""
    path = tmp_path / "test.db"
    with sqlite3.connect(path) as newer:
        newer.execute("PRAGMA user_version = 999")
    newer.close()
    with pytest.raises(SchemaTooNew):
        Database.open(path)
    other = sqlite3.connect(path, timeout=0)
    assert [(999,)] == other.execute("PRAGMA user_version").fetchall()
    other.close()


def test_free_pages_are_given_back(database: Database) -> None:
    """What was deleted leaves the file, as many pages at a time as are asked for."""
    with database.transaction():
        database.executemany(
            "INSERT INTO sources VALUES (?, ?)", ((str(n), "x" * 4000) for n in range(100))
        )
    with database.transaction():
        database.execute("DELETE FROM sources")
    (pages,), free = database.row("PRAGMA page_count"), database.free_pages
    assert free >= 100

    database.give_back(60)

    # The file's map of pages may take one of them.
    assert 60 <= free - database.free_pages <= 61
    assert 60 <= pages - database.row("PRAGMA page_count")[0] <= 61
    with database.transaction(), pytest.raises(RuntimeError):
        database.give_back(1)

"""Copies of a database in use: one moment of it, whole or not there."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bg_charm_service.domain.errors import BackupError, ServiceStopping
from bg_charm_service.storage.sqlite.copying import copy_database
from bg_charm_service.storage.sqlite.database import Database
from bg_charm_service.storage.sqlite.integrity import facts_of, problems_of
from bg_charm_service.storage.sqlite.migrations import STEPS


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A database of a few megabytes."""
    opened = Database.open(tmp_path / "source.db")
    with opened.transaction():
        for number in range(500):
            opened.execute("INSERT INTO totals VALUES (?, 0)", (f"{number:05}" + "x" * 5000,))
    yield opened
    opened.close()


def sums(path: Path) -> tuple[float, float]:
    """Give the least and the greatest value of a copy."""
    connection = sqlite3.connect(f"file:{path}?immutable=1", uri=True)
    try:
        # Left out: the row in which the database itself numbers its commits.
        least, greatest = connection.execute(
            "SELECT min(value), max(value) FROM totals WHERE name != 'commits'"
        ).fetchone()
        return float(least), float(greatest)
    finally:
        connection.close()


def test_copy_is_one_moment_of_a_database_that_is_written(
    database: Database, tmp_path: Path
) -> None:
    """Each transaction is in the copy as a whole or not, and one made while it is copied is."""
    copy, begun, written = tmp_path / "copy.db", threading.Event(), threading.Event()

    def wait_for_a_write() -> bool:
        begun.set()
        return not written.wait(60)

    working = threading.Thread(
        target=copy_database, args=(database.connection, copy, wait_for_a_write)
    )
    working.start()
    assert begun.wait(60)
    count = 0
    while working.is_alive():
        with database.transaction():
            database.execute("UPDATE totals SET value = value + 1")
        count += 1
        written.set()
    working.join()
    least, greatest = sums(copy)
    assert least == greatest
    assert 1 <= least <= count
    assert [] == problems_of(copy)
    assert (True, len(STEPS)) == (facts_of(copy).is_ours, facts_of(copy).schema_version)
    assert 0o600 == copy.stat().st_mode & 0o777
    assert ["copy.db"] == [path.name for path in tmp_path.glob("copy*")]


def test_copy_that_is_given_up_leaves_nothing(database: Database, tmp_path: Path) -> None:
    """A stop in the middle removes what there is of the copy; the database goes on."""
    with pytest.raises(ServiceStopping):
        copy_database(database.connection, tmp_path / "copy.db", lambda: True)
    assert ["source.db", "source.db-wal"] == sorted(path.name for path in tmp_path.iterdir())
    with database.transaction():
        database.execute("UPDATE totals SET value = 1")


def test_copy_does_not_replace_a_file(database: Database, tmp_path: Path) -> None:
    """A file that is there is not written to, and the error names what could not be made."""
    (tmp_path / "copy.db").write_text("mine")
    with pytest.raises(BackupError, match=r"cannot take the file copy\.db: File exists"):
        copy_database(database.connection, tmp_path / "copy.db")
    assert "mine" == (tmp_path / "copy.db").read_text()


def test_database_stays_locked_after_a_copy(database: Database, tmp_path: Path) -> None:
    """Copying does not let go of the file: nobody else can open it afterwards either."""
    copy_database(database.connection, tmp_path / "copy.db")
    other = sqlite3.connect(tmp_path / "source.db", timeout=0)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("SELECT * FROM totals").fetchall()
    other.close()


def test_damaged_and_foreign_files_are_told_apart(tmp_path: Path, database: Database) -> None:
    """A text, an empty file and a database of another program are not ours; a torn copy is bad."""
    text, empty, other = tmp_path / "text", tmp_path / "empty", tmp_path / "other.db"
    text.write_text("not a database " * 500)
    empty.touch()
    sqlite3.connect(other).execute("CREATE TABLE charms (x)").connection.close()
    assert not any(facts_of(path).is_ours for path in (text, empty, other))
    assert ["file is not a database"] == problems_of(text)
    copy_database(database.connection, tmp_path / "copy.db")
    os.truncate(tmp_path / "copy.db", 4096 * 100)
    assert [] != problems_of(tmp_path / "copy.db")

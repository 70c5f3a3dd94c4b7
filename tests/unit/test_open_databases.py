"""Promises of the watch over databases that tests leave open."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bg_charm_service.storage.sqlite.database import Database
from tests.open_databases import OpenDatabases


@pytest.fixture
def databases() -> Iterator[OpenDatabases]:
    """A watch of its own, inside that of the whole run."""
    made = OpenDatabases()
    made.watch()
    yield made
    made.stop()


def test_a_database_that_is_closed_is_not_told(databases: OpenDatabases, tmp_path: Path) -> None:
    """Neither a connection nor a database of ours."""
    sqlite3.connect(":memory:").close()
    Database.open(tmp_path / "test.db").close()
    assert [] == databases.left_open()


def test_the_end_of_a_transaction_closes_nothing(databases: OpenDatabases) -> None:
    """A connection as a context manager commits, and stays open; it is told once."""
    with closing(sqlite3.connect(":memory:")) as connection:
        with connection:
            connection.execute("CREATE TABLE x (y)")
        (place,) = databases.left_open()
        assert [] == databases.left_open()
    assert place.startswith(f"{__file__}:")


def test_who_opened_a_database_is_told(databases: OpenDatabases, tmp_path: Path) -> None:
    """The line of the test is named, however deep below it the connection was made."""
    with closing(Database.open(tmp_path / "test.db")):
        (place,) = databases.left_open()
    file, _, line = place.rpartition(":")
    assert __file__ == file
    assert "Database.open" in Path(file).read_text(encoding="utf-8").splitlines()[int(line) - 1]


def test_nothing_is_watched_after_the_stop(databases: OpenDatabases) -> None:
    """What is opened after the stop is told to whoever watched before."""
    databases.stop()
    databases.stop()
    with closing(sqlite3.connect(":memory:")):
        assert [] == databases.left_open()

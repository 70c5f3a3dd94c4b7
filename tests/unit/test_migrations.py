"""The schema: made once, in one piece, and never touched when it is newer than this version."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from bg_charm_service.domain.errors import SchemaTooNew
from bg_charm_service.storage.sqlite import migrations
from bg_charm_service.storage.sqlite.migrations import STEPS, migrate


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """An empty database in memory."""
    opened = sqlite3.connect(":memory:", isolation_level=None)
    yield opened
    opened.close()


def schema(connection: sqlite3.Connection) -> list[str]:
    """Give the statements that made everything there is."""
    rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
    return [row[0] for row in rows]


def version(connection: sqlite3.Connection) -> int:
    """Give the number of the last step that was applied."""
    (number,) = connection.execute("PRAGMA user_version").fetchone()
    return int(number)


def test_new_database_gets_the_newest_schema(connection: sqlite3.Connection) -> None:
    """An empty file ends at the last step, with its number."""
    migrate(connection)
    assert len(STEPS) == version(connection)
    assert any("ack_queue_jobs" in sql for sql in schema(connection))


def test_schema_up_to_date_is_left_alone(connection: sqlite3.Connection) -> None:
    """Opening again changes nothing."""
    migrate(connection)
    changes, before = connection.total_changes, schema(connection)
    migrate(connection)
    assert (changes, before) == (connection.total_changes, schema(connection))


def test_newer_schema_is_refused_untouched(connection: sqlite3.Connection) -> None:
    """A database of a later version is refused with both numbers, and stays as it is."""
    connection.execute("CREATE TABLE from_the_future (x)")
    connection.execute(f"PRAGMA user_version = {len(STEPS) + 1}")
    with pytest.raises(SchemaTooNew, match=f"schema {len(STEPS) + 1}.*up to {len(STEPS)}"):
        migrate(connection)
    assert ["CREATE TABLE from_the_future (x)"] == schema(connection)


def test_failed_step_changes_nothing(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps are applied all or none: a broken one leaves the schema and its number as before."""
    migrate(connection)
    before = schema(connection)
    broken = (*STEPS, "CREATE TABLE half (x)", "CREATE TABLE half (y)")
    monkeypatch.setattr(migrations, "STEPS", broken)
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection)
    assert before == schema(connection)
    assert len(STEPS) == version(connection)


def test_only_missing_steps_are_applied(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older database gets the steps it lacks, and keeps its rows."""
    migrate(connection)
    connection.execute("INSERT INTO totals VALUES ('kept', 7)")
    monkeypatch.setattr(migrations, "STEPS", (*STEPS, "CREATE TABLE later (x); "))
    migrate(connection)
    assert len(STEPS) + 1 == version(connection)
    assert [("kept", 7.0)] == connection.execute("SELECT * FROM totals").fetchall()

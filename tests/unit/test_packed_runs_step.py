"""The step of the schema that packs plain runs, on a database of 100,000 charms with histories."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from bg_charm_service.domain.errors import DataDirectoryError
from bg_charm_service.domain.model import RunRecord
from bg_charm_service.storage.sql.store import open_store
from bg_charm_service.storage.sqlite import migrations
from bg_charm_service.storage.sqlite.database import Database
from bg_charm_service.storage.sqlite.migrations import STEPS, migrate

CHARMS = 100_000
RUNS = 1
NOW = 1000.0

#: The place of the step, from 0.
STEP = STEPS.index(migrations._PACKED_RUNS)

FILL = f"""
INSERT INTO spaces VALUES (1, 'did:key:here', '', 1);
INSERT INTO sources VALUES ('hash', '');
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {CHARMS})
    INSERT INTO charms SELECT i, 1, 'did:key:here', 'charm' || i, 'cause' || i, 'x.py', 'hash',
        '{{}}', 'Some', 'bgUpdater', 1, 1, NULL FROM n;
INSERT INTO health (charm_key, due_at, runs_recorded) SELECT charm_key, {NOW}, {RUNS} FROM charms;
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {RUNS})
    INSERT INTO runs SELECT charm_key << 32 | i, charm_key || '.' || i, charm_key, i, 'bgUpdater',
        'poll', 'success', NULL, '', '', {NOW} + i, 1.5, 2.5, 7, 'count', '', '' FROM charms, n;
"""  # noqa: S608 - text of our own


class Stopping(sqlite3.Connection):
    """Fails at one statement of the step, as a process that is stopped there, or a full disk."""

    at = 0
    seen = 0

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if sql.lstrip().startswith(("ALTER", "CREATE", "PRAGMA user_version =", "COMMIT")):
            type(self).seen += 1
            if self.seen == self.at:
                raise sqlite3.OperationalError("database or disk is full")
        return super().execute(sql, parameters)


def run(number: int, job_id: int) -> RunRecord:
    """A run as the step before has recorded them."""
    return RunRecord(
        number,
        f"{job_id}.{number if number <= RUNS else 1}",
        job_id,
        number if number <= RUNS else 1,
        *("bgUpdater", "poll", "success", None, "", ""),
        *(NOW + number, 1.5, 2.5, 7, ("count",), ""),
    )


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a service of the step before."""
    path = tmp_path_factory.mktemp("older") / "older.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrations, "STEPS", STEPS[:STEP])
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA auto_vacuum = 2")
        migrate(connection)
        connection.executescript(FILL)
        connection.close()
    return path


@pytest.fixture
def path(older: Path, tmp_path: Path) -> Path:
    """A copy of it, to be brought up to date."""
    copy = tmp_path / "test.db"
    copy.write_bytes(older.read_bytes())
    return copy


def test_old_histories_go_on(path: Path) -> None:
    """Runs of before are what they were, new ones come behind them, and make them go in turn."""
    database = Database.open(path)
    runs, key = open_store(database).runs, CHARMS - 1
    expected = [run(number, key) for number in range(RUNS, 0, -1)]
    assert expected == runs.of(key)
    for number in range(RUNS + 1, RUNS + 17):
        with database.transaction():
            runs.record(key, run(number, number), keep=9)
        expected = [run(number, number), *expected][:9]
        assert expected == runs.of(key)
    assert (RUNS * (CHARMS - 1),) == database.row("SELECT count(*) FROM runs")
    database.close()


@pytest.mark.parametrize("at", [2, 6])
def test_stopped_in_the_middle_it_is_what_it_was(
    path: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever statement is the last, the file is of the step before, and is brought up later."""
    monkeypatch.setattr(Stopping, "at", at)
    monkeypatch.setattr(Stopping, "seen", 0)
    with pytest.raises(DataDirectoryError, match="full"):
        Database.open(path, Stopping)
    connection = sqlite3.connect(path)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    columns = [row[1] for row in connection.execute("PRAGMA table_info(health)")]
    connection.close()
    assert (STEP, False) == (version, "ring" in columns)
    monkeypatch.setattr(Stopping, "at", 0)
    database = Database.open(path, Stopping)
    assert RUNS == len(open_store(database).runs.of(1))
    database.close()

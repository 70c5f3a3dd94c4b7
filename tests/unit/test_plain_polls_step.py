"""The step of the schema that lets plain polls do without rows, on a database of 100,000 charms."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from bg_charm_service.domain.errors import DataDirectoryError
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.storage.records import NewJob
from bg_charm_service.storage.sqlite import migrations
from bg_charm_service.storage.sqlite.database import Database
from bg_charm_service.storage.sqlite.job_queue import JobQueue
from bg_charm_service.storage.sqlite.migrations import STEPS, migrate

CHARMS = 100_000
NOW = 1000.0

#: The place of the step, from 0.
STEP = STEPS.index(migrations._PLAIN_POLLS)

FILL = f"""
INSERT INTO spaces VALUES (1, 'did:key:here', '', 1);
INSERT INTO sources VALUES ('hash', '');
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {CHARMS})
    INSERT INTO charms SELECT i, 1, 'did:key:here', 'charm' || i, 'cause' || i, 'x.py', 'hash',
        '{{}}', 'Some', 'bgUpdater', 1, 1, NULL FROM n;
INSERT INTO health (charm_key, due_at) SELECT charm_key, {NOW} + charm_key FROM charms;
INSERT INTO ack_queue_jobs (data, timestamp, status, space_key, charm_key, origin, priority, run_at,
    unique_key) SELECT '{{"space":"did:key:here","charm":"charm' || charm_key
        || '","stream":"bgUpdater","event":"{{}}"}}', {NOW}, 1 + charm_key % 2, 1, charm_key,
        'poll', 50, {NOW}, charm_key FROM charms WHERE charm_key <= 1000;
"""  # noqa: S608 - text of our own


class Stopping(sqlite3.Connection):
    """Fails at one statement of the step, as a process that is stopped there, or a full disk."""

    at = 0
    seen = 0

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if sql.lstrip().startswith(("ALTER", "INSERT", "PRAGMA user_version =", "COMMIT")):
            type(self).seen += 1
            if self.seen == self.at:
                raise sqlite3.OperationalError("database or disk is full")
        return super().execute(sql, parameters)


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a service of the step before, with polls that wait and that run."""
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


def test_old_jobs_go_on_and_ids_with_them(path: Path) -> None:
    """Jobs of before are what they were, and plain polls get ids behind theirs."""
    database = Database.open(path)
    queue = JobQueue(database)
    assert (500, 500) == (queue.pending, queue.claimed)
    assert (1000, CHARMS) == (queue.newest(), database.row("SELECT count(*) FROM health")[0])
    charm = CHARMS
    ref = CharmRef("did:key:here", f"charm{charm}")
    poll = NewJob(1, charm, ref, "bgUpdater", b"{}", NOW, next_due=NOW + 60, is_plain=True)
    with database.transaction():
        queue.put_polls([poll], now=NOW)
    assert [1001] == [job.job_id for job in queue.page(1000, 9)]
    database.close()


@pytest.mark.parametrize("at", [1, 2, 3, 4])
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
    assert (STEP, False) == (version, "last_poll" in columns)
    database = Database.open(path)
    assert 500 == JobQueue(database).claimed
    database.close()

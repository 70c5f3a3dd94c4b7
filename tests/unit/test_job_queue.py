"""The queue as a table of SQLite, read by persist-queue too: what only this engine promises."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from persistqueue import SQLiteAckQueue
from persistqueue.serializers import json as json_serializer

from bg_charm_service.domain.model import CharmRef, Origin
from bg_charm_service.storage.data_directory import DATABASE_NAME
from bg_charm_service.storage.sqlite.database import Database
from bg_charm_service.storage.sqlite.job_queue import JobQueue
from bg_charm_service.storage.sqlite.job_queue import sql as rows

NOW = 1000.0
REF = CharmRef("did:key:space", "charm")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A database in a file."""
    opened = Database.open(tmp_path / DATABASE_NAME)
    yield opened
    opened.close()


def poll(queue: JobQueue, charm: int) -> None:
    """Queue a poll."""
    queue.put_poll(1, charm, REF, "bgUpdater", b"{}", origin=Origin.POLL, run_at=NOW, now=NOW)


def test_stock_queue_opens_a_stopped_service_and_counts(database: Database, tmp_path: Path) -> None:
    """persist-queue itself reads the file that the service left: every status, every item."""
    queue = JobQueue(database)
    for charm in range(10):
        poll(queue, charm)
    done, dead, *_ = queue.claim(1, 5, NOW)
    queue.ack(done)
    queue.bury(dead)
    database.close()
    stock = SQLiteAckQueue(
        str(tmp_path),
        name="jobs",
        db_file_name=DATABASE_NAME,
        auto_resume=False,
        serializer=json_serializer,
    )
    counts = (
        stock.size,
        stock.ready_count(),
        stock.unack_count(),
        stock.acked_count(),
        stock.ack_failed_count(),
    )
    item = stock.queue()[0]
    stock.close()
    assert (5, 5, 3, 1, 1) == counts
    assert {"space": REF.space, "charm": REF.charm_id, "stream": "bgUpdater", "event": "{}"} == (
        item["data"]
    )
    assert NOW == item["timestamp"]


def test_stock_counts_hold_while_the_service_runs(database: Database) -> None:
    """What persist-queue's own methods count is what is there."""
    queue = JobQueue(database)
    for charm in range(4):
        poll(queue, charm)
    queue.claim(1, 1, NOW)
    assert (3, 3, 3, 4) == (len(queue), queue.qsize(), queue.ready_count(), queue.active_size())
    assert (1, 0, 0) == (queue.unack_count(), queue.acked_count(), queue.ack_failed_count())


REFUSED = [
    "put",
    "get",
    "nack",
    "ack_failed",
    "update",
    "clear_acked_data",
    "resume_unack_tasks",
    "shrink_disk_usage",
]


@pytest.mark.parametrize("operation", REFUSED)
def test_operations_that_would_commit_are_refused(database: Database, operation: str) -> None:
    """No inherited method ends the transaction around it behind the service's back."""
    queue = JobQueue(database)
    with database.transaction():
        poll(queue, 1)
        with pytest.raises(TypeError, match="commit by themselves"):
            getattr(queue, operation)(1)
        assert database.connection.in_transaction


def test_queue_leaves_the_connection_open(database: Database) -> None:
    """Closing or dropping a queue does not close the database under everyone else."""
    queue = JobQueue(database)
    queue.close()
    del queue
    assert (1,) == database.row("SELECT 1")


#: Indexes of few rows, and the names of integrations.
SHORT = re.compile("jobs_done|jobs_suspect|SCAN found$|CONSTANT ROW")

#: Statement -> the index that it must go through.
HOT = {
    rows.FIND_READY: "jobs_ready (space_key=?)",
    rows.FIND_READY_OF: "jobs_of_integration (space_key=? AND integration=?)",
    rows.READY_INTEGRATIONS: "jobs_of_integration (space_key=? AND integration>?)",
    rows.FIND_SUSPECT: "jobs_suspect",
    rows.FIND_POLL: "jobs_unique (unique_key=?)",
    rows.FIND_SEND: "jobs_live (charm_key=?",
    rows.FIND_WAITING: "PRIMARY KEY (rowid=?)",
    rows.FIND_DEAD_LETTER: "jobs_dead (charm_key=?",
    rows.HOLD_POLL: "jobs_live (charm_key=? AND status=?)",
    rows.COUNT_LIVE: "jobs_live (charm_key=?",
    rows.HOLDS: "PRIMARY KEY (rowid=?)",
    rows.FIND: "PRIMARY KEY (rowid=?)",
    rows.CLAIM: "PRIMARY KEY (rowid=?)",
    rows.SETTLE: "PRIMARY KEY (rowid=?)",
    rows.PUT_BACK: "PRIMARY KEY (rowid=?)",
    rows.DROP_HELD_POLL: "PRIMARY KEY (rowid=?)",
    rows.RELEASE_NEXT_SEND: "PRIMARY KEY (rowid=?)",
    rows.DROP_DEAD: "jobs_dead (charm_key=?",
    rows.DROP_OLD_DONE: "jobs_done (_id<?)",
    rows.DROP_POLL: "jobs_live (charm_key=? AND status=?)",
    rows.DROP_WAITING: "jobs_live (charm_key=? AND status=?)",
    rows.HOLD: "jobs_live (charm_key=?",
    rows.HOLD_DEAD: "jobs_dead (charm_key=?",
    rows.UNHOLD: "jobs_live (charm_key=?",
    rows.UNHOLD_DEAD: "jobs_dead (charm_key=?",
    rows.FIND_DEAD_OF: "jobs_dead (charm_key=?",
    rows.REQUEUE: "PRIMARY KEY (rowid=?)",
}


@pytest.mark.parametrize("statement", HOT, ids=lambda sql: " ".join(sql.split())[:60])
def test_hot_statements_use_their_index(database: Database, statement: str) -> None:
    """However long the queue, no step reads all of it, sorts it, or scans for a charm's jobs."""
    values: tuple[object, ...] | dict[str, object] = (
        {"charm": 1, "settled": 1, "dead": 1, "now": NOW, "is_noted": True, "space": 1}
        if ":" in statement
        else (1,) * statement.count("?")
    )
    plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert any(HOT[statement] in step for step in plan), plan
    # A partial index of few rows may be read from end to end, the table never.
    whole = [step for step in plan if "SCAN" in step and not SHORT.search(step)]
    assert [] == whole
    assert not any("TEMP B-TREE" in step for step in plan), plan


def test_rows_keep_the_stock_columns_first(database: Database) -> None:
    """persist-queue reads columns by place."""
    columns = [row[1] for row in database.rows("PRAGMA table_info(ack_queue_jobs)")]
    assert ["_id", "data", "timestamp", "status"] == columns[:4]


def test_impossible_row_is_an_error(database: Database) -> None:
    """Only a live poll makes a put do nothing; a value that cannot be stored is told."""
    queue = JobQueue(database)
    with pytest.raises(sqlite3.IntegrityError):
        queue.put_poll(1, 1, REF, "s", b"{}", origin=Origin.POLL, run_at=float("nan"), now=NOW)
    assert 0 == queue.pending

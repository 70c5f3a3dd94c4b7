"""The queue as a table of SQLite, read by persist-queue too: what only this engine promises."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from persistqueue import SQLiteAckQueue
from persistqueue.serializers import json as json_serializer

from bg_charm_service.domain.model import CharmRef, Origin
from bg_charm_service.storage.data_directory import DATABASE_NAME
from bg_charm_service.storage.records import Claim, NewJob
from bg_charm_service.storage.sql.job_queue import sql as rows
from bg_charm_service.storage.sqlite.database import Database
from bg_charm_service.storage.sqlite.job_queue import JobQueue

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


def plain(charm: int) -> NewJob:
    """Make a poll of a charm with an interval."""
    return NewJob(1, charm, REF, "bgUpdater", b"{}", NOW, next_due=NOW + 60, is_plain=True)


def test_plain_polls_pass_the_queue_many_to_a_row(database: Database) -> None:
    """A stock count has none while they wait, one row while they are out, and it done at the end.

    What is to be tried again is a row of its own, under the id that it had.
    """
    queue = JobQueue(database)
    with database.transaction():
        queue.put_polls([plain(charm) for charm in (1, 2, 3)], now=NOW)
    assert (3, 0) == (queue.pending, queue.claimed)
    assert (0, 0, 0) == (queue.ready_count(), queue.unack_count(), queue.acked_count())
    with database.transaction():
        first, second, third = queue.claim(1, 5, NOW)
    assert (0, 3) == (queue.pending, queue.claimed)
    assert (0, 1, 0) == (queue.ready_count(), queue.unack_count(), queue.acked_count())
    with database.transaction():
        queue.ack_all([first, second])
    assert (0, 1, 0) == (queue.ready_count(), queue.unack_count(), queue.acked_count())
    with database.transaction():
        assert queue.retry(third, NOW + 9)
    assert (1, 0, 1) == (queue.ready_count(), queue.unack_count(), queue.acked_count())
    found = queue.find(third.job.job_id)
    assert found is not None
    assert (third.job.run_id, 2) == (f"{found.job.job_id}.1", found.job.attempt)


def test_what_is_said_of_a_poll_that_is_out_survives_a_kill(
    database: Database, tmp_path: Path
) -> None:
    """Its charm is disabled, or is due at another time: the next life of the service knows."""
    queue = JobQueue(database)
    with database.transaction():
        database.execute("INSERT INTO spaces VALUES (1, 'did:key:space', '', 1)")
        database.execute("INSERT INTO sources VALUES ('hash', '')")
        for charm in (1, 2, 3):
            database.execute(
                "INSERT INTO charms VALUES (?1, 1, 'did:key:space', ?1, ?1, 'x.py', 'hash', '{}',"
                " 'X', 'bgUpdater', 1, 1, NULL)",
                (charm,),
            )
            database.execute("INSERT INTO health (charm_key, due_at) VALUES (?, ?)", (charm, NOW))
        queue.put_polls([plain(charm) for charm in (1, 2, 3)], now=NOW)
        queue.claim(1, 5, NOW)
    with database.transaction():
        queue.hold(1)
        database.execute("UPDATE health SET due_at = NULL WHERE charm_key = 1")
        queue.write_out(2)
        database.execute("UPDATE health SET due_at = ? WHERE charm_key = 2", (NOW + 5,))
    database.close()
    again = Database.open(tmp_path / DATABASE_NAME)
    queue = JobQueue(again)
    claims = queue.claimed_jobs()
    assert [1, 2, 3] == [claim.charm_key for claim in claims]
    with again.transaction():
        assert all(queue.rescue(claim, NOW + 1) for claim in claims)
    assert [2, 3] == [job.charm_key for job in queue.page(0, 9)]
    due = again.rows("SELECT due_at FROM health ORDER BY charm_key")
    again.close()
    assert [(None,), (NOW + 5,), (NOW + 60,)] == due


def test_what_was_undone_is_not_remembered(database: Database) -> None:
    """Plain polls are put, handed out and ended with their transaction, or not at all."""
    queue = JobQueue(database)

    class Undone(Exception):
        pass

    with suppress(Undone), database.transaction():
        queue.put_polls([plain(1)], now=NOW)
        queue.claim(1, 1, NOW)
        raise Undone
    assert (0, 0, set()) == (queue.pending, queue.claimed, queue.live_polls([1]))
    with database.transaction():
        queue.put_polls([plain(charm) for charm in (1, 2)], now=NOW)
    with suppress(Undone), database.transaction():
        queue.claim(1, 1, NOW)
        raise Undone
    with database.transaction():
        first, second = queue.claim(1, 2, NOW)
        with suppress(Undone), database.savepoint():
            queue.ack_all([first, second])
            raise Undone
        assert queue.holds(first.job)
    assert [1, 2] == [first.charm_key, second.charm_key]
    assert {1, 2} == queue.live_polls([1, 2])
    assert queue.ack(second)
    assert not queue.ack(second)
    assert {1} == queue.live_polls([1, 2])


def test_ids_of_plain_polls_are_given_once(database: Database) -> None:
    """Jobs with rows, plain polls and batches take their ids from one sequence."""
    queue = JobQueue(database)
    poll(queue, 1)
    with database.transaction():
        queue.put_polls([plain(charm) for charm in (2, 3)], now=NOW)
    poll(queue, 4)
    ids = [job.job_id for job in queue.page(0, 9)]
    assert sorted(set(ids)) == ids
    assert [1, 2, 3, 4] == [job.charm_key for job in queue.page(0, 9)]
    with database.transaction():
        claims = queue.claim(1, 9, NOW)
    assert ids == [claim.job.job_id for claim in claims]
    assert ids == [claim.job.job_id for claim in queue.claimed_jobs()]


def run_alone(database: Database, queue: JobQueue, charm: int = 1) -> int:
    """Let a plain poll be put and handed out in one commit, and end in another; gives its id."""
    with database.transaction():
        queue.put_polls([plain(charm)], now=NOW)
        (claim,) = queue.claim(1, 1, NOW)
    with database.transaction():
        queue.ack_all([claim])
    return claim.job.job_id


def test_ids_go_on_after_a_stop_and_a_kill(database: Database, tmp_path: Path) -> None:
    """None is given twice, also where what gave it was undone; a stop leaves none out."""
    queue = JobQueue(database)
    ids = [run_alone(database, queue) for _ in range(3)]
    queue.close()
    queue = JobQueue(database)
    ids += [run_alone(database, queue)]
    assert [1, 3, 5, 7] == ids
    database.close()
    again = Database.open(tmp_path / DATABASE_NAME)
    queue = JobQueue(again)
    with suppress(ZeroDivisionError), again.transaction():
        queue.put_polls([plain(charm) for charm in range(100)], now=NOW)
        raise ZeroDivisionError
    ids += [run_alone(again, queue) for _ in range(100)]
    again.close()
    assert sorted(set(ids)) == ids


def test_a_lone_poll_writes_two_pages_at_a_time(database: Database, tmp_path: Path) -> None:
    """The row of its batch, and the number of the commit: no index, and no row of another poll."""
    queue = JobQueue(database)
    for _ in range(500):
        run_alone(database, queue)
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    polls = 40
    for _ in range(polls):
        run_alone(database, queue)
    frame_bytes = 4096 + 24
    written = (tmp_path / f"{DATABASE_NAME}-wal").stat().st_size // frame_bytes
    # Now and then ids are reserved, and rows of batches that are over deleted.
    assert 4 * polls <= written <= 4 * polls + 10


def test_rows_of_old_batches_go(database: Database, tmp_path: Path) -> None:
    """Some hundred are kept, also of those that were over before the service began."""
    queue = JobQueue(database)
    for _ in range(150):
        run_alone(database, queue)
    database.close()
    again = Database.open(tmp_path / DATABASE_NAME)
    queue = JobQueue(again)
    for _ in range(150):
        run_alone(again, queue)
    (kept,) = again.row("SELECT count(*) FROM ack_queue_jobs WHERE origin = 'batch'")
    again.close()
    assert 100 <= kept <= 201


def test_rows_of_batches_that_end_together_go(database: Database) -> None:
    """Also where many end in one transaction, and where that is undone first."""
    queue = JobQueue(database)
    for _ in range(199):
        run_alone(database, queue)
    claims: list[Claim] = []
    for charm in range(30):
        with database.transaction():
            queue.put_polls([plain(charm)], now=NOW)
            claims += queue.claim(1, 1, NOW)
    for is_undone in (True, False):
        with suppress(ZeroDivisionError), database.transaction():
            for claim in claims:
                queue.ack_all([claim])
            if is_undone:
                raise ZeroDivisionError
    for _ in range(400):
        run_alone(database, queue)
    (kept,) = database.row("SELECT count(*) FROM ack_queue_jobs WHERE origin = 'batch'")
    assert 100 <= kept <= 201


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


#: Indexes of few rows, the names of integrations, and lists that are given.
SHORT = re.compile("jobs_done|jobs_suspect|SCAN found$|CONSTANT ROW|SCAN json_each")

#: Statement -> the index that it must go through.
HOT = {
    rows.FIND_READY: "jobs_ready (space_key=?)",
    rows.FIND_READY_OF: "jobs_of_integration (space_key=? AND integration=?)",
    rows.FIND_READY_BUT: "jobs_ready (space_key=?)",
    rows.DROP_SOME_POLLS: "jobs_ready (space_key=?)",
    **dict.fromkeys(rows.LIST_OF_CHARM[:2], "jobs_live (charm_key=? AND status=? AND rowid>?)"),
    rows.LIST_OF_CHARM[2]: "jobs_done (_id>?)",
    rows.LIST_OF_CHARM[3]: "jobs_dead (charm_key=? AND rowid>?)",
    rows.LIST_ALL: "PRIMARY KEY (rowid>?)",
    rows.HAS_FIRST: "PRIMARY KEY (rowid=?)",
    rows.DROP_SOME: "PRIMARY KEY (rowid=?)",
    rows.RELEASE_FIRST: "PRIMARY KEY (rowid=?)",
    rows.READY_INTEGRATIONS: "jobs_of_integration (space_key=? AND integration>?)",
    rows.FIND_SUSPECTS: "jobs_suspect",
    rows.FIND_POLL: "jobs_unique (unique_key=?)",
    rows.FIND_SEND: "jobs_live (charm_key=?",
    rows.FIND_WAITING: "PRIMARY KEY (rowid=?)",
    rows.FIND_DEAD_OF: "jobs_dead (charm_key=?",
    rows.COUNT_DEAD_SENDS: "jobs_dead (charm_key=?",
    rows.PUT_OFF: "jobs_live (charm_key=? AND status=?)",
    rows.BRING_ON: "jobs_live (charm_key=? AND status=?)",
    rows.HOLD_POLL: "jobs_live (charm_key=? AND status=?)",
    rows.COUNT_LIVE: "jobs_live (charm_key=?",
    rows.END_BATCH: "PRIMARY KEY (rowid=?)",
    rows.END_POLL: "PRIMARY KEY (rowid=?)",
    rows.MOVE_DUE: "PRIMARY KEY (rowid=?)",
    rows.HOLDS: "PRIMARY KEY (rowid=?)",
    rows.FIND: "PRIMARY KEY (rowid=?)",
    rows.CLAIM: "PRIMARY KEY (rowid=?)",
    rows.SETTLE: "PRIMARY KEY (rowid=?)",
    rows.PUT_BACK: "PRIMARY KEY (rowid=?)",
    rows.DROP_HELD_POLL: "PRIMARY KEY (rowid=?)",
    rows.RELEASE_NEXT_SEND: "PRIMARY KEY (rowid=?)",
    rows.DROP_DEAD_POLL: "jobs_dead (charm_key=?",
    rows.DROP_ALL_DEAD: "jobs_dead (charm_key=?",
    rows.DROP_OLD_DONE: "jobs_done (_id<?)",
    rows.DROP_POLL: "jobs_live (charm_key=? AND status=?)",
    rows.DROP_WAITING: "jobs_live (charm_key=? AND status=?)",
    rows.HOLD: "jobs_live (charm_key=?",
    rows.HOLD_DEAD: "jobs_dead (charm_key=?",
    rows.UNHOLD: "jobs_live (charm_key=?",
    rows.UNHOLD_DEAD: "jobs_dead (charm_key=?",
    rows.REQUEUE: "PRIMARY KEY (rowid=?)",
}


@pytest.mark.parametrize("statement", HOT, ids=lambda sql: " ".join(sql.split())[:60])
def test_hot_statements_use_their_index(database: Database, statement: str) -> None:
    """However long the queue, no step reads all of it, sorts it, or scans for a charm's jobs."""
    values: tuple[object, ...] | dict[str, object] = (
        {
            "charm": 1,
            "settled": 1,
            "until": 1,
            "was": 1,
            "dead": 1,
            "new": 9,
            "now": NOW,
            "is_noted": True,
            "space": 1,
            "after": 0,
            "limit": 1,
            "is_whole": False,
            "without": "[]",
            "paused": "[]",
        }
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

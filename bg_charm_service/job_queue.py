"""The durable job queue: persist-queue's SQLiteAckQueue on the service's own connection.

Adds what stock persist-queue lacks: priority, `run_at`, attempts, unique polls, claims in
batches with fencing, order of sends, dead letters. The only importer of persistqueue.
Every method joins the transaction around it; none commits by itself. Used by the supervisor and the commands.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from persistqueue.serializers import json as json_serializer
from persistqueue.sqlackqueue import AckStatus, SQLiteAckQueue

from bg_charm_service.database import Database
from bg_charm_service.model import CharmRef, Job, Origin, Priority

READY = int(AckStatus.ready)
CLAIMED = int(AckStatus.unack)
DONE = int(AckStatus.acked)
DEAD = int(AckStatus.ack_failed)

#: So many of the newest finished rows are kept.
KEEP_DONE = 1000

#: A job handed out this often by supervisors that then died is a suspect, and run alone.
SUSPECT_DELIVERIES = 3

_COLUMNS = "_id, data, timestamp, origin, priority, run_at, attempt, deliveries, fence, space_key, charm_key"

# A charm never overlaps itself: a row is passed over while another of its charm is claimed.
_SELECT_READY = f"""
    SELECT {_COLUMNS} FROM ack_queue_jobs AS job INDEXED BY jobs_ready
    WHERE space_key = ? AND status = {READY} AND is_held = 0 AND run_at <= ? AND deliveries < ?
      AND NOT EXISTS (
        SELECT 1 FROM ack_queue_jobs AS live
        WHERE live.charm_key = job.charm_key AND live.status = {CLAIMED})
    ORDER BY priority DESC, _id LIMIT ?"""
_SELECT_JOB = f"SELECT {_COLUMNS} FROM ack_queue_jobs WHERE _id = ?"
_MARK_CLAIMED = f"""
    UPDATE ack_queue_jobs SET status = {CLAIMED}, fence = fence + 1, deliveries = deliveries + 1
    WHERE _id = ? AND status = {READY}"""
_SETTLE = f"UPDATE ack_queue_jobs SET status = ? WHERE _id = ? AND status = {CLAIMED} AND fence = ?"
_INSERT = f"""
    INSERT OR IGNORE INTO ack_queue_jobs
      (data, timestamp, status, space_key, charm_key, origin, priority, run_at, is_held, unique_key)
    VALUES (?, ?, {READY}, ?, ?, ?, {Priority.EXECUTE_CHARM:d}, ?, ?, ?)"""


@dataclass(frozen=True, slots=True)
class Claim:
    """A job taken for one worker; `fence` in the job proves that it is the newest claim."""

    job: Job
    space_key: int
    charm_key: int


class JobQueue(SQLiteAckQueue):  # type: ignore[misc]
    """Jobs of all charms, claimed space by space."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._done: deque[int] = deque()
        #: Spaces that may have a job ready; a superset, kept by hints.
        self._hot: set[int] = set()
        #: (run_at, space_key) of jobs that wait for their time.
        self._delayed: list[tuple[float, int]] = []
        self.pending = 0
        self.claimed = 0
        self.dead = 0
        super().__init__(path=".", auto_resume=False, name="jobs", serializer=json_serializer)
        self._load_hints()

    # The stock class would open, commit and close a connection of its own.
    def _init(self) -> None:
        self._conn = self._getter = self._putter = self._database.connection
        self.tran_lock = _NoLock()
        self.action_lock = _NoLock()
        self.put_event = _NoEvent()
        self.total = 0

    def close(self) -> None:
        """Leave the connection to the database, which owns it."""

    def __del__(self) -> None:
        """Leave the connection to the database, which owns it."""

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise TypeError("stock queue operations commit by themselves; use claim, ack, retry, bury")

    get = nack = ack_failed = update = clear_acked_data = resume_unack_tasks = _refuse

    @property
    def size(self) -> int:
        """Jobs that wait."""
        return self.pending

    def put_poll(
        self,
        space_key: int,
        charm_key: int,
        ref: CharmRef,
        stream: str,
        event: bytes,
        *,
        origin: Origin,
        run_at: float,
        now: float,
    ) -> int | None:
        """Queue a poll; None when the charm has a live one already, which is left alone."""
        return self._insert(
            space_key, charm_key, ref, stream, event, origin, run_at, now, charm_key
        )

    def put_send(
        self,
        space_key: int,
        charm_key: int,
        ref: CharmRef,
        stream: str,
        event: bytes,
        *,
        run_at: float,
        now: float,
        is_held: bool,
    ) -> int:
        """Queue an event behind the charm's earlier ones; `is_held` keeps it from running."""
        behind = (
            is_held
            or self._database.row(
                "SELECT 1 FROM ack_queue_jobs WHERE charm_key = ? AND status IN (1, 2) AND origin = 'send'",
                (charm_key,),
            )
            is not None
        )
        job_id = self._insert(
            space_key, charm_key, ref, stream, event, Origin.SEND, run_at, now, None, held=behind
        )
        assert job_id is not None
        return job_id

    def claim(self, space_key: int, limit: int, now: float) -> list[Claim]:
        """Take up to `limit` ready jobs of a space, one a charm: by priority, then age."""
        rows = self._database.rows(_SELECT_READY, (space_key, now, SUSPECT_DELIVERIES, limit * 2))
        if len(rows) < limit * 2:
            self._database.after_commit(lambda: self._cool(space_key, now))
        taken: dict[int, Any] = {}
        for row in rows:
            if len(taken) < limit:
                taken.setdefault(row[10], row)
        return self._claim_rows(list(taken.values()))

    def claim_suspect(self, now: float) -> Claim | None:
        """Take one job that several supervisors died with; it is to run alone."""
        row = self._database.row(
            f"""SELECT {_COLUMNS} FROM ack_queue_jobs WHERE status = {READY} AND is_held = 0
            AND deliveries >= ? AND run_at <= ? ORDER BY _id LIMIT 1""",
            (SUSPECT_DELIVERIES, now),
        )
        claims = self._claim_rows([row] if row else [])
        return claims[0] if claims else None

    def holds(self, job: Job) -> bool:
        """Whether a job's claim is still the newest one; a late answer is refused by this."""
        return (
            self._database.row(
                f"SELECT 1 FROM ack_queue_jobs WHERE _id = ? AND status = {CLAIMED} AND fence = ?",
                (job.job_id, job.fence),
            )
            is not None
        )

    def ack(self, claim: Claim) -> bool:  # type: ignore[override]
        """End a claim as done; False when it is not the newest, and nothing was changed."""
        if not self._settle(DONE, claim):
            return False
        self._release_next_send(claim)
        self._database.after_commit(lambda: self._done.append(claim.job.job_id))
        if len(self._done) > KEEP_DONE:
            surplus = [self._done[i] for i in range(len(self._done) - KEEP_DONE)]
            self._database.executemany(
                f"DELETE FROM ack_queue_jobs WHERE _id = ? AND status = {DONE}",
                [(job_id,) for job_id in surplus],
            )
            self._database.after_commit(lambda: self._forget(len(surplus)))
        return True

    def retry(self, claim: Claim, run_at: float) -> bool:
        """End a claim and let the job run again at `run_at`, as its next attempt."""
        return self._put_back(claim, run_at, "attempt = attempt + 1, deliveries = 0")

    def release(self, claim: Claim, run_at: float) -> bool:
        """Give a job back unharmed: same attempt, and this delivery does not count."""
        return self._put_back(claim, run_at, "deliveries = deliveries - 1")

    def bury(self, claim: Claim) -> bool:
        """End a claim as a dead letter: the newest of its charm replaces an older one."""
        self.drop_dead_letter(claim.charm_key)
        if not self._settle(DEAD, claim):
            return False
        self._release_next_send(claim)
        self._database.after_commit(lambda: self._count(dead=1))
        return True

    def drop_dead_letter(self, charm_key: int) -> None:
        """Forget a charm's dead letter, as a later success does."""
        cursor = self._database.execute(
            f"DELETE FROM ack_queue_jobs WHERE charm_key = ? AND status = {DEAD}", (charm_key,)
        )
        if gone := cursor.rowcount:
            self._database.after_commit(lambda: self._count(dead=-gone))

    def requeue(self, charm_key: int, now: float) -> int | None:
        """Bring a charm's dead letter back as a first attempt; None without one, or with a live poll."""
        row = self._database.row(
            f"SELECT _id, space_key FROM ack_queue_jobs WHERE charm_key = ? AND status = {DEAD}",
            (charm_key,),
        )
        if row is None:
            return None
        job_id, space_key = row
        try:
            self._database.execute(
                f"UPDATE ack_queue_jobs SET status = {READY}, attempt = 1, deliveries = 0, run_at = ?"
                " WHERE _id = ?",
                (now, job_id),
            )
        except sqlite3.IntegrityError:
            return None
        self._database.after_commit(lambda: self._count(pending=1, dead=-1))
        self._hint(space_key, now)
        return int(job_id)

    def hasten(self, charm_key: int, now: float) -> int | None:
        """Let a charm's waiting poll run now; gives the live poll's job id, None without one."""
        row = self._database.row(
            "SELECT _id, status, space_key FROM ack_queue_jobs"
            " WHERE unique_key = ? AND status IN (1, 2)",
            (charm_key,),
        )
        if row is None:
            return None
        if row[1] == READY:
            self._database.execute(
                "UPDATE ack_queue_jobs SET run_at = min(run_at, ?) WHERE _id = ?", (now, row[0])
            )
            self._hint(row[2], now)
        return int(row[0])

    def hold(self, charm_key: int) -> None:
        """Take a charm's waiting poll out and keep its sends from running."""
        cursor = self._database.execute(
            f"DELETE FROM ack_queue_jobs WHERE charm_key = ? AND status = {READY} AND origin = 'poll'",
            (charm_key,),
        )
        if gone := cursor.rowcount:
            self._database.after_commit(lambda: self._count(pending=-gone))
        self._database.execute(
            f"UPDATE ack_queue_jobs SET is_held = 1 WHERE charm_key = ? AND status = {READY}"
            " AND origin = 'send'",
            (charm_key,),
        )

    def unhold(self, space_key: int, charm_key: int, now: float) -> None:
        """Let a charm's first waiting send run, unless one of them is running."""
        self._database.execute(
            f"""UPDATE ack_queue_jobs SET is_held = 0 WHERE _id = (
                SELECT min(_id) FROM ack_queue_jobs
                WHERE charm_key = ?1 AND status IN (1, 2) AND origin = 'send')
            AND status = {READY}""",
            (charm_key,),
        )
        self._hint(space_key, now)

    def discard(self, charm_key: int) -> None:
        """Delete every job of a removed charm that is not claimed, dead letters too."""
        self.drop_dead_letter(charm_key)
        cursor = self._database.execute(
            f"DELETE FROM ack_queue_jobs WHERE charm_key = ? AND status = {READY}", (charm_key,)
        )
        if gone := cursor.rowcount:
            self._database.after_commit(lambda: self._count(pending=-gone))

    def claimed_jobs(self) -> list[Claim]:
        """Jobs that were claimed when the last supervisor died, for it to rescue."""
        rows = self._database.rows(
            f"SELECT {_COLUMNS} FROM ack_queue_jobs INDEXED BY jobs_claimed WHERE status = {CLAIMED}"
        )
        return [Claim(_job(row), row[9], row[10]) for row in rows]

    def rescue(self, claim: Claim, run_at: float) -> bool:
        """Give a dead supervisor's job back to the queue; the delivery stays counted."""
        return self._put_back(claim, run_at, "deliveries = deliveries")

    def bring_near(self, latest: float) -> None:
        """Let no job wait beyond `latest`: after the clock was set back."""
        self._database.execute(
            f"UPDATE ack_queue_jobs SET run_at = ?1 WHERE status = {READY} AND run_at > ?1",
            (latest,),
        )
        self._load_hints()

    def hot_spaces(self, now: float) -> set[int]:
        """Spaces that may have a job ready now."""
        while self._delayed and self._delayed[0][0] <= now:
            self._hot.add(heapq.heappop(self._delayed)[1])
        return self._hot

    def next_run_at(self) -> float | None:
        """When the next waiting job's time comes; None when none waits."""
        return self._delayed[0][0] if self._delayed else None

    def find(self, job_id: int) -> Claim | None:
        """Look a job up by its id, whatever its status."""
        row = self._database.row(_SELECT_JOB, (job_id,))
        return Claim(_job(row), row[9], row[10]) if row else None

    def dead_letters(self, after: int = 0, limit: int = 100) -> list[Claim]:
        """The dead letters of all charms, oldest first, from behind job id `after`."""
        rows = self._database.rows(
            f"SELECT {_COLUMNS} FROM ack_queue_jobs WHERE status = {DEAD} AND _id > ? ORDER BY _id LIMIT ?",
            (after, limit),
        )
        return [Claim(_job(row), row[9], row[10]) for row in rows]

    def waiting(self, charm_key: int) -> int:
        """How many jobs of a charm wait or run."""
        (count,) = self._database.row(
            "SELECT count(*) FROM ack_queue_jobs WHERE charm_key = ? AND status IN (1, 2)",
            (charm_key,),
        )
        return int(count)

    def _insert(
        self,
        space_key: int,
        charm_key: int,
        ref: CharmRef,
        stream: str,
        event: bytes,
        origin: Origin,
        run_at: float,
        now: float,
        unique_key: int | None,
        *,
        held: bool = False,
    ) -> int | None:
        data = self._serializer.dumps(
            {"space": ref.space, "charm": ref.charm_id, "stream": stream, "event": event.decode()}
        )
        cursor = self._database.execute(
            _INSERT, (data, now, space_key, charm_key, origin.value, run_at, held, unique_key)
        )
        if cursor.rowcount == 0:
            return None
        self._database.after_commit(lambda: self._count(pending=1))
        self._hint(space_key, run_at)
        return cursor.lastrowid

    def _claim_rows(self, rows: Iterable[Any]) -> list[Claim]:
        rows = list(rows)
        self._database.executemany(_MARK_CLAIMED, [(row[0],) for row in rows])
        if rows:
            self._database.after_commit(lambda: self._count(pending=-len(rows), claimed=len(rows)))
        return [Claim(_job(row, claimed=1), row[9], row[10]) for row in rows]

    def _settle(self, status: int, claim: Claim) -> bool:
        cursor = self._database.execute(_SETTLE, (status, claim.job.job_id, claim.job.fence))
        if cursor.rowcount == 0:
            return False
        self._hint(claim.space_key, 0.0)
        self._database.after_commit(lambda: self._count(claimed=-1))
        return True

    def _put_back(self, claim: Claim, run_at: float, changes: str) -> bool:
        cursor = self._database.execute(
            f"UPDATE ack_queue_jobs SET status = {READY}, run_at = ?, {changes}"
            f" WHERE _id = ? AND status = {CLAIMED} AND fence = ?",
            (run_at, claim.job.job_id, claim.job.fence),
        )
        if cursor.rowcount == 0:
            return False
        self._hint(claim.space_key, run_at)
        self._hint(claim.space_key, 0.0)
        self._database.after_commit(lambda: self._count(pending=1, claimed=-1))
        return True

    def _release_next_send(self, claim: Claim) -> None:
        if claim.job.origin is Origin.SEND:
            self.unhold(claim.space_key, claim.charm_key, 0.0)

    def _hint(self, space_key: int, run_at: float) -> None:
        # A hint too many costs one look; one too few would leave a job lying.
        self._database.after_commit(lambda: heapq.heappush(self._delayed, (run_at, space_key)))

    def _cool(self, space_key: int, now: float) -> None:
        # Hints pushed since the look are in `_delayed`, so none is lost here.
        self._hot.discard(space_key)

    def _count(self, pending: int = 0, claimed: int = 0, dead: int = 0) -> None:
        self.pending += pending
        self.claimed += claimed
        self.dead += dead

    def _forget(self, count: int) -> None:
        for _ in range(count):
            self._done.popleft()

    def _load_hints(self) -> None:
        counted = dict(
            self._database.rows("SELECT status, count(*) FROM ack_queue_jobs GROUP BY status")
        )
        self.pending, self.claimed = counted.get(READY, 0), counted.get(CLAIMED, 0)
        self.dead = counted.get(DEAD, 0)
        rows = self._database.rows(
            f"SELECT DISTINCT run_at, space_key FROM ack_queue_jobs WHERE status = {READY}"
        )
        self._delayed = sorted((row[0], row[1]) for row in rows)
        self._done = deque(
            row[0]
            for row in self._database.rows(
                f"SELECT _id FROM ack_queue_jobs WHERE status = {DONE} ORDER BY _id"
            )
        )


class _NoLock:
    """Stands for the stock class's locks: one thread owns the connection."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


class _NoEvent:
    """Stands for the stock class's put event: nobody waits in a blocking get."""

    def set(self) -> None:
        return None


def _job(row: Any, claimed: int = 0) -> Job:
    data = json_serializer.loads(row[1])
    return Job(
        job_id=row[0],
        ref=CharmRef(data["space"], data["charm"]),
        stream=data["stream"],
        event=data["event"].encode(),
        origin=Origin(row[3]),
        priority=row[4],
        run_at=row[5],
        attempt=row[6],
        deliveries=row[7] + claimed,
        fence=row[8] + claimed,
        created_at=row[2],
    )

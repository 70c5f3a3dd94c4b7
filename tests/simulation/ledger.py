"""Follows every job and every run through the database, by triggers of its own connection.

Writes down what each transaction did to the queue and to the history, in the same transaction, and
holds the rules that a single look at the tables cannot show: each job's way from put to end.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from bg_charm_service.domain.backoff import MAX_DELAY_SECONDS
from tests.simulation.disk import FaultyConnection

READY, CLAIMED, DONE, DEAD = 1, 2, 5, 9

_TRIGGERS = """
CREATE TEMP TABLE ledger (
    seq INTEGER PRIMARY KEY, what TEXT, job INTEGER, charm INTEGER, a, b, c, d, e, f, g
);
CREATE TEMP TRIGGER job_put AFTER INSERT ON main.ack_queue_jobs BEGIN
    INSERT INTO ledger (what, job, charm, a, b, c) VALUES ('put', NEW._id, NEW.charm_key,
        NEW.origin, NEW.data,
        (SELECT disabled_by FROM main.health WHERE charm_key = NEW.charm_key));
END;
CREATE TEMP TRIGGER job_moved AFTER UPDATE ON main.ack_queue_jobs
    WHEN OLD.status <> NEW.status OR OLD.attempt <> NEW.attempt BEGIN
    INSERT INTO ledger (what, job, charm, a, b, c, d, e, f, g) VALUES ('move', NEW._id,
        NEW.charm_key, OLD.status, NEW.status, OLD.attempt, NEW.attempt,
        (SELECT disabled_by FROM main.health WHERE charm_key = NEW.charm_key),
        NEW.attempt = OLD.attempt AND NEW.deliveries = OLD.deliveries, NEW.run_at);
END;
CREATE TEMP TRIGGER job_hastened AFTER UPDATE ON main.ack_queue_jobs
    WHEN OLD.status = 1 AND NEW.status = 1 AND NEW.run_at < OLD.run_at BEGIN
    INSERT INTO ledger (what, job, charm, a, b) VALUES ('hastened', NEW._id, NEW.charm_key,
        OLD.run_at, NEW.attempt);
END;
CREATE TEMP TRIGGER job_gone AFTER DELETE ON main.ack_queue_jobs BEGIN
    INSERT INTO ledger (what, job, charm, a, b, c) VALUES ('gone', OLD._id, OLD.charm_key,
        OLD.status, OLD.is_held,
        EXISTS (SELECT 1 FROM main.charms WHERE charm_key = OLD.charm_key AND removed_at IS NULL));
END;
CREATE TEMP TRIGGER run_added AFTER INSERT ON main.runs BEGIN
    INSERT INTO ledger (what, job, charm, a, b, c, d) VALUES ('run', NEW.job_id,
        NEW.run_key >> 32, NEW.attempt, NEW.status, NEW.cause, NEW.error);
END;
"""


@dataclass(slots=True)
class JobTrace:
    """One job's way so far."""

    job_id: int
    charm_key: int
    origin: str
    payload: str
    was_put_while_disabled: bool
    status: int = READY
    attempt: int = 1
    #: How often this attempt was claimed.
    claims: int = 0
    #: The life of the service in which it was claimed last.
    claimed_in: int = 0
    #: Attempts that have their one final record.
    recorded: set[int] = field(default_factory=set)
    is_gone: bool = False


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """One row of the history, as it was written."""

    job_id: int
    charm_key: int
    attempt: int
    status: str
    cause: str | None
    error: str
    #: How often this attempt had been claimed by then.
    claims: int

    @property
    def run_id(self) -> str:
        """The attempt's name."""
        return f"{self.job_id}.{self.attempt}"


class Ledger:
    """All jobs of a simulation."""

    def __init__(self) -> None:
        self.jobs: dict[int, JobTrace] = {}
        self.live: dict[int, set[int]] = {}
        self.claimed: dict[int, int] = {}
        #: How often an event was queued, by its payload; that of a dead letter may come again.
        self.by_payload: Counter[str] = Counter()
        self.dead_again: Counter[str] = Counter()
        self.runs = 0
        #: The number of the service's life.
        self.life = 0
        #: Runs that were given back in the life that claimed them, and count as begun.
        self.delivered: list[str] = []
        self.problems: list[str] = []
        #: Called when a job is to be tried again, where somebody wants to know.
        self.on_retry: Callable[[], None] | None = None
        self._last_done_send: dict[int, int] = {}

    def attach(self, connection: FaultyConnection) -> None:
        """Follow what this connection does."""
        connection.executescript(_TRIGGERS)

    def read(
        self, connection: FaultyConnection, steady: float, *, is_start: bool = False
    ) -> list[RecordedRun]:
        """Take over what was committed since the last time; gives the runs that were recorded.

        `steady` is what the clock of this life shows now. What a start did nobody has asked for.
        """
        rows = connection.bare("SELECT * FROM ledger ORDER BY seq").fetchall()
        if not rows:
            return []
        connection.bare("DELETE FROM ledger")
        moved: list[tuple[JobTrace, int]] = []
        runs: list[RecordedRun] = []
        for _, what, job_id, charm_key, *details in rows:
            if what == "put":
                self._put(job_id, charm_key, *details[:3])
            elif what == "move":
                ended = self._move(self.jobs[job_id], *details[:6])
                old, new, *_, run_at = details
                self._check_time(self.jobs[job_id], old, new, run_at, steady)
                if ended is not None:
                    moved.append((self.jobs[job_id], ended))
            elif what == "hastened":
                if is_start:
                    run_at, attempt, *_ = details
                    self._check_delay(self.jobs[job_id], run_at, attempt, steady)
            elif what == "gone":
                self._remove(self.jobs[job_id], *details[:3])
            else:
                runs.append(self._record(job_id, charm_key, *details[:4]))
        self._check_ends(moved)
        self.runs += len(runs)
        return runs

    def _put(
        self, job_id: int, charm_key: int, origin: str, data: bytes, disabled_by: str | None
    ) -> None:
        event = json.loads(json.loads(data)["event"])
        payload = str(event.get("n", ""))
        trace = JobTrace(job_id, charm_key, origin, payload, disabled_by is not None)
        self.jobs[job_id] = trace
        live = self.live.setdefault(charm_key, set())
        if origin != "send" and any(self.jobs[other].origin != "send" for other in live):
            self._tell(f"charm {charm_key} has a second live poll, job {job_id}")
        live.add(job_id)
        if payload:
            self.by_payload[payload] += 1

    def _move(
        self,
        job: JobTrace,
        old: int,
        new: int,
        was: int,
        attempt: int,
        disabled_by: str | None,
        is_delivered: int,
    ) -> int | None:
        """Follow a job; gives the attempt that has to have its record by this, if one has."""
        name = f"job {job.job_id} of charm {job.charm_key}"
        if (old, was) != (job.status, job.attempt):
            self._tell(f"{name} moved from {old}/{was}, last seen as {job.status}/{job.attempt}")
        if attempt != was:
            job.claims = 0
        job.status, job.attempt = new, attempt
        if (old, new) == (READY, CLAIMED):
            self._claim(job, disabled_by)
            return None
        if old != CLAIMED or new not in (READY, DONE, DEAD):
            self._tell(f"{name} went from status {old} to {new}")
            return None
        self._free(job)
        if new == READY:
            if is_delivered and job.claimed_in == self.life:
                self.delivered.append(f"{job.job_id}.{attempt}")
            if attempt != was + 1:
                return None
            if self.on_retry is not None:
                self.on_retry()
            return was
        self.live[job.charm_key].discard(job.job_id)
        return was

    def _check_time(self, job: JobTrace, old: int, new: int, run_at: float, steady: float) -> None:
        """A job is not claimed before its time."""
        if (old, new) == (READY, CLAIMED) and run_at > steady:
            self._tell(f"job {job.job_id} was claimed {run_at - steady:.1f} s before its time")

    def _check_delay(self, job: JobTrace, run_at: float, attempt: int, steady: float) -> None:
        """A start only brings near what a clock that was wrong has put too far away."""
        if attempt > 1 and run_at <= steady + MAX_DELAY_SECONDS:
            wait = run_at - steady
            self._tell(f"job {job.job_id}, a retry, lost its delay of {wait:.1f} s at a start")

    def _claim(self, job: JobTrace, disabled_by: str | None) -> None:
        name = f"job {job.job_id} of charm {job.charm_key}"
        other = self.claimed.get(job.charm_key)
        if other is not None:
            self._tell(f"{name} was claimed while job {other} of that charm is")
        self.claimed[job.charm_key] = job.job_id
        job.claimed_in = self.life
        job.claims += 1
        if disabled_by and job.origin != "run_now" and not job.was_put_while_disabled:
            self._tell(f"{name}, a {job.origin}, was claimed while its charm is disabled")
        if job.origin == "send":
            live = self.live[job.charm_key]
            earlier = [n for n in live if n < job.job_id and self.jobs[n].origin == "send"]
            if earlier:
                self._tell(f"{name} overtook the earlier send {min(earlier)}")

    def _remove(self, job: JobTrace, status: int, is_held: int, charm_lives: int) -> None:
        name = f"job {job.job_id} of charm {job.charm_key}"
        job.is_gone = True
        if status in (DONE, DEAD):
            self.dead_again[job.payload] += status == DEAD
            return
        self.live[job.charm_key].discard(job.job_id)
        if job.origin == "send" and charm_lives:
            self._tell(f"{name}, a send, was deleted before it was done")
        if status == CLAIMED:
            self._free(job)
            if job.origin != "poll" or not is_held:
                self._tell(f"{name} was deleted while it was claimed")

    def _free(self, job: JobTrace) -> None:
        if self.claimed.get(job.charm_key) == job.job_id:
            del self.claimed[job.charm_key]

    def _record(
        self, job_id: int, charm_key: int, attempt: int, status: str, cause: str | None, error: str
    ) -> RecordedRun:
        job = self.jobs.get(job_id)
        claims = job.claims if job is not None else 0
        run = RecordedRun(job_id, charm_key, attempt, status, cause, error, claims)
        if job is None:
            self._tell(f"run {run.run_id} is of a job that was never put")
        elif run.status in ("success", "failure"):
            if run.attempt in job.recorded:
                self._tell(f"run {run.run_id} of charm {run.charm_key} ended a second time")
            job.recorded.add(run.attempt)
            if job.origin == "send" and run.status == "success":
                if run.job_id < self._last_done_send.get(job.charm_key, 0):
                    self._tell(f"send {run.job_id} of charm {run.charm_key} ran out of order")
                self._last_done_send[job.charm_key] = run.job_id
        elif run.status == "cancelled":
            job.recorded.add(run.attempt)
        return run

    def _check_ends(self, moved: list[tuple[JobTrace, int]]) -> None:
        for job, attempt in moved:
            if attempt not in job.recorded:
                self._tell(f"run {job.job_id}.{attempt} ended without a record")

    def _tell(self, problem: str) -> None:
        self.problems.append(problem)

"""Follows every job and every run through the database, by triggers of its own connection.

Writes down what each transaction did to the queue and to the history, in the same transaction, and
holds the rules that a single look at the tables cannot show: each job's way from put to end.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from bg_charm_service.domain.outcomes.backoff import MAX_DELAY_SECONDS
from bg_charm_service.domain.schedules.schedule import MISSED_AFTER_SECONDS, end_of_quiet, joined
from bg_charm_service.domain.schedules.words import NO_WORDS, Missed, ScheduleWords
from bg_charm_service.storage.sql.plain_polls import PlainPoll, PlainPolls
from tests.recorded_runs import runs_in_ring
from tests.simulation.disk import FaultyConnection

READY, CLAIMED, DONE, DEAD = 1, 2, 5, 9

#: How a run ends that is neither success nor failure: a poll is over, an event keeps its place.
_NEITHER = ("waiting", "down", "sign_in", "stopped")

_PAUSED = """EXISTS (SELECT 1 FROM main.pauses WHERE space_key IN (0, NEW.space_key)
        AND charm_key IN (0, NEW.charm_key))"""

#: What counts for a charm where its operator has said when it runs.
_SAID = """SELECT words, interval_seconds FROM charm_schedules JOIN health USING (charm_key)
    WHERE charm_key = ?"""

_TRIGGERS = f"""
CREATE TEMP TABLE ledger (
    seq INTEGER PRIMARY KEY, what TEXT, job INTEGER, charm INTEGER, a, b, c, d, e, f, g, h, i
);
CREATE TEMP TRIGGER poll_planned AFTER INSERT ON main.ack_queue_jobs
    WHEN NEW.origin = 'poll' AND NEW.scheduled_at IS NOT NULL BEGIN
    INSERT INTO ledger (what, job, charm, a, b, c, d) SELECT 'planned', NEW._id, NEW.charm_key,
        NEW.scheduled_at, NEW.timestamp, words,
        (SELECT interval_seconds FROM main.health WHERE charm_key = NEW.charm_key)
        FROM main.charm_schedules WHERE charm_key = NEW.charm_key AND NOT EXISTS (
            SELECT 1 FROM main.ack_queue_jobs WHERE charm_key = NEW.charm_key AND status = 9
            AND origin = 'poll' AND scheduled_at = NEW.scheduled_at);
END;
CREATE TEMP TRIGGER job_put AFTER INSERT ON main.ack_queue_jobs WHEN NEW.origin <> 'batch' BEGIN
    INSERT INTO ledger (what, job, charm, a, b, c, d, e, f, g, h) VALUES ('put', NEW._id,
        NEW.charm_key, NEW.origin, NEW.data,
        (SELECT disabled_by FROM main.health WHERE charm_key = NEW.charm_key), NEW.space_key,
        {_PAUSED}, NEW.status, NEW.attempt, NEW.deliveries);
END;
CREATE TEMP TRIGGER batch_out AFTER INSERT ON main.ack_queue_jobs WHEN NEW.origin = 'batch' BEGIN
    INSERT INTO ledger (what, job, charm, a, b, c, d, e, f)
        SELECT 'out', json_extract(poll.value, '$[0]'), health.charm_key, stream.key, disabled_by,
            NEW.space_key, {_PAUSED.replace("NEW.charm_key", "health.charm_key")},
            json_extract(poll.value, '$[2]'),
            (SELECT until FROM main.waits WHERE charm_key = health.charm_key
                AND kind IN ('wait', 'down'))
        FROM json_each(CAST(NEW.data AS TEXT)) AS stream, json_each(stream.value) AS poll
        JOIN main.health ON health.charm_key = json_extract(poll.value, '$[1]');
END;
CREATE TEMP TRIGGER poll_over AFTER UPDATE OF last_poll ON main.health
    WHEN OLD.last_poll <> NEW.last_poll BEGIN
    INSERT INTO ledger (what, job, charm, a) VALUES ('over', NEW.last_poll, NEW.charm_key,
        NEW.disabled_by);
END;
CREATE TEMP TRIGGER job_moved AFTER UPDATE ON main.ack_queue_jobs
    WHEN NEW.origin <> 'batch' AND (OLD.status <> NEW.status OR OLD.attempt <> NEW.attempt) BEGIN
    INSERT INTO ledger (what, job, charm, a, b, c, d, e, f, g, h, i) VALUES ('move', NEW._id,
        NEW.charm_key, OLD.status, NEW.status, OLD.attempt, NEW.attempt,
        (SELECT disabled_by FROM main.health WHERE charm_key = NEW.charm_key),
        NEW.attempt = OLD.attempt AND NEW.deliveries = OLD.deliveries, NEW.run_at,
        {_PAUSED},
        (SELECT until FROM main.waits WHERE charm_key = NEW.charm_key
            AND kind IN ('wait', 'down')));
END;
CREATE TEMP TRIGGER job_hastened AFTER UPDATE ON main.ack_queue_jobs
    WHEN OLD.status = 1 AND NEW.status = 1 AND NEW.run_at < OLD.run_at BEGIN
    INSERT INTO ledger (what, job, charm, a, b, c) VALUES ('hastened', NEW._id, NEW.charm_key,
        OLD.run_at, NEW.attempt, NEW.run_at < (SELECT until FROM main.waits
            WHERE charm_key = NEW.charm_key AND kind IN ('wait', 'down')));
END;
CREATE TEMP TRIGGER job_gone AFTER DELETE ON main.ack_queue_jobs WHEN OLD.origin <> 'batch' BEGIN
    INSERT INTO ledger (what, job, charm, a, b, c, d) VALUES ('gone', OLD._id, OLD.charm_key,
        OLD.status, OLD.is_held,
        EXISTS (SELECT 1 FROM main.charms WHERE charm_key = OLD.charm_key AND removed_at IS NULL),
        OLD.origin);
END;
CREATE TEMP TRIGGER charm_freed AFTER UPDATE ON main.health
    WHEN OLD.disabled_by <> 'failures' AND NEW.disabled_by IS NULL BEGIN
    INSERT INTO ledger (what, charm) VALUES ('freed', NEW.charm_key);
END;
CREATE TEMP TRIGGER asked AFTER INSERT ON main.audit BEGIN
    INSERT INTO ledger (what) VALUES ('asked');
END;
CREATE TEMP TRIGGER signed_in BEFORE INSERT ON main.sign_ins
    WHEN NOT EXISTS (SELECT 1 FROM main.sign_ins WHERE refresh_hash = NEW.refresh_hash) BEGIN
    INSERT INTO ledger (what) VALUES ('asked');
END;
CREATE TEMP TRIGGER delivered AFTER INSERT ON main.deliveries BEGIN
    INSERT INTO ledger (what) VALUES ('asked');
END;
CREATE TEMP TRIGGER run_added AFTER INSERT ON main.runs BEGIN
    INSERT INTO ledger (what, job, charm, a, b, c, d) VALUES ('run', NEW.job_id,
        NEW.run_key >> 32, NEW.attempt, NEW.status, NEW.cause, NEW.error);
END;
CREATE TEMP TRIGGER run_packed AFTER UPDATE OF ring ON main.health BEGIN
    INSERT INTO ledger (what, job, charm) SELECT 'packed', value, NEW.charm_key
        FROM json_each(packed_since(NEW.charm_key, OLD.ring, NEW.ring));
END;
CREATE TEMP TRIGGER resumed AFTER DELETE ON main.pauses BEGIN
    INSERT INTO ledger (what, job, charm, a) VALUES ('resumed', 0, OLD.charm_key, OLD.space_key);
END;
CREATE TEMP TRIGGER reminder_asked AFTER INSERT ON main.reminders BEGIN
    INSERT INTO ledger (what, job, charm, a, b) VALUES ('reminder asked', NEW.reminder_id,
        NEW.charm_key, NEW.event, NEW.name);
END;
CREATE TEMP TRIGGER reminded AFTER DELETE ON main.reminders BEGIN
    INSERT INTO ledger (what, job, charm, a, b) VALUES ('reminded', OLD.reminder_id, OLD.charm_key,
        OLD.event, EXISTS (SELECT 1 FROM main.charms WHERE charm_key = OLD.charm_key
        AND removed_at IS NULL));
END;
"""  # noqa: S608 - text of our own


@dataclass(slots=True)
class JobTrace:
    """One job's way so far."""

    job_id: int
    charm_key: int
    origin: str
    payload: str
    was_put_while_disabled: bool
    space_key: int
    stream: str
    was_put_while_paused: bool
    status: int = READY
    attempt: int = 1
    #: How often this attempt was claimed.
    claims: int = 0
    #: The life of the service in which it was claimed last.
    claimed_in: int = 0
    #: Whether it runs though its charm waits: a person wants it, or it had begun.
    is_wanted: bool = False
    #: Attempts that have their one final record.
    recorded: set[int] = field(default_factory=set)
    is_gone: bool = False
    #: A poll that was handed out without one may get a row later.
    has_row: bool = True


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

    def __init__(self, interval_seconds: float) -> None:
        self.jobs: dict[int, JobTrace] = {}
        #: Polls that were planned without rows.
        self.without_rows: set[int] = set()
        self.live: dict[int, set[int]] = {}
        self.claimed: dict[int, int] = {}
        #: How often an event was queued, by its payload; that of a dead letter may come again.
        self.by_payload: Counter[str] = Counter()
        self.dead_again: Counter[str] = Counter()
        self.runs = 0
        #: The number of the service's life.
        self.life = 0
        #: How often charms are polled where nobody says otherwise.
        self.interval_seconds = interval_seconds
        #: Runs that were given back in the life that claimed them, and count as begun.
        self.delivered: list[str] = []
        self.problems: list[str] = []
        #: Called when a job is to be tried again, where somebody wants to know.
        self.on_retry: Callable[[], None] | None = None
        #: Jobs that somebody takes back, and events of a stream of a charm, up to some job.
        self.withdrawn: set[int] = set()
        self.purged: dict[tuple[int, str], int] = {}
        #: Events of reminders that were asked for, and those that were taken back at once.
        self.asked: set[str] = set()
        self.unasked: set[str] = set()
        #: Charms whose reminders somebody has purged.
        self.may_forget: set[int] = set()
        self._last_done_send: dict[int, int] = {}
        #: Jobs whose first run is recorded with others.
        self._packed: set[int] = set()

    def attach(self, connection: FaultyConnection, plain_polls: PlainPolls) -> None:
        """Follow what this connection does, and the polls that get no rows by it."""
        connection.create_function("packed_since", 3, _packed_since, deterministic=True)
        connection.executescript(_TRIGGERS)
        put = plain_polls.put

        def put_and_check(polls: Sequence[PlainPoll]) -> None:
            put(polls)
            for poll in polls:
                self.without_rows.add(poll.job_id)
                said = connection.bare(_SAID, (poll.charm_key,)).fetchone()
                if said is not None and poll.scheduled_at is not None:
                    self._check_schedule(poll.job_id, poll.scheduled_at, poll.created_at, *said)

        plain_polls.put = put_and_check  # type: ignore[method-assign]

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
        # What only happens where somebody asked for something, or a run by hand went well.
        is_asked, unasked = False, list[str]()
        runs: list[RecordedRun] = []
        for _, what, job_id, charm_key, *details in rows:
            if what == "put" and job_id in self.jobs:
                ended = self._write_out(self.jobs[job_id], details[2], *details[5:8])
                if ended is not None:
                    moved.append((self.jobs[job_id], ended))
            elif what == "put":
                self._put(job_id, charm_key, *details[:5])
            elif what == "out":
                self._hand_out(job_id, charm_key, steady, *details[:6])
            elif what == "over":
                job = self.jobs.get(job_id)
                # One that waited without a row was never seen, and is dropped.
                if job is not None and not job.has_row:
                    ended = self._move(job, CLAIMED, DONE, 1, 1, details[0], 0)
                    if ended is not None:
                        moved.append((job, ended))
            elif what == "move":
                ended = self._move(self.jobs[job_id], *details[:6])
                old, new, *_, run_at, is_paused, until = details
                self._check_pause(self.jobs[job_id], old, new, is_paused)
                self._check_time(self.jobs[job_id], old, new, run_at, steady, until)
                if ended is not None:
                    moved.append((self.jobs[job_id], ended))
            elif what == "planned":
                # Those that get a row only later were looked at when they were planned.
                if job_id not in self.without_rows:
                    self._check_schedule(job_id, *details[:4])
            elif what == "hastened":
                run_at, attempt, is_early, *_ = details
                if is_start:
                    self._check_delay(self.jobs[job_id], run_at, attempt, steady)
                else:
                    self.jobs[job_id].is_wanted |= bool(is_early)
            elif what == "gone":
                status, is_held, charm_lives, origin, *_ = details
                if (status, origin) == (DEAD, "send") and charm_lives:
                    unasked.append(f"job {job_id}, an event given up, was dropped by nobody")
                self._remove(self.jobs[job_id], status, is_held, charm_lives)
            elif what == "asked":
                is_asked = True
            elif what == "freed":
                unasked.append(f"charm {charm_key} was let run again by nobody")
            elif what == "resumed":
                self._check_resumed(details[0], charm_key)
            elif what == "reminder asked":
                self._ask(_payload(details[0]), details[1])
            elif what == "reminded":
                self._remind(charm_key, _payload(details[0]), details[1])
            elif what == "packed":
                runs.append(self._record(job_id, charm_key, 1, "success", None, ""))
                self._packed.add(job_id)
                is_asked = True
            # One gets a row of its own later, where its worker was replaced for it.
            elif job_id not in self._packed or details[0] > 1:
                runs.append(self._record(job_id, charm_key, *details[:4]))
                is_asked |= details[1] == "success"
        self.problems += [] if is_asked else unasked
        self._check_ends(moved)
        self.runs += len(runs)
        return runs

    def _put(
        self,
        job_id: int,
        charm_key: int,
        origin: str,
        data: bytes,
        disabled_by: str | None,
        space_key: int,
        is_paused: int,
    ) -> None:
        request = json.loads(data)
        payload = _payload(request["event"])
        trace = JobTrace(
            job_id,
            charm_key,
            origin,
            payload,
            disabled_by is not None,
            space_key,
            request["stream"],
            bool(is_paused),
        )
        self.jobs[job_id] = trace
        live = self.live.setdefault(charm_key, set())
        if origin != "send" and any(self.jobs[other].origin != "send" for other in live):
            self._tell(f"charm {charm_key} has a second live poll, job {job_id}")
        live.add(job_id)
        if payload:
            self.by_payload[payload] += 1

    def _hand_out(
        self,
        job_id: int,
        charm_key: int,
        steady: float,
        stream: str,
        disabled_by: str | None,
        space_key: int,
        is_paused: int,
        run_at: float,
        until: float | None,
    ) -> None:
        """Follow a poll that goes out without a row of its own: put, and claimed with that."""
        data = json.dumps({"stream": stream, "event": "{}"}).encode()
        self._put(job_id, charm_key, "poll", data, None, space_key, 0)
        job = self.jobs[job_id]
        job.has_row = False
        self._move(job, READY, CLAIMED, 1, 1, disabled_by, 0)
        self._check_pause(job, READY, CLAIMED, is_paused)
        self._check_time(job, READY, CLAIMED, run_at, steady, until)

    def _write_out(
        self, job: JobTrace, disabled_by: str | None, status: int, attempt: int, deliveries: int
    ) -> int | None:
        """Follow a poll that gets a row at its end; gives what `_move` gives."""
        if job.has_row:
            self._tell(f"job {job.job_id} of charm {job.charm_key} was put a second time")
        job.has_row = True
        if status == CLAIMED:
            return None
        is_delivered = attempt == 1 and deliveries == 1
        return self._move(job, CLAIMED, status, 1, attempt, disabled_by, is_delivered)

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
            # What was under way when its service died runs again, whatever the clock says now.
            job.is_wanted |= bool(is_delivered)
            if is_delivered and job.claimed_in == self.life:
                self.delivered.append(f"{job.job_id}.{attempt}")
            if attempt != was + 1:
                return None
            if self.on_retry is not None:
                self.on_retry()
            return was
        self.live[job.charm_key].discard(job.job_id)
        return was

    def _check_pause(self, job: JobTrace, old: int, new: int, is_paused: int) -> None:
        """Nothing of what is paused is claimed, but what somebody asked for."""
        if is_paused and (old, new) == (READY, CLAIMED) and job.origin != "run_now":
            self._tell(f"job {job.job_id}, a {job.origin}, was claimed while it is paused")

    def _check_schedule(
        self,
        job_id: int,
        scheduled_at: float,
        planned_at: float,
        words: bytes,
        own_interval: float | None,
    ) -> None:
        """No poll is planned in quiet hours, nor for what was missed where that is skipped.

        Both moments are by the wall clock. A dead letter that is requeued is not planned.
        """
        said = msgspec.json.decode(words, type=ScheduleWords)
        counts = joined(NO_WORDS, said, own_interval, self.interval_seconds, 0.0)
        is_quiet = [end_of_quiet(counts, moment) for moment in (scheduled_at, planned_at)]
        if all(is_quiet):
            self._tell(f"job {job_id}, a poll, was planned in the quiet hours of its charm")
        late = planned_at - scheduled_at
        if counts.missed is Missed.SKIP and late > MISSED_AFTER_SECONDS + 1:
            self._tell(f"job {job_id}, a poll, makes up for a time that was missed by {late:.0f} s")

    def _check_resumed(self, space_key: int, charm_key: int) -> None:
        """No poll that waited when something was paused waits when it is resumed."""
        for live in self.live.values():
            for job in map(self.jobs.__getitem__, live):
                is_meant = space_key in (0, job.space_key) and charm_key in (0, job.charm_key)
                waits = job.status == READY and job.attempt == 1 and not job.claimed_in
                if is_meant and waits and job.origin == "poll" and not job.was_put_while_paused:
                    self._tell(f"job {job.job_id}, a poll, outlived the pause of its charm")

    def _ask(self, payload: str, name: str | None) -> None:
        self.asked.add(payload)
        if name == "gone":
            self.unasked.add(payload)

    def _remind(self, charm_key: int, payload: str, charm_lives: int) -> None:
        """A reminder ends when its event is sent, or when nobody wants it any more."""
        is_wanted = charm_lives and payload not in self.unasked and charm_key not in self.may_forget
        if is_wanted and not self.by_payload[payload]:
            self._tell(f"the reminder {payload!r} of charm {charm_key} is gone, and was never sent")

    def _check_time(
        self,
        job: JobTrace,
        old: int,
        new: int,
        run_at: float,
        steady: float,
        until: float | None,
    ) -> None:
        """A job is not claimed before its time, nor while its charm waits, but for a person."""
        if (old, new) != (READY, CLAIMED):
            return
        if run_at > steady:
            self._tell(f"job {job.job_id} was claimed {run_at - steady:.1f} s before its time")
        is_by_hand = job.origin == "run_now" or job.is_wanted
        if until is not None and until > steady and not is_by_hand:
            wait = until - steady
            self._tell(f"job {job.job_id} was claimed while its charm waits, for {wait:.1f} s more")

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
        is_unwanted = job.job_id in self.withdrawn or job.job_id <= self.purged.get(
            (job.charm_key, job.stream), 0
        )
        if job.origin == "send" and charm_lives and not is_unwanted:
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
        elif run.status == "cancelled" or (run.status in _NEITHER and job.origin != "send"):
            job.recorded.add(run.attempt)
        return run

    def _check_ends(self, moved: list[tuple[JobTrace, int]]) -> None:
        for job, attempt in moved:
            if attempt not in job.recorded:
                self._tell(f"run {job.job_id}.{attempt} ended without a record")

    def _tell(self, problem: str) -> None:
        self.problems.append(problem)


def _payload(event: bytes | str) -> str:
    return str(json.loads(event).get("n", ""))


def _packed_since(charm_key: int, before: bytes | None, after: bytes | None) -> str:
    """Give the jobs of the runs that are in a ring now and were not, as JSON."""
    old, new = ({run.run_id for run in runs_in_ring(charm_key, one)} for one in (before, after))
    return json.dumps([int(run_id.partition(".")[0]) for run_id in sorted(new - old)])

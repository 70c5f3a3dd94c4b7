"""The rows of the table `ack_queue_jobs`: the SQL on them, and the values they become.

Statuses are persist-queue's (AckStatus): 1 ready, 2 claimed, 5 done, 9 dead letter. They stand
in the SQL as numbers, and the condition of a partial index beside a narrower test, because SQLite
uses one only where its condition is written out. Used by the queue alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from bg_charm_service.domain.model import CharmRef, Job, JobStatus, Origin, Priority
from bg_charm_service.storage.records import Claim, NewJob, QueuedJob
from bg_charm_service.storage.sql.keys import AMONG, KEYS
from bg_charm_service.storage.sql.plain_polls import PlainPoll

READY, CLAIMED, DONE, DEAD = 1, 2, 5, 9

_EXECUTE_CHARM = int(Priority.EXECUTE_CHARM)

# Polls that are plain have no rows: these are the rows of the batches that they are out with, which
# no index has. A lone poll would write a page for each of them.
_IS_JOB = "origin <> 'batch'"
_LIVE = f"status IN (1, 2) AND {_IS_JOB}"
_OVER = f"status = 5 AND {_IS_JOB}"

_JOBS = """SELECT job._id, job.data, job.timestamp, job.origin, job.priority, job.run_at,
    job.attempt, job.deliveries, job.fence, job.space_key, job.charm_key, job.integration,
    job.scheduled_at
    FROM ack_queue_jobs AS job"""

# A charm never overlaps itself: a row is passed over while another of its charm is claimed.
_CHARM_IS_IDLE = """NOT EXISTS (SELECT 1 FROM ack_queue_jobs AS live
    WHERE live.charm_key = job.charm_key AND live.status IN (1, 2) AND live.origin <> 'batch'
    AND live.status = 2)"""

# The sends of a charm wait in order: all but the first are held, and that one too while the
# charm is disabled.
_FIRST_SEND = f"""SELECT min(_id) FROM ack_queue_jobs
    WHERE charm_key = :charm AND {_LIVE} AND origin = 'send'"""

# Whose a charm is, noted only where claims leave out integrations: an index is kept of it.
_INTEGRATION_OF = """coalesce(
    (SELECT integration FROM registrations WHERE charm_key = {charm}), '')"""
_NOTED = _INTEGRATION_OF.format(charm=":charm")

# Of what is paused only runs that a person asked for. Written out only where something is: each
# row costs a look.
_IS_NOT_PAUSED = """(job.origin = 'run_now' OR :is_whole = 0 AND job.charm_key NOT IN
    (SELECT value AS wanted FROM json_each(:paused)))"""

INSERT = f"""INSERT INTO ack_queue_jobs
    (_id, data, timestamp, status, space_key, charm_key, origin, priority, run_at, is_held,
    unique_key, scheduled_at, integration)
    VALUES (?12, ?1, ?2, 1, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10,
    CASE WHEN ?11 = 1 THEN {_INTEGRATION_OF.format(charm="?4")} END)
    ON CONFLICT (unique_key) WHERE unique_key IS NOT NULL DO NOTHING"""

FIND = f"{_JOBS} WHERE _id = ? AND {_IS_JOB}"
FIND_READY = f"""{_JOBS} INDEXED BY jobs_ready
    WHERE space_key = ? AND status = 1 AND is_held = 0 AND run_at <= ? AND deliveries < 3
    AND {_CHARM_IS_IDLE} ORDER BY priority DESC, _id LIMIT ?"""
FIND_READY_BUT = f"""{_JOBS} INDEXED BY jobs_ready
    WHERE space_key = :space AND status = 1 AND is_held = 0 AND run_at <= :now AND deliveries < 3
    AND coalesce(integration, '') NOT IN (SELECT value AS word FROM json_each(:without))
    AND {_IS_NOT_PAUSED} AND {_CHARM_IS_IDLE} ORDER BY priority DESC, _id LIMIT :limit"""
FIND_READY_OF = f"""{_JOBS} INDEXED BY jobs_of_integration
    WHERE space_key = ? AND integration = ? AND status = 1 AND is_held = 0 AND run_at <= ?
    AND deliveries < 3 AND {_CHARM_IS_IDLE} ORDER BY priority DESC, _id LIMIT ?"""
# One step through the index for each integration, however many jobs it has.
READY_INTEGRATIONS = """WITH RECURSIVE found (name) AS (
    SELECT (SELECT integration FROM ack_queue_jobs INDEXED BY jobs_of_integration
        WHERE space_key = :space AND integration IS NOT NULL AND status = 1 AND is_held = 0
        ORDER BY integration LIMIT 1)
    UNION ALL SELECT (SELECT integration FROM ack_queue_jobs INDEXED BY jobs_of_integration
        WHERE space_key = :space AND integration > found.name AND status = 1 AND is_held = 0
        ORDER BY integration LIMIT 1) FROM found WHERE found.name IS NOT NULL)
    SELECT name FROM found WHERE name IS NOT NULL"""
NOTE_INTEGRATIONS = f"""UPDATE ack_queue_jobs
    SET integration = {_INTEGRATION_OF.format(charm="ack_queue_jobs.charm_key")}
    WHERE {_LIVE}"""
FIND_SUSPECTS = f"""{_JOBS} INDEXED BY jobs_suspect
    WHERE status = 1 AND is_held = 0 AND deliveries >= 3 AND run_at <= ?
    AND {_CHARM_IS_IDLE} ORDER BY _id"""
FIND_WAITING = f"""{_JOBS} WHERE _id = ? AND status = 1 AND is_held = 0
    AND (deliveries < 3 OR ? = 1) AND {_CHARM_IS_IDLE}"""
IS_LIVE = f"SELECT 1 FROM ack_queue_jobs WHERE _id = ? AND {_LIVE}"
FIND_CLAIMED = f"{_JOBS} INDEXED BY jobs_live WHERE {_LIVE} AND status = 2 ORDER BY _id"
FIND_BUSY = f"""SELECT charm_key FROM ack_queue_jobs
    INDEXED BY jobs_live WHERE {_LIVE} AND status = 2"""
_DEAD_JOBS = _JOBS.replace("job.scheduled_at", "job.scheduled_at, job.error, job.cause")
FIND_DEAD = f"{_DEAD_JOBS} WHERE status = 9 AND _id > ? ORDER BY _id LIMIT ?"
FIND_DEAD_OF = f"{_DEAD_JOBS} WHERE charm_key = ? AND status = 9 AND _id > ? ORDER BY _id LIMIT ?"
COUNT_DEAD_OF = "SELECT count(*) FROM ack_queue_jobs WHERE charm_key = ? AND status = 9"
COUNT_DEAD_POLLS_OF = f"{COUNT_DEAD_OF} AND origin <> 'send'"
COUNT_DEAD_SENDS = f"{COUNT_DEAD_OF} AND origin = 'send'"
COUNT_DEAD_POLLS = "SELECT count(*) FROM ack_queue_jobs WHERE status = 9 AND origin <> 'send'"
FIND_POLL = f"""SELECT _id, status, space_key FROM ack_queue_jobs
    WHERE unique_key = ? AND {_LIVE}"""
FIND_LIVE_POLLS = f"""SELECT unique_key FROM ack_queue_jobs
    WHERE unique_key IN {AMONG} AND {_LIVE}"""
FIND_SEND = f"""SELECT 1 FROM ack_queue_jobs
    WHERE charm_key = ? AND {_LIVE} AND origin = 'send' LIMIT 1"""
HOLDS = "SELECT 1 FROM ack_queue_jobs WHERE _id = ? AND status = 2 AND fence = ?"
COUNT_LIVE = f"SELECT count(*) FROM ack_queue_jobs WHERE charm_key = ? AND {_LIVE}"
COUNT_SOME_LIVE = f"""SELECT count(*) FROM (SELECT 1 FROM ack_queue_jobs
    WHERE charm_key = ? AND {_LIVE} LIMIT ?) AS few"""
COUNT_ALL = f"SELECT status, count(*) FROM ack_queue_jobs WHERE {_IS_JOB} GROUP BY status"
WAITING = "SELECT DISTINCT run_at, space_key FROM ack_queue_jobs WHERE status = 1"

# The beginning of `data` says all but the event, which may be large.
_LISTED = """SELECT _id, substr(data, 1, 2000), timestamp, origin, status, run_at, attempt, is_held,
    space_key, charm_key FROM ack_queue_jobs"""
LIST_ALL = f"{_LISTED} WHERE _id > :after AND {_IS_JOB} ORDER BY _id LIMIT :limit"
# By status, each along an index in the order of ids.
LIST_OF_CHARM = tuple(
    f"{_LISTED} INDEXED BY {index} WHERE charm_key = :charm AND {which} AND _id > :after"
    " ORDER BY _id LIMIT :limit"
    for index, which in (
        ("jobs_live", f"{_LIVE} AND status = 1"),
        ("jobs_live", f"{_LIVE} AND status = 2"),
        ("jobs_done", _OVER),
        ("jobs_dead", "status = 9"),
    )
)
NEWEST = "SELECT coalesce(max(_id), 0) FROM ack_queue_jobs"
DATA = "SELECT data FROM ack_queue_jobs WHERE _id = ?"

# The id of the newest job, with a row or without one, and those that are reserved.
RESERVE = """UPDATE sqlite_sequence SET seq = seq + ? WHERE name = 'ack_queue_jobs'
    RETURNING seq"""
GIVE_BACK = "UPDATE sqlite_sequence SET seq = ? WHERE name = 'ack_queue_jobs' AND seq = ?"
INSERT_BATCH = """INSERT INTO ack_queue_jobs
    (_id, data, timestamp, status, space_key, charm_key, origin, priority, run_at, deliveries,
    fence) VALUES (?, ?, ?, 2, ?, 0, 'batch', ?, ?, 1, 1)"""
# No index has them: this is asked once, when the queue is opened.
FIND_BATCHES = """SELECT _id, status, data, timestamp, space_key FROM ack_queue_jobs
    WHERE origin = 'batch' ORDER BY _id"""
DROP_BATCHES = f"DELETE FROM ack_queue_jobs WHERE _id IN {AMONG} AND origin = 'batch'"
FIND_LAST_POLLS = f"""SELECT wanted, space, charm_id, last_poll FROM {KEYS}
    CROSS JOIN charms ON charms.charm_key = wanted CROSS JOIN health ON health.charm_key = wanted"""
END_BATCH = "UPDATE ack_queue_jobs SET status = 5 WHERE _id = ? AND status = 2"
END_POLL = "UPDATE health SET last_poll = ?, due_at = ? WHERE charm_key = ?"
MOVE_DUE = "UPDATE health SET due_at = ? WHERE charm_key = ?"
WRITE_OUT = """INSERT INTO ack_queue_jobs
    (_id, data, timestamp, status, space_key, charm_key, origin, priority, run_at, attempt,
    deliveries, fence, unique_key, scheduled_at)
    VALUES (?, ?, ?, ?, ?, ?, 'poll', ?, ?, ?, ?, ?, ?, ?)"""

CLAIM = """UPDATE ack_queue_jobs SET status = 2, fence = fence + 1, deliveries = deliveries + 1
    WHERE _id = ? AND status = 1"""
SETTLE = """UPDATE ack_queue_jobs SET status = ?, unique_key = NULL
    WHERE _id = ? AND status = 2 AND fence = ?"""
PUT_BACK = """UPDATE ack_queue_jobs SET status = 1, run_at = ?, attempt = ?, deliveries = ?
    WHERE _id = ? AND status = 2 AND fence = ?"""
NOTE_ERROR = "UPDATE ack_queue_jobs SET error = ?, cause = ? WHERE _id = ? AND status = 9"
SUSPECT = """UPDATE ack_queue_jobs SET deliveries = max(deliveries, 3)
    WHERE _id = ? AND status = 2"""
DROP_HELD_POLL = """DELETE FROM ack_queue_jobs
    WHERE _id = ? AND status = 2 AND fence = ? AND origin = 'poll' AND is_held = 1"""
RELEASE_NEXT_SEND = f"""UPDATE ack_queue_jobs SET is_held = 0 WHERE _id = ({_FIRST_SEND})
    AND (SELECT is_held FROM ack_queue_jobs WHERE _id = :settled) = 0"""
HASTEN = "UPDATE ack_queue_jobs SET run_at = min(run_at, ?) WHERE _id = ?"
HASTEN_WAITING = """UPDATE ack_queue_jobs SET run_at = ?
    WHERE _id = ? AND status = 1 AND is_held = 0 AND run_at > ?"""
FORGET_DELIVERIES = """UPDATE ack_queue_jobs INDEXED BY jobs_suspect SET deliveries = 0
    WHERE status = 1 AND deliveries >= 3"""
BRING_NEAR = "UPDATE ack_queue_jobs SET run_at = ?1 WHERE status = 1 AND run_at > ?1"
BRING_TO_NOW = f"{BRING_NEAR} AND attempt = 1"
# What waits behind another job of its charm is held, and has no time of its own; what a person has
# asked for does not wait.
PUT_OFF = f"""UPDATE ack_queue_jobs SET run_at = :until WHERE charm_key = :charm
    AND {_LIVE} AND status = 1 AND is_held = 0 AND run_at < :until
    AND origin <> 'run_now'"""
BRING_ON = f"""UPDATE ack_queue_jobs SET run_at = :until WHERE charm_key = :charm
    AND {_LIVE} AND status = 1 AND is_held = 0 AND run_at = :was"""

DROP_POLL = f"""DELETE FROM ack_queue_jobs
    WHERE charm_key = ? AND {_LIVE} AND status = 1 AND origin = 'poll'"""
DROP_SOME_POLLS = """DELETE FROM ack_queue_jobs WHERE _id IN (
    SELECT _id FROM ack_queue_jobs INDEXED BY jobs_ready
    WHERE space_key = ? AND status = 1 AND is_held = 0 AND origin = 'poll' LIMIT ?)"""
LOOK_EVERYWHERE = """SELECT space_key FROM spaces WHERE EXISTS (SELECT 1 FROM ack_queue_jobs
    WHERE ack_queue_jobs.space_key = spaces.space_key AND status = 1 AND is_held = 0)"""
HAS_FIRST = f"""SELECT 1 FROM ack_queue_jobs WHERE _id IN {AMONG}
    AND status = 1 AND origin = 'send' AND is_held = 0"""
DROP_SOME = f"DELETE FROM ack_queue_jobs WHERE _id IN {AMONG} AND status = 1"
RELEASE_FIRST = f"UPDATE ack_queue_jobs SET is_held = 0 WHERE _id = ({_FIRST_SEND})"
DROP_WAITING = f"""DELETE FROM ack_queue_jobs
    WHERE charm_key = ? AND {_LIVE} AND status = 1"""
# Those of events are a person's to drop.
DROP_DEAD_POLL = """DELETE FROM ack_queue_jobs
    WHERE charm_key = ? AND status = 9 AND origin <> 'send' AND _id <> ?"""
DROP_DEAD = "DELETE FROM ack_queue_jobs WHERE _id = ? AND status = 9"
DROP_ALL_DEAD = "DELETE FROM ack_queue_jobs WHERE charm_key = ? AND status = 9"
DROP_OLD_DONE = f"""DELETE FROM ack_queue_jobs WHERE {_OVER} AND _id <= (
    SELECT _id FROM ack_queue_jobs WHERE {_OVER} ORDER BY _id DESC LIMIT 1 OFFSET ?)"""

# A claimed job is marked too, so that it does not run again, nor let the next send run.
HOLD = f"""UPDATE ack_queue_jobs SET is_held = 1
    WHERE charm_key = ? AND {_LIVE} AND origin IN ('poll', 'send')"""
HOLD_POLL = f"""UPDATE ack_queue_jobs SET is_held = 1
    WHERE charm_key = ? AND {_LIVE} AND status = 2 AND origin = 'poll'"""
HOLD_DEAD = """UPDATE ack_queue_jobs SET is_held = 1
    WHERE charm_key = ? AND status = 9 AND origin = 'send'"""
UNHOLD = f"""UPDATE ack_queue_jobs SET is_held = 0 WHERE charm_key = :charm AND {_LIVE}
    AND is_held = 1 AND (origin <> 'send' OR _id = ({_FIRST_SEND}))"""
UNHOLD_DEAD = """UPDATE ack_queue_jobs SET is_held = 0
    WHERE charm_key = ? AND status = 9 AND is_held = 1"""

REQUEUE = f"""INSERT INTO ack_queue_jobs
    (_id, data, timestamp, status, space_key, charm_key, origin, priority, run_at, is_held,
    unique_key, scheduled_at, integration)
    SELECT :new, data, :now, 1, space_key, charm_key, origin, priority, :now,
        CASE WHEN origin = 'send' AND (is_held = 1 OR EXISTS (SELECT 1 FROM ack_queue_jobs AS live
            WHERE live.charm_key = dead.charm_key AND live.status IN (1, 2)
            AND live.origin <> 'batch' AND live.origin = 'send')) THEN 1 ELSE 0 END,
        CASE WHEN origin <> 'send' THEN charm_key END, scheduled_at,
        CASE WHEN :is_noted = 1 THEN {_NOTED} END
    FROM ack_queue_jobs AS dead WHERE _id = :dead AND status = 9
    ON CONFLICT (unique_key) WHERE unique_key IS NOT NULL DO NOTHING"""


#: What a batch was handed out: by stream, for each poll its job, its charm, when it was due, for
#: when that was by the wall clock, and how long it is from there to its charm's next due time.
_Batch = dict[str, list[tuple[int, int, float, float | None, float]]]


class _Request(msgspec.Struct):
    """The column `data`: plain JSON, which the stock queue reads too."""

    space: str
    charm: str
    stream: str
    event: str


_STATUSES = {
    READY: JobStatus.PENDING,
    CLAIMED: JobStatus.PROCESSING,
    DONE: JobStatus.COMPLETED,
    DEAD: JobStatus.FAILED,
}

_TEXT = rb'"(?:[^"\\]|\\.)*"'
_HEAD = re.compile(rb'{"space":(%s),"charm":(%s),"stream":(%s),' % (_TEXT, _TEXT, _TEXT))

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Request)
_batch_decoder = msgspec.json.Decoder(_Batch)


def columns_of(job: NewJob, job_id: int, now: float, *, is_noted: bool) -> tuple[Any, ...]:
    """Give the parameters of a job's insertion."""
    request = _Request(job.ref.space, job.ref.charm_id, job.stream, job.event.decode())
    return (
        _encoder.encode(request),
        now,
        job.space_key,
        job.charm_key,
        job.origin.value,
        _EXECUTE_CHARM,
        job.run_at,
        job.is_held,
        None if job.origin is Origin.SEND else job.charm_key,
        job.scheduled_at,
        is_noted,
        job_id,
    )


def claim_of(row: Any, *, deliveries: int = 0) -> Claim:
    """Give the job of a row; `deliveries` counts a claim made since the row was read."""
    request = _decoder.decode(row[1])
    job = Job(
        job_id=row[0],
        ref=CharmRef(request.space, request.charm),
        stream=request.stream,
        event=request.event.encode(),
        origin=Origin(row[3]),
        priority=row[4],
        run_at=row[5],
        attempt=row[6],
        deliveries=row[7] + deliveries,
        fence=row[8] + deliveries,
        created_at=row[2],
        scheduled_at=row[12],
    )
    return Claim(job, space_key=row[9], charm_key=row[10], integration=row[11] or "")


def dead_letter_of(row: Any) -> Claim:
    """Give the job of a row of a dead letter, with what it failed with."""
    claim = claim_of(row)
    return replace(claim, error=row[13] or "", cause=row[14] or "")


def listed(row: Any, whole: Callable[[int], bytes]) -> QueuedJob:
    """Give the job of a row of `_LISTED`; `whole` reads all of its data, where that is needed."""
    head = _HEAD.match(row[1])
    if head is not None:
        space, charm, stream = (msgspec.json.decode(text, type=str) for text in head.groups())
    else:
        request = _decoder.decode(whole(row[0]))
        space, charm, stream = request.space, request.charm, request.stream
    return QueuedJob(
        job_id=row[0],
        ref=CharmRef(space, charm),
        stream=stream,
        origin=Origin(row[3]),
        status=_STATUSES[row[4]],
        attempt=row[6],
        run_at=row[5],
        created_at=row[2],
        is_held=bool(row[7]),
        space_key=row[8],
        charm_key=row[9],
    )


def batch_of(batch: int, polls: Sequence[PlainPoll], now: float) -> tuple[Any, ...]:
    """Give the parameters of a batch's insertion."""
    data: _Batch = {}
    for poll in polls:
        wait = round(poll.next_due - poll.run_at, 3)
        one = (poll.job_id, poll.charm_key, poll.run_at, poll.scheduled_at, wait)
        data.setdefault(poll.stream, []).append(one)
    first = polls[0]
    return batch, _encoder.encode(data), first.created_at, first.space_key, _EXECUTE_CHARM, now


def polls_of(data: bytes) -> Iterator[tuple[str, int, int, float, float | None, float]]:
    """Give what a batch was handed out: stream, job, charm, when due and for when, and what next.

    The last is when the charm is due next.
    """
    for stream, polls in _batch_decoder.decode(data).items():
        for job_id, charm_key, run_at, scheduled_at, wait in polls:
            yield stream, job_id, charm_key, run_at, scheduled_at, run_at + wait


def row_of(poll: PlainPoll, status: int, job: Job) -> tuple[Any, ...]:
    """Give the parameters that write a poll out that had no row."""
    request = _Request(poll.ref.space, poll.ref.charm_id, job.stream, job.event.decode())
    return (
        job.job_id,
        _encoder.encode(request),
        job.created_at,
        status,
        poll.space_key,
        poll.charm_key,
        job.priority,
        job.run_at,
        job.attempt,
        job.deliveries,
        job.fence,
        poll.charm_key if status != DEAD else None,
        job.scheduled_at,
    )


def shown(poll: PlainPoll) -> QueuedJob:
    """Give a poll without a row as a list shows it."""
    return QueuedJob(
        job_id=poll.job_id,
        ref=poll.ref,
        stream=poll.stream,
        origin=Origin.POLL,
        status=JobStatus.PROCESSING if poll.batch else JobStatus.PENDING,
        attempt=1,
        run_at=poll.run_at,
        created_at=poll.created_at,
        is_held=False,
        space_key=poll.space_key,
        charm_key=poll.charm_key,
    )

"""The rows of the table `ack_queue_jobs`: the SQL on them, and the values they become.

Statuses are persist-queue's (AckStatus): 1 ready, 2 claimed, 5 done, 9 dead letter. They stand
in the SQL as numbers, and `status IN (1, 2)` beside a narrower test, because SQLite uses a
partial index only where its condition is written out. Used by the queue alone.
"""

from __future__ import annotations

from typing import Any

import msgspec

from bg_charm_service.domain.model import CharmRef, Job, Origin, Priority
from bg_charm_service.storage.records import Claim, NewJob
from bg_charm_service.storage.sqlite.keys import KEYS

READY, CLAIMED, DONE, DEAD = 1, 2, 5, 9

_EXECUTE_CHARM = int(Priority.EXECUTE_CHARM)

_JOBS = """SELECT job._id, job.data, job.timestamp, job.origin, job.priority, job.run_at,
    job.attempt, job.deliveries, job.fence, job.space_key, job.charm_key, job.integration
    FROM ack_queue_jobs AS job"""

# A charm never overlaps itself: a row is passed over while another of its charm is claimed.
_CHARM_IS_IDLE = """NOT EXISTS (SELECT 1 FROM ack_queue_jobs AS live
    WHERE live.charm_key = job.charm_key AND live.status IN (1, 2) AND live.status = 2)"""

# The sends of a charm wait in order: all but the first are held, and that one too while the
# charm is disabled.
_FIRST_SEND = """SELECT min(_id) FROM ack_queue_jobs
    WHERE charm_key = :charm AND status IN (1, 2) AND origin = 'send'"""

# Whose a charm is, noted only where claims leave out integrations: an index is kept of it.
_INTEGRATION_OF = """coalesce(
    (SELECT integration FROM registrations WHERE charm_key = {charm}), '')"""
_NOTED = _INTEGRATION_OF.format(charm=":charm")

INSERT = f"""INSERT INTO ack_queue_jobs
    (data, timestamp, status, space_key, charm_key, origin, priority, run_at, is_held, unique_key,
    integration)
    VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6, ?7, ?8, ?9,
    CASE WHEN ?10 THEN {_INTEGRATION_OF.format(charm="?4")} END)
    ON CONFLICT (unique_key) WHERE unique_key IS NOT NULL DO NOTHING"""

FIND = f"{_JOBS} WHERE _id = ?"
FIND_READY = f"""{_JOBS} INDEXED BY jobs_ready
    WHERE space_key = ? AND status = 1 AND is_held = 0 AND run_at <= ? AND deliveries < 3
    AND {_CHARM_IS_IDLE} ORDER BY priority DESC, _id LIMIT ?"""
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
    WHERE status IN (1, 2)"""
FIND_SUSPECT = f"""{_JOBS} INDEXED BY jobs_suspect
    WHERE status = 1 AND is_held = 0 AND deliveries >= 3 AND run_at <= ?
    AND {_CHARM_IS_IDLE} ORDER BY _id LIMIT 1"""
FIND_WAITING = f"""{_JOBS} WHERE _id = ? AND status = 1 AND is_held = 0
    AND (deliveries < 3 OR ?) AND {_CHARM_IS_IDLE}"""
IS_LIVE = "SELECT 1 FROM ack_queue_jobs WHERE _id = ? AND status IN (1, 2)"
FIND_CLAIMED = f"{_JOBS} INDEXED BY jobs_live WHERE status IN (1, 2) AND status = 2 ORDER BY _id"
FIND_DEAD = f"{_JOBS} WHERE status = 9 AND _id > ? ORDER BY _id LIMIT ?"
FIND_DEAD_LETTER = f"{_JOBS} WHERE charm_key = ? AND status = 9"
FIND_POLL = """SELECT _id, status, space_key FROM ack_queue_jobs
    WHERE unique_key = ? AND status IN (1, 2)"""
FIND_LIVE_POLLS = f"""SELECT unique_key FROM ack_queue_jobs
    WHERE unique_key IN {KEYS} AND status IN (1, 2)"""
FIND_SEND = """SELECT 1 FROM ack_queue_jobs
    WHERE charm_key = ? AND status IN (1, 2) AND origin = 'send' LIMIT 1"""
HOLDS = "SELECT 1 FROM ack_queue_jobs WHERE _id = ? AND status = 2 AND fence = ?"
COUNT_LIVE = "SELECT count(*) FROM ack_queue_jobs WHERE charm_key = ? AND status IN (1, 2)"
COUNT_ALL = "SELECT status, count(*) FROM ack_queue_jobs GROUP BY status"
WAITING = "SELECT DISTINCT run_at, space_key FROM ack_queue_jobs WHERE status = 1"

CLAIM = """UPDATE ack_queue_jobs SET status = 2, fence = fence + 1, deliveries = deliveries + 1
    WHERE _id = ? AND status = 1"""
SETTLE = """UPDATE ack_queue_jobs SET status = ?, unique_key = NULL
    WHERE _id = ? AND status = 2 AND fence = ?"""
PUT_BACK = """UPDATE ack_queue_jobs SET status = 1, run_at = ?, attempt = ?, deliveries = ?
    WHERE _id = ? AND status = 2 AND fence = ?"""
SUSPECT = """UPDATE ack_queue_jobs SET deliveries = max(deliveries, 3)
    WHERE _id = ? AND status = 2"""
DROP_HELD_POLL = """DELETE FROM ack_queue_jobs
    WHERE _id = ? AND status = 2 AND fence = ? AND origin = 'poll' AND is_held = 1"""
RELEASE_NEXT_SEND = f"""UPDATE ack_queue_jobs SET is_held = 0 WHERE _id = ({_FIRST_SEND})
    AND (SELECT is_held FROM ack_queue_jobs WHERE _id = :settled) = 0"""
HASTEN = "UPDATE ack_queue_jobs SET run_at = min(run_at, ?) WHERE _id = ?"
FORGET_DELIVERIES = """UPDATE ack_queue_jobs INDEXED BY jobs_suspect SET deliveries = 0
    WHERE status = 1 AND deliveries >= 3"""
BRING_NEAR = "UPDATE ack_queue_jobs SET run_at = ?1 WHERE status = 1 AND run_at > ?1"
BRING_TO_NOW = f"{BRING_NEAR} AND attempt = 1"

DROP_POLL = """DELETE FROM ack_queue_jobs
    WHERE charm_key = ? AND status IN (1, 2) AND status = 1 AND origin = 'poll'"""
DROP_WAITING = """DELETE FROM ack_queue_jobs
    WHERE charm_key = ? AND status IN (1, 2) AND status = 1"""
DROP_DEAD = "DELETE FROM ack_queue_jobs WHERE charm_key = ? AND status = 9 AND _id <> ?"
DROP_OLD_DONE = """DELETE FROM ack_queue_jobs WHERE status = 5 AND _id <= (
    SELECT _id FROM ack_queue_jobs WHERE status = 5
    ORDER BY _id DESC LIMIT 1 OFFSET ?)"""

# A claimed job is marked too, so that it does not run again, nor let the next send run.
HOLD = """UPDATE ack_queue_jobs SET is_held = 1
    WHERE charm_key = ? AND status IN (1, 2) AND origin IN ('poll', 'send')"""
HOLD_POLL = """UPDATE ack_queue_jobs SET is_held = 1
    WHERE charm_key = ? AND status IN (1, 2) AND status = 2 AND origin = 'poll'"""
HOLD_DEAD = """UPDATE ack_queue_jobs SET is_held = 1
    WHERE charm_key = ? AND status = 9 AND origin = 'send'"""
UNHOLD = f"""UPDATE ack_queue_jobs SET is_held = 0 WHERE charm_key = :charm AND status IN (1, 2)
    AND is_held = 1 AND (origin <> 'send' OR _id = ({_FIRST_SEND}))"""
UNHOLD_DEAD = """UPDATE ack_queue_jobs SET is_held = 0
    WHERE charm_key = ? AND status = 9 AND is_held = 1"""

FIND_DEAD_OF = "SELECT _id, space_key FROM ack_queue_jobs WHERE charm_key = ? AND status = 9"
REQUEUE = f"""INSERT INTO ack_queue_jobs
    (data, timestamp, status, space_key, charm_key, origin, priority, run_at, is_held, unique_key,
    integration)
    SELECT data, :now, 1, space_key, charm_key, origin, priority, :now,
        origin = 'send' AND (is_held OR EXISTS (SELECT 1 FROM ack_queue_jobs AS live
            WHERE live.charm_key = dead.charm_key AND live.status IN (1, 2)
            AND live.origin = 'send')), iif(origin = 'send', NULL, charm_key),
        CASE WHEN :is_noted THEN {_NOTED} END
    FROM ack_queue_jobs AS dead WHERE _id = :dead
    ON CONFLICT (unique_key) WHERE unique_key IS NOT NULL DO NOTHING"""


class _Request(msgspec.Struct):
    """The column `data`: plain JSON, which the stock queue reads too."""

    space: str
    charm: str
    stream: str
    event: str


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Request)


def columns_of(job: NewJob, now: float, *, is_noted: bool) -> tuple[Any, ...]:
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
        is_noted,
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
    )
    return Claim(job, space_key=row[9], charm_key=row[10], integration=row[11] or "")

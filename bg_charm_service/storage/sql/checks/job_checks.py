"""Checks of the queue: each job can run or is over, at most one poll and one claim a charm."""

from __future__ import annotations

from collections.abc import Iterator

from bg_charm_service.domain.outcomes.run_endings import (
    LONGEST_PAUSE_SECONDS,
    LONGEST_WAIT_SECONDS,
    EndingKind,
)
from bg_charm_service.storage.records import MOST_DEAD_SENDS, Severity, Trouble
from bg_charm_service.storage.sql.checks.findings import Mend, Scope, charm_names, sliced

#: A job that is ready is late when it waits for so long, in seconds.
_LATE_SECONDS = 3600.0

#: No delay is longer than half a minute: a time that is further away was set by another clock.
_FAR_SECONDS = 3600.0
_NEAR_SECONDS = 30.0

_STATUSES = (1, 2, 5, 9)

_ALL_JOBS = """SELECT job._id, job.status, job.run_at, job.is_held, job.charm_key,
    charm.charm_key IS NULL, charm.removed_at IS NOT NULL, coalesce(waits.until, 0)
    FROM ack_queue_jobs AS job LEFT JOIN charms AS charm USING (charm_key)
    LEFT JOIN waits USING (charm_key)
    WHERE job._id > :after ORDER BY job._id LIMIT :rows"""

_LIVE_BY_CHARM = """SELECT charm_key, count(*) FILTER (WHERE status = 2),
    count(*) FILTER (WHERE origin <> 'send'), count(*) FILTER (WHERE origin <> 'send'
        AND (unique_key IS NULL OR unique_key <> charm_key)) FROM ack_queue_jobs
    WHERE status IN (1, 2) AND origin <> 'batch' AND charm_key > :after
    GROUP BY charm_key ORDER BY charm_key LIMIT :rows"""

# The first send of an enabled charm, and any poll of one, may run: nothing would let them.
_HELD_OF_ENABLED = """SELECT live.charm_key, health.disabled_by IS NULL AND EXISTS (
        SELECT 1 FROM ack_queue_jobs AS job WHERE job.charm_key = live.charm_key
        AND job.status IN (1, 2) AND job.origin <> 'batch' AND job.status = 1 AND job.is_held = 1
        AND (job.origin <> 'send' OR job._id = (SELECT min(_id) FROM ack_queue_jobs AS first
                WHERE first.charm_key = live.charm_key AND first.status IN (1, 2)
                AND first.origin <> 'batch' AND first.origin = 'send')))
    FROM (SELECT DISTINCT charm_key FROM ack_queue_jobs
        WHERE status IN (1, 2) AND origin <> 'batch' AND charm_key > :after
        ORDER BY charm_key LIMIT :rows) AS live
    LEFT JOIN health USING (charm_key) ORDER BY live.charm_key"""

_DEAD_BY_CHARM = """SELECT charm_key, count(*) FILTER (WHERE origin <> 'send'),
    count(*) FILTER (WHERE origin = 'send')
    FROM ack_queue_jobs WHERE status = 9 AND charm_key > :after
    GROUP BY charm_key ORDER BY charm_key LIMIT :rows"""

_WAITING_CHARMS = """SELECT charm_key, kind, until FROM waits
    WHERE charm_key > :after ORDER BY charm_key LIMIT :rows"""

_REMINDERS = """SELECT reminder_id, typeof(remind_at) = 'real' AND remind_at BETWEEN 0 AND 1e12
    FROM reminders WHERE reminder_id > :after ORDER BY reminder_id LIMIT :rows"""
_FIRST_REMINDER = "SELECT min(remind_at) FROM reminders WHERE typeof(remind_at) = 'real'"

# The poll that is claimed, or else the oldest, is the one that stays.
_EXTRA_POLLS = """DELETE FROM ack_queue_jobs WHERE charm_key = ?1 AND status IN (1, 2)
    AND origin <> 'batch' AND status = 1 AND origin <> 'send'
    AND _id <> (SELECT _id FROM ack_queue_jobs
        WHERE charm_key = ?1 AND status IN (1, 2) AND origin <> 'batch' AND origin <> 'send'
        ORDER BY status DESC, _id LIMIT 1)"""
_MARK_POLL = """UPDATE ack_queue_jobs SET unique_key = charm_key WHERE charm_key = ?
    AND status IN (1, 2) AND origin <> 'batch' AND origin <> 'send'"""
_OLDER_DEAD = """DELETE FROM ack_queue_jobs WHERE charm_key = ?1 AND status = 9
    AND origin <> 'send' AND _id < (SELECT max(_id) FROM ack_queue_jobs
        WHERE charm_key = ?1 AND status = 9 AND origin <> 'send')"""


_BATCHES_OUT = """SELECT _id, origin = 'batch' AND status = 2 FROM ack_queue_jobs
    WHERE _id > :after ORDER BY _id LIMIT :rows"""
_END_BATCH = "UPDATE ack_queue_jobs SET status = 5 WHERE _id = ? AND origin = 'batch'"


def batches(scope: Scope) -> Iterator[Trouble | None]:
    """Each batch that is out has polls that are not over."""
    over: list[int] = []
    for rows in sliced(scope, _BATCHES_OUT, 0):
        # In the same slice: the service goes on between two.
        out = scope.queue.batches_out()
        over += [batch for batch, is_out in rows if is_out and batch not in out]
        yield None
    if over:
        text = "that are out, and whose polls are all over"
        yield Trouble("claims", Severity.WARNING, text, "Batches", tuple(over), mend=_end_batch)


def claims(scope: Scope) -> Iterator[Trouble | None]:
    """Each claimed job has its run under way; none has where no service runs."""
    claimed = {claim.job.job_id for claim in scope.queue.claimed_jobs()}
    if scope.running is None:
        if claimed:
            text = "under way when the service ended, which run again at its next start"
            yield Trouble("claims", Severity.NOTE, text, "Jobs", tuple(claimed))
        return
    # In the same slice: the service goes on between two, and settles what was claimed.
    lost = tuple(claimed - scope.running.in_flight())
    yield None
    if lost:
        text = "claimed with no run under way, which would wait for the next start"
        yield Trouble("claims", Severity.ERROR, text, "Jobs", lost, mend=_give_back)


def stuck_jobs(scope: Scope) -> Iterator[Trouble | None]:
    """Each job belongs to a charm, has a known status, and a time that comes and is not past."""
    orphans, unknown, late, far = [], [], [], []
    for rows in sliced(scope, _ALL_JOBS, 0):
        for job_id, status, run_at, is_held, _, is_lost, is_removed, until in rows:
            if status not in _STATUSES:
                unknown.append(job_id)
            elif status in (1, 9) and (is_lost or is_removed):
                orphans.append(job_id)
            elif status == 1 and run_at > max(until, scope.now + _FAR_SECONDS):
                far.append(job_id)
            elif status == 1 and not is_held and run_at < scope.now - _LATE_SECONDS:
                late.append(job_id)
        yield None
    if orphans:
        text = "of charms that do not exist any more, which can never run"
        yield Trouble("jobs", Severity.ERROR, text, "Jobs", tuple(orphans), mend=_delete)
    if unknown:
        text = "with an unknown status, which can never run"
        yield Trouble("jobs", Severity.ERROR, text, "Jobs", tuple(unknown))
    if far:
        text = "that wait for a time that a wrong clock wrote"
        yield Trouble("jobs", Severity.WARNING, text, "Jobs", tuple(far), mend=_bring_near)
    if late and scope.running is not None:
        text = "that were ready for over an hour, and did not run"
        yield Trouble("jobs", Severity.WARNING, text, "Jobs", tuple(late))


def live_polls(scope: Scope) -> Iterator[Trouble | None]:
    """A charm has at most one live poll, which its unique key marks, and at most one claim."""
    twice, overlapping = [], []
    for rows in sliced(scope, _LIVE_BY_CHARM, 0):
        twice += [row[0] for row in rows if row[2] > 1 or row[3]]
        overlapping += [row[0] for row in rows if row[1] > 1]
        yield None
    if twice:
        text = "with two live polls, or one that is not marked as the only one"
        yield _of_charms(scope, "polls", Severity.ERROR, text, twice, _keep_one_poll)
    if overlapping:
        text = "with two jobs under way at a time"
        yield _of_charms(scope, "polls", Severity.ERROR, text, overlapping)


def held_jobs(scope: Scope) -> Iterator[Trouble | None]:
    """No job is held back for a charm that is enabled and has nothing before it."""
    held: list[int] = []
    for rows in sliced(scope, _HELD_OF_ENABLED, 0):
        held += [charm_key for charm_key, is_stuck in rows if is_stuck]
        yield None
    if held:
        text = "that are enabled, and whose jobs are held back for ever"
        yield _of_charms(scope, "jobs", Severity.ERROR, text, held, _let_run)


def dead_letters(scope: Scope) -> Iterator[Trouble | None]:
    """A charm has at most one dead letter of a poll, and of events no more than are kept."""
    several: list[int] = []
    many: list[int] = []
    for rows in sliced(scope, _DEAD_BY_CHARM, 0):
        several += [charm_key for charm_key, polls, _ in rows if polls > 1]
        many += [charm_key for charm_key, _, sends in rows if sends > MOST_DEAD_SENDS]
        yield None
    if several:
        text = "with more than one dead letter of a poll"
        yield _of_charms(scope, "jobs", Severity.WARNING, text, several, _keep_newest_dead)
    if many:
        text = f"with more than {MOST_DEAD_SENDS:,} dead letters of events"
        yield _of_charms(scope, "jobs", Severity.WARNING, text, many)


def waits(scope: Scope) -> Iterator[Trouble | None]:
    """Nobody waits longer than a run can ask for."""
    far: list[int] = []
    for rows in sliced(scope, _WAITING_CHARMS, 0):
        for charm_key, kind, until in rows:
            is_asked = kind == EndingKind.AGAIN
            longest = LONGEST_PAUSE_SECONDS if is_asked else LONGEST_WAIT_SECONDS
            if until > scope.now + longest + _NEAR_SECONDS:
                far.append(charm_key)
        yield None
    if far:
        text = "that wait for a time that a wrong clock wrote"
        yield _of_charms(scope, "waits", Severity.WARNING, text, far)


def reminders(scope: Scope) -> Iterator[Trouble | None]:
    """Each reminder has a time, and a running service looks when the first one comes."""
    timeless: list[int] = []
    for rows in sliced(scope, _REMINDERS, 0):
        timeless += [row[0] for row in rows if not row[1]]
        yield None
    if timeless:
        text = "whose time is none, which can never be sent"
        yield Trouble("reminders", Severity.ERROR, text, "Reminders", tuple(timeless), mend=_forget)
    if scope.running is None:
        return
    # In the same slice: the service may send it between two.
    (first,) = scope.database.row(_FIRST_REMINDER)
    next_look = scope.running.next_reminder()
    if first is not None and (next_look is None or next_look > first):
        text = "There are reminders that the running service does not wait for"
        yield Trouble("reminders", Severity.ERROR, text, mend=_remember)


def _of_charms(
    scope: Scope,
    check: str,
    severity: Severity,
    text: str,
    keys: list[int],
    mend: Mend | None = None,
) -> Trouble:
    return Trouble(check, severity, text, "Charms", tuple(keys), charm_names(scope, keys), mend)


def _give_back(scope: Scope, job_id: int) -> None:
    claim = scope.queue.find(job_id)
    if claim is not None and (scope.running is None or job_id not in scope.running.in_flight()):
        scope.queue.rescue(claim, scope.now)


def _end_batch(scope: Scope, batch: int) -> None:
    if batch not in scope.queue.batches_out():
        scope.database.execute(_END_BATCH, (batch,))


def _delete(scope: Scope, job_id: int) -> None:
    scope.database.execute("DELETE FROM ack_queue_jobs WHERE _id = ? AND status <> 2", (job_id,))
    scope.database.after_commit(scope.queue.recount)


def _bring_near(scope: Scope, job_id: int) -> None:
    near = scope.now + _NEAR_SECONDS
    scope.database.execute(
        "UPDATE ack_queue_jobs SET run_at = min(run_at, ?) WHERE _id = ? AND status = 1",
        (near, job_id),
    )
    scope.database.after_commit(scope.queue.recount)


def _forget(scope: Scope, reminder_id: int) -> None:
    scope.database.execute("DELETE FROM reminders WHERE reminder_id = ?", (reminder_id,))


def _remember(scope: Scope, _: None) -> None:
    if scope.running is not None:
        scope.running.remember_reminders()


def _keep_one_poll(scope: Scope, charm_key: int) -> None:
    scope.database.execute(_EXTRA_POLLS, (charm_key,))
    scope.database.execute(_MARK_POLL, (charm_key,))
    scope.database.after_commit(scope.queue.recount)


def _let_run(scope: Scope, charm_key: int) -> None:
    row = scope.database.row("SELECT space_key FROM charms WHERE charm_key = ?", (charm_key,))
    if row is not None:
        scope.queue.unhold(row[0], charm_key, scope.now)


def _keep_newest_dead(scope: Scope, charm_key: int) -> None:
    scope.database.execute(_OLDER_DEAD, (charm_key,))
    scope.database.after_commit(scope.queue.recount)

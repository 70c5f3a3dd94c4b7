"""What must hold whenever the loop is about to sleep: looked up in the tables, held against memory.

Pure reading. The ledger holds the rules about the way of single jobs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from bg_charm_service.domain.schedules.schedule import out_of_quiet
from bg_charm_service.domain.schedules.words import NO_WORDS
from bg_charm_service.service.bootstrap import Service
from bg_charm_service.storage.sql.plain_polls import PlainPolls
from bg_charm_service.storage.sqlite.database import Database
from bg_charm_service.supervisor.planning.timetable import first_time
from tests.recorded_runs import recorded_runs
from tests.simulation.disk import FaultyConnection

#: The wall clock is set by two days at most, and what was set before may count for some hours.
_SET_SECONDS = 60 * 3600.0

_SCHEDULE = """SELECT c.charm_key, h.due_at, h.disabled_by, h.interval_seconds
    FROM charms AS c JOIN health AS h USING (charm_key) WHERE c.removed_at IS NULL"""
_COUNTERS = """SELECT h.successes, cells.value FROM charms AS c
    JOIN health AS h USING (charm_key) JOIN cells ON cells.charm_key = c.charm_key
    WHERE c.removed_at IS NULL AND cells.field = 'counter' AND c.charm_key = ?"""
_STATUSES = "SELECT status, count(*) FROM ack_queue_jobs WHERE origin <> 'batch' GROUP BY status"
_DONE = "SELECT count(*) FROM ack_queue_jobs WHERE status = 5 AND origin <> 'batch'"
_BATCHES_OVER = "SELECT count(*) FROM ack_queue_jobs WHERE status = 5 AND origin = 'batch'"
#: Some hundred are kept, and all that end in one commit.
_MOST_BATCHES_OVER = 300
_CLAIMED = "SELECT _id FROM ack_queue_jobs WHERE status = 2 AND origin <> 'batch'"
_BATCHES = """SELECT batch._id, json_extract(poll.value, '$[0]'),
        json_extract(poll.value, '$[0]') > coalesce(last_poll, json_extract(poll.value, '$[0]'))
    FROM ack_queue_jobs AS batch, json_each(CAST(batch.data AS TEXT)) AS stream,
        json_each(stream.value) AS poll
    LEFT JOIN health ON health.charm_key = json_extract(poll.value, '$[1]')
    WHERE batch.status = 2 AND batch.origin = 'batch'"""
_DEAD_TWICE = """SELECT charm_key FROM ack_queue_jobs WHERE status = 9 AND origin <> 'send'
    GROUP BY charm_key HAVING count(*) > 1"""
_WAITS = "SELECT charm_key, kind, until FROM waits"
_LONG_HISTORY = """SELECT run_key >> 32 FROM runs GROUP BY run_key >> 32 HAVING count(*) > ?
    UNION SELECT chunk_key >> 32 FROM run_chunks GROUP BY chunk_key >> 32 HAVING count(*) > ?"""
#: What is not kept goes with each block of so many numbers.
_BLOCK_RUNS = 8
#: So many of the newest runs of a charm are kept, whatever their age.
_KEPT_RUNS = 10
_RECORDED = "SELECT runs_recorded FROM health WHERE charm_key = ?"
_TOTALS = "SELECT name, value FROM totals WHERE name IN ('executions', 'successes', 'failures')"
_ORPHANS = """SELECT _id FROM ack_queue_jobs WHERE status IN (1, 2) AND origin <> 'batch'
    AND charm_key NOT IN
    (SELECT charm_key FROM charms)"""
_OVERDUE = """SELECT _id, charm_key, origin, run_at FROM ack_queue_jobs
    WHERE status = 1 AND is_held = 0 AND run_at < ?"""

_POKED = "SELECT charm_key FROM hooks WHERE is_poked = 1"

#: Deliveries that say wrongly whether their event was given up.
_WRONG_DELIVERIES = """SELECT job_id FROM deliveries JOIN ack_queue_jobs AS job ON job._id = job_id
    WHERE is_dead <> (job.status = 9)"""

_MISCOUNTED_ITEMS = """SELECT charm_key, field FROM collections AS c
    WHERE count <> (SELECT count(*) FROM items WHERE collection_key = c.collection_key)
    OR size_bytes <> (SELECT coalesce(sum(length(CAST(key AS BLOB)) + length(value) + 100), 0)
        FROM items WHERE collection_key = c.collection_key)"""
_SKEWED = """SELECT charm_key FROM collections WHERE field IN ('left', 'right') AND count > 0
    GROUP BY charm_key HAVING count(*) > 1"""
_NOTED = """SELECT charms.charm_key, coalesce(c.count, 0), cells.value FROM charms
    JOIN cells ON cells.charm_key = charms.charm_key AND cells.field = 'counter'
    LEFT JOIN collections AS c ON c.charm_key = charms.charm_key AND c.field = 'done'
    WHERE charms.name = 'Taker' AND removed_at IS NULL"""

_CLAIMED_WITH_SIGN_IN = """SELECT _id, attempt FROM ack_queue_jobs JOIN charms USING (charm_key)
    WHERE status = 2 AND origin <> 'batch' AND charms.name IN ('Signed', 'Reader')"""

_REMINDERS = "SELECT reminder_id, remind_at FROM reminders WHERE remind_at < ?"
_HELD_FOR_EVER = """SELECT job.charm_key FROM ack_queue_jobs AS job
    JOIN health USING (charm_key)
    WHERE job.status IN (1, 2) AND job.origin = 'send' AND disabled_by IS NULL
    GROUP BY job.charm_key HAVING min(is_held) = 1"""


def broken(service: Service, connection: FaultyConnection, touched: Iterable[int]) -> Iterator[str]:
    """Name every invariant that does not hold now; counters are those of the touched charms."""
    yield from _schedule(service, connection)
    yield from _claims(service, connection)
    yield from _owed(service, connection)
    yield from _held(connection)
    yield from _waiting(service, connection)
    yield from miscounted(connection, touched)
    yield from _histories(service, connection, touched)
    yield from _bounds(service, connection)
    yield from _collected(connection)
    for (job_id,) in connection.bare(_WRONG_DELIVERIES).fetchall():
        yield f"the delivery of job {job_id} says wrongly whether that was given up"


def overdue(service: Service, connection: FaultyConnection, bound_seconds: float) -> Iterator[str]:
    """Name every job and charm that waits longer than a bound."""
    oldest = service.parts.clock.steady() - bound_seconds
    for job_id, charm_key, origin, run_at in connection.bare(_OVERDUE, (oldest,)):
        yield f"job {job_id}, a {origin} of charm {charm_key}, is due for {oldest - run_at:.0f} s"
    for poll in _plain(service).by_job.values():
        if not poll.batch and poll.run_at < oldest:
            late = oldest - poll.run_at
            yield f"job {poll.job_id}, a poll of charm {poll.charm_key}, is due for {late:.0f} s"
    for (charm_key,) in connection.bare(_POKED).fetchall():
        if service.parts.runs.of_charm(charm_key) is None:
            yield f"charm {charm_key} was poked, and is not polled"
    for charm_key, *_ in connection.bare(_SCHEDULE).fetchall():
        due = service.parts.planner.due_at(charm_key)
        if due is not None and due < oldest:
            yield f"charm {charm_key} is due and not polled for {oldest - due:.0f} s"


def forgotten(connection: FaultyConnection, before: float, calm_since: float) -> Iterator[str]:
    """Name reminders that were due before a moment, once it lies in the calm."""
    if before > calm_since:
        for reminder_id, remind_at in connection.bare(_REMINDERS, (before,)):
            yield f"reminder {reminder_id} is due for {before - remind_at:.0f} s"


def _held(connection: FaultyConnection) -> Iterator[str]:
    for (charm_key,) in connection.bare(_HELD_FOR_EVER):
        yield f"the events of charm {charm_key} are held, and it is enabled"


def _schedule(service: Service, connection: FaultyConnection) -> Iterator[str]:
    planner, polled_charms = service.parts.planner, service.polled_charms
    now = service.parts.clock.steady()
    waits = {key: until for key, _, until in connection.bare(_WAITS) if until > now}
    for charm_key, stored, disabled_by, own_interval in connection.bare(_SCHEDULE).fetchall():
        planned = planner.due_at(charm_key)
        if disabled_by is not None:
            if planned is not None or stored is not None:
                yield f"charm {charm_key} is disabled and due at {planned}, stored {stored}"
        elif charm_key in polled_charms:
            interval = own_interval or service.config.interval_seconds
            if planned is None or stored is None:
                yield f"charm {charm_key} is enabled and due at {planned}, stored {stored}"
            elif charm_key in waits:
                if planned != waits[charm_key]:
                    late = waits[charm_key] - planned
                    yield f"charm {charm_key} waits, and is due {late:.0f} s before that is over"
            elif planned > _latest(service, charm_key, own_interval, now, 1.5 * interval + 1):
                yield f"charm {charm_key} is due only in {planned - now:.0f} s"
        elif planned is not None:
            yield f"charm {charm_key} is not registered and due at {planned}"


def _latest(
    service: Service, charm_key: int, own_interval: float | None, now: float, within: float
) -> float:
    """Give the latest moment for which a charm may be planned.

    By a schedule it is the next time of that. The wall clock may have been set by two days a moment
    ago, and back by a few hours before, in which nothing was to be repeated.
    """
    words = service.parts.store.schedules.of_charm(charm_key)
    if words == NO_WORDS:
        return now + within
    counts = service.parts.planner.schedules.joined(NO_WORDS, words, own_interval)
    ahead = service.parts.clock.now() - now
    latest = out_of_quiet(counts, now + within + ahead)
    if counts.cron:
        latest = max(latest, first_time(counts, now + ahead + _SET_SECONDS))
    return latest - ahead + _SET_SECONDS


def _claims(service: Service, connection: FaultyConnection) -> Iterator[str]:
    claimed = {row[0] for row in connection.bare(_CLAIMED)}
    owed: dict[int, set[int]] = {}
    for batch, job_id, is_owed in connection.bare(_BATCHES):
        owed.setdefault(batch, set()).update([job_id] if is_owed else [])
    for batch, jobs in owed.items():
        claimed |= jobs
        if not jobs:
            yield f"batch {batch} is out, and all of its polls are over"
    out = {run.claim.job.job_id for run in service.parts.dispatcher.runs}
    if claimed != out:
        yield f"jobs {sorted(claimed)} are claimed, and {sorted(out)} are out"


def _owed(service: Service, connection: FaultyConnection) -> Iterator[str]:
    """The stored due time of a charm stands for its poll, until that is over or has a row."""
    for poll in _plain(service).by_job.values():
        sql = "SELECT due_at FROM health WHERE charm_key = ?"
        (due,) = connection.bare(sql, (poll.charm_key,)).fetchone()
        if due is None or due > poll.run_at:
            yield f"charm {poll.charm_key} is due at {due}, and owes poll {poll.job_id} before that"


def _plain(service: Service) -> PlainPolls:
    database = service.parts.database
    assert isinstance(database, Database)
    return database.sole_writer.plain_polls


def _waiting(service: Service, connection: FaultyConnection) -> Iterator[str]:
    """What is remembered of charms that wait is what is stored."""
    waiting = service.parts.waiting
    for charm_key, kind, until in connection.bare(_WAITS):
        shown = waiting.view(charm_key)
        known = (None if shown is None else shown.kind, waiting.not_before(charm_key))
        stored = (kind, until if kind in ("wait", "down") else 0.0)
        if known != stored:
            yield f"charm {charm_key} waits for {stored}, and it is remembered as {known}"


def miscounted(connection: FaultyConnection, charm_keys: Iterable[int]) -> Iterator[str]:
    """Name the charms whose counters are not the number of their successful runs."""
    for charm_key in charm_keys:
        for successes, value in connection.bare(_COUNTERS, (charm_key,)):
            if int(value) != successes:
                yield f"charm {charm_key} counts {int(value)} and had {successes} successes"


def _collected(connection: FaultyConnection) -> Iterator[str]:
    """Collections: totals are those of the rows, no run is noted twice, and no two runs were made
    on what neither of them saw of the other.
    """
    for charm_key, field in connection.bare(_MISCOUNTED_ITEMS):
        yield f"the totals of collection {field} of charm {charm_key} are not those of its items"
    for (charm_key,) in connection.bare(_SKEWED):
        yield f"both sides of hub {charm_key} have items: two runs wrote where the other looked"
    for charm_key, noted, counted in connection.bare(_NOTED):
        if noted != int(counted):
            yield f"charm {charm_key} has noted {noted} runs, and counts {int(counted)}"


def held_in_vain(
    connection: FaultyConnection, given_out: Collection[tuple[int, int]]
) -> Iterator[str]:
    """Name the claims of charms that sign in of which no run was made: who waits holds none."""
    for job_id, attempt in connection.bare(_CLAIMED_WITH_SIGN_IN):
        if (job_id, attempt) not in given_out:
            yield f"job {job_id} is claimed while it waits for its token"


def class_of(connection: FaultyConnection, charm_key: int) -> str:
    """Name the class of a charm; empty where it is gone for good."""
    sql = "SELECT name FROM charms WHERE charm_key = ?"
    found = connection.bare(sql, (charm_key,)).fetchone()
    return found[0] if found else ""


def _histories(
    service: Service, connection: FaultyConnection, charm_keys: Iterable[int]
) -> Iterator[str]:
    """Each run is recorded once, and none of the newest is missing."""
    most = service.config.history_runs
    for charm_key in charm_keys:
        row = connection.bare(_RECORDED, (charm_key,)).fetchone()
        numbers = [run.number for run in recorded_runs(connection.bare, charm_key)]
        if len(numbers) > len(set(numbers)):
            yield f"a run of charm {charm_key} is recorded twice"
        if row is None:
            continue
        if len(numbers) > most:
            yield f"charm {charm_key} shows {len(numbers)} runs"
        for number in range(max(1, row[0] - min(most, _KEPT_RUNS) + 1), row[0] + 1):
            if number not in numbers:
                yield f"run {number} of charm {charm_key} is missing"


def _bounds(service: Service, connection: FaultyConnection) -> Iterator[str]:
    queue, totals = service.parts.queue, service.parts.store.totals
    counts = dict(connection.bare(_STATUSES).fetchall())
    owed = sum(is_owed for *_, is_owed in connection.bare(_BATCHES))
    waiting = _plain(service).waiting
    stored = (counts.get(1, 0) + waiting, counts.get(2, 0) + owed, counts.get(9, 0))
    shown = (queue.pending, queue.claimed, queue.dead)
    if stored != shown:
        yield f"the queue holds {stored} jobs (waiting, claimed, dead) and shows {shown}"
    for name, value in connection.bare(_TOTALS):
        if totals.get(name) != value:
            yield f"the total {name} is {value:g} and shows {totals.get(name)}"
    (done,) = connection.bare(_DONE).fetchone()
    if done > service.config.history_jobs:
        yield f"{done} finished jobs are kept"
    (over,) = connection.bare(_BATCHES_OVER).fetchone()
    if over > _MOST_BATCHES_OVER:
        yield f"{over} batches that are over are kept"
    for (charm_key,) in connection.bare(_DEAD_TWICE):
        yield f"charm {charm_key} has more than one dead letter of a poll"
    kept = service.config.history_runs
    most = (kept + _BLOCK_RUNS, kept // _BLOCK_RUNS + 2)
    for (charm_key,) in connection.bare(_LONG_HISTORY, most):
        yield f"charm {charm_key} has too many runs in its history"
    for (job_id,) in connection.bare(_ORPHANS):
        yield f"job {job_id} is of no charm"

"""What must hold whenever the loop is about to sleep: looked up in the tables, held against memory.

Pure reading. The ledger holds the rules about the way of single jobs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bg_charm_service.service.bootstrap import Service
from tests.simulation.disk import FaultyConnection

_SCHEDULE = """SELECT c.charm_key, h.due_at, h.disabled_by, h.interval_seconds
    FROM charms AS c JOIN health AS h USING (charm_key) WHERE c.removed_at IS NULL"""
_COUNTERS = """SELECT h.successes, cells.value FROM charms AS c
    JOIN health AS h USING (charm_key) JOIN cells ON cells.charm_key = c.charm_key
    WHERE c.removed_at IS NULL AND cells.field = 'counter' AND c.charm_key = ?"""
_STATUSES = "SELECT status, count(*) FROM ack_queue_jobs GROUP BY status"
_DEAD_TWICE = """SELECT charm_key FROM ack_queue_jobs WHERE status = 9
    GROUP BY charm_key HAVING count(*) > 1"""
_LONG_HISTORY = """SELECT run_key >> 32 FROM runs GROUP BY run_key >> 32 HAVING count(*) > ?"""
_TOTALS = "SELECT name, value FROM totals WHERE name IN ('executions', 'successes', 'failures')"
_ORPHANS = """SELECT _id FROM ack_queue_jobs WHERE status IN (1, 2) AND charm_key NOT IN
    (SELECT charm_key FROM charms)"""
_OVERDUE = """SELECT _id, charm_key, origin, run_at FROM ack_queue_jobs
    WHERE status = 1 AND is_held = 0 AND run_at < ?"""


def broken(service: Service, connection: FaultyConnection, touched: Iterable[int]) -> Iterator[str]:
    """Name every invariant that does not hold now; counters are those of the touched charms."""
    yield from _schedule(service, connection)
    yield from _claims(service, connection)
    yield from miscounted(connection, touched)
    yield from _bounds(service, connection)


def overdue(service: Service, connection: FaultyConnection, bound_seconds: float) -> Iterator[str]:
    """Name every job and charm that waits longer than a bound."""
    oldest = service.parts.clock.steady() - bound_seconds
    for job_id, charm_key, origin, run_at in connection.bare(_OVERDUE, (oldest,)):
        yield f"job {job_id}, a {origin} of charm {charm_key}, is due for {oldest - run_at:.0f} s"
    for charm_key, *_ in connection.bare(_SCHEDULE).fetchall():
        due = service.parts.planner.due_at(charm_key)
        if due is not None and due < oldest:
            yield f"charm {charm_key} is due and not polled for {oldest - due:.0f} s"


def _schedule(service: Service, connection: FaultyConnection) -> Iterator[str]:
    planner, polled_charms = service.parts.planner, service.polled_charms
    now = service.parts.clock.steady()
    for charm_key, stored, disabled_by, own_interval in connection.bare(_SCHEDULE).fetchall():
        planned = planner.due_at(charm_key)
        if disabled_by is not None:
            if planned is not None or stored is not None:
                yield f"charm {charm_key} is disabled and due at {planned}, stored {stored}"
        elif charm_key in polled_charms:
            interval = own_interval or service.config.interval_seconds
            if planned is None or stored is None:
                yield f"charm {charm_key} is enabled and due at {planned}, stored {stored}"
            elif planned > now + 1.5 * interval + 1:
                yield f"charm {charm_key} is due only in {planned - now:.0f} s"
        elif planned is not None:
            yield f"charm {charm_key} is not registered and due at {planned}"


def _claims(service: Service, connection: FaultyConnection) -> Iterator[str]:
    claimed = {row[0] for row in connection.bare("SELECT _id FROM ack_queue_jobs WHERE status = 2")}
    out = {run.claim.job.job_id for run in service.parts.dispatcher.runs}
    if claimed != out:
        yield f"jobs {sorted(claimed)} are claimed, and {sorted(out)} are out"


def miscounted(connection: FaultyConnection, charm_keys: Iterable[int]) -> Iterator[str]:
    """Name the charms whose counters are not the number of their successful runs."""
    for charm_key in charm_keys:
        for successes, value in connection.bare(_COUNTERS, (charm_key,)):
            if int(value) != successes:
                yield f"charm {charm_key} counts {int(value)} and had {successes} successes"


def _bounds(service: Service, connection: FaultyConnection) -> Iterator[str]:
    queue, totals = service.parts.queue, service.parts.store.totals
    counts = dict(connection.bare(_STATUSES).fetchall())
    stored = tuple(counts.get(status, 0) for status in (1, 2, 9))
    shown = (queue.pending, queue.claimed, queue.dead)
    if stored != shown:
        yield f"the queue holds {stored} jobs (waiting, claimed, dead) and shows {shown}"
    for name, value in connection.bare(_TOTALS):
        if totals.get(name) != value:
            yield f"the total {name} is {value:g} and shows {totals.get(name)}"
    if counts.get(5, 0) > service.config.history_jobs:
        yield f"{counts[5]} finished jobs are kept"
    for (charm_key,) in connection.bare(_DEAD_TWICE):
        yield f"charm {charm_key} has more than one dead letter"
    for (charm_key,) in connection.bare(_LONG_HISTORY, (service.config.history_runs,)):
        yield f"charm {charm_key} has too many runs in its history"
    for (job_id,) in connection.bare(_ORPHANS):
        yield f"job {job_id} is of no charm"

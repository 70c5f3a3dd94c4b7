"""Says what the service counts in the words of Prometheus: names, units, labels, formats.

Everything is read from memory when somebody asks, but for the sizes of two files, and what the
kernel says of this process: a scrape asks the database for its schema's number and nothing else.
No label is a charm, a space, or a text of one. docs/operating.md has the table of these names.
Imported by the monitoring commands when somebody scrapes.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from bg_charm_service.domain.outcomes.run_endings import EndingKind
from bg_charm_service.domain.version import VERSION
from bg_charm_service.service.charm_packages import PACKAGES_KIND, CharmPackages
from bg_charm_service.service.metrics.hook_counts import STATUSES, HookCounts
from bg_charm_service.service.metrics.run_counters import BucketCounts
from bg_charm_service.service.metrics.span_counts import SpanCounts
from bg_charm_service.service.notices.telling import Telling
from bg_charm_service.service.status.board import StatusBoard
from bg_charm_service.service.status.readiness import Readiness
from bg_charm_service.service.status.views import ProblemKind
from bg_charm_service.supervisor.loop import Parts
from bg_charm_service.workers.pool.pool import Pool
from bg_charm_service.workers.pool.worker_process import WorkerState

#: The cause of runs that did not fail.
_NO_CAUSE = "none"


class ServiceCollector(Collector):
    """Gives the metrics of one service."""

    def __init__(
        self,
        parts: Parts,
        pool: Pool,
        board: StatusBoard,
        readiness: Readiness,
        spans: SpanCounts,
        hooks: HookCounts,
        packages: CharmPackages,
        telling: Telling,
    ) -> None:
        self._telling = telling
        self._parts = parts
        self._pool = pool
        self._board = board
        self._readiness = readiness
        self._spans = spans
        self._hooks = hooks
        self._packages = packages

    def collect(self) -> Iterator[Metric]:
        """Give every metric with its value now."""
        yield from self._standing()
        yield from self._runs()
        yield from self._queue()
        yield from self._workers()
        yield from self._data()
        yield from self._locks()
        yield from self._notices()
        yield self._deliveries()

    def _standing(self) -> Iterator[Metric]:
        version = {
            "version": VERSION,
            "python": platform.python_version(),
            "schema": str(self._parts.database.newest_schema),
        }
        yield InfoMetricFamily("bg_charm_build", "The program that runs", value=version)
        kinds = {problem.kind for problem in self._board.problems()}
        yield _gauge("bg_charm_healthy", "1 while `status` says good", float(not kinds))
        problem = GaugeMetricFamily(
            "bg_charm_problem", "1 while this makes the service unhealthy", labels=["kind"]
        )
        for kind in ProblemKind:
            problem.add_metric([kind], float(kind in kinds))
        yield problem
        is_ready = not self._readiness.obstacles(is_probing=False)
        # One that stands by has no board, and says so elsewhere: api/standby.py.
        roles = {"active": 1, "standby": 0}
        yield _gauges("bg_charm_node", "1 for what this node is", "role", roles.items())
        yield _gauge("bg_charm_ready", "1 while /readyz answers 200", float(is_ready))

    def _runs(self) -> Iterator[Metric]:
        counters = self._board.runs
        runs = CounterMetricFamily(
            "bg_charm_runs",
            "Runs that ended, by outcome, integration, and cause of failure",
            labels=["outcome", "integration", "cause"],
        )
        for integration, status, cause, count in counters.each():
            runs.add_metric([status, integration, cause or _NO_CAUSE], count)
        yield runs
        yield _histogram(
            "bg_charm_run_duration_seconds",
            "How long runs took, but for those that were cancelled",
            counters.durations,
        )
        yield _histogram(
            "bg_charm_run_start_lag_seconds",
            "From when a run was due to when it started",
            counters.lags,
        )
        yield CounterMetricFamily(
            "bg_charm_polls_skipped",
            "Polls that fell due while another of that charm waited, ran or was between retries",
            value=self._parts.store.totals.get("skipped_polls"),
        )
        spans = CounterMetricFamily(
            "bg_charm_spans", "Spans of runs, by what became of them", labels=["result"]
        )
        for result in ("exported", "failed", "dropped"):
            spans.add_metric([result], getattr(self._spans, result))
        yield spans

    def _queue(self) -> Iterator[Metric]:
        queue = self._parts.queue
        states = {"pending": queue.pending, "processing": queue.claimed, "failed": queue.dead}
        yield _gauges("bg_charm_jobs", "Jobs in the queue now", "state", states.items())
        yield _gauge(
            "bg_charm_oldest_due_age_seconds",
            "For how long the poll or job that waits longest has been due without having begun",
            self._oldest_due_age_seconds(),
        )
        enabled, disabled = self._board.polled()
        charms = {"enabled": enabled, "disabled": disabled}
        yield _gauges("bg_charm_charms", "Charms that are polled, or not", "state", charms.items())
        waiting = self._parts.waiting
        kinds = [(str(kind), waiting.of_kind(kind)) for kind in EndingKind]
        kinds.append((PACKAGES_KIND, self._packages.counts().waiting))
        yield _gauges("bg_charm_waiting_charms", "Charms that wait, by for what", "kind", kinds)
        yield _gauge(
            "bg_charm_stale_charms",
            "Charms whose state did not change as often as their class expects, at the last status",
            self._board.stale,
        )
        yield _gauges("bg_charm_pauses", "What is paused by itself", "of", self._pauses().items())

    def _pauses(self) -> dict[str, float]:
        pauses = self._parts.store.pauses.all()
        charms = sum(one.charm_key > 0 for one in pauses)
        everything = sum(one.space_key == 0 for one in pauses)
        return {
            "everything": everything,
            "space": len(pauses) - charms - everything,
            "charm": charms,
        }

    def _oldest_due_age_seconds(self) -> float:
        now = self._parts.clock.steady()
        since = (self._parts.queue.ready_since(now), self._parts.planner.next_due)
        return max([0.0, *(now - moment for moment in since if moment is not None)])

    def _workers(self) -> Iterator[Metric]:
        workers = list(self._pool.workers)
        states = Counter(worker.state for worker in workers)
        counted = [(state, states[state]) for state in WorkerState]
        yield _gauges("bg_charm_workers", "Workers now", "state", counted)
        yield CounterMetricFamily(
            "bg_charm_workers_started", "Workers that were started", value=self._pool.created
        )
        ended = CounterMetricFamily(
            "bg_charm_workers_ended", "Workers that ended, by why", labels=["cause"]
        )
        for cause, count in self._pool.ended.items():
            ended.add_metric([cause], count)
        yield ended
        yield _gauge(
            "bg_charm_workers_memory_bytes",
            "Memory of all workers, as last looked at",
            sum(worker.own_bytes for worker in workers),
        )

    def _data(self) -> Iterator[Metric]:
        database = self._parts.database
        yield CounterMetricFamily(
            "bg_charm_commits", "Transactions that have written something", value=database.commits
        )
        usage = database.disk_usage
        yield _gauge("bg_charm_database_size_bytes", "The database file", usage.data_bytes)
        yield _gauge("bg_charm_wal_size_bytes", "Its write-ahead log", usage.log_bytes)
        yield _gauge(
            "bg_charm_items_size_bytes",
            "What collections of charms count, all together",
            self._parts.store.items.total_bytes,
        )
        backup = self._board.last_backup
        yield _gauge(
            "bg_charm_last_verified_backup_timestamp_seconds",
            "When the newest backup that was read from end to end was made; 0 without one",
            backup.made_at if backup is not None else 0.0,
        )

    def _locks(self) -> Iterator[Metric]:
        counts = self._packages.counts()
        states = {"there": counts.there, "missing": counts.missing}
        yield _gauges(
            *("bg_charm_package_locks", "Locks of packages that charms have, by whether they are"),
            *("state", states.items()),
        )
        yield _gauge(
            "bg_charm_packages_size_bytes",
            "The packages that are there, as they were installed",
            counts.size_bytes,
        )

    def _notices(self) -> Iterator[Metric]:
        delivery, heartbeat = self._telling.delivery, self._telling.heartbeat
        messages = CounterMetricFamily(
            "bg_charm_notices", "Messages to targets, by what became of a try", labels=["result"]
        )
        for result in ("sent", "failed", "given up"):
            messages.add_metric([result], delivery.results[result])
        yield messages
        yield _gauge(
            "bg_charm_notices_waiting",
            "Messages that no target has taken yet",
            delivery.waiting,
        )
        beats = CounterMetricFamily(
            "bg_charm_heartbeats", "Turns of the heartbeat, by how they went", labels=["result"]
        )
        for result in ("answered", "failed", "skipped"):
            beats.add_metric([result], heartbeat.results[result])
        yield beats

    def _deliveries(self) -> Metric:
        requests = CounterMetricFamily(
            "bg_charm_hook_requests",
            "Requests to the listener of hooks, by the status of the answer",
            labels=["status"],
        )
        for status in STATUSES:
            requests.add_metric([str(status)], self._hooks.by_status[status])
        return requests


class Exposition:
    """Writes metrics in the format that a scraper asks for."""

    def __init__(self, collector: ServiceCollector) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(collector)
        # Registered by itself, it would be part of every other program's numbers too.
        self._registry.register(ProcessCollector(registry=None))

    def write(self, accept: str) -> tuple[bytes, str]:
        """Give all metrics and their media type, for a header `Accept`."""
        encoder, media_type = choose_encoder(accept)
        return encoder(self._registry), media_type


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _gauges(
    name: str, text: str, label: str, values: Iterable[tuple[str, float]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value, number in values:
        family.add_metric([value], number)
    return family


def _histogram(name: str, text: str, counted: BucketCounts) -> HistogramMetricFamily:
    bounds = [*map(repr, counted.bounds), "+Inf"]
    cumulative = list(zip(bounds, accumulate(counted.counts), strict=True))
    return HistogramMetricFamily(name, text, buckets=cumulative, sum_value=counted.total)

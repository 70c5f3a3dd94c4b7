"""The maintenance cycle: each interval it scans integrations and tidies up, busy or not.

A lane of its own: its jobs live in memory, by priority, and write only what changed; a cycle
in which nothing is due writes nothing. Run by the service beside the supervisor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from loguru import logger

from bg_charm_service.domain.errors import ServiceError, StorageError
from bg_charm_service.domain.model import ENABLED_BY_TIME_STATUS, Priority
from bg_charm_service.service.charm_packages import CharmPackages
from bg_charm_service.service.maintenance.backups import Backups
from bg_charm_service.service.maintenance.health_checks import HealthChecks
from bg_charm_service.service.maintenance.integration_scans import IntegrationScans
from bg_charm_service.supervisor.loop import Supervisor
from bg_charm_service.supervisor.planning.polled_charms import PolledCharms
from bg_charm_service.workers.pool.worker_process import Ending, WorkerProcess, WorkerState

#: Rows that one slice of cleanup deletes, so that runs are not held up.
_SLICE_ROWS = 500

#: Timers stand still while the machine sleeps: the clock is looked at so often, in seconds.
_LOOK_SECONDS = 60.0

#: The newest runs of a charm stay, whatever their age: the clock may have been wrong.
_KEPT_RUNS = 10

#: After so many slices in which all runs are kept, the next cycle goes on.
_FRUITLESS_SLICES = 20

#: Free pages of 4 kB that stay in the file: new rows will want them soon.
_SPARE_PAGES = 1000

#: Of the others so many are given back in one slice, and so many slices are made in a cycle.
_VACUUM_PAGES = 250
_VACUUM_SLICES = 20


@dataclass(frozen=True, slots=True)
class CycleLimits:
    """How often and how long, and what is old; in seconds."""

    interval_seconds: float
    maintenance_timeout_seconds: float
    history_seconds: float
    disabled_retry_seconds: float


@dataclass(frozen=True, slots=True, order=True)
class _CycleJob:
    """One job of a cycle; the highest priority first."""

    rank: int
    name: str
    work: Callable[[], Awaitable[None]] = field(compare=False)


class MaintenanceCycle:
    """Runs the cycles."""

    def __init__(
        self,
        supervisor: Supervisor,
        polled_charms: PolledCharms,
        scans: IntegrationScans,
        health_checks: HealthChecks,
        packages: CharmPackages,
        workers: Iterable[WorkerProcess],
        limits: CycleLimits,
    ) -> None:
        self.last_started_at = 0.0
        self.last_ended_at = 0.0
        self._supervisor = supervisor
        self._database = supervisor.parts.database
        self._store = supervisor.parts.store
        self._switch = supervisor.parts.switch
        self._clock = supervisor.parts.clock
        self._polled_charms = polled_charms
        self._scans = scans
        self._health_checks = health_checks
        self._packages = packages
        self._workers = workers
        self._limits = limits

    async def run(self) -> None:
        """Run a cycle now and then every interval; cycles missed are skipped, not caught up."""
        due = self._clock.steady()
        while True:
            await self.run_cycle()
            now = self._clock.steady()
            due = max(due + self._limits.interval_seconds, now)
            while (left := due - self._clock.steady()) > 0:  # noqa: ASYNC110 - a clock tells nobody
                await asyncio.sleep(min(left, _LOOK_SECONDS))

    async def run_cycle(self) -> None:
        """Do everything of one cycle once; one job's failure does not stop the others."""
        self.last_started_at = self._clock.now()
        jobs = [
            _CycleJob(-Priority.SCAN_INTEGRATION, name, partial(self._scans.scan, name))
            for name in self._scans.states
        ]
        jobs += [
            _CycleJob(-Priority.RESET, "reset", self.reset),
            _CycleJob(-Priority.CLEANUP, "cleanup", self.cleanup),
            _CycleJob(-Priority.CLEANUP, "packages", self.tidy_packages),
            _CycleJob(-Priority.STATS, "stats", self.stats),
        ]
        # The checks come last: what they find is what the others have left.
        for job in [*sorted(jobs), _CycleJob(0, "doctor", self._health_checks.run_if_due)]:
            await self._run_job(job)
        self._store.totals.add("cycles")
        self.last_ended_at = self._clock.now()

    async def reset(self) -> None:
        """Enable charms that failures disabled long enough ago, by the clock as it is now."""
        now = self._clock.now()
        before = now - self._limits.disabled_retry_seconds
        with self._database.transaction():
            # Else a charm that was disabled while the clock was ahead would wait for that time.
            self._store.health.bring_near(now)
        while keys := self._store.health.disabled_before(before, _SLICE_ROWS):
            with self._database.transaction():
                for charm_key in keys:
                    charm = self._store.charms.get(charm_key)
                    if charm is not None:
                        is_polled = charm_key in self._polled_charms
                        self._switch.enable(charm, ENABLED_BY_TIME_STATUS, is_polled=is_polled)
            logger.bind(event="charm.enabled", count=len(keys)).info(
                "Enabled {} charms again that failures had disabled", len(keys)
            )
            self._supervisor.wake()
            await asyncio.sleep(0)

    async def cleanup(self) -> None:
        """Delete old history and dropped collections, in slices, and give free pages back."""
        now = self._clock.now()
        before = now - self._limits.history_seconds
        await self._bring_near(now)
        await self._prune_runs(before)
        deleted = _SLICE_ROWS
        while deleted >= _SLICE_ROWS:
            with self._database.transaction():
                deleted = self._store.charms.purge_removed(before, _SLICE_ROWS)
            await asyncio.sleep(0)
        left = 1
        while left:
            with self._database.transaction():
                left = self._store.items.delete_dropped(_SLICE_ROWS)
            await asyncio.sleep(0)
        for _ in range(_VACUUM_SLICES):
            excess = self._database.free_pages - _SPARE_PAGES
            if excess <= 0:
                break
            self._database.give_back(min(_VACUUM_PAGES, excess))
            await asyncio.sleep(0)

    async def _bring_near(self, now: float) -> None:
        """Let nothing have happened after `now`: what did would never grow old."""
        with self._database.transaction():
            self._store.charms.bring_near(now)
        is_over = False
        while not is_over:
            with self._database.transaction():
                is_over = self._store.runs.bring_near(now, _SLICE_ROWS).is_over
            await asyncio.sleep(0)

    async def _prune_runs(self, before: float) -> None:
        """Delete old runs, as long as there are any; those that are kept are looked at in turn."""
        fruitless = 0
        while fruitless < _FRUITLESS_SLICES:
            with self._database.transaction():
                pruned = self._store.runs.prune(before, _SLICE_ROWS, keep=_KEPT_RUNS)
            if pruned.is_over:
                return
            fruitless = 0 if pruned.deleted else fruitless + 1
            await asyncio.sleep(0)

    async def tidy_packages(self) -> None:
        """Remove packages that no charm has, and no worker reads from; idle ones make way."""
        bound = set()
        for worker in self._workers:
            folder = worker.binding.walls.packages if worker.binding is not None else ""
            if worker.state is WorkerState.IDLE and not self._packages.is_wanted(folder):
                worker.end(Ending.RETIRED)
            elif folder:
                bound.add(folder)
        await self._packages.tidy(bound)

    async def stats(self) -> None:
        """Read the workers' memory and CPU for the status; others get their turn in between."""
        for worker in self._workers:
            worker.measure(is_exact=True)
            await asyncio.sleep(0)

    async def _run_job(self, job: _CycleJob) -> None:
        self._supervisor.parts.steps.note("maintenance job {}", job.name)
        try:
            async with asyncio.timeout(self._limits.maintenance_timeout_seconds):
                await job.work()
        except TimeoutError:
            logger.bind(event="upkeep_late").warning("Maintenance job {} took too long", job.name)
        except StorageError as error:
            self._supervisor.storage_health.note(error)
        except (ServiceError, OSError) as error:
            # What the system has no room for now, it may have at the next cycle.
            logger.bind(event="upkeep_failed").error(
                "Maintenance job {} failed: {}", job.name, error
            )


@dataclass(frozen=True, slots=True)
class Maintenance:
    """All that looks after the data directory while the service runs."""

    cycle: MaintenanceCycle
    scans: IntegrationScans
    backups: Backups
    health_checks: HealthChecks

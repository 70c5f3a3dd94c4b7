"""The cycle: each interval it scans integrations and tidies up, whatever the queue holds.

A lane of its own: its jobs live in memory, by priority, and write only what changed; a cycle
in which nothing is due writes nothing. Run by the service beside the supervisor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from loguru import logger

from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.errors import ServiceError, ServiceStopping, StorageError
from bg_charm_service.domain.model import CharmRef, Priority
from bg_charm_service.domain.outcome_policy import enabled_again
from bg_charm_service.scanning.scanner import Scanner
from bg_charm_service.storage.contract import Database, JobQueue, Store
from bg_charm_service.storage.records import CharmRecord
from bg_charm_service.supervisor.poll_planner import PollPlanner
from bg_charm_service.supervisor.polled_charms import PolledCharms
from bg_charm_service.supervisor.storage_health import StorageHealth

#: Rows that one slice of cleanup deletes, so that runs are not held up.
_SLICE_ROWS = 500

#: Free pages of 4 kB that stay in the file: new rows will want them soon.
_SPARE_PAGES = 1000

#: Of the others so many are given back in one slice, and so many slices are made in a cycle.
_VACUUM_PAGES = 250
_VACUUM_SLICES = 20


@dataclass(frozen=True, slots=True)
class UpkeepLimits:
    """How often and how long, and what is old; in seconds."""

    interval_seconds: float
    maintenance_timeout_seconds: float
    history_seconds: float
    disabled_retry_seconds: float


@dataclass(slots=True)
class ScanState:
    """What is known of an integration's last scan; times in seconds since the epoch."""

    initialised: bool = True
    last_scan_at: float = 0.0
    last_error: str = ""
    told: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True, order=True)
class _UpkeepJob:
    """One job of a cycle; the highest priority first."""

    rank: int
    name: str
    work: Callable[[], Awaitable[None]] = field(compare=False)


class Upkeep:
    """Runs the cycles."""

    def __init__(
        self,
        database: Database,
        store: Store,
        queue: JobQueue,
        planner: PollPlanner,
        polled_charms: PolledCharms,
        scanner: Scanner,
        clock: Clock,
        limits: UpkeepLimits,
        *,
        integrations: tuple[str, ...],
        measure: Callable[[], Awaitable[None]],
        wake: Callable[[], None],
        storage: StorageHealth,
        checkup: Callable[[], Awaitable[None]],
    ) -> None:
        self.scans: dict[str, ScanState] = {name: ScanState() for name in integrations}
        self.last_started_at = 0.0
        self.last_ended_at = 0.0
        self._database = database
        self._store = store
        self._queue = queue
        self._planner = planner
        self._polled_charms = polled_charms
        self._scanner = scanner
        self._clock = clock
        self._limits = limits
        self._measure = measure
        self._wake = wake
        self._storage = storage
        self._checkup = checkup

    async def run(self) -> None:
        """Run a cycle now and then every interval; cycles missed are skipped, not caught up."""
        due = self._clock.steady()
        while True:
            await self.run_cycle()
            now = self._clock.steady()
            due = max(due + self._limits.interval_seconds, now)
            await asyncio.sleep(due - now)

    async def run_cycle(self) -> None:
        """Do everything of one cycle once; one job's failure does not stop the others."""
        self.last_started_at = self._clock.now()
        jobs = [
            _UpkeepJob(-Priority.SCAN_INTEGRATION, name, partial(self.scan, name))
            for name in self.scans
        ]
        jobs += [
            _UpkeepJob(-Priority.RESET, "reset", self.reset),
            _UpkeepJob(-Priority.CLEANUP, "cleanup", self.cleanup),
            _UpkeepJob(-Priority.STATS, "stats", self.stats),
        ]
        # The checks come last: what they find is what the others have left.
        for job in [*sorted(jobs), _UpkeepJob(0, "doctor", self._checkup)]:
            await self._run_job(job)
        self._store.totals.add("cycles")
        self.last_ended_at = self._clock.now()

    async def scan(self, integration_id: str) -> None:
        """Take over the charms that an integration lists now."""
        state = self.scans[integration_id]
        try:
            result = await self._scanner.scan(integration_id)
        except ServiceStopping:
            return
        except ServiceError as error:
            state.last_scan_at, state.last_error = self._clock.now(), str(error)
            self._tell_once(state, integration_id, f"Scan of {integration_id} failed: {error}")
            return
        state.last_scan_at, state.last_error = self._clock.now(), ""
        state.initialised = result.initialised
        level = "WARNING" if result.initialised else "INFO"
        for problem in result.problems:
            self._tell_once(
                state, integration_id, f"Integration {integration_id}: {problem}", level
            )
        self._take_list(integration_id, result.charms)

    async def reset(self) -> None:
        """Enable charms that failures disabled long enough ago."""
        before = self._clock.now() - self._limits.disabled_retry_seconds
        while keys := self._store.health.disabled_before(before, _SLICE_ROWS):
            with self._database.transaction():
                for charm_key in keys:
                    health = self._store.health.get(charm_key)
                    enabled = enabled_again(health, "Re-enabled by time")
                    self._store.health.put(charm_key, enabled, before=health)
                    charm = self._store.charms.get(charm_key)
                    if charm is None:
                        continue
                    # Events are kept for it also where nobody polls it any more.
                    self._queue.unhold(charm.space_key, charm_key, self._clock.steady())
                    if charm_key in self._polled_charms:
                        self._planner.poll_now(charm_key, charm.ref.space)
            for charm_key in keys:
                self._polled_charms.disabled.discard(charm_key)
                self._polled_charms.failing.discard(charm_key)
            logger.bind(event="charm.enabled", count=len(keys)).info(
                "Enabled {} charms again that failures had disabled", len(keys)
            )
            self._wake()
            await asyncio.sleep(0)

    async def cleanup(self) -> None:
        """Delete history that is too old, in slices, and give free pages back."""
        before = self._clock.now() - self._limits.history_seconds
        for prune in (self._store.runs.prune, self._store.charms.purge_removed):
            deleted = _SLICE_ROWS
            while deleted >= _SLICE_ROWS:
                with self._database.transaction():
                    deleted = prune(before, _SLICE_ROWS)
                await asyncio.sleep(0)
        for _ in range(_VACUUM_SLICES):
            excess = self._database.free_pages - _SPARE_PAGES
            if excess <= 0:
                break
            self._database.give_back(min(_VACUUM_PAGES, excess))
            await asyncio.sleep(0)

    async def stats(self) -> None:
        """Refresh what the status shows of processes."""
        await self._measure()

    def _take_list(self, integration_id: str, refs: tuple[CharmRef, ...]) -> None:
        found = {}
        state = self.scans[integration_id]
        for ref in refs:
            charm = self._store.charms.find(ref)
            if charm is None or charm.updater is None:
                reason = "is not known here" if charm is None else "has no updater stream"
                text = f"Integration {integration_id} lists {ref}, which {reason}"
                self._tell_once(state, integration_id, text)
                continue
            found[charm.charm_key] = charm
        before = self._polled_charms.listed(integration_id)
        gone = self._polled_charms.replace_list(integration_id, found)
        try:
            self._plan_anew(gone, found)
        except BaseException:
            # What is gone is found by comparing lists, so the next scan has to see the old one.
            self._polled_charms.replace_list(integration_id, before)
            raise

    def _plan_anew(self, gone: set[int], found: dict[int, CharmRecord]) -> None:
        new = [
            charm
            for key, charm in found.items()
            if not self._planner.is_polled(key) and self._store.health.get(key).is_enabled
        ]
        if not gone and not new:
            return
        with self._database.transaction():
            for charm_key in gone:
                self._planner.drop(charm_key)
            self._planner.ensure([(charm.charm_key, charm.ref.space) for charm in new])
        self._wake()

    async def _run_job(self, job: _UpkeepJob) -> None:
        try:
            async with asyncio.timeout(self._limits.maintenance_timeout_seconds):
                await job.work()
        except TimeoutError:
            logger.bind(event="upkeep_late").warning("Upkeep job {} took too long", job.name)
        except StorageError as error:
            self._storage.note(error)
        except ServiceError as error:
            logger.bind(event="upkeep_failed").error("Upkeep job {} failed: {}", job.name, error)

    def _tell_once(
        self, state: ScanState, integration_id: str, text: str, level: str = "WARNING"
    ) -> None:
        if text not in state.told:
            state.told.add(text)
            bound = logger.bind(event="scan", integration=integration_id)
            bound.log(level, "{}", text)

"""Starts workers: the zygote that forks them, what it reports, and the back-off where that fails.

Knows nothing of runs. Used by the pool.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from loguru import logger

from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.errors import WorkerBootError
from bg_charm_service.domain.outcomes.backoff import restart_delay_seconds
from bg_charm_service.workers.pool.contract import PoolLimits
from bg_charm_service.workers.pool.scratch.directory import ScratchRoot
from bg_charm_service.workers.pool.worker_process import WorkerProcess
from bg_charm_service.workers.pool.zygote_client import ZygoteLink
from bg_charm_service.workers.protocol.messages import FromZygote, WorkerSettings

#: So many workers in a row that die before they are ready stop the service.
MAX_BOOT_DEATHS = 8


class Spawner:
    """Holds the zygote, and starts a new one when it dies."""

    def __init__(
        self,
        limits: PoolLimits,
        scratch: ScratchRoot | None,
        clock: Clock,
        random: Callable[[], float],
        open_zygote: Callable[[], ZygoteLink],
    ) -> None:
        self._limits = limits
        self._scratch = scratch
        self._clock = clock
        self._random = random
        self._open_zygote = open_zygote
        self._worker_no = 0
        self._zygote: ZygoteLink | None = None
        self._boot_deaths = 0
        self._is_proven = False
        self._not_before = 0.0
        self._is_closed = False

    def open_zygote(self, on_reports: Callable[[], None]) -> None:
        """Start the zygote unless it lives, or it is too soon after a death.

        The running loop calls back when there is something to `read`.
        """
        if self._zygote is not None or not self.is_patient_enough:
            return
        try:
            self._zygote = self._open_zygote()
        except OSError as error:
            self._note_no_room(error)
            return
        self._is_proven = False
        fd = self._zygote.control.fileno()
        asyncio.get_running_loop().add_reader(fd, on_reports)

    @property
    def is_patient_enough(self) -> bool:
        """Whether the delay after the last failed start is over, and nobody closed us."""
        return not self._is_closed and self._clock.steady() >= self._not_before

    def spawn(self) -> WorkerProcess | None:
        """Ask for a worker; None when there is no zygote to ask, or no room for another."""
        if self._zygote is None or not self.is_patient_enough:
            return None
        self._worker_no += 1
        number, limits = self._worker_no, self._limits
        try:
            scratch = str(self._scratch.make(number)) if self._scratch is not None else ""
            worker = WorkerProcess(number, self._clock.steady(), self._zygote.processes)
        except OSError as error:
            self._discard_scratch(number)
            self._note_no_room(error)
            return None
        settings = WorkerSettings(
            scratch=scratch,
            has_walls=limits.has_walls,
            retire_bytes=limits.retire_bytes,
            missing_walls=limits.missing_walls,
            packages_root=str(limits.packages_root or ""),
        )
        if self._zygote.spawn(number, settings, worker.channel.their_fds):
            return worker
        worker.close()
        self._discard_scratch(number)
        return None

    def note_ready(self) -> None:
        """Note that a worker got ready: starting them works."""
        self._boot_deaths = 0
        self._is_proven = True

    def note_boot_death(self, worker: WorkerProcess, exit_code: int | None) -> None:
        """Note a worker that died before it was ready, and wait longer after each in a row.

        One that was never forked says nothing about those that are.
        """
        if not worker.pid:
            self._note_no_room("the system gives no process, or no descriptors for one")
            return
        logger.bind(event="worker_boot_failed", worker=worker.pid).error(
            "Worker {} died before it was ready (exit code {}): {}",
            worker.pid,
            exit_code,
            worker.boot_output[-500:] or "it said nothing",
        )
        self._boot_deaths += 1
        self._back_off()

    def check(self) -> None:
        """Raise WorkerBootError when workers never get ready, unless all is over anyway."""
        if self._boot_deaths >= MAX_BOOT_DEATHS and not self._is_closed:
            raise WorkerBootError(
                f"{self._boot_deaths} workers in a row died before they were ready. The log has "
                "their last words; is --worker-memory too small?"
            )

    def read(self) -> list[FromZygote] | None:
        """Take what the zygote has reported; None when it is gone, and all workers with it."""
        if self._zygote is None:
            return []
        reports = self._zygote.read()
        if reports is None:
            logger.bind(event="zygote_lost").warning(
                "The process that forks workers died; it is started again, and runs are repeated"
            )
            self._close_zygote()
            # One that dies before a first worker is ready cannot boot itself.
            self._boot_deaths += not self._is_proven
            self._back_off()
        return reports

    def close(self) -> None:
        """End the zygote, which ends what workers are left; closing twice is fine."""
        self._is_closed = True
        self._close_zygote()

    def _close_zygote(self) -> None:
        if self._zygote is not None:
            asyncio.get_running_loop().remove_reader(self._zygote.control.fileno())
            self._zygote.close()
            self._zygote = None

    def _discard_scratch(self, worker_no: int) -> None:
        if self._scratch is not None:
            self._scratch.discard(worker_no)

    def _note_no_room(self, reason: object) -> None:
        # The system gives no process or descriptor now; it may later.
        logger.bind(event="no_room").error("No worker can be started now: {}", reason)
        self._back_off()

    def _back_off(self) -> None:
        delay = restart_delay_seconds(max(1, self._boot_deaths), self._random())
        self._not_before = self._clock.steady() + delay

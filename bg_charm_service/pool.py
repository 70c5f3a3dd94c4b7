"""The pool: desired workers against actual ones, every tick; runs go out, events come back.

Spawns, watches, kills and replaces worker processes, and says of each death who was running.
What an event means for a job is not decided here. Used by the supervisor, which calls `tick`
and `collect` in its loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from loguru import logger

from bg_charm_service.clock import Clock
from bg_charm_service.errors import FailureCause, FrameError, WorkerBootError
from bg_charm_service.pool_events import (
    FieldWanted,
    InspectFinished,
    PoolEvent,
    RunFinished,
    death_failure,
)
from bg_charm_service.retry import restart_delay_seconds
from bg_charm_service.wire import (
    Answer,
    Exited,
    FetchField,
    FieldValue,
    FromWorker,
    Inspect,
    Inspected,
    LogText,
    Ready,
    RunSpec,
    Spawned,
    WorkerLimits,
)
from bg_charm_service.worker_handle import Ending, WorkerHandle, WorkerState
from bg_charm_service.zygote_client import ZygoteClient

#: So many workers in a row that die before they are ready stop the service.
MAX_BOOT_DEATHS = 8

#: A worker that is not ready after this is given up, in seconds.
BOOT_SECONDS = 30.0

#: How often running workers' memory is read, in seconds.
MEASURE_SECONDS = 0.25

#: How often idle workers are read too: their memory cannot grow by a charm's doing.
_MEASURE_ALL_SECONDS = 15.0

#: What a worker's log may hold beyond the limit that the worker keeps itself, in characters.
_LOG_SLACK = 8192


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """How many workers, and what each may use before it is retired or killed."""

    max_concurrent: int = 5
    max_runs: int = 1000
    max_age_seconds: float = 3600.0
    memory_bytes: int = 512 * 1024 * 1024
    kill_grace_seconds: float = 1.0
    log_bytes: int = 64 * 1024


@dataclass(slots=True)
class FreeWorkers:
    """A count of free workers, by the space they are bound to, to hand out from."""

    bound: Counter[int]
    unbound: int

    @property
    def count(self) -> int:
        return self.bound.total() + self.unbound

    def take(self, space_key: int) -> bool:
        """Count one off for a space; False when there is none for it."""
        if self.bound[space_key] > 0:
            self.bound[space_key] -= 1
            return True
        if self.unbound > 0:
            self.unbound -= 1
            return True
        return False

    def give_back(self, space_key: int) -> None:
        """Take back what was counted off for a space and not used."""
        self.bound[space_key] += 1


class WorkerPool(Protocol):
    """What the supervisor needs of a pool; simulations bring their own."""

    def start(self) -> None:
        """Start the first workers."""

    def tick(self) -> None:
        """Bring the actual workers nearer to the desired ones."""

    def collect(self) -> list[PoolEvent]:
        """Give what happened since the last call, in order."""

    def free_workers(self) -> FreeWorkers:
        """Count the workers that could take a run right now."""

    def make_room(self, space_key: int) -> None:
        """Free a worker of another space, so that one of this space's gets room soon."""

    def dispatch(self, space_key: int, run: RunSpec) -> int | None:
        """Give a run to a worker; its process id, or None when there is no room after all."""

    def knows_source(self, space_key: int, source_hash: str) -> bool:
        """Whether the worker that the next run of this space goes to has this source already."""

    def stop(self) -> None:
        """End every worker."""


class Pool:
    """Worker processes forked from a zygote."""

    def __init__(
        self,
        limits: PoolLimits,
        clock: Clock,
        wake: Callable[[], None],
        random: Callable[[], float],
    ) -> None:
        self.limits = limits
        self.created = 0
        self.recycled = 0
        self.crashed = 0
        self.workers: dict[int, WorkerHandle] = {}
        self._clock = clock
        self._wake = wake
        self._random = random
        self._events: list[PoolEvent] = []
        self._inspections: list[tuple[int | None, Inspect]] = []
        self._zygote: ZygoteClient | None = None
        self._worker_no = 0
        self._boot_deaths = 0
        self._not_before = 0.0
        self._next_measure = 0.0
        self._next_measure_all = 0.0
        self._is_stopping = False

    def start(self) -> None:
        """Start the zygote and the first workers; they report when they are ready."""
        self._open_zygote()
        self.tick()

    @property
    def busy(self) -> int:
        return sum(worker.state is WorkerState.BUSY for worker in self.workers.values())

    @property
    def next_deadline(self) -> float | None:
        """When the next run is to be killed, by the steady clock."""
        deadlines = [w.deadline for w in self.workers.values() if w.state is WorkerState.BUSY]
        return min(deadlines, default=None)

    @property
    def wants_ticks(self) -> bool:
        """Whether there is something to watch: runs under way, workers starting or missing."""
        settled = all(worker.state is WorkerState.IDLE for worker in self.workers.values())
        return not settled or len(self.workers) < self.limits.max_concurrent

    def tick(self) -> None:
        """Kill late runs, read memory, retire old workers, and fork the missing ones."""
        now = self._clock.steady()
        self._watch(now)
        missing = self.limits.max_concurrent - len(self.workers)
        if self._is_stopping or now < self._not_before:
            return
        if self._zygote is None:
            self._open_zygote()
        for _ in range(missing):
            self._spawn(now)
        self._start_inspections()

    def collect(self) -> list[PoolEvent]:
        """Give what happened since the last call, in order; raises WorkerBootError."""
        if self._boot_deaths >= MAX_BOOT_DEATHS:
            raise WorkerBootError(
                f"{self._boot_deaths} workers in a row died before they were ready. "
                "The log has their last words; is the memory for a worker too small?"
            )
        events, self._events = self._events, []
        return events

    def free_workers(self) -> FreeWorkers:
        """Count the workers that could take a run right now."""
        idle = [w.space_key for w in self.workers.values() if w.state is WorkerState.IDLE]
        bound = Counter(space_key for space_key in idle if space_key is not None)
        return FreeWorkers(bound, len(idle) - bound.total())

    def make_room(self, space_key: int) -> None:
        """Retire the idle worker of another space that was idle longest, unless one is on its way."""
        states = [worker.state for worker in self.workers.values()]
        if WorkerState.STARTING in states or WorkerState.STOPPING in states:
            return
        idle = [w for w in self.workers.values() if w.state is WorkerState.IDLE]
        if idle and self._idle_for(space_key) is None:
            self._retire(min(idle, key=lambda worker: worker.idle_since))

    def knows_source(self, space_key: int, source_hash: str) -> bool:
        """Whether the worker that the next run of this space goes to has this source already."""
        worker = self._idle_for(space_key)
        return worker is not None and source_hash in worker.known_sources

    def dispatch(self, space_key: int, run: RunSpec) -> int | None:
        """Give a run to a worker bound to its space; its process id, or None without room.

        Raises FrameError when the run's values are too large to send.
        """
        worker = self._idle_for(space_key)
        if worker is None:
            return None
        worker.space_key = space_key
        limit = run.timeout_seconds + self.limits.kill_grace_seconds
        worker.begin(run, self._clock.steady() + limit)
        try:
            worker.send(run)
        except FrameError:
            worker.finish()
            self._become_idle(worker)
            raise
        self._write_rest(worker)
        return worker.pid

    def give_field(self, worker_no: int, message: FieldValue) -> None:
        """Answer a run that asked for a large field."""
        worker = self.workers.get(worker_no)
        if worker is not None:
            worker.send(message)
            self._write_rest(worker)

    def inspect(self, space_key: int | None, request: Inspect) -> None:
        """Let a fresh worker load a source; InspectFinished follows.

        Fresh for each space: what loads here has run its import-time code.
        """
        self._inspections.append((space_key, request))
        self._start_inspections()

    def cancel(self, run_id: str) -> bool:
        """Kill the worker that makes a run; False when nobody does."""
        for worker in self.workers.values():
            if worker.run is not None and worker.run.run_id == run_id:
                worker.end(Ending.CANCELLED)
                return True
        return False

    def end_runs(self) -> None:
        """Kill every worker that makes a run, for the supervisor's own reasons."""
        for worker in self.workers.values():
            if worker.state is WorkerState.BUSY:
                worker.end(Ending.SHUTDOWN)

    def stop(self) -> None:
        """End every worker and the zygote; stopping twice is fine."""
        self._is_stopping = True
        for worker in list(self.workers.values()):
            worker.end(Ending.SHUTDOWN)
            self._close(worker)
        if self._zygote is not None:
            self._forget_reader(self._zygote.control.fileno())
            self._zygote.close()
            self._zygote = None

    def _idle_for(self, space_key: int | None) -> WorkerHandle | None:
        unbound = None
        for worker in self.workers.values():
            if worker.state is not WorkerState.IDLE:
                continue
            if worker.space_key == space_key:
                return worker
            if worker.space_key is None:
                unbound = worker
        return unbound

    def _watch(self, now: float) -> None:
        if now >= self._next_measure:
            self._next_measure = now + MEASURE_SECONDS
            is_full = now >= self._next_measure_all
            if is_full:
                self._next_measure_all = now + _MEASURE_ALL_SECONDS
            for worker in self.workers.values():
                if worker.state is WorkerState.BUSY or is_full:
                    worker.measure()
        for worker in list(self.workers.values()):
            if worker.state is WorkerState.BUSY:
                if now >= worker.deadline:
                    worker.end(Ending.TIMEOUT)
                elif worker.memory_bytes > self.limits.memory_bytes:
                    worker.end(Ending.MEMORY, _megabytes(worker.memory_bytes))
            elif worker.state is WorkerState.IDLE:
                if now - worker.started > self.limits.max_age_seconds:
                    self._retire(worker)
            elif worker.state is WorkerState.STARTING and now - worker.started > BOOT_SECONDS:
                worker.end(Ending.TIMEOUT)

    def _spawn(self, now: float) -> None:
        if self._zygote is None:
            return
        self._worker_no += 1
        worker = WorkerHandle(self._worker_no, self.limits.log_bytes + _LOG_SLACK, now)
        limits = WorkerLimits(memory_bytes=self.limits.memory_bytes)
        if not self._zygote.spawn(worker.worker_no, limits, worker.their_fds):
            worker.close()
            return
        worker.close_their_ends()
        self.workers[worker.worker_no] = worker
        self.created += 1
        loop = asyncio.get_running_loop()
        loop.add_reader(worker.connection.fileno(), self._read_worker, worker)
        loop.add_reader(worker.out_fd, self._read_pipe, worker)

    def _open_zygote(self) -> None:
        self._zygote = ZygoteClient()
        fd = self._zygote.control.fileno()
        asyncio.get_running_loop().add_reader(fd, self._read_zygote)

    def _read_zygote(self) -> None:
        if self._zygote is None:
            return
        reports = self._zygote.read()
        for report in reports or []:
            worker = self.workers.get(report.worker_no)
            if worker is None:
                continue
            if isinstance(report, Spawned):
                worker.pid = report.pid
                if worker.ending is not None:
                    worker.end(worker.ending)
            elif isinstance(report, Exited):
                self._bury_worker(worker, report.exit_code)
        if reports is None:
            self._lose_zygote()
        self._wake()

    def _lose_zygote(self) -> None:
        assert self._zygote is not None
        logger.bind(event="zygote_lost").warning(
            "The process that forks workers died; starting it and the workers again"
        )
        self._forget_reader(self._zygote.control.fileno())
        self._zygote.close()
        self._zygote = None
        for worker in list(self.workers.values()):
            self._read_worker(worker)
            worker.end(Ending.SHUTDOWN)
            self._bury_worker(worker, None)
        self._back_off()

    def _read_worker(self, worker: WorkerHandle) -> None:
        try:
            messages = worker.receive()
        except FrameError as error:
            worker.end(Ending.PROTOCOL, str(error))
            messages = None
        for message in messages or []:
            self._take(worker, message)
        if messages is None:
            # Its exit code is on the way, the zygote reports it; closing the socket alone is no escape.
            self._forget_reader(worker.connection.fileno())
            worker.kill()
        self._wake()

    def _take(self, worker: WorkerHandle, message: FromWorker) -> None:
        if isinstance(message, LogText):
            worker.log(message)
        elif isinstance(message, Ready):
            self._boot_deaths = 0
            self._become_idle(worker)
            self._start_inspections()
        elif isinstance(message, FetchField):
            if worker.run is not None and message.run_id == worker.run.run_id:
                self._events.append(FieldWanted(worker.worker_no, message.run_id, message.field))
        elif isinstance(message, Answer):
            self._finish_run(worker, message)
        elif isinstance(message, Inspected):
            if message.request_id == worker.request_id:
                worker.request_id = None
                self._events.append(InspectFinished(message.request_id, message))
                self._retire(worker)

    def _finish_run(self, worker: WorkerHandle, answer: Answer) -> None:
        run = worker.run
        if run is None or answer.run_id != run.run_id or worker.ending is not None:
            worker.end(Ending.PROTOCOL, "an answer to a run it was not given")
            return
        worker.runs += 1
        is_spent = answer.failure is not None and answer.failure.cause in (
            FailureCause.TIMEOUT,
            FailureCause.MEMORY,
        )
        if is_spent or answer.leak:
            # Stopped for good before its job is settled.
            log = worker.finish()
            self._retire(worker)
        else:
            log = worker.finish()
            self._become_idle(worker)
            if worker.runs >= self.limits.max_runs:
                self._retire(worker)
        self._events.append(RunFinished(run, worker.pid, log, answer=answer))

    def _become_idle(self, worker: WorkerHandle) -> None:
        if worker.ending is None:
            worker.state = WorkerState.IDLE
            worker.idle_since = self._clock.steady()

    def _retire(self, worker: WorkerHandle) -> None:
        self.recycled += 1
        worker.end(Ending.RETIRED)

    def _bury_worker(self, worker: WorkerHandle, exit_code: int | None) -> None:
        """Account for a worker that is gone; `exit_code` None when its zygote went first."""
        if worker.connection.fileno() >= 0 and worker.ending is None:
            # It may have answered just before it died.
            with contextlib.suppress(FrameError):
                for message in worker.receive() or []:
                    self._take(worker, message)
        if worker.state is WorkerState.STARTING and worker.ending is not Ending.SHUTDOWN:
            worker.read_pipe()
            logger.bind(event="worker_boot_failed", worker=worker.pid).error(
                "Worker {} died before it was ready (exit code {}): {}",
                worker.pid,
                exit_code,
                worker.boot_output[-500:] or "it said nothing",
            )
            self._boot_deaths += 1
            self._back_off()
        run, limit = worker.run, worker.run.timeout_seconds if worker.run else 0.0
        if run is not None:
            failure = death_failure(worker.ending, worker.detail, exit_code, limit)
            is_cancelled = worker.ending is Ending.CANCELLED
            if failure is not None:
                self.crashed += worker.ending is None
            log = worker.finish()
            self._events.append(
                RunFinished(run, worker.pid, log, death=failure, is_cancelled=is_cancelled)
            )
        elif worker.request_id is not None:
            self._events.append(InspectFinished(worker.request_id, None))
        elif worker.ending is None and worker.state is WorkerState.IDLE:
            self.crashed += 1
            logger.bind(event="worker_died_idle", worker=worker.pid).warning(
                "Worker {} died between runs (exit code {}); no charm is blamed",
                worker.pid,
                exit_code,
            )
        self._close(worker)

    def _back_off(self) -> None:
        delay = restart_delay_seconds(max(1, self._boot_deaths), self._random())
        self._not_before = self._clock.steady() + delay

    def _start_inspections(self) -> None:
        """Give waiting inspections to workers that have run nothing."""
        fresh = [
            worker
            for worker in self.workers.values()
            if worker.state is WorkerState.IDLE and worker.space_key is None
        ]
        while self._inspections and fresh:
            space_key, request = self._inspections.pop(0)
            worker = fresh.pop()
            worker.state = WorkerState.BUSY
            worker.request_id = request.request_id
            limit = request.timeout_seconds + self.limits.kill_grace_seconds
            worker.deadline = self._clock.steady() + limit
            try:
                worker.send(request)
            except FrameError:
                self._events.append(InspectFinished(request.request_id, None))
                self._retire(worker)
            self._write_rest(worker)
        if self._inspections:
            self.make_room(-1)

    def _write_rest(self, worker: WorkerHandle) -> None:
        if not worker.flush():
            fd = worker.connection.fileno()
            asyncio.get_running_loop().add_writer(fd, self._continue_write, worker, fd)

    def _continue_write(self, worker: WorkerHandle, fd: int) -> None:
        if worker.flush():
            asyncio.get_running_loop().remove_writer(fd)

    def _read_pipe(self, worker: WorkerHandle) -> None:
        if not worker.read_pipe():
            self._forget_reader(worker.out_fd)

    def _close(self, worker: WorkerHandle) -> None:
        self._forget_reader(worker.connection.fileno())
        self._forget_reader(worker.out_fd)
        worker.close()
        self.workers.pop(worker.worker_no, None)

    def _forget_reader(self, fd: int) -> None:
        if fd >= 0:
            loop = asyncio.get_running_loop()
            loop.remove_reader(fd)
            loop.remove_writer(fd)


def _megabytes(count: int) -> str:
    return f"{count / 1_048_576:.0f} MB"

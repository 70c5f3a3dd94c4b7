"""The pool: desired workers against actual ones, every tick; runs go out, events come back.

Watches, kills, retires and replaces worker processes, and says of each death who was running.
What an event means for a job is not decided here. Used by the supervisor, which calls `tick`
and `collect` in its loop.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Sequence

from bg_charm_service.clock import Clock
from bg_charm_service.crew import Crew
from bg_charm_service.errors import FailureCause, FrameError
from bg_charm_service.fairness import Need
from bg_charm_service.nursery import Nursery
from bg_charm_service.pool_contract import FreeWorkers, PoolLimits
from bg_charm_service.pool_events import (
    FieldWanted,
    InspectFinished,
    PoolEvent,
    RunFinished,
    log_idle_death,
    run_ended_by_death,
)
from bg_charm_service.wire import (
    Answer,
    Birth,
    FetchField,
    FieldValue,
    FromWorker,
    Inspect,
    LogText,
    Ready,
    RunSpec,
)
from bg_charm_service.worker_handle import Ending, WorkerHandle, WorkerState
from bg_charm_service.worker_watch import WorkerWatch

#: How long a worker that closed its socket may take to exit, in seconds.
CLOSED_SECONDS = 1.0

#: After these a worker is replaced, even when it answered.
_SPENT = (FailureCause.TIMEOUT, FailureCause.MEMORY)


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
        #: Called with the process id of a worker that died without a run, and its exit code.
        self.on_idle_death: list[Callable[[int, int | None], None]] = [log_idle_death]
        self.workers = Crew()
        self._clock = clock
        self._wake = wake
        self._events: list[PoolEvent] = []
        self._inspections: deque[Inspect] = deque()
        self._worker_no = 0
        self._is_started = False
        self._watch = WorkerWatch(limits, clock)
        self._nursery = Nursery(
            clock,
            random,
            on_spawned=self._name_worker,
            on_exited=self._lose_worker,
            on_lost=self._lose_all,
        )

    def start(self) -> None:
        """Have workers from now on; they report when they are ready. Starting twice is fine."""
        self._is_started = True
        self.tick()

    @property
    def wants_ticks(self) -> bool:
        """Whether there is something to watch: runs under way, workers starting or missing."""
        is_full = len(self.workers) >= self.limits.max_concurrent
        return self._is_started and not (is_full and self.workers.is_at_rest)

    def tick(self) -> None:
        """Kill late runs, retire old workers, and fork the missing ones."""
        for worker in self._watch.late(self.workers):
            self._read_worker(worker)
        for worker in self._watch.look(list(self.workers)):
            self._retire(worker)
        missing = self.limits.max_concurrent - len(self.workers)
        if missing > 0 and self._is_started and self._nursery.is_patient_enough:
            self._nursery.open()
            for _ in range(missing):
                self._spawn()
        self._start_inspections()

    def collect(self) -> list[PoolEvent]:
        """Give what happened since the last call, in order; raises WorkerBootError."""
        self._nursery.check()
        events, self._events = self._events, []
        return events

    def free_workers(self) -> FreeWorkers:
        """Count the workers that could take a run right now."""
        return self.workers.free()

    def rebalance(self, needs: Sequence[Need]) -> None:
        """Move workers to spaces that have work and none free: each moves by being replaced."""
        for worker in self.workers.to_move(needs):
            self._retire(worker)

    def knows_source(self, space_key: int, source_hash: str) -> bool:
        """Whether the worker that the next run of this space goes to has this source already."""
        worker = self.workers.idle_for(space_key)
        return worker is not None and source_hash in worker.known_sources

    def dispatch(self, space_key: int, run: RunSpec) -> int | None:
        """Give a run to a worker bound to its space; its process id, or None without room.

        Raises FrameError when the run's values are too large to send.
        """
        worker = self.workers.idle_for(space_key)
        if worker is None:
            return None
        worker.space_key = space_key
        limit = run.limits.timeout_seconds + self.limits.kill_grace_seconds
        worker.begin(run, self._clock.steady(), limit)
        try:
            worker.send(run)
        except FrameError:
            worker.finish()
            self._become_idle(worker)
            raise
        return worker.pid

    def give_field(self, worker_no: int, message: FieldValue) -> None:
        """Answer a run that asked for a large field."""
        worker = self.workers.find(worker_no)
        if worker is not None:
            worker.send(message)

    def inspect(self, request: Inspect) -> None:
        """Let a worker that has run nothing load a source; InspectFinished follows.

        It is replaced afterwards: what loads there has run its import-time code.
        """
        self._inspections.append(request)
        self.start()

    def cancel(self, run_id: str) -> bool:
        """Kill the worker that makes a run; False when nobody does."""
        worker = self.workers.making(run_id)
        if worker is not None:
            worker.end(Ending.CANCELLED)
        return worker is not None

    def stop(self) -> None:
        """End every worker and the zygote; stopping twice is fine."""
        for worker in self.workers:
            worker.end(Ending.SHUTDOWN)
            self._account_for(worker, None)
        self._nursery.close()

    def _spawn(self) -> None:
        self._worker_no += 1
        limits = self.limits
        birth = Birth(self._make_scratch(), limits.has_walls, limits.retire_bytes)
        worker = self._nursery.spawn(self._worker_no, limits.log_bytes, birth)
        if worker is not None:
            self.workers.add(worker)
            self.created += 1
            worker.listen(lambda: self._read_worker(worker))

    def _make_scratch(self) -> str:
        root = self.limits.scratch_root
        if root is None:
            return ""
        path = root / str(self._worker_no)
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return str(path)

    def _read_worker(self, worker: WorkerHandle) -> None:
        try:
            messages = worker.receive()
        except FrameError as error:
            worker.end(Ending.PROTOCOL, str(error))
            messages = None
        for message in messages or []:
            self._take(worker, message)
        if messages is None:
            # Its exit code is on the way, by the zygote; closing the socket alone is no escape.
            worker.note_closed(self._clock.steady() + CLOSED_SECONDS)
        self._wake()

    def _take(self, worker: WorkerHandle, message: FromWorker) -> None:
        if isinstance(message, LogText):
            worker.log(message)
        elif isinstance(message, Answer):
            self._finish_run(worker, message)
        elif isinstance(message, Ready):
            # Said again, by code that it loads, it would free a worker that is not free.
            if worker.state is WorkerState.STARTING:
                self._nursery.note_ready()
                self._become_idle(worker)
                self._start_inspections()
        elif isinstance(message, FetchField):
            if worker.run is not None and message.run_id == worker.run.run_id:
                self._events.append(FieldWanted(worker.worker_no, message.run_id, message.field))
        elif message.request_id == worker.request_id:
            worker.request_id = None
            self._events.append(InspectFinished(message.request_id, message))
            self._retire(worker)

    def _finish_run(self, worker: WorkerHandle, answer: Answer) -> None:
        run = worker.run
        if worker.ending is not None:
            return
        if run is None or answer.run_id != run.run_id:
            worker.end(Ending.PROTOCOL, "an answer to a run it was not given")
            return
        worker.runs += 1
        log = worker.finish()
        failure = answer.failure
        is_spent = failure is not None and failure.cause in _SPENT
        if is_spent or answer.leak or worker.runs >= self.limits.max_runs:
            # Stopped for good before its job is settled.
            self._retire(worker)
        else:
            self._become_idle(worker)
        seconds = self._clock.steady() - worker.begun
        self._events.append(RunFinished(run, worker.pid, log, answer=answer, seconds=seconds))

    def _become_idle(self, worker: WorkerHandle) -> None:
        if worker.ending is None:
            worker.state = WorkerState.IDLE
            worker.idle_since = self._clock.steady()

    def _retire(self, worker: WorkerHandle) -> None:
        self.recycled += 1
        worker.end(Ending.RETIRED)

    def _name_worker(self, worker_no: int, pid: int) -> None:
        worker = self.workers.find(worker_no)
        if worker is not None:
            worker.name(pid)

    def _lose_worker(self, worker_no: int, exit_code: int) -> None:
        worker = self.workers.find(worker_no)
        if worker is None:
            return
        if worker.ending is None:
            # It may have answered just before it died.
            with contextlib.suppress(FrameError):
                for message in worker.receive() or []:
                    self._take(worker, message)
        self._account_for(worker, exit_code)
        self._wake()

    def _lose_all(self) -> None:
        for worker in self.workers:
            self._read_worker(worker)
            worker.end(Ending.ORPHANED)
            self._account_for(worker, None)
        self._wake()

    def _account_for(self, worker: WorkerHandle, exit_code: int | None) -> None:
        """Say who pays for a worker that is gone; `exit_code` None when nobody knows it."""
        run = worker.run
        if worker.state is WorkerState.STARTING:
            worker.read_pipe()
            self._nursery.note_boot_death(worker, exit_code)
        elif run is not None:
            self.crashed += worker.ending is None
            self._events.append(run_ended_by_death(worker, run, exit_code, self._clock.steady()))
        elif worker.request_id is not None:
            self._events.append(InspectFinished(worker.request_id, None))
        elif worker.ending is None:
            self.crashed += 1
            for listener in self.on_idle_death:
                listener(worker.pid, exit_code)
        worker.close()
        self.workers.drop(worker)

    def _start_inspections(self) -> None:
        """Give waiting inspections to workers that have run nothing."""
        while self._inspections:
            worker = self.workers.idle_for(None)
            if worker is None:
                for idle in self.workers.to_free():
                    self._retire(idle)
                return
            request = self._inspections.popleft()
            worker.state, worker.request_id = WorkerState.BUSY, request.request_id
            limit = request.limits.timeout_seconds + self.limits.kill_grace_seconds
            worker.deadline = self._clock.steady() + limit
            try:
                worker.send(request)
            except FrameError:
                worker.request_id = None
                self._become_idle(worker)
                self._events.append(InspectFinished(request.request_id, None))

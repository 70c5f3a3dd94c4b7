"""The pool: desired workers against actual ones, every tick; runs go out, events come back.

Starts, watches, kills, retires and replaces worker processes, and says of each death who was
running. Its parts do not know each other: they read and judge, and give back what they found; the
pool alone acts on it. What an event means for a job is not decided here. Used by the supervisor,
which calls `tick` and `collect` in its loop.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.errors import DataDirectoryError, FrameError
from bg_charm_service.domain.limits import Walls
from bg_charm_service.workers.pool.batch_monitor import (
    READ_SECONDS,
    READ_SELDOM_SECONDS,
    BatchMonitor,
)
from bg_charm_service.workers.pool.contract import FreeWorkers, PoolLimits
from bg_charm_service.workers.pool.events import (
    IdleDeath,
    InspectFinished,
    PoolEvent,
    given_back,
    log_idle_death,
)
from bg_charm_service.workers.pool.message_handler import MessageHandler
from bg_charm_service.workers.pool.pending_runs import PendingBatch, PendingRuns, has_sources
from bg_charm_service.workers.pool.placement import Placement, use_processors
from bg_charm_service.workers.pool.resource_monitor import ResourceMonitor, Verdict
from bg_charm_service.workers.pool.scratch.directory import ScratchRoot
from bg_charm_service.workers.pool.spawner import Spawner
from bg_charm_service.workers.pool.worker_death import CAUSES_OF_DEATH, explain_death
from bg_charm_service.workers.pool.worker_process import Binding, Ending, WorkerProcess, WorkerState
from bg_charm_service.workers.pool.worker_set import WorkerSet
from bg_charm_service.workers.pool.zygote_client import ZygoteClient, ZygoteLink
from bg_charm_service.workers.protocol.messages import (
    TO_WORKER,
    FieldValue,
    FoundItems,
    Inspect,
    RunSpec,
    Spawned,
    TokenGiven,
)


class Pool:
    """Worker processes forked from a zygote."""

    def __init__(
        self,
        limits: PoolLimits,
        clock: Clock,
        wake: Callable[[], None],
        random: Callable[[], float],
        open_zygote: Callable[[], ZygoteLink] = ZygoteClient,
    ) -> None:
        self.limits = limits
        self.most_runs_a_batch = limits.runs_a_worker
        self.workers = WorkerSet(limits)
        #: How many workers were started, were replaced for good reasons of our own, and ended
        #: without being asked to.
        self.created = self.recycled = self.crashed = 0
        #: How many ended, by the causes of `worker_death`.
        self.ended = Counter(dict.fromkeys(CAUSES_OF_DEATH, 0))
        #: Since when, by the steady clock, no worker is ready; None while one is.
        self.without_workers_since: float | None = -math.inf
        #: Called with each worker that ended when no run had begun in it.
        self.on_idle_death: list[Callable[[IdleDeath], None]] = [log_idle_death]
        self._clock = clock
        self._wake = wake
        self._events: list[PoolEvent] = []
        self._pending = PendingRuns()
        self._is_started = False
        self._scratch = ScratchRoot(limits.scratch_root) if limits.scratch_root else None
        self._spawner = Spawner(limits, self._scratch, clock, random, open_zygote)
        self._message_handler = MessageHandler(limits, self._scratch, clock)
        self._resource_monitor = ResourceMonitor(limits, clock, self._scratch)
        self._batch_monitor = BatchMonitor(self.workers, clock)
        self._placement = Placement(limits.processors, use_processors)
        self._batch_timer: asyncio.TimerHandle | None = None
        self._glance_timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Have workers from now on, who report; raises DataDirectoryError without a place for them.

        Starting twice is fine.
        """
        if not self._is_started and self._scratch is not None:
            try:
                self._scratch.open()
            except OSError as error:
                raise DataDirectoryError(f"Workers have no place to write to: {error}") from None
        self._is_started = True
        self.tick()

    @property
    def wants_ticks(self) -> bool:
        """Whether there is something to watch: runs under way, workers starting or missing."""
        return self._is_started and not (self.workers.is_complete and self.workers.is_at_rest)

    def tick(self) -> None:
        """Kill late runs, retire old workers, and fork the missing ones."""
        # A service that was held up itself reads late what was said in time.
        for worker in self._resource_monitor.overdue(self.workers):
            self._read_messages(worker)
        for verdict in self._resource_monitor.check(self.workers):
            self._carry_out(verdict)
        missing = self.limits.workers - len(self.workers)
        if missing > 0 and self._is_started and self._spawner.is_patient_enough:
            self._spawner.open_zygote(on_reports=self._read_reports)
            for _ in range(missing):
                self._spawn()
        self._start_pending()
        self._message_handler.looked_at = self._clock.steady()

    def collect(self) -> list[PoolEvent]:
        """Give what happened since the last call, in order; raises WorkerBootError."""
        self._spawner.check()
        events, self._events = self._events, []
        return events

    def free_workers(self) -> FreeWorkers:
        """Count the workers that could take a run right now."""
        return self.workers.free(self._clock.steady(), self._pending.batches)

    def rebalance(self, used_seconds: Mapping[int, float]) -> None:
        """Move workers to spaces in need, or one to the reserve: each moves by being replaced."""
        moved = self.workers.to_move(used_seconds, self._clock.steady(), len(self._pending))
        for worker in moved or self.workers.to_refresh(used_seconds):
            worker.end(Ending.RETIRED)

    def knows_source(self, space_key: int, walls: Walls, source_hash: str) -> bool:
        """Whether the worker that the next such run goes to has this source already."""
        worker = self.workers.idle_for(self.workers.binding(space_key, walls))
        return worker is not None and source_hash in worker.known_sources

    def dispatch(self, space_key: int, runs: Sequence[RunSpec]) -> bool:
        """Give a batch of runs to a worker bound to their space and walls; False without room.

        Where none has these walls, one is replaced, and the batch waits for the fresh one. Raises
        FrameError when the values of a run are too large to send.
        """
        frames = list(map(TO_WORKER.encode, runs))
        if not self.free_workers().count:
            return False
        binding = self.workers.binding(space_key, runs[0].limits.walls)
        batch = PendingBatch(list(runs), frames, binding)
        worker = self._find_free(binding)
        if worker is not None and has_sources(runs, worker.known_sources):
            self._start_batch(worker, batch)
            return True
        replaced = self.workers.to_replace(space_key) if worker is None else None
        if replaced is None or not has_sources(runs, ()):
            return False
        replaced.end(Ending.RETIRED)
        self._pending.add_batch(batch)
        return True

    def give_field(self, run_id: str, message: FieldValue) -> None:
        """Answer a run that asked for a large field; one that is over gets nothing."""
        worker = self.workers.running(run_id)
        if worker is not None:
            worker.end_wait(self._clock.steady())
            worker.channel.send(TO_WORKER.encode(FieldValue(message.field, message.value, run_id)))

    def give_items(self, message: FoundItems) -> None:
        """Answer a run that looks into a collection; one that is over gets nothing."""
        worker = self.workers.running(message.run_id)
        if worker is not None:
            worker.end_wait(self._clock.steady())
            worker.waits_for_items = False
            worker.channel.send(TO_WORKER.encode(message))

    def give_token(self, message: TokenGiven) -> None:
        """Answer a run that had its token renewed; one that is over gets nothing."""
        worker = self.workers.running(message.run_id)
        if worker is not None:
            worker.channel.send(TO_WORKER.encode(message))

    def inspect(self, request: Inspect) -> None:
        """Let a worker that has run nothing load a source; InspectFinished follows.

        It is replaced afterwards: what loads there has run its import-time code.
        """
        try:
            self._pending.add_inspection(request, TO_WORKER.encode(request))
        except FrameError:
            self._events.append(InspectFinished(request.request_id, None))
        self.start()
        # Whoever ticks may sleep for longer than this may take.
        self._wake()

    def job_with_most_files(self, least_bytes: int) -> int | None:
        """The job whose run keeps the most in its scratch directory, if at least so much.

        What is too much there is seen to at the next tick, whoever's turn it was.
        """
        self._resource_monitor.hurry(self.workers)
        most, job_id = least_bytes - 1, None
        for worker in self.workers:
            if self._scratch is None or worker.run is None:
                continue
            limit = worker.limits.scratch_bytes
            used = self._scratch.measure(worker.worker_no, worker.pid, limit, with_hidden=False)
            if used.used_bytes > most:
                most, job_id = used.used_bytes, worker.run.job_id
        return job_id

    def cancel(self, run_id: str) -> bool:
        """Stop a run: kill the worker that makes it, or let it wait no more; False without it."""
        run = self._pending.take_run(run_id)
        worker = self.workers.assigned(run_id) if run is None else None
        if worker is not None:
            run = worker.take_back_run(run_id)
            # It may have answered those before it, and begun with this one.
            self._read_messages(worker)
        if run is not None:
            self._give_back([run], is_cancelled=True)
            return True
        worker = self.workers.running(run_id)
        if worker is not None:
            worker.end(Ending.CANCELLED)
        return worker is not None

    def stop(self) -> None:
        """End every worker and the zygote; stopping twice is fine."""
        self._end_all(Ending.SHUTDOWN)
        self._batch_monitor.clear()
        if self._batch_timer is not None:
            self._batch_timer.cancel()
            self._batch_timer = None
        self._stop_glancing()
        self._give_back(self._pending.take_all_runs())
        self._spawner.close()
        if self._scratch is not None:
            self._scratch.close()

    # What workers say, and what is done about it.

    def _read_messages(self, worker: WorkerProcess) -> bool:
        """Read what a worker has said, and act on it; False for nothing new."""
        state_before = worker.state
        has_news = self._take_messages(worker)
        if has_news:
            if self._pending:
                self._start_pending()
            is_moved = worker.state is not state_before or worker.is_closed
            if self._events or is_moved or worker.ending is not None:
                # What a run logs, or tells of its requests, is but kept: nobody is woken for that.
                self._wake()
        return has_news

    def _take_messages(self, worker: WorkerProcess) -> bool:
        """Read what a worker has said, and only note it; False for nothing new."""
        was_starting = worker.state is WorkerState.STARTING
        events = self._message_handler.read(worker)
        if events is None:
            return False
        self._events += events
        if was_starting and worker.state is not WorkerState.STARTING:
            self._spawner.note_ready()
            self.without_workers_since = None
        if worker.state is WorkerState.IDLE and not self.workers.has_busy:
            # Not left to its next turn: a short run is to cost no waking up.
            self._stop_glancing()
        return True

    def _read_output(self, worker: WorkerProcess) -> None:
        worker.read_output()
        excess = self._resource_monitor.judge_output(worker)
        if excess is not None:
            ending, detail = excess
            worker.end(ending, detail)

    def _carry_out(self, verdict: Verdict) -> None:
        """End a worker for what was seen of it, unless that was another run than it makes now."""
        worker = verdict.worker
        if verdict.state is WorkerState.BUSY:
            self._read_messages(worker)
        if not verdict.holds:
            return
        if verdict.ending is None:
            worker.kill()
        else:
            worker.end(verdict.ending, verdict.detail)

    def _read_batches(self) -> None:
        """Read all workers that make batches, and give back what waits in one for too long."""
        self._batch_timer = None
        has_news = False
        for worker in self._batch_monitor.workers:
            has_news |= self._read_messages(worker)
            taken_back = self._batch_monitor.check(worker)
            if taken_back:
                self._give_back(taken_back)
        if self._batch_monitor.workers:
            self._read_batches_in(READ_SECONDS if has_news else READ_SELDOM_SECONDS)

    def _read_batches_in(self, seconds: float) -> None:
        if self._batch_timer is None:
            loop = asyncio.get_running_loop()
            self._batch_timer = loop.call_later(seconds, self._read_batches)

    # Workers that may be growing.

    def _be_alert(self) -> None:
        self._resource_monitor.be_alert()
        self._glance_in(self.limits.glance_seconds)

    def _glance_in(self, seconds: float) -> None:
        if self._glance_timer is None and seconds:
            loop = asyncio.get_running_loop()
            self._glance_timer = loop.call_later(seconds, self._glance)

    def _glance(self) -> None:
        """End whoever has grown beyond its limits; again soon, while there are runs."""
        self._glance_timer = None
        if self.workers.has_busy:
            for verdict in self._resource_monitor.glance(self.workers):
                self._carry_out(verdict)
            self._glance_in(self._resource_monitor.next_glance_seconds)

    def _stop_glancing(self) -> None:
        if self._glance_timer is not None:
            self._glance_timer.cancel()
            self._glance_timer = None

    # Runs on their way to workers, and back.

    def _find_free(self, binding: Binding) -> WorkerProcess | None:
        """A free worker for a run, which must not pay for what it did, or that it died, before."""
        while (worker := self.workers.idle_for(binding)) is not None:
            self._read_messages(worker)
            if worker.state is WorkerState.IDLE:
                return worker
        return None

    def _start_batch(self, worker: WorkerProcess, batch: PendingBatch) -> None:
        worker.binding = batch.binding
        grace = self.limits.kill_grace_seconds
        self._placement.place(worker, batch.binding.walls.processors, self.workers)
        room = self.limits.runs_a_worker - worker.runs
        if room < len(batch.runs):
            self._give_back(batch.runs[room:])
        worker.start_batch(batch.runs[:room], batch.frames[:room], self._clock.steady(), grace)
        self._be_alert()
        if worker.queued_runs:
            self._batch_monitor.add(worker)
            self._read_batches_in(READ_SECONDS)

    def _start_pending(self) -> None:
        """Give fresh workers to what waits for them; replace an idle one for an inspection."""
        while (worker := self.workers.fresh()) is not None:
            batch = self._pending.next_batch()
            if batch is not None:
                self._start_batch(worker, batch)
                continue
            inspection = self._pending.next_inspection()
            if inspection is None:
                return
            request, frame = inspection
            grace = self.limits.kill_grace_seconds
            self._placement.place(worker, request.limits.processors, self.workers)
            worker.start_inspection(request, frame, self._clock.steady(), grace)
            self._be_alert()
        if self._pending.has_inspections:
            for idle in self.workers.to_free(self._pending.batches):
                idle.end(Ending.RETIRED)

    def _give_back(self, runs: Sequence[RunSpec], *, is_cancelled: bool = False) -> None:
        self._events += [given_back(run, is_cancelled=is_cancelled) for run in runs]
        self._wake()

    # Workers that come and go.

    def _spawn(self) -> None:
        worker = self._spawner.spawn()
        if worker is not None:
            self.workers.add(worker)
            self.created += 1
            worker.channel.listen(
                on_messages=partial(self._read_messages, worker),
                on_output=partial(self._read_output, worker),
            )

    def _read_reports(self) -> None:
        """Take in what the zygote reports: workers that were started or ended, or its own end."""
        reports = self._spawner.read()
        if reports is None:
            # Before a worker that is about to go could be given one of them.
            self._give_back(self._pending.take_all_runs())
            self._end_all(Ending.ORPHANED)
            self._wake()
            return
        for report in reports:
            worker = self.workers.find(report.worker_no)
            if worker is None:
                continue
            if isinstance(report, Spawned):
                worker.note_pid(report.pid)
            else:
                self._note_exit(worker, report.exit_code)

    def _note_exit(self, worker: WorkerProcess, exit_code: int) -> None:
        worker.note_gone()
        # It may have answered just before it died.
        self._read_messages(worker)
        self._remove(worker, exit_code)
        self._wake()

    def _end_all(self, ending: Ending) -> None:
        for worker in self.workers:
            self._take_messages(worker)
            worker.end(ending)
            self._remove(worker, None)

    def _remove(self, worker: WorkerProcess, exit_code: int | None) -> None:
        """Say who pays for a worker that is gone, and forget it; None: nobody knows its code."""
        death = explain_death(worker, exit_code, self._clock.steady())
        if death.is_of_boot:
            self._spawner.note_boot_death(worker, exit_code)
        if death.idle_death is not None:
            for listener in self.on_idle_death:
                listener(death.idle_death)
        self._events += death.events
        self.crashed += death.is_crash
        self.recycled += worker.ending is Ending.RETIRED
        self.ended[death.cause] += 1
        worker.close()
        self.workers.drop(worker)
        if self.without_workers_since is None and not self.workers.has_ready:
            self.without_workers_since = self._clock.steady()
        if self._scratch is not None:
            self._scratch.discard(worker.worker_no)

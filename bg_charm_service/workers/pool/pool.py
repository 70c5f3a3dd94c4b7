"""The pool: desired workers against actual ones, every tick; runs go out, events come back.

Watches, kills, retires and replaces worker processes, and says of each death who was running.
What an event means for a job is not decided here. Used by the supervisor, which calls `tick`
and `collect` in its loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.errors import DataDirectoryError, FrameError
from bg_charm_service.domain.limits import Walls
from bg_charm_service.workers.pool.batch_monitor import BatchMonitor
from bg_charm_service.workers.pool.contract import FreeWorkers, PoolLimits
from bg_charm_service.workers.pool.events import IdleDeath, InspectFinished, PoolEvent, given_back
from bg_charm_service.workers.pool.message_handler import MessageHandler
from bg_charm_service.workers.pool.pending_runs import PendingBatch, PendingRuns, has_sources
from bg_charm_service.workers.pool.resource_monitor import ResourceMonitor
from bg_charm_service.workers.pool.scratch.directory import ScratchRoot
from bg_charm_service.workers.pool.spawner import Spawner
from bg_charm_service.workers.pool.worker_process import Binding, Ending, WorkerProcess, WorkerState
from bg_charm_service.workers.pool.worker_set import WorkerSet
from bg_charm_service.workers.pool.zygote_client import ZygoteClient, ZygoteLink
from bg_charm_service.workers.protocol.messages import TO_WORKER, FieldValue, Inspect, RunSpec


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
        self.most_in_a_go = limits.runs_a_worker
        self.created = 0
        self.workers = WorkerSet(limits)
        self._clock = clock
        self._wake = wake
        self._waiting = PendingRuns()
        self._is_started = False
        self._scratch = ScratchRoot(limits.scratch_root) if limits.scratch_root else None
        self._watch = ResourceMonitor(limits, clock, self._scratch, hear=self._read_worker)
        self._batches = BatchMonitor(
            self.workers, clock, hear=self._read_worker, give_back=self._give_back
        )
        self._spawner = Spawner(
            limits,
            self._scratch,
            clock,
            random,
            open_zygote,
            on_spawned=self._name_worker,
            on_exited=self._lose_worker,
            on_lost=self._lose_all,
        )
        self._message_handler = MessageHandler(
            limits,
            self.workers,
            self._scratch,
            clock,
            on_ready=self._spawner.note_ready,
            on_boot_death=self._spawner.note_boot_death,
        )

    @property
    def recycled(self) -> int:
        """How many workers were replaced for good reasons of our own."""
        return self._message_handler.recycled

    @property
    def crashed(self) -> int:
        """How many workers ended without being asked to."""
        return self._message_handler.crashed

    @property
    def on_idle_death(self) -> list[Callable[[IdleDeath], None]]:
        """Called with each worker that ended when no run had begun in it."""
        return self._message_handler.on_idle_death

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
        for worker in self._watch.late(self.workers):
            self._read_worker(worker)
        for worker in self._watch.look(list(self.workers)):
            worker.end(Ending.RETIRED)
        missing = self.limits.workers - len(self.workers)
        if missing > 0 and self._is_started and self._spawner.is_patient_enough:
            self._spawner.open()
            for _ in range(missing):
                self._spawn()
        self._employ()

    def collect(self) -> list[PoolEvent]:
        """Give what happened since the last call, in order; raises WorkerBootError."""
        self._spawner.check()
        events, self._message_handler.events = self._message_handler.events, []
        return events

    def free_workers(self) -> FreeWorkers:
        """Count the workers that could take a run right now."""
        return self.workers.free(self._clock.steady(), self._waiting.batches)

    def rebalance(self, used_seconds: Mapping[int, float]) -> None:
        """Move workers to spaces in need, or one to the reserve: each moves by being replaced."""
        moved = self.workers.to_move(used_seconds, self._clock.steady(), len(self._waiting))
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
        given = PendingBatch(list(runs), frames, binding)
        worker = self._find_sound(binding)
        if worker is not None and has_sources(runs, worker.known_sources):
            self._begin(worker, given)
            return True
        replaced = self.workers.to_replace(space_key) if worker is None else None
        if replaced is None or not has_sources(runs, ()):
            return False
        replaced.end(Ending.RETIRED)
        self._waiting.add_batch(given)
        return True

    def give_field(self, run_id: str, message: FieldValue) -> None:
        """Answer a run that asked for a large field; one that is over gets nothing."""
        worker = self.workers.making(run_id)
        if worker is not None:
            worker.channel.send(TO_WORKER.encode(FieldValue(message.field, message.value, run_id)))

    def inspect(self, request: Inspect) -> None:
        """Let a worker that has run nothing load a source; InspectFinished follows.

        It is replaced afterwards: what loads there has run its import-time code.
        """
        try:
            self._waiting.add_inspection(request, TO_WORKER.encode(request))
        except FrameError:
            self._message_handler.events.append(InspectFinished(request.request_id, None))
        self.start()
        # Whoever ticks may sleep for longer than this may take.
        self._wake()

    def cancel(self, run_id: str) -> bool:
        """Stop a run: kill the worker that makes it, or let it wait no more; False without it."""
        run = self._waiting.take_run(run_id)
        worker = self.workers.given(run_id) if run is None else None
        if worker is not None:
            run = worker.withdraw(run_id)
            # It may have answered those before it, and begun with this one.
            self._read_worker(worker)
        if run is not None:
            self._give_back([run], is_cancelled=True)
            return True
        worker = self.workers.making(run_id)
        if worker is not None:
            worker.end(Ending.CANCELLED)
        return worker is not None

    def stop(self) -> None:
        """End every worker and the zygote; stopping twice is fine."""
        for worker in self.workers:
            self._message_handler.hear(worker)
            worker.end(Ending.SHUTDOWN)
            self._message_handler.account_for(worker, None)
        self._batches.stop()
        self._give_back(self._waiting.take_all_runs())
        self._spawner.close()
        if self._scratch is not None:
            self._scratch.close()

    def _spawn(self) -> None:
        worker = self._spawner.spawn()
        if worker is not None:
            self.workers.add(worker)
            self.created += 1
            worker.channel.listen(
                partial(self._read_worker, worker), partial(self._read_output, worker)
            )

    def _find_sound(self, binding: Binding) -> WorkerProcess | None:
        """A free worker for a run, which must not pay for what it did, or that it died, before."""
        while (worker := self.workers.idle_for(binding)) is not None:
            self._read_worker(worker)
            if worker.state is WorkerState.IDLE:
                return worker
        return None

    def _begin(self, worker: WorkerProcess, given: PendingBatch) -> None:
        worker.binding = given.binding
        grace = self.limits.kill_grace_seconds
        room = self.limits.runs_a_worker - worker.runs
        if room < len(given.runs):
            self._give_back(given.runs[room:])
        worker.begin(given.runs[:room], given.frames[:room], self._clock.steady(), grace)
        if worker.behind:
            self._batches.add(worker)

    def _employ(self) -> None:
        """Give fresh workers to what waits for them; replace an idle one for an inspection."""
        while (worker := self.workers.fresh()) is not None:
            given = self._waiting.next_batch()
            if given is not None:
                self._begin(worker, given)
                continue
            asked = self._waiting.next_inspection()
            if asked is None:
                return
            grace = self.limits.kill_grace_seconds
            worker.begin_inspection(*asked, self._clock.steady(), grace)
        if self._waiting.has_inspections:
            for idle in self.workers.to_free(self._waiting.batches):
                idle.end(Ending.RETIRED)

    def _read_output(self, worker: WorkerProcess) -> None:
        worker.read_output()
        self._watch.look_at_output(worker)

    def _read_worker(self, worker: WorkerProcess) -> bool:
        has_news = self._message_handler.hear(worker)
        if has_news:
            if self._waiting:
                self._employ()
            self._wake()
        return has_news

    def _give_back(self, runs: Sequence[RunSpec], *, is_cancelled: bool = False) -> None:
        self._message_handler.events += [given_back(run, is_cancelled=is_cancelled) for run in runs]
        self._wake()

    def _name_worker(self, worker_no: int, pid: int) -> None:
        worker = self.workers.find(worker_no)
        if worker is not None:
            worker.name(pid)

    def _lose_worker(self, worker_no: int, exit_code: int) -> None:
        worker = self.workers.find(worker_no)
        if worker is None:
            return
        worker.note_gone()
        # It may have answered just before it died.
        self._read_worker(worker)
        self._message_handler.account_for(worker, exit_code)
        self._wake()

    def _lose_all(self) -> None:
        # Before a worker that is about to go could be given one of them.
        self._give_back(self._waiting.take_all_runs())
        for worker in self.workers:
            self._message_handler.hear(worker)
            worker.end(Ending.ORPHANED)
            self._message_handler.account_for(worker, None)
        self._wake()

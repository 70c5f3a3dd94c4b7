"""Takes what workers say and how they end, and makes events of it: who answered, who pays.

Believes nothing that is out of place. Gives no work to anybody. Used by the pool.
"""

from __future__ import annotations

from collections.abc import Callable

from bg_charm_service.clock import Clock
from bg_charm_service.crew import Crew
from bg_charm_service.errors import SPENT_WORKER
from bg_charm_service.pool_contract import Isolation, PoolLimits
from bg_charm_service.pool_events import (
    FieldWanted,
    IdleDeath,
    InspectFinished,
    PoolEvent,
    RunFinished,
    death_failure,
    given_back,
    log_idle_death,
    run_ended_by_death,
)
from bg_charm_service.scratch import ScratchRoot
from bg_charm_service.wire import Answer, FetchField, FromWorker, Inspected, LogText
from bg_charm_service.worker_handle import Ending, WorkerHandle, WorkerState
from bg_charm_service.worker_protocol import breach_of

#: How long a worker that closed its socket may take to exit, in seconds.
CLOSED_SECONDS = 1.0

#: Endings that say nothing about what the worker did.
_OF_OURS = frozenset({Ending.RETIRED, Ending.CANCELLED, Ending.SHUTDOWN, Ending.ORPHANED})


class Reception:
    """The events so far, and counts of the workers that ended."""

    def __init__(
        self,
        limits: PoolLimits,
        crew: Crew,
        scratch: ScratchRoot | None,
        clock: Clock,
        *,
        on_ready: Callable[[], None],
        on_boot_death: Callable[[WorkerHandle, int | None], None],
    ) -> None:
        self.events: list[PoolEvent] = []
        self.recycled = 0
        self.crashed = 0
        #: Called with each worker that ended when no run had begun in it.
        self.on_idle_death: list[Callable[[IdleDeath], None]] = [log_idle_death]
        self._limits = limits
        self._crew = crew
        self._scratch = scratch
        self._clock = clock
        self._on_ready = on_ready
        self._on_boot_death = on_boot_death

    def hear(self, worker: WorkerHandle) -> bool:
        """Take what a worker said; end it when that breaks the protocol. False for nothing new."""
        if worker.ending is not None or worker.is_closed:
            return False
        got = worker.channel.receive()
        breach = ""
        for message in got.messages:
            breach = breach_of(worker, message)
            if breach or worker.ending is not None:
                break
            self._take(worker, message)
        breach = breach or got.breach
        if worker.state is WorkerState.IDLE and worker.channel.is_in_frame:
            breach = breach or "it speaks without being asked"
        if breach:
            self._break_off(worker, breach)
        elif got.is_over:
            # Its exit code is on the way, by the zygote; closing the socket alone is no escape.
            worker.note_closed(self._clock.steady() + CLOSED_SECONDS)
        return bool(breach or got.is_over or got.messages)

    def account_for(self, worker: WorkerHandle, exit_code: int | None) -> None:
        """Say who pays for a worker that is gone; `exit_code` None when nobody knows it."""
        worker.channel.read_to_end()
        run, request_id = worker.run, worker.request_id
        is_nobodys = (run is None or not worker.has_started) and request_id is None
        if worker.state is WorkerState.STARTING:
            worker.read_output()
            self._on_boot_death(worker, exit_code)
        elif is_nobodys and worker.ending not in _OF_OURS:
            self.crashed += worker.ending is None
            idle_death = IdleDeath(worker.pid, exit_code, worker.detail, worker.last_run_id)
            for listener in self.on_idle_death:
                listener(idle_death)
        else:
            self.crashed += run is not None and worker.ending is None
        if run is not None:
            self.events.append(run_ended_by_death(worker, run, exit_code, self._clock.steady()))
        elif request_id is not None:
            death = death_failure(worker, exit_code)
            self.events.append(InspectFinished(request_id, None, death))
        self.events += [given_back(each) for each in worker.take_back()]
        self.recycled += worker.ending is Ending.RETIRED
        worker.close()
        self._crew.drop(worker)
        if self._scratch is not None:
            self._scratch.discard(worker.worker_no)

    def _break_off(self, worker: WorkerHandle, breach: str) -> None:
        if worker.state is WorkerState.STARTING:
            # Counted as a birth that failed, so that these do not follow each other without end.
            worker.channel.stop_listening()
            worker.kill()
        else:
            worker.end(Ending.PROTOCOL, breach)

    def _take(self, worker: WorkerHandle, message: FromWorker) -> None:
        worker.has_spoken = True
        if isinstance(message, LogText):
            worker.log(message)
        elif isinstance(message, Answer):
            self._finish_run(worker, message)
        elif isinstance(message, FetchField):
            worker.fetched.add(message.field)
            self.events.append(FieldWanted(message.run_id, message.field))
        elif isinstance(message, Inspected):
            worker.request_id = None
            self.events.append(InspectFinished(message.request_id, message))
            worker.end(Ending.RETIRED)
        else:
            self._on_ready()
            self._become_idle(worker)

    def _finish_run(self, worker: WorkerHandle, answer: Answer) -> None:
        run = worker.run
        assert run is not None
        worker.runs += 1
        log = worker.finish()
        seconds, pid = self._clock.steady() - worker.begun, worker.pid
        if self._is_spent(worker, answer):
            # Stopped for good before its job is settled.
            worker.end(Ending.RETIRED)
        elif not worker.begin_next(self._clock.steady(), self._limits.kill_grace_seconds):
            self._become_idle(worker)
        self.events.append(RunFinished(run, pid, log, answer=answer, seconds=seconds))

    def _is_spent(self, worker: WorkerHandle, answer: Answer) -> bool:
        """Whether a worker is to make no other run; if it may, its scratch directory is empty."""
        return (
            self._limits.isolation is Isolation.RUN
            or bool(answer.leak)
            or (answer.failure is not None and answer.failure.cause in SPENT_WORKER)
            or worker.runs >= self._limits.max_runs
            or (self._scratch is not None and not self._scratch.empty(worker.worker_no))
        )

    def _become_idle(self, worker: WorkerHandle) -> None:
        worker.state = WorkerState.IDLE
        worker.idle_since = self._clock.steady()

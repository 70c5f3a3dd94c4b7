"""Takes what workers say and how they end, and makes events of it: who answered, who pays.

The time, the limits and the blame go from one run of a batch to the next with each answer.

Believes nothing that is out of place. Gives no work to anybody. Used by the pool.
"""

from __future__ import annotations

from collections.abc import Callable

from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.errors import SPENT_WORKER
from bg_charm_service.workers.pool.contract import PoolLimits
from bg_charm_service.workers.pool.events import (
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
from bg_charm_service.workers.pool.scratch.directory import ScratchRoot
from bg_charm_service.workers.pool.worker_process import Ending, WorkerProcess, WorkerState
from bg_charm_service.workers.pool.worker_set import WorkerSet
from bg_charm_service.workers.protocol.messages import (
    TO_WORKER,
    Answer,
    FetchField,
    FromWorker,
    GoOn,
    Inspected,
    LogText,
    Ready,
)

#: How long a worker that closed its socket may take to exit, in seconds.
CLOSED_SECONDS = 1.0

#: So often a socket is read in one go: more than its buffer holds.
_READS_A_LOOK = 64

_GO_ON = TO_WORKER.encode(GoOn())

#: Endings that say nothing about what the worker did.
_OF_OURS = frozenset({Ending.RETIRED, Ending.CANCELLED, Ending.SHUTDOWN, Ending.ORPHANED})


class MessageHandler:
    """The events so far, and counts of the workers that ended."""

    def __init__(
        self,
        limits: PoolLimits,
        worker_set: WorkerSet,
        scratch: ScratchRoot | None,
        clock: Clock,
        *,
        on_ready: Callable[[], None],
        on_boot_death: Callable[[WorkerProcess, int | None], None],
    ) -> None:
        self.events: list[PoolEvent] = []
        self.recycled = 0
        self.crashed = 0
        #: Called with each worker that ended when no run had begun in it.
        self.on_idle_death: list[Callable[[IdleDeath], None]] = [log_idle_death]
        self._limits = limits
        self._worker_set = worker_set
        self._scratch = scratch
        self._clock = clock
        self._on_ready = on_ready
        self._on_boot_death = on_boot_death

    def hear(self, worker: WorkerProcess) -> bool:
        """Take what a worker said; end it when that breaks the protocol. False for nothing new."""
        if worker.ending is not None or worker.is_closed:
            return False
        channel, now = worker.channel, self._clock.steady()
        has_news = False
        # The loop calls again for what is left: nobody is held up by one that never stops talking.
        for _ in range(_READS_A_LOOK):
            if not channel.receive():
                break
            has_news = True
            if not self._take_all(worker, now) or not channel.has_more:
                break
        if worker.state is WorkerState.IDLE and channel.is_in_frame:
            channel.breach = channel.breach or "it speaks without being asked"
        if channel.breach:
            self._break_off(worker, channel.breach)
        elif channel.is_over:
            # Its exit code is on the way, by the zygote; closing the socket alone is no escape.
            worker.note_closed(now + CLOSED_SECONDS)
        return has_news or channel.is_over

    def account_for(self, worker: WorkerProcess, exit_code: int | None) -> None:
        """Say who pays for a worker that is gone; `exit_code` None when nobody knows it."""
        behind = worker.take_all_back()
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
        self.events += [given_back(each) for each in behind]
        self.recycled += worker.ending is Ending.RETIRED
        worker.close()
        self._worker_set.drop(worker)
        if self._scratch is not None:
            self._scratch.discard(worker.worker_no)

    def _break_off(self, worker: WorkerProcess, breach: str) -> None:
        if worker.state is WorkerState.STARTING:
            # Counted as a birth that failed, so that these do not follow each other without end.
            worker.channel.stop_listening()
            worker.kill()
        else:
            worker.end(Ending.PROTOCOL, breach)

    def _take_all(self, worker: WorkerProcess, now: float) -> bool:
        """Take the messages that have come; False when it is over with the worker."""
        while (message := worker.channel.take()) is not None:
            breach = breach_of(worker, message)
            if breach:
                worker.channel.breach = breach
                return False
            self._take(worker, message, now)
            if worker.ending is not None:
                return False
        return True

    def _take(self, worker: WorkerProcess, message: FromWorker, now: float) -> None:
        if isinstance(message, Answer):
            self._finish_run(worker, message, now)
        elif isinstance(message, LogText):
            worker.log(message)
        elif isinstance(message, FetchField):
            worker.fetched.add(message.field)
            self.events.append(FieldWanted(message.run_id, message.field))
        elif isinstance(message, Inspected):
            worker.request_id = None
            self.events.append(InspectFinished(message.request_id, message))
            worker.end(Ending.RETIRED)
        else:
            self._on_ready()
            self._become_idle(worker, now)

    def _finish_run(self, worker: WorkerProcess, answer: Answer, now: float) -> None:
        run, pid = worker.run, worker.pid
        assert run is not None
        worker.runs += 1
        seconds = now - worker.begun
        if worker.behind:
            # Of answers that are read together, only the worker knows when each was given.
            seconds = min(seconds, answer.duration_seconds)
        worker.begun += seconds
        if answer.pauses:
            worker.read_output()
        log = worker.finish()
        if self._is_spent(worker, answer):
            # Stopped for good before its job is settled.
            worker.end(Ending.RETIRED)
        else:
            if answer.pauses:
                worker.channel.send(_GO_ON)
            if not worker.begin_next(now):
                self._become_idle(worker, now)
        self.events.append(RunFinished(run, pid, log, answer=answer, seconds=seconds))

    def _is_spent(self, worker: WorkerProcess, answer: Answer) -> bool:
        """Whether a worker is to make no other run; if it may, its scratch directory is empty."""
        return (
            worker.runs >= self._limits.runs_a_worker
            or bool(answer.leak)
            or (answer.failure is not None and answer.failure.cause in SPENT_WORKER)
            or (not worker.behind and worker.channel.has_unsent)
            or (answer.pauses and not self._is_emptied(worker))
        )

    def _is_emptied(self, worker: WorkerProcess) -> bool:
        return self._scratch is None or self._scratch.empty(worker.worker_no)

    def _become_idle(self, worker: WorkerProcess, now: float) -> None:
        worker.state = WorkerState.IDLE
        worker.idle_since = now


def breach_of(worker: WorkerProcess, message: FromWorker) -> str:
    """Say what is wrong with a message; empty when it is in its place."""
    if isinstance(message, Ready):
        # Said again, by code that it loads, it would free a worker that is not free.
        return "" if worker.state is WorkerState.STARTING else "it said again that it is ready"
    if isinstance(message, Inspected):
        is_asked = worker.request_id is not None and worker.request_id == message.request_id
        return "" if is_asked else "it described a source that it was not given"
    if worker.run is None or message.run_id != worker.run.run_id:
        what = "an answer to" if isinstance(message, Answer) else "a message of"
        return f"{what} a run it was not given"
    if worker.channel.has_unsent and not (worker.behind or worker.was_relieved):
        return "it answers what it has not read"
    if isinstance(message, FetchField):
        if message.field not in worker.run.large:
            return "it asks for a field that is not to be fetched"
        if message.field in worker.fetched:
            return "it asks twice for one field"
    return ""

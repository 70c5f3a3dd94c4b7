"""Takes what a worker says, and makes events of it; knows what it may say, and when.

The time, the limits and the blame go from one run of a batch to the next with each answer. What is
out of place is a breach, and the run under way pays for it. Gives no work to anybody. Used by the
pool whenever a worker may have said something.
"""

from __future__ import annotations

from typing import Final

from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.errors import SPENT_WORKER
from bg_charm_service.domain.items import LONGEST_KEY_BYTES, MOST_TOGETHER
from bg_charm_service.workers.pool.contract import PoolLimits
from bg_charm_service.workers.pool.events import (
    FieldWanted,
    InspectFinished,
    ItemsWanted,
    PoolEvent,
    RenewalWanted,
    RunFinished,
)
from bg_charm_service.workers.pool.scratch.directory import ScratchRoot
from bg_charm_service.workers.pool.worker_process import Ending, WorkerProcess, WorkerState
from bg_charm_service.workers.protocol.messages import (
    FORGIVEN_SECONDS,
    MOST_RENEWALS,
    TO_WORKER,
    Answer,
    FetchField,
    FromWorker,
    GoOn,
    Inspected,
    ItemsTouched,
    LogText,
    Ready,
    RequestTold,
    TokenWanted,
    WantItems,
)

#: Asked of its enum, a member takes many times as long (Python 3.11), and these are for each run.
_IDLE: Final = WorkerState.IDLE

#: How long a worker that closed its socket may take to exit, in seconds.
CLOSED_SECONDS = 1.0

#: So often a socket is read in one go: more than its buffer holds.
_MOST_READS = 64

#: To ask for keys takes no more than this, in bytes.
_QUESTION_BYTES = MOST_TOGETHER * (LONGEST_KEY_BYTES + 8) + 4096

_GO_ON = TO_WORKER.encode(GoOn())


class MessageHandler:
    """Moves workers on by what they say: from run to run, to being free, to their end."""

    def __init__(self, limits: PoolLimits, scratch: ScratchRoot | None, clock: Clock) -> None:
        self._limits = limits
        self._scratch = scratch
        self._clock = clock
        #: When workers were last looked after: what they ask later than that has waited no longer.
        self.looked_at = clock.steady()

    def read(self, worker: WorkerProcess) -> list[PoolEvent] | None:
        """Take what a worker has said; end it when that breaks the protocol.

        Gives the events that come of it; None when nothing new was said.
        """
        if worker.ending is not None or worker.is_closed:
            return None
        channel, now = worker.channel, self._clock.steady()
        events: list[PoolEvent] = []
        has_news = False
        # The loop calls again for what is left: nobody is held up by one that never stops talking.
        for _ in range(_MOST_READS):
            if not channel.receive():
                break
            has_news = True
            if not self._take_all(worker, now, events) or not channel.has_more:
                break
        if worker.state is _IDLE and channel.is_in_frame:
            channel.breach = channel.breach or "it speaks without being asked"
        if channel.breach:
            self._break_off(worker, channel.breach)
        elif channel.is_over:
            # Its exit code is on the way, by the zygote; closing the socket alone is no escape.
            worker.note_closed(now + CLOSED_SECONDS)
        return events if has_news or channel.is_over else None

    def _break_off(self, worker: WorkerProcess, breach: str) -> None:
        if worker.state is WorkerState.STARTING:
            # Counted as a start that failed, so that these do not follow each other without end.
            worker.channel.stop_listening()
            worker.kill()
        else:
            worker.end(Ending.PROTOCOL, breach)

    def _take_all(self, worker: WorkerProcess, now: float, events: list[PoolEvent]) -> bool:
        """Take the messages that have come; False when it is over with the worker."""
        while (message := worker.channel.next_message()) is not None:
            breach = breach_of(worker, message)
            if breach:
                worker.channel.breach = breach
                return False
            self._take(worker, message, now, events)
            if worker.ending is not None:
                return False
        return True

    def _take(
        self, worker: WorkerProcess, message: FromWorker, now: float, events: list[PoolEvent]
    ) -> None:
        if isinstance(message, Answer):
            events.append(self._finish_run(worker, message, now))
        elif isinstance(message, LogText):
            worker.add_log(message)
        elif isinstance(message, FetchField):
            self._begin_wait(worker, now)
            worker.fetched_fields.add(message.field)
            events.append(FieldWanted(message.run_id, message.field))
        elif isinstance(message, WantItems):
            self._begin_wait(worker, now)
            worker.waits_for_items = True
            worker.channel.allow_more(_QUESTION_BYTES)
            events.append(ItemsWanted(message))
        elif isinstance(message, ItemsTouched):
            worker.channel.breach = worker.add_touched(message.touched)
        elif isinstance(message, RequestTold):
            worker.channel.breach = worker.add_request(message.request, now)
        elif isinstance(message, TokenWanted):
            worker.renewals += 1
            events.append(RenewalWanted(message))
        elif isinstance(message, Inspected):
            worker.request_id = None
            events.append(InspectFinished(message.request_id, message))
            worker.end(Ending.RETIRED)
        else:
            worker.become_idle(now)

    def _begin_wait(self, worker: WorkerProcess, now: float) -> None:
        """Charge no run for its wait for us, also where this process was held up meanwhile."""
        was_held_up = now - self.looked_at > FORGIVEN_SECONDS
        worker.begin_wait(self.looked_at if was_held_up else now)

    def _finish_run(self, worker: WorkerProcess, answer: Answer, now: float) -> RunFinished:
        run, pid = worker.run, worker.pid
        assert run is not None
        worker.runs += 1
        seconds = now - worker.charged_from
        if worker.queued_runs:
            # Of answers that are read together, only the worker knows when each was given.
            seconds = min(seconds, answer.duration_seconds)
        worker.charged_from += seconds
        if answer.pauses:
            worker.read_output()
        log, items = worker.finish_run(), worker.take_touched()
        retired = ""
        if self._is_spent(worker, answer):
            # Stopped for good before its job is settled.
            worker.end(Ending.RETIRED)
            retired = self._what_it_did(worker, answer)
        else:
            if answer.pauses:
                worker.channel.send(_GO_ON)
            if not worker.start_next(now):
                worker.become_idle(now)
        return RunFinished(
            run, pid, log, answer=answer, seconds=seconds, retired=retired, items=items
        )

    def _is_spent(self, worker: WorkerProcess, answer: Answer) -> bool:
        """Whether a worker is to make no other run; if it may, its scratch directory is empty."""
        return (
            worker.runs >= self._limits.runs_a_worker
            or bool(answer.leak)
            or (answer.failure is not None and answer.failure.cause in SPENT_WORKER)
            or (not worker.queued_runs and worker.channel.has_unsent)
            or (answer.pauses and not self._is_emptied(worker))
        )

    def _what_it_did(self, worker: WorkerProcess, answer: Answer) -> str:
        """Say what a run did that its worker is replaced for; empty for reasons of ours."""
        if answer.leak:
            return f"it left {answer.leak}"
        if answer.failure is not None and answer.failure.cause in SPENT_WORKER:
            return f"it ran into a limit ({answer.failure.cause})"
        is_worn_out = worker.runs >= self._limits.runs_a_worker or not answer.pauses
        return "" if is_worn_out else "it left more files than can be removed quickly"

    def _is_emptied(self, worker: WorkerProcess) -> bool:
        return self._scratch is None or self._scratch.empty(worker.worker_no)


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
    if worker.channel.has_unsent and not (worker.queued_runs or worker.had_runs_taken_back):
        return "it answers what it has not read"
    if isinstance(message, FetchField):
        if message.field not in worker.run.large:
            return "it asks for a field that is not to be fetched"
        if message.field in worker.fetched_fields:
            return "it asks twice for one field"
    if worker.waits_for_items and not isinstance(message, LogText):
        return "it goes on before it has what it asked for"
    if isinstance(message, TokenWanted) and worker.renewals >= MOST_RENEWALS:
        return "it asks for tokens without end"
    return ""

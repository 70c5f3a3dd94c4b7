"""What the end of a worker means: which run pays for it, and which are given back.

Whoever had begun pays, unless the pool ended the worker for reasons of its own. One place says what
each kind of death means for the charm that was running. Used by the pool.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass

from loguru import logger

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.model import Failure
from bg_charm_service.domain.quantities import size_text
from bg_charm_service.workers.pool.events import (
    IdleDeath,
    InspectFinished,
    PoolEvent,
    RunFinished,
    WorkerSpent,
    given_back,
)
from bg_charm_service.workers.pool.worker_process import Ending, WorkerProcess, WorkerState
from bg_charm_service.workers.protocol.messages import UNFIT_EXIT_CODE, RunSpec

#: Endings that say nothing about what the worker did.
_OF_OURS = frozenset({Ending.RETIRED, Ending.CANCELLED, Ending.SHUTDOWN, Ending.ORPHANED})

#: What the pool ends a worker for that is the charm's doing, where the detail says it all.
_BLAMED = {
    Ending.CPU: FailureCause.CPU,
    Ending.MEMORY: FailureCause.MEMORY,
    Ending.THREADS: FailureCause.THREADS,
    Ending.SCRATCH: FailureCause.SCRATCH,
    Ending.LOG: FailureCause.LOG,
}


#: What libraries say that end the process when they get no more memory, for want of an exception:
#: Rust's and C++'s own words, LLVM's, and jemalloc's. Among the last words that a worker said.
_LACK_OF_MEMORY = re.compile(
    r"memory allocation of \d+ bytes failed|std::bad_alloc|LLVM ERROR: out of memory"
    r"|<jemalloc>: [^\n]{0,100}out of memory",
    re.IGNORECASE,
)
_LAST_WORDS_CHARACTERS = 8192

#: Why workers end that the pool has not ended: before they were ready, by themselves, by a signal.
BOOT, EXIT, SIGNAL = "boot", "exit", "signal"

#: Every cause that a worker's end is counted under.
CAUSES_OF_DEATH = (*map(str, Ending), BOOT, EXIT, SIGNAL)


@dataclass(frozen=True, slots=True)
class WorkerDeath:
    """The account of a worker that is gone.

    `cause` is one of CAUSES_OF_DEATH; `is_of_boot` where it was never ready; `is_crash` where it
    ended without being asked to; `idle_death` where no run had begun in it and that was not our
    doing.
    """

    events: list[PoolEvent]
    cause: str
    is_of_boot: bool
    is_crash: bool
    idle_death: IdleDeath | None


def explain_death(worker: WorkerProcess, exit_code: int | None, now: float) -> WorkerDeath:
    """Say who pays for a worker that is gone; `exit_code` None when nobody knows it."""
    queued = worker.take_back_all()
    run, request_id = worker.run, worker.request_id
    is_nobodys = (run is None or not worker.has_started) and request_id is None
    if is_nobodys and worker.ending is None and exit_code == UNFIT_EXIT_CODE:
        worker.ending, worker.detail = Ending.RETIRED, "a thread that it left has begun to work"
        logger.bind(event="worker_unfit", worker=worker.pid, run=worker.last_run_id).info(
            "Worker {} is replaced after run {}: {}",
            worker.pid,
            worker.last_run_id,
            worker.detail,
        )
    is_of_boot = worker.state is WorkerState.STARTING
    is_idle_death = is_nobodys and not is_of_boot and worker.ending not in _OF_OURS
    if is_of_boot:
        # The last words of one that never got ready.
        worker.read_output()
    # Before its last run is over: that is the one that it made before.
    idle_death = IdleDeath(worker.pid, exit_code, worker.detail, worker.last_run_id)
    events: list[PoolEvent] = []
    if worker.ending is Ending.RETIRED and worker.detail and worker.last_run is not None:
        events.append(WorkerSpent(worker.last_run, worker.pid, worker.detail))
    if run is not None:
        events.append(_run_ended_by_death(worker, run, exit_code, now))
    elif request_id is not None:
        worker.read_output()
        failure = _failure(worker, exit_code, worker.finish_run())
        events.append(InspectFinished(request_id, None, failure))
    events += [given_back(each) for each in queued]
    return WorkerDeath(
        events=events,
        cause=_cause(worker, exit_code, is_of_boot=is_of_boot),
        is_of_boot=is_of_boot,
        is_crash=worker.ending is None and (run is not None or is_idle_death),
        idle_death=idle_death if is_idle_death else None,
    )


def _cause(worker: WorkerProcess, exit_code: int | None, *, is_of_boot: bool) -> str:
    if worker.ending is not None:
        return str(worker.ending)
    if is_of_boot:
        return BOOT
    return SIGNAL if exit_code is not None and exit_code < 0 else EXIT


def _run_ended_by_death(
    worker: WorkerProcess, run: RunSpec, exit_code: int | None, now: float
) -> RunFinished:
    # What it said last may say why.
    worker.read_output()
    log = worker.finish_run()
    return RunFinished(
        run,
        worker.pid,
        log,
        death=_failure(worker, exit_code, log) if worker.has_started else None,
        is_cancelled=worker.ending is Ending.CANCELLED,
        is_orphaned=worker.ending is Ending.ORPHANED and worker.has_started,
        seconds=now - worker.charged_from,
        told_requests=worker.take_requests(now),
    )


def _failure(worker: WorkerProcess, exit_code: int | None, log: str) -> Failure | None:
    """What a worker's death in mid-run means for its charm; None when the charm is not to blame.

    `log` is what it said, until its end.
    """
    ending, detail = worker.ending, worker.detail
    if ending is Ending.TIMEOUT:
        limit = worker.limits.timeout_seconds
        text = f"Timed out after {limit:g} s; it did not stop and was killed."
        return Failure(FailureCause.TIMEOUT, text)
    if ending in _BLAMED:
        return Failure(_BLAMED[ending], f"Killed for {detail}.")
    if ending is Ending.PROTOCOL:
        return Failure(FailureCause.PROTOCOL, f"Its worker broke the protocol: {detail}.")
    if ending is not None or exit_code is None:
        return None
    if exit_code < 0:
        name = _signal_name(-exit_code)
        lack = _LACK_OF_MEMORY.search(log, max(0, len(log) - _LAST_WORDS_CHARACTERS))
        if lack is not None:
            most = f"it may use {size_text(worker.limits.memory_bytes)} of memory"
            text = f"Its worker process ended itself by {name}: {lack[0]} ({most})."
            return Failure(FailureCause.MEMORY, text)
        return Failure(FailureCause.SIGNAL, f"Its worker process was ended by {name}.")
    return Failure(FailureCause.EXIT, f"It ended its worker process with exit code {exit_code}.")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

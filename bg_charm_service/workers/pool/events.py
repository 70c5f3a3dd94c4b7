"""What the pool reports, and how a worker's death reads as a failure.

One place says what each kind of death means for the charm that was running. Used by the pool
and the supervisor.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass

import msgspec
from loguru import logger

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.model import Failure
from bg_charm_service.workers.pool.worker_process import Ending, WorkerProcess
from bg_charm_service.workers.protocol.messages import Answer, Inspected, RunSpec


class RunFinished(msgspec.Struct, frozen=True):
    """A run is over: answered, or its worker died.

    Without an answer, `death` says what the charm pays for; None when it pays nothing and the
    job goes back to the queue.
    """

    run: RunSpec
    worker_pid: int
    log: str
    answer: Answer | None = None
    death: Failure | None = None
    is_cancelled: bool = False
    #: The workers' parent died: nobody can tell whose fault that was.
    is_orphaned: bool = False
    #: How long it kept its worker at most, measured from outside: what a worker says is checked by
    #: it. No second is counted for two runs.
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class FieldWanted:
    """A run touched a large field and waits for it."""

    run_id: str
    field: str


@dataclass(frozen=True, slots=True)
class InspectFinished:
    """A source was inspected; None when its worker died over it, and `death` says how."""

    request_id: int
    inspected: Inspected | None
    death: Failure | None = None


@dataclass(frozen=True, slots=True)
class IdleDeath:
    """A worker ended when no run had begun in it; nobody pays.

    `detail` says what made the pool end it, empty when it ended by itself; `after_run` which run
    it made last.
    """

    pid: int
    exit_code: int | None
    detail: str = ""
    after_run: str = ""


PoolEvent = RunFinished | FieldWanted | InspectFinished


#: What the pool ends a worker for that is the charm's doing, where the detail says it all.
_BLAMED = {
    Ending.CPU: FailureCause.CPU,
    Ending.MEMORY: FailureCause.MEMORY,
    Ending.THREADS: FailureCause.THREADS,
    Ending.SCRATCH: FailureCause.SCRATCH,
    Ending.LOG: FailureCause.LOG,
}


def run_ended_by_death(
    worker: WorkerProcess, run: RunSpec, exit_code: int | None, now: float
) -> RunFinished:
    """The end of a run whose worker is gone; `exit_code` None when nobody knows it."""
    death = death_failure(worker, exit_code) if worker.has_started else None
    is_cancelled = worker.ending is Ending.CANCELLED
    worker.read_output()
    log = worker.finish()
    is_orphaned = worker.ending is Ending.ORPHANED and worker.has_started
    seconds = now - worker.begun
    return RunFinished(run, worker.pid, log, None, death, is_cancelled, is_orphaned, seconds)


def given_back(run: RunSpec, *, is_cancelled: bool = False) -> RunFinished:
    """The end of a run that was never begun, and never will be: it costs nothing."""
    return RunFinished(run, 0, "", is_cancelled=is_cancelled)


def log_idle_death(death: IdleDeath) -> None:
    """Tell of a worker that ended between runs."""
    logger.bind(event="worker_died_idle", worker=death.pid, run=death.after_run).warning(
        "Worker {} {} between runs; no charm is blamed. Its last run was {}",
        death.pid,
        f"was ended ({death.detail})" if death.detail else f"died (exit code {death.exit_code})",
        death.after_run or "none",
    )


def death_failure(worker: WorkerProcess, exit_code: int | None) -> Failure | None:
    """What a worker's death in mid-run means for its charm; None when the charm is not to blame."""
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
        return Failure(
            FailureCause.SIGNAL, f"Its worker process was ended by {_signal_name(-exit_code)}."
        )
    return Failure(FailureCause.EXIT, f"It ended its worker process with exit code {exit_code}.")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

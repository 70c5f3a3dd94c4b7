"""What the pool reports, and how a worker's death reads as a failure.

One place says what each kind of death means for the charm that was running. Used by the pool
and the supervisor.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass

from loguru import logger

from bg_charm_service.errors import FailureCause
from bg_charm_service.model import Failure
from bg_charm_service.wire import Answer, Inspected, RunSpec
from bg_charm_service.worker_handle import Ending, WorkerHandle


@dataclass(frozen=True, slots=True)
class RunFinished:
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
    #: How long it kept its worker, measured from outside: what a worker says is checked by it.
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class FieldWanted:
    """A run touched a large field and waits for it."""

    worker_no: int
    run_id: str
    field: str


@dataclass(frozen=True, slots=True)
class InspectFinished:
    """A source was inspected; None when its worker died over it."""

    request_id: int
    inspected: Inspected | None


PoolEvent = RunFinished | FieldWanted | InspectFinished


def run_ended_by_death(
    worker: WorkerHandle, run: RunSpec, exit_code: int | None, now: float
) -> RunFinished:
    """The end of a run whose worker is gone; `exit_code` None when nobody knows it."""
    death = death_failure(worker.ending, worker.detail, exit_code, run.limits.timeout_seconds)
    is_cancelled = worker.ending is Ending.CANCELLED
    log = worker.finish()
    is_orphaned = worker.ending is Ending.ORPHANED
    seconds = now - worker.begun
    return RunFinished(run, worker.pid, log, None, death, is_cancelled, is_orphaned, seconds)


def log_idle_death(pid: int, exit_code: int | None) -> None:
    """Tell of a worker that ended without being asked to, and without a run."""
    logger.bind(event="worker_died_idle", worker=pid).warning(
        "Worker {} died between runs (exit code {}); no charm is blamed", pid, exit_code
    )


def death_failure(
    ending: Ending | None, detail: str, exit_code: int | None, limit_seconds: float
) -> Failure | None:
    """What a worker's death in mid-run means for its charm; None when the charm is not to blame."""
    if ending is Ending.TIMEOUT:
        text = f"Timed out after {limit_seconds:g} s; it did not stop and was killed."
        return Failure(FailureCause.TIMEOUT, text)
    if ending is Ending.MEMORY:
        return Failure(FailureCause.MEMORY, f"Killed for using {detail} of memory.")
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

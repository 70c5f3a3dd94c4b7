"""What the end of a worker means: which run pays for it, and which are given back.

Whoever had begun pays, unless the pool ended the worker for reasons of its own. One place says what
each kind of death means for the charm that was running. Used by the pool.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.model import Failure
from bg_charm_service.workers.pool.events import (
    IdleDeath,
    InspectFinished,
    PoolEvent,
    RunFinished,
    given_back,
)
from bg_charm_service.workers.pool.worker_process import Ending, WorkerProcess, WorkerState
from bg_charm_service.workers.protocol.messages import RunSpec

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


@dataclass(frozen=True, slots=True)
class WorkerDeath:
    """The account of a worker that is gone.

    `is_of_boot` where it was never ready; `is_crash` where it ended without being asked to;
    `idle_death` where no run had begun in it and that was not our doing.
    """

    events: list[PoolEvent]
    is_of_boot: bool
    is_crash: bool
    idle_death: IdleDeath | None


def explain_death(worker: WorkerProcess, exit_code: int | None, now: float) -> WorkerDeath:
    """Say who pays for a worker that is gone; `exit_code` None when nobody knows it."""
    queued = worker.take_back_all()
    run, request_id = worker.run, worker.request_id
    is_nobodys = (run is None or not worker.has_started) and request_id is None
    is_of_boot = worker.state is WorkerState.STARTING
    is_idle_death = is_nobodys and not is_of_boot and worker.ending not in _OF_OURS
    if is_of_boot:
        # The last words of one that never got ready.
        worker.read_output()
    # Before its last run is over: that is the one that it made before.
    idle_death = IdleDeath(worker.pid, exit_code, worker.detail, worker.last_run_id)
    events: list[PoolEvent] = []
    if run is not None:
        events.append(_run_ended_by_death(worker, run, exit_code, now))
    elif request_id is not None:
        events.append(InspectFinished(request_id, None, _failure(worker, exit_code)))
    events += [given_back(each) for each in queued]
    return WorkerDeath(
        events=events,
        is_of_boot=is_of_boot,
        is_crash=worker.ending is None and (run is not None or is_idle_death),
        idle_death=idle_death if is_idle_death else None,
    )


def _run_ended_by_death(
    worker: WorkerProcess, run: RunSpec, exit_code: int | None, now: float
) -> RunFinished:
    death = _failure(worker, exit_code) if worker.has_started else None
    worker.read_output()
    return RunFinished(
        run,
        worker.pid,
        worker.finish_run(),
        death=death,
        is_cancelled=worker.ending is Ending.CANCELLED,
        is_orphaned=worker.ending is Ending.ORPHANED and worker.has_started,
        seconds=now - worker.charged_from,
    )


def _failure(worker: WorkerProcess, exit_code: int | None) -> Failure | None:
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

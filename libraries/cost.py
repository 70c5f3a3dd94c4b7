"""What a poll costs beyond its handler: processor time of a worker, and of the whole service.

Both are ratios to the processor time of the handler itself, which it takes with its own clock.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.service_process import Failed, ServiceProcess
from benchmarks.usage import processor_time_of
from libraries.catalogue import POLLED, read_charm
from libraries.measuring import add, flags_for, run, why_not

#: So many runs are measured, after the first.
RUNS = 200

#: What a poll may cost its worker, in the time of its handler.
MOST_TIMES = 1.2


@dataclass(frozen=True)
class Cost:
    """Processor time of a run that is not the first, in milliseconds.

    `service_ms` is what the service, its workers among it, spends on a run that is asked for by its
    API.
    """

    handler_ms: float
    worker_ms: float
    service_ms: float

    @property
    def times(self) -> float:
        """What its worker spends on a run, in the time of the handler."""
        return self.worker_ms / self.handler_ms

    @property
    def problem(self) -> str:
        """Say what is not as it should be."""
        if self.times > MOST_TIMES:
            return f"a poll of {POLLED} costs {self.times:.2f} times its handler"
        return ""


def measure_cost(folder: Path, program: Path) -> Cost:
    """Run a charm that imports pandas many times in one worker.

    Raises Failed where it does not run, or its worker does not stay.
    """
    with ServiceProcess(folder / "cost", *flags_for({}), program=program) as service:
        path = add(service, read_charm(POLLED), {})
        pids = {_succeed(service, path)}
        (worker,) = pids
        handler, spent, all_spent = _handler(service, path), _clock(worker), _service(service)
        for _ in range(RUNS):
            pids.add(_succeed(service, path))
        if len(pids) > 1:
            raise Failed(f"{POLLED} had {len(pids)} workers, and was to keep its own")
        all_spent, spent = _service(service) - all_spent, _clock(worker) - spent
        handler = _handler(service, path) - handler
    return Cost(*(1000 * one / RUNS for one in (handler, spent, all_spent)))


def _succeed(service: ServiceProcess, path: str) -> int:
    """Run it once; gives its worker."""
    record = run(service, path)
    if problem := why_not(record):
        raise Failed(problem)
    return int(record["worker"])


def _handler(service: ServiceProcess, path: str) -> float:
    """What the handler has used so far, in seconds, by its own account."""
    return float(service.ask("GET", f"{path}/state/seconds"))


def _clock(pid: int) -> float:
    """What a process has used so far, in seconds, with all its threads."""
    # As the C library's `clock_getcpuclockid` gives it.
    return time.clock_gettime(~pid << 3 | 2)


def _service(service: ServiceProcess) -> float:
    found = processor_time_of(service.pid)
    return found.supervisor_seconds + found.workers_seconds

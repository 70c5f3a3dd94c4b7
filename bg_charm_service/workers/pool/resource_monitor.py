"""Measures workers that live, and says which are late, use too much, or are worn out.

Kills nobody itself. Called by the pool at every tick. Each worker is looked at in its own time, and
seldom enough to cost little, however many there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.limits import Limits
from bg_charm_service.workers.pool.contract import PoolLimits
from bg_charm_service.workers.pool.process_usage import Usage
from bg_charm_service.workers.pool.scratch.directory import ScratchRoot
from bg_charm_service.workers.pool.worker_process import Ending, WorkerProcess, WorkerState

#: A worker that is not ready after this is given up, in seconds.
BOOT_SECONDS = 30.0

#: How often a worker that makes a run is measured, in seconds; of very many, each more seldom, so
#: that they are no more than so many a second together.
MEASURE_SECONDS = 0.25
MOST_MEASUREMENTS_A_SECOND = 400

#: How often idle workers are read too, whose memory cannot grow by a charm's doing; and for all
#: what they share with others, which takes long: a few at a time.
MEASURE_ALL_SECONDS = 15.0
_EXACT_A_TICK = 5

#: How often it is looked for scratch files that are hidden, which takes long too, in seconds.
HIDDEN_SECONDS = 2.0

#: Looking at scratch files is paused for so many times as long as it took: a charm cannot keep the
#: service busy with counting them.
_SCRATCH_PAUSE = 20

#: A worker that runs nothing may write so much to its output, in bytes, before it is ended.
IDLE_OUTPUT_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Verdict:
    """A worker that is to be ended, and why; without an `ending` it is only killed.

    It is about what the worker did when it was looked at: its state, and the number of its request.
    """

    worker: WorkerProcess
    ending: Ending | None
    detail: str
    state: WorkerState
    request_no: int

    @property
    def holds(self) -> bool:
        """Whether the worker still does what it was doing then."""
        return self.worker.state is self.state and self.worker.request_no == self.request_no


class ResourceMonitor:
    """Keeps the limits from outside; the worker keeps them from inside where it can."""

    def __init__(self, limits: PoolLimits, clock: Clock, scratch: ScratchRoot | None) -> None:
        self._limits = limits
        self._clock = clock
        self._scratch = scratch
        self._between_measurements = MEASURE_SECONDS

    def overdue(self, workers: Iterable[WorkerProcess]) -> list[WorkerProcess]:
        """Give the workers whose request has taken too long, as far as their messages are read."""
        now = self._clock.steady()
        busy = [one for one in workers if one.state is WorkerState.BUSY and not one.is_closed]
        return [one for one in busy if now >= one.deadline]

    def check(self, workers: Iterable[WorkerProcess]) -> list[Verdict]:
        """Measure the workers whose turn it is, and give those that are to be ended.

        What one of them has said meanwhile is to be read before it is ended for its request.
        """
        now = self._clock.steady()
        busy, exact_left = 0, _EXACT_A_TICK
        verdicts = []
        for worker in workers:
            found: tuple[Ending | None, str] | None = None
            monitoring, is_busy = worker.monitoring, worker.state is WorkerState.BUSY
            busy += is_busy
            is_exact = now >= monitoring.exact_after and exact_left > 0
            if is_exact or (is_busy and now >= monitoring.usage_after):
                monitoring.usage_after = now + self._between_measurements
                if is_exact:
                    exact_left -= 1
                    monitoring.exact_after = now + MEASURE_ALL_SECONDS
                worker.measure(is_exact=is_exact)
                if is_busy and worker.pid:
                    found = self._judge_run(worker, now)
            found = found or self._judge_state(worker, now)
            if found is not None:
                ending, detail = found
                verdicts.append(Verdict(worker, ending, detail, worker.state, worker.request_no))
        self._between_measurements = max(MEASURE_SECONDS, busy / MOST_MEASUREMENTS_A_SECOND)
        return verdicts

    def judge_output(self, worker: WorkerProcess) -> tuple[Ending, str] | None:
        """Say whether a worker floods its raw output, and is to be ended for it."""
        if worker.state is not WorkerState.BUSY:
            if worker.output_bytes > IDLE_OUTPUT_BYTES:
                return Ending.PROTOCOL, "it writes output and runs nothing"
        elif worker.output_bytes > worker.limits.flood_bytes:
            most = _megabytes(worker.limits.flood_bytes)
            written = _megabytes(worker.output_bytes)
            return Ending.LOG, f"writing {written} of output; a run may write {most}"
        return None

    def _judge_state(self, worker: WorkerProcess, now: float) -> tuple[Ending | None, str] | None:
        """Find what is late, what is worn out, and what never gets ready."""
        if worker.is_closed:
            if now >= worker.deadline:
                return Ending.PROTOCOL, "it closed its connection"
        elif worker.state is WorkerState.BUSY:
            if now >= worker.deadline:
                return Ending.TIMEOUT, ""
        elif worker.state is WorkerState.IDLE:
            is_old = now - worker.started > self._limits.max_age_seconds
            if is_old or self._is_large(worker):
                return Ending.RETIRED, ""
        elif worker.state is WorkerState.STARTING and now - worker.started > BOOT_SECONDS:
            # Without an ending of ours it counts as a start that failed.
            return None, ""
        return None

    def _is_large(self, worker: WorkerProcess) -> bool:
        if worker.usage.memory_bytes > self._limits.retire_bytes:
            # What its last run used it may have given back since.
            worker.measure()
        return worker.usage.memory_bytes > self._limits.retire_bytes

    def _judge_run(self, worker: WorkerProcess, now: float) -> tuple[Ending, str] | None:
        grace = self._limits.kill_grace_seconds
        found = excess(worker.usage, worker.run_cpu_seconds, worker.limits, grace)
        if found is None and self._scratch is not None and now >= worker.monitoring.files_after:
            found = self._judge_scratch(worker, self._scratch, now)
        return found

    def _judge_scratch(
        self, worker: WorkerProcess, scratch: ScratchRoot, now: float
    ) -> tuple[Ending, str] | None:
        monitoring, usage = worker.monitoring, worker.usage
        before = monitoring.counted_usage
        if before is not None and worker.stands_still_since(before):
            return None
        with_hidden = now >= monitoring.hidden_after
        started = self._clock.steady()
        limit = worker.limits.scratch_bytes
        used = scratch.measure(worker.worker_no, worker.pid, limit, with_hidden=with_hidden)
        ended = self._clock.steady()
        monitoring.files_after = ended + _SCRATCH_PAUSE * (ended - started)
        if with_hidden:
            monitoring.hidden_after, monitoring.counted_usage = now + HIDDEN_SECONDS, usage
        if used.excess:
            return Ending.SCRATCH, f"keeping {used.excess} in its scratch directory"
        return None


def excess(
    usage: Usage, run_cpu_seconds: float, limits: Limits, grace_seconds: float
) -> tuple[Ending, str] | None:
    """Name the limit that a run is over, and by how much; the worker stops its own runs first."""
    if usage.memory_bytes > limits.memory_bytes:
        used, most = _megabytes(usage.memory_bytes), _megabytes(limits.memory_bytes)
        return Ending.MEMORY, f"using {used} of memory; its limit is {most}"
    if usage.threads > limits.threads:
        return Ending.THREADS, f"running {usage.threads} threads; its limit is {limits.threads}"
    if run_cpu_seconds > limits.cpu_seconds + grace_seconds:
        most_seconds = f"{limits.cpu_seconds:g} s"
        return Ending.CPU, (
            f"using {run_cpu_seconds:.1f} s of processor time; its limit is {most_seconds}"
        )
    return None


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1024 / 1024:.4g} MB"

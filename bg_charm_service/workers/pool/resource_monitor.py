"""Looks after workers that live: kills what is late or uses too much, finds worn-out workers.

Called by the pool at every tick. Each worker is looked at in its own time, and seldom enough to
cost little, however many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

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
MOST_LOOKS_A_SECOND = 400

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


class ResourceMonitor:
    """Keeps the limits from outside; the worker keeps them from inside where it can."""

    def __init__(
        self,
        limits: PoolLimits,
        clock: Clock,
        scratch: ScratchRoot | None,
        hear: Callable[[WorkerProcess], object],
    ) -> None:
        self._limits = limits
        self._hear = hear
        self._clock = clock
        self._scratch = scratch
        self._between_looks = MEASURE_SECONDS

    def late(self, workers: Iterable[WorkerProcess]) -> list[WorkerProcess]:
        """Give the workers to kill for their time, once what they answered meanwhile was read.

        A service that was held up itself reads late what was said in time.
        """
        now = self._clock.steady()
        busy = [one for one in workers if one.state is WorkerState.BUSY and not one.is_closed]
        return [one for one in busy if now >= one.deadline]

    def look(self, workers: Collection[WorkerProcess]) -> list[WorkerProcess]:
        """Kill what is over a limit; gives the idle workers that are worn out."""
        now = self._clock.steady()
        self._measure(workers, now)
        worn_out = []
        for worker in workers:
            if worker.is_closed:
                if now >= worker.deadline:
                    worker.end(Ending.PROTOCOL, "it closed its connection")
            elif worker.state is WorkerState.BUSY:
                if now >= worker.deadline:
                    worker.end(Ending.TIMEOUT)
            elif worker.state is WorkerState.IDLE:
                is_old = now - worker.started > self._limits.max_age_seconds
                if is_old or self._is_large(worker):
                    worn_out.append(worker)
            elif worker.state is WorkerState.STARTING and now - worker.started > BOOT_SECONDS:
                worker.kill()
        return worn_out

    def _is_large(self, worker: WorkerProcess) -> bool:
        if worker.usage.memory_bytes > self._limits.retire_bytes:
            # What its last run used it may have given back since.
            worker.measure()
        return worker.usage.memory_bytes > self._limits.retire_bytes

    def look_at_output(self, worker: WorkerProcess) -> None:
        """Kill a worker that floods its raw output."""
        if worker.state is not WorkerState.BUSY:
            if worker.output_bytes > IDLE_OUTPUT_BYTES:
                worker.end(Ending.PROTOCOL, "it writes output and runs nothing")
        elif worker.output_bytes > worker.limits.flood_bytes:
            most = _megabytes(worker.limits.flood_bytes)
            written = _megabytes(worker.output_bytes)
            worker.end(Ending.LOG, f"writing {written} of output; a run may write {most}")

    def _measure(self, workers: Collection[WorkerProcess], now: float) -> None:
        busy, exact_left = 0, _EXACT_A_TICK
        for worker in workers:
            looks, is_busy = worker.looks, worker.state is WorkerState.BUSY
            busy += is_busy
            is_exact = now >= looks.exact_after and exact_left > 0
            if not is_exact and not (is_busy and now >= looks.usage_after):
                continue
            looks.usage_after = now + self._between_looks
            if is_exact:
                exact_left -= 1
                looks.exact_after = now + MEASURE_ALL_SECONDS
            worker.measure(is_exact=is_exact)
            if is_busy and worker.pid:
                self._look_at_run(worker, now)
        self._between_looks = max(MEASURE_SECONDS, busy / MOST_LOOKS_A_SECOND)

    def _look_at_run(self, worker: WorkerProcess, now: float) -> None:
        grace = self._limits.kill_grace_seconds
        found = excess(worker.usage, worker.run_cpu_seconds, worker.limits, grace)
        if found is not None:
            self._end(worker, *found)
        elif self._scratch is not None and now >= worker.looks.files_after:
            self._look_at_scratch(worker, self._scratch, now)

    def _look_at_scratch(self, worker: WorkerProcess, scratch: ScratchRoot, now: float) -> None:
        looks, usage = worker.looks, worker.usage
        if looks.counted_at is not None and worker.stands_still_since(looks.counted_at):
            return
        with_hidden = now >= looks.hidden_after
        begun = self._clock.steady()
        limit = worker.limits.scratch_bytes
        used = scratch.measure(worker.worker_no, worker.pid, limit, with_hidden=with_hidden)
        ended = self._clock.steady()
        looks.files_after = ended + _SCRATCH_PAUSE * (ended - begun)
        if with_hidden:
            looks.hidden_after, looks.counted_at = now + HIDDEN_SECONDS, usage
        if used.excess:
            self._end(worker, Ending.SCRATCH, f"keeping {used.excess} in its scratch directory")

    def _end(self, worker: WorkerProcess, ending: Ending, detail: str) -> None:
        """Kill a worker for what was seen of it, unless it was another run that was seen."""
        number = worker.number
        self._hear(worker)
        if worker.state is WorkerState.BUSY and worker.number == number:
            worker.end(ending, detail)


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

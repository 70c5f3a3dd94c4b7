"""Measures workers that live, and says which are late, use too much, or are worn out.

Kills nobody itself. Called by the pool at every tick. Each worker is looked at in its own time, and
seldom enough to cost little, however many there are. In between, glances at what the machine's
threads, its unused memory and the disk's free room are in all, which are cheap, tell when somebody
grows; whoever does is measured at every glance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.limits import Limits
from bg_charm_service.workers.pool.contract import PoolLimits
from bg_charm_service.workers.pool.process_usage import Totals, Usage, read_totals
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

#: Looking at scratch files is paused for so many times as long as it took, so that a charm cannot
#: keep the service busy with counting them, and for so many seconds at most; for fewer times where
#: the disk's free room shrinks.
_SCRATCH_PAUSE, _ALARMED_PAUSE = 20, 4
LONGEST_PAUSE_SECONDS = 1.0

#: Somebody grows when the machine has so many more threads than it had, half of what one run may
#: have by default; or when the disk has so much less room, a quarter of that; or when so much
#: more of its memory is in use, a sixteenth of that. A worker grows that has so much more memory
#: than at the look before.
MORE_THREADS = 32
LESS_ROOM_BYTES = 16 * 1024 * 1024
LESS_MEMORY_BYTES = 32 * 1024 * 1024
MORE_MEMORY_BYTES = 4 * 1024 * 1024

#: After a run has begun, or something has grown, glances follow each other quickly for so long;
#: then so many times slower: to wake up for them costs more than all looks at runs that wait.
ALERT_SECONDS = 0.25
_CALM_FACTOR = 2.5

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

    def __init__(
        self,
        limits: PoolLimits,
        clock: Clock,
        scratch: ScratchRoot | None,
        read_totals: Callable[[], Totals] | None = None,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._scratch = scratch
        self._read_totals = read_totals or _reader(limits)
        self._between_measurements = MEASURE_SECONDS
        self._between_growing = limits.glance_seconds
        #: The fewest threads and the most room since somebody grew.
        self._calm: Totals | None = None
        self._is_room_shrinking = False
        self._count_again_at = 0.0
        self._alert_until = 0.0
        #: When to glance again after a glance: later where nothing happens, or where it took long.
        self.next_glance_seconds = limits.glance_seconds

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
        if self._calm is None and self._limits.glance_seconds:
            # Before the first run.
            self._calm = self._read_totals()
        busy, exact_left = 0, _EXACT_A_TICK
        verdicts = []
        for worker in workers:
            found: tuple[Ending | None, str] | None = None
            monitoring, is_busy = worker.monitoring, worker.state is WorkerState.BUSY
            busy += is_busy
            is_exact = now >= monitoring.exact_after and exact_left > 0
            if is_exact or (is_busy and now >= monitoring.usage_after):
                if is_exact:
                    exact_left -= 1
                    monitoring.exact_after = now + MEASURE_ALL_SECONDS
                found = self._measure(worker, now, is_exact=is_exact)
            found = found or self._judge_state(worker, now)
            if found is not None:
                verdicts.append(_verdict(worker, found))
        least_seconds = busy / MOST_MEASUREMENTS_A_SECOND
        self._between_measurements = max(MEASURE_SECONDS, least_seconds)
        self._between_growing = max(self._limits.glance_seconds, least_seconds)
        return verdicts

    def glance(self, workers: Iterable[WorkerProcess]) -> list[Verdict]:
        """Measure the workers that may be growing, and give those that are to be ended.

        Where nothing grows this is cheap, and nobody is measured.
        """
        started = self._clock.steady()
        busy = [one for one in workers if one.state is WorkerState.BUSY and one.pid]
        if self._has_somebody_grown():
            for worker in busy:
                worker.monitoring.is_growing = True
        glanced = self._clock.steady()
        is_counting = self._is_room_shrinking and started >= self._count_again_at
        if is_counting:
            self._is_room_shrinking = False
            for worker in busy:
                worker.monitoring.files_after = 0.0
                worker.monitoring.is_growing = True
        verdicts = []
        growing = [worker for worker in busy if worker.monitoring.is_growing]
        for worker in growing:
            monitoring = worker.monitoring
            if started - monitoring.measured_at >= self._between_growing:
                found = self._measure(worker, started)
                if found is not None:
                    verdicts.append(_verdict(worker, found))
        ended = self._clock.steady()
        if is_counting:
            self._count_again_at = ended + _pause(ended - started, _ALARMED_PAUSE)
        if growing:
            self.be_alert()
        factor = 1.0 if ended < self._alert_until else _CALM_FACTOR
        usual = self._limits.glance_seconds * factor
        self.next_glance_seconds = max(usual, _pause(glanced - started, _SCRATCH_PAUSE))
        return verdicts

    def be_alert(self) -> None:
        """Let glances follow each other quickly for a while: a run begins, or something grows."""
        self._alert_until = self._clock.steady() + ALERT_SECONDS

    def hurry(self, workers: Iterable[WorkerProcess]) -> None:
        """Let the next check measure all workers with their files, whenever their turn was."""
        for worker in workers:
            worker.monitoring.usage_after = worker.monitoring.files_after = 0.0

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
            if now - worker.started > self._limits.max_age_seconds:
                return Ending.RETIRED, ""
            if self._is_large(worker):
                return Ending.RETIRED, f"it held {_megabytes(worker.usage.memory_bytes)} of memory"
        elif worker.state is WorkerState.STARTING and now - worker.started > BOOT_SECONDS:
            # Without an ending of ours it counts as a start that failed.
            return None, ""
        return None

    def _is_large(self, worker: WorkerProcess) -> bool:
        if worker.usage.memory_bytes > self._limits.retire_bytes:
            # What its last run used it may have given back since.
            worker.measure()
        return worker.usage.memory_bytes > self._limits.retire_bytes

    def _has_somebody_grown(self) -> bool:
        totals = self._read_totals()
        calm = self._calm or totals
        has_less_room = calm.free_bytes - totals.free_bytes >= LESS_ROOM_BYTES
        self._is_room_shrinking |= has_less_room
        has_less_memory = calm.unused_bytes - totals.unused_bytes >= LESS_MEMORY_BYTES
        if has_less_room or has_less_memory or totals.threads - calm.threads >= MORE_THREADS:
            self._calm = totals
            return True
        # Kept where nothing is calmer than before.
        if (
            totals.threads < calm.threads
            or totals.free_bytes > calm.free_bytes
            or totals.unused_bytes > calm.unused_bytes
        ):
            self._calm = Totals(
                min(totals.threads, calm.threads),
                max(totals.free_bytes, calm.free_bytes),
                max(totals.unused_bytes, calm.unused_bytes),
            )
        return False

    def _measure(
        self, worker: WorkerProcess, now: float, *, is_exact: bool = False
    ) -> tuple[Ending, str] | None:
        """Measure a worker, and find what its run uses too much of."""
        monitoring, before = worker.monitoring, worker.usage
        monitoring.measured_at = now
        monitoring.usage_after = now + self._between_measurements
        worker.measure(is_exact=is_exact)
        more_bytes = worker.usage.memory_bytes - before.memory_bytes
        has_more_threads = worker.usage.threads > max(1, before.threads)
        monitoring.is_growing = has_more_threads or more_bytes >= MORE_MEMORY_BYTES
        if worker.state is WorkerState.BUSY and worker.pid:
            return self._judge_run(worker, now)
        return None

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
        monitoring.files_after = ended + _pause(ended - started, _SCRATCH_PAUSE)
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


def _reader(limits: PoolLimits) -> Callable[[], Totals]:
    # The directory above: the one of scratch may not be there yet.
    return partial(read_totals, limits.scratch_root.parent if limits.scratch_root else None)


def _pause(took_seconds: float, times: int) -> float:
    return min(took_seconds * times, LONGEST_PAUSE_SECONDS)


def _verdict(worker: WorkerProcess, found: tuple[Ending | None, str]) -> Verdict:
    ending, detail = found
    return Verdict(worker, ending, detail, worker.state, worker.request_no)


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1024 / 1024:.4g} MB"

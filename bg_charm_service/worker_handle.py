"""One worker as the supervisor sees it: where it stands, what it runs, what it said and uses.

Keeps what belongs to the run under way; decides nothing. Used by the pool.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from bg_charm_service.limits import Limits, Walls
from bg_charm_service.process_usage import Usage
from bg_charm_service.processes import Processes
from bg_charm_service.wire import Inspect, LogText, RunSpec, answer_limit_bytes
from bg_charm_service.worker_channel import Allowance, WorkerChannel

#: What a run's log may hold beyond the limit that the worker keeps itself, in characters.
_LOG_SLACK = 8192

#: Messages of a run beyond one for each byte of its log and each field that it may ask for.
_MORE_MESSAGES = 64


class WorkerState(StrEnum):
    """Where a worker stands in its life."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    STOPPING = "stopping"


class Ending(StrEnum):
    """Why the pool itself ended a worker."""

    RETIRED = "retired"
    TIMEOUT = "timeout"
    CPU = "cpu"
    MEMORY = "memory"
    THREADS = "threads"
    SCRATCH = "scratch"
    LOG = "log"
    PROTOCOL = "protocol"
    CANCELLED = "cancelled"
    SHUTDOWN = "shutdown"
    ORPHANED = "orphaned"  #: the zygote died, and took it along


@dataclass(frozen=True, slots=True)
class Binding:
    """Whom a worker serves from its first run on; `space_key` None where spaces share workers."""

    space_key: int | None
    walls: Walls


class WorkerHandle:
    """A worker process, bound once it has been given something."""

    def __init__(self, worker_no: int, started: float, processes: Processes) -> None:
        self._processes = processes
        self.worker_no = worker_no
        self.pid = 0
        self.state = WorkerState.STARTING
        self.binding: Binding | None = None
        self.run: RunSpec | None = None
        self.last_run_id = ""
        self.request_id: int | None = None
        #: What the run or inspection under way may use.
        self.limits = Limits()
        self.begun = 0.0
        self.deadline = math.inf
        self.is_closed = False
        self.started = started
        self.idle_since = started
        self.runs = 0
        self.usage = Usage()
        self.own_bytes = 0
        self.output_bytes = 0
        self.scratch_after = 0.0
        self.ending: Ending | None = None
        self.detail = ""
        self.known_sources: set[str] = set()
        #: Large fields that the run under way has asked for.
        self.fetched: set[str] = set()
        self.has_spoken = False
        self.channel = WorkerChannel()
        self._cpu_before = 0.0
        #: The rest of the batch, which the worker has not been sent.
        self._behind: deque[tuple[RunSpec, bytes]] = deque()
        self._log: list[str] = []
        self._log_left = _LOG_SLACK
        self._is_gone = False

    def note_closed(self, deadline: float) -> None:
        """Note that the worker has closed its socket: it is to exit until then."""
        self.channel.stop_listening()
        self.is_closed = True
        self.deadline = min(self.deadline, deadline)
        if self.state is WorkerState.IDLE:
            self.state = WorkerState.STOPPING

    def name(self, pid: int) -> None:
        """Take the process id that the zygote reports; kill it at once if it is unwanted by now."""
        self.pid = pid
        if self.ending is not None:
            self.kill()

    @property
    def is_changing(self) -> bool:
        """Whether it starts, or stops and so makes place for one that starts."""
        return self.state in (WorkerState.STARTING, WorkerState.STOPPING)

    @property
    def has_started(self) -> bool:
        """Whether the run under way has begun; of a worker that is gone this is certain."""
        return self.has_spoken or not (self.channel.is_unread or self.channel.has_unsent)

    @property
    def run_cpu_seconds(self) -> float:
        """The processor time of the run under way, when it was last measured."""
        return self.usage.cpu_seconds - self._cpu_before

    @property
    def cpu_seconds(self) -> float:
        """The processor time of all runs, when it was last measured."""
        return self.usage.cpu_seconds

    def begin(
        self, runs: Sequence[RunSpec], frames: Sequence[bytes], now: float, grace_seconds: float
    ) -> None:
        """Take on a batch: from here on, what comes out of the worker belongs to its first run."""
        self._behind.extend(zip(runs, frames, strict=True))
        self.begin_next(now, grace_seconds)

    def begin_next(self, now: float, grace_seconds: float) -> bool:
        """Take on the next run of the batch; False when it was the last."""
        if not self._behind:
            return False
        run, frame = self._behind.popleft()
        self.run = run
        self.known_sources.add(run.source_hash)
        messages = run.limits.log_bytes + len(run.large) + _MORE_MESSAGES
        answer = answer_limit_bytes(run.limits)
        allowance = Allowance(answer, answer + run.limits.flood_bytes, messages)
        self._take_on(run.limits, frame, allowance, now, grace_seconds)
        return True

    def take_back(self, run_id: str | None = None) -> list[RunSpec]:
        """Take back the runs that were not begun, or the one of that id."""
        taken = [run for run, _ in self._behind if run_id in (None, run.run_id)]
        self._behind = deque(each for each in self._behind if each[0] not in taken)
        return taken

    def begin_inspection(
        self, request: Inspect, frame: bytes, now: float, grace_seconds: float
    ) -> None:
        """Take on an inspection; it answers once."""
        self.request_id = request.request_id
        answer = answer_limit_bytes(request.limits) + 4 * len(frame)
        allowance = Allowance(answer, answer + 4, messages=1)
        self._take_on(request.limits, frame, allowance, now, grace_seconds)

    def finish(self) -> str:
        """End the run, and give all that it logged."""
        self.read_output()
        text = "".join(self._log)
        self._log = []
        if self.run is not None:
            self.last_run_id = self.run.run_id
        self.run = None
        self.deadline = math.inf
        return text

    def log(self, message: LogText) -> None:
        """Keep what the run under way logged, up to its limit."""
        self._append(message.text)

    def read_output(self) -> None:
        """Take what was written to the raw stdout and stderr; it counts for the run under way."""
        for data in self.channel.read_output():
            self.output_bytes += len(data)
            is_wanted = self.run is not None or self.state is WorkerState.STARTING
            if is_wanted and self._log_left > 0:
                self._append(data.decode("utf-8", "backslashreplace"))

    @property
    def boot_output(self) -> str:
        """What a worker said that never got ready."""
        return "".join(self._log).strip()

    def measure(self, *, is_exact: bool = False) -> None:
        """Read what it uses; exact memory leaves out what is shared with the zygote."""
        usage = self._processes.usage(self.pid) if self.pid else None
        if usage is not None:
            self.usage = usage
        if is_exact and usage is not None:
            self.own_bytes = self._processes.own_bytes(self.pid)

    def end(self, ending: Ending, detail: str = "") -> None:
        """Kill the worker with its process group; the first reason given stands."""
        if self.ending is None:
            self.ending, self.detail = ending, detail
        self.state = WorkerState.STOPPING
        # What it says from now on counts no more, and must cost nothing.
        self.channel.stop_listening()
        self.kill()

    def kill(self) -> None:
        """Kill the worker with its process group, without a reason of ours."""
        if self.pid and not self._is_gone:
            self._processes.end_group(self.pid)

    def note_gone(self) -> None:
        """Note that the process has ended: its number may be another's by now."""
        self._is_gone = True

    def close(self) -> None:
        """Close our ends; closing twice is fine."""
        self.channel.close()

    def _take_on(
        self, limits: Limits, frame: bytes, allowance: Allowance, now: float, grace_seconds: float
    ) -> None:
        # What was written before belongs to nobody.
        self.channel.read_output()
        self.state, self.limits = WorkerState.BUSY, limits
        self.begun, self.deadline = now, now + limits.timeout_seconds + grace_seconds
        self._cpu_before = self._processes.cpu_seconds(self.pid) if self.pid else 0.0
        self.usage = Usage(cpu_seconds=self._cpu_before)
        self.output_bytes, self.has_spoken = 0, False
        self.fetched.clear()
        self._log, self._log_left = [], limits.log_bytes + _LOG_SLACK
        self.channel.allow(allowance)
        self.channel.send(frame)

    def _append(self, text: str) -> None:
        if self._log_left <= 0:
            return
        kept = text[: self._log_left]
        self._log_left -= len(kept)
        self._log.append(kept)
        if self._log_left <= 0:
            self._log.append("\n… the rest was dropped\n")

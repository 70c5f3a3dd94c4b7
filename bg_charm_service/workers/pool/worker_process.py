"""One worker as the supervisor sees it: where it stands, what it runs, what it said and uses.

A batch of runs is its own until each is answered: the first unanswered one is under way, and the
limits, the log and the time are that one's; the others are queued. Decides nothing. Used by the
pool and its parts.
"""

from __future__ import annotations

import codecs
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from bg_charm_service.domain.items import (
    LONGEST_KEY_BYTES,
    MOST_PARTS,
    MOST_TOUCHED,
    TouchedItems,
    run_items_limit,
    touched_keys,
    written_bytes,
)
from bg_charm_service.domain.limits import Limits, Walls
from bg_charm_service.domain.web.requests import (
    HOST_CHARACTERS,
    METHOD_CHARACTERS,
    TOLD_PATH_CHARACTERS,
    HttpRequest,
)
from bg_charm_service.workers.pool.channel import Allowance, WorkerChannel, run_allowance
from bg_charm_service.workers.pool.process_usage import Processes, Usage
from bg_charm_service.workers.pool.told_requests import ToldRequests
from bg_charm_service.workers.protocol.messages import Inspect, LogText, RunSpec, answer_limit_bytes

_Decoder = codecs.getincrementaldecoder("utf-8")

#: When a new worker that makes a run is measured first, in seconds after its start, and what it
#: shares with others, which takes long. Many do not live so long, since each serves a space for a
#: moment; one that grows is seen by what all use.
FIRST_LOOK_SECONDS, FIRST_EXACT_SECONDS = 0.25, 1.0

#: What a log may hold beyond the limit that the worker keeps itself.
_SLACK_BYTES = 8192

#: To tell of a request takes no more than this, in bytes.
_TOLD_REQUEST_BYTES = 4 * (TOLD_PATH_CHARACTERS + HOST_CHARACTERS + METHOD_CHARACTERS) + 1024

#: To name a key that was touched takes so much beside its value, at most.
_TOLD_KEY_BYTES = 2 * LONGEST_KEY_BYTES + 64


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


@dataclass(slots=True)
class MonitoringState:
    """When a worker is measured next, in moments of the steady clock; for the resource monitor."""

    usage_after: float = 0.0
    measured_at: float = 0.0
    exact_after: float = 0.0
    files_after: float = 0.0
    hidden_after: float = 0.0
    #: What it used just before all its files were counted; a run that stands still has no others.
    counted_usage: Usage | None = None
    #: It had more threads or memory than at the look before, or somebody has: it is looked at very
    #: soon.
    is_growing: bool = False


class BoundedLog:
    """What is kept of what a run logged, up to a limit that its worker keeps too."""

    def __init__(self, limit_bytes: int = 0) -> None:
        self._left_bytes = limit_bytes + _SLACK_BYTES
        self._pieces: list[str] = []
        self._decoder: codecs.IncrementalDecoder | None = None

    def add_raw(self, data: bytes) -> None:
        """Keep bytes as text, also where one piece ends within a letter; show what is no text."""
        if self._decoder is None:
            self._decoder = _Decoder("backslashreplace")
        self.add(self._decoder.decode(data))

    def add(self, text: str) -> None:
        """Keep a text, or what still fits of it."""
        if self.is_full:
            return
        # Most text takes a byte a letter, which costs no counting.
        size_bytes = len(text) if text.isascii() else len(text.encode())
        if size_bytes >= self._left_bytes:
            text = text.encode()[: self._left_bytes].decode(errors="ignore")
            text += "\n… the rest was dropped\n"
        self._left_bytes -= size_bytes
        self._pieces.append(text)

    @property
    def is_full(self) -> bool:
        """Whether nothing more is kept."""
        return self._left_bytes <= 0

    @property
    def text(self) -> str:
        """All that was kept."""
        if self._decoder is not None:
            self.add(self._decoder.decode(b"", final=True))
        return "".join(self._pieces)


class WorkerProcess:
    """A worker process, bound once it has been given something."""

    def __init__(self, worker_no: int, started: float, processes: Processes) -> None:
        self._processes = processes
        self.worker_no = worker_no
        self.pid = 0
        self.state = WorkerState.STARTING
        self.binding: Binding | None = None
        #: The processors that it may use, by number; empty for all.
        self.processors: tuple[int, ...] = ()
        #: The run under way: the first of its batch that is not answered.
        self.run: RunSpec | None = None
        #: Those that come after it, by the numbers of their tickets.
        self.queued_runs: deque[tuple[int, RunSpec]] = deque()
        #: The number of the request under way, or of the last one.
        self.request_no = 0
        self.last_run: RunSpec | None = None
        self.request_id: int | None = None
        #: Of a worker that is gone: whether it had begun with the request under way.
        self.has_started = False
        #: Runs were taken back which it may not have read.
        self.had_runs_taken_back = False
        #: What the request under way may use.
        self.limits = Limits()
        #: What is after this, and not yet another's, is charged to the run under way.
        self.charged_from = 0.0
        #: When it came to be the one under way, and when its batch was given out.
        self.run_since = self.batch_since = 0.0
        self.deadline = math.inf
        self.is_closed = False
        self.started = started
        self.idle_since = started
        self.runs = 0
        self.usage = Usage()
        self.own_bytes = 0
        self.output_bytes = 0
        self.monitoring = MonitoringState(
            usage_after=started + FIRST_LOOK_SECONDS, exact_after=started + FIRST_EXACT_SECONDS
        )
        self.ending: Ending | None = None
        self.detail = ""
        self.known_sources: set[str] = set()
        #: Large fields that the run under way has asked for.
        self.fetched_fields: set[str] = set()
        #: Whether the run under way waits for items of a collection.
        self.waits_for_items = False
        self._touched: list[TouchedItems] = []
        self._touched_keys = self._touched_bytes = 0
        #: What the run under way has told of its requests; None where it has made none.
        self._told: ToldRequests | None = None
        #: How often the run under way has asked for a token to be renewed.
        self.renewals = 0
        self.channel = WorkerChannel()
        self._grace_seconds = 0.0
        self._left_seconds = 0.0
        self._last_request_no = 0
        self._allowance = run_allowance(self.limits)
        self._cpu_before = 0.0
        self._measured_request_no = 0
        self._log = BoundedLog()
        self._is_gone = False

    def note_closed(self, deadline: float) -> None:
        """Note that the worker has closed its socket: it is to exit until then."""
        self.channel.stop_listening()
        self.is_closed = True
        self.deadline = min(self.deadline, deadline)
        if self.state is WorkerState.IDLE:
            self.state = WorkerState.STOPPING

    def note_pid(self, pid: int) -> None:
        """Take the process id that the zygote reports; kill it at once if it is unwanted by now."""
        self.pid = pid
        if self.ending is not None:
            self.kill()

    @property
    def last_run_id(self) -> str:
        """The run that it made last; empty before the first one is over."""
        return self.last_run.run_id if self.last_run is not None else ""

    @property
    def is_changing(self) -> bool:
        """Whether it starts, or stops and so makes place for one that starts."""
        return self.state in (WorkerState.STARTING, WorkerState.STOPPING)

    @property
    def is_fresh(self) -> bool:
        """Whether it is ready, and has been given nothing yet."""
        return self.state is WorkerState.IDLE and self.binding is None

    @property
    def run_cpu_seconds(self) -> float:
        """The processor time of the run under way between the first and the last look at it."""
        return self.usage.cpu_seconds - self._cpu_before

    @property
    def cpu_seconds(self) -> float:
        """The processor time of all runs, when it was last measured."""
        return self.usage.cpu_seconds

    def start_batch(
        self, runs: Sequence[RunSpec], frames: Sequence[bytes], now: float, grace_seconds: float
    ) -> None:
        """Take on a batch: from here on, what comes out of the worker belongs to its first run."""
        numbers = range(self._last_request_no + 1, self._last_request_no + 1 + len(runs))
        self.queued_runs.extend(zip(numbers, runs, strict=True))
        self.known_sources.update([run.source_hash for run in runs])
        self._become_busy(now, grace_seconds)
        self.start_next(now)
        self._send(b"".join(frames), numbers)

    def start_next(self, now: float) -> bool:
        """Let the next run of the batch be the one under way; False when there is none."""
        if not self.queued_runs:
            return False
        self.request_no, run = self.queued_runs.popleft()
        self.run = run
        self._take_limits(run.limits, now)
        self.channel.allow(self._allowance, len(run.large))
        return True

    def start_inspection(
        self, request: Inspect, frame: bytes, now: float, grace_seconds: float
    ) -> None:
        """Take on an inspection; it answers once."""
        self.request_id = request.request_id
        self.request_no = self._last_request_no + 1
        self._become_busy(now, grace_seconds)
        self._take_limits(request.limits, now)
        answer = answer_limit_bytes(request.limits) + 4 * len(frame)
        self.channel.allow(Allowance(answer, answer + 4, messages=1))
        self._send(frame, range(self.request_no, self.request_no + 1))

    def take_back_queued(self) -> list[RunSpec]:
        """Take back the runs after the one under way; those that have begun after all stay."""
        back = self._take_tickets_back()
        self.had_runs_taken_back = True
        taken = [run for number, run in self.queued_runs if number in back]
        self.queued_runs = deque(each for each in self.queued_runs if each[0] not in back)
        if self.request_no in back:
            self.channel.tickets.put([self.request_no])
        return taken

    def take_back_run(self, run_id: str) -> RunSpec | None:
        """Take back one queued run; None when it is not queued, or has begun after all."""
        for each in self.queued_runs:
            number, run = each
            if run.run_id == run_id:
                back = self._take_tickets_back()
                self.channel.tickets.put(sorted(back - {number}))
                if number in back:
                    self.had_runs_taken_back = True
                    self.queued_runs.remove(each)
                    return run
        return None

    def take_back_all(self) -> list[RunSpec]:
        """Take back what is queued, of a worker that is gone, and note whether the rest began."""
        self.has_started = self.request_no not in self._take_tickets_back()
        taken = [run for _, run in self.queued_runs]
        self.queued_runs.clear()
        return taken

    def become_idle(self, now: float) -> None:
        """Be free for the next batch."""
        self.state = WorkerState.IDLE
        self.idle_since = now

    def finish_run(self) -> str:
        """End the run under way, and give all that it logged."""
        if self.run is not None:
            self.last_run = self.run
        self.run = None
        self.deadline = math.inf
        return self._log.text

    def begin_wait(self, now: float) -> None:
        """Note that the run under way waits for us: what that takes is no time of its own."""
        self._left_seconds = self.deadline - now
        self.deadline = math.inf

    def end_wait(self, now: float) -> None:
        """Note that it is answered."""
        if self.deadline == math.inf:
            self.deadline = now + self._left_seconds

    def add_touched(self, touched: TouchedItems) -> str:
        """Keep a part of what the run under way touched of collections; says what is wrong."""
        size_bytes = written_bytes(touched.writes)
        self._touched_keys += touched_keys(touched)
        self._touched_bytes += size_bytes
        if self._touched_keys > MOST_TOUCHED or len(self._touched) >= MOST_PARTS:
            return "it touched more keys than one run may"
        if self._touched_bytes > run_items_limit(self.limits.state_bytes):
            return "it wrote more of items than one run may"
        self.channel.allow_more(size_bytes + _TOLD_KEY_BYTES * touched_keys(touched))
        self._touched.append(touched)
        return ""

    def take_touched(self) -> tuple[TouchedItems, ...]:
        """Take what the run under way touched of collections."""
        touched, self._touched = self._touched, []
        return tuple(touched)

    def add_request(self, request: HttpRequest, now: float) -> str:
        """Keep what the run under way tells of a request; says what is wrong with that."""
        self._told = self._told or ToldRequests()
        self.channel.allow_more(_TOLD_REQUEST_BYTES)
        return self._told.add(request, now)

    def take_requests(self, now: float) -> tuple[HttpRequest, ...]:
        """Take what the run under way has told of its requests."""
        told, self._told = self._told, None
        return () if told is None else told.rows(now)

    def add_log(self, message: LogText) -> None:
        """Keep what the run under way logged, up to its limit."""
        self._log.add(message.text)

    def read_output(self) -> None:
        """Take what was written to the raw stdout and stderr; it counts for the run under way."""
        for data in self.channel.read_output():
            self.output_bytes += len(data)
            is_asked = self.run is not None or self.request_id is not None
            is_wanted = is_asked or self.state is WorkerState.STARTING
            if is_wanted and not self._log.is_full:
                self._log.add_raw(data)

    @property
    def boot_output(self) -> str:
        """What a worker has said that never got ready."""
        return self._log.text.strip()

    def measure(self, *, is_exact: bool = False) -> None:
        """Read what it uses; exact memory leaves out what is shared with the zygote."""
        usage = self._processes.usage(self.pid) if self.pid else None
        if usage is None:
            return
        self.usage = usage
        if self._measured_request_no != self.request_no:
            # The first look at this run: what the worker used until now is not its own.
            self._measured_request_no, self._cpu_before = self.request_no, usage.cpu_seconds
        if is_exact:
            self.own_bytes = self._processes.own_bytes(self.pid)

    def stands_still_since(self, before: Usage) -> bool:
        """Whether nothing in it ran between an earlier measurement and the last one."""
        return self._processes.stands_still(self.pid, self.usage, before)

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

    def _become_busy(self, now: float, grace_seconds: float) -> None:
        # What was written before belongs to nobody.
        self.channel.read_output()
        self.state = WorkerState.BUSY
        self.charged_from = self.batch_since = now
        self.had_runs_taken_back = False
        self._grace_seconds = grace_seconds

    def _take_limits(self, limits: Limits, now: float) -> None:
        if limits is not self.limits:
            self.limits, self._allowance = limits, run_allowance(limits)
        self.run_since = now
        self.deadline = now + limits.timeout_seconds + self._grace_seconds
        self.output_bytes = 0
        self.fetched_fields.clear()
        if self._touched or self._touched_keys or self.waits_for_items:
            self.waits_for_items = False
            self._touched = []
            self._touched_keys = self._touched_bytes = 0
        self.renewals = 0
        self._told = None
        self._log = BoundedLog(limits.log_bytes)

    def _send(self, frames: bytes, numbers: range) -> None:
        self._last_request_no = numbers[-1]
        self.channel.send(frames)
        # After what they are for: a worker is woken by its ticket.
        self.channel.tickets.put(numbers)

    def _take_tickets_back(self) -> set[int]:
        """Take back the tickets of what is not begun."""
        numbers = {self.request_no, *(number for number, _ in self.queued_runs)}
        return self.channel.tickets.take_back() & numbers

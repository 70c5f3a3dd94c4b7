"""One worker as the supervisor sees it: its socket, its pipes, what it runs, what it said.

Moves bytes and keeps what belongs to the run under way; decides nothing. Used by the pool.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import socket
from collections import deque
from collections.abc import Callable
from enum import StrEnum

import psutil

from bg_charm_service.process_control import end_group
from bg_charm_service.wire import FROM_WORKER, TO_WORKER, FromWorker, LogText, RunSpec, ToWorker

_READ_BYTES = 256 * 1024

#: So often a worker's socket is read in one go: more than its buffer holds.
_READS_A_LOOK = 16

#: How much a charm may write to its raw stdout and stderr between two looks before it is cut off.
_PIPE_READS_A_LOOK = 16

#: What a run's log may hold beyond the limit that the worker keeps itself, in characters.
_LOG_SLACK = 8192


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
    MEMORY = "memory"
    PROTOCOL = "protocol"
    CANCELLED = "cancelled"
    SHUTDOWN = "shutdown"
    ORPHANED = "orphaned"  #: the zygote died, and took it along


class WorkerHandle:
    """A worker process, bound to one space once it has served it."""

    def __init__(self, worker_no: int, log_limit: int, started: float) -> None:
        self.worker_no = worker_no
        self.pid = 0
        self.state = WorkerState.STARTING
        self.space_key: int | None = None
        self.run: RunSpec | None = None
        self.request_id: int | None = None
        self.begun = 0.0
        self.deadline = math.inf
        self.is_closed = False
        self.started = started
        self.idle_since = started
        self.runs = 0
        self.memory_bytes = 0
        self.own_bytes = 0
        self.cpu_seconds = 0.0
        self.ending: Ending | None = None
        self.detail = ""
        self.known_sources: set[str] = set()
        self.connection, self._their_connection = socket.socketpair()
        self.out_fd, self._their_out_fd = os.pipe()
        self.connection.setblocking(False)
        os.set_blocking(self.out_fd, False)
        self._decoder = FROM_WORKER.decoder()
        self._unsent: deque[bytes] = deque()
        self._log_limit = log_limit + _LOG_SLACK
        self._log: list[str] = []
        self._log_left = self._log_limit
        self._process: psutil.Process | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def their_fds(self) -> list[int]:
        """The descriptors that the worker gets: its socket, its stdout, its stderr."""
        return [self._their_connection.fileno(), self._their_out_fd, self._their_out_fd]

    def listen(self, on_messages: Callable[[], None]) -> None:
        """Let the running loop call back when messages come; raw output is read as it comes."""
        self._close_their_ends()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.connection.fileno(), on_messages)
        self._loop.add_reader(self.out_fd, self.read_pipe)

    def stop_listening(self) -> None:
        """Be called back no more: the worker has closed its socket."""
        if self._loop is not None and self.connection.fileno() >= 0:
            self._loop.remove_reader(self.connection.fileno())
            self._loop.remove_writer(self.connection.fileno())

    def note_closed(self, deadline: float) -> None:
        """Note that the worker has closed its socket: it is to exit until then."""
        self.stop_listening()
        self.is_closed = True
        self.deadline = min(self.deadline, deadline)
        if self.state is WorkerState.IDLE:
            self.state = WorkerState.STOPPING

    def name(self, pid: int) -> None:
        """Take the process id that the zygote reports; kill it at once if it is unwanted by now."""
        self.pid = pid
        if self.ending is not None:
            self.kill()

    def send(self, message: ToWorker) -> None:
        """Send a message without ever blocking; raises FrameError when it is too large."""
        self._unsent.append(TO_WORKER.encode(message))
        if isinstance(message, RunSpec):
            self.known_sources.add(message.source_hash)
        self._flush()

    def receive(self) -> list[FromWorker] | None:
        """Take the messages that have come; None at the end of the socket.

        Raises FrameError for what is no message of ours.
        """
        messages: list[FromWorker] = []
        # The loop calls again for what is left: nobody is held up by one that never stops talking.
        for _ in range(_READS_A_LOOK):
            try:
                data = self.connection.recv(_READ_BYTES)
            except BlockingIOError:
                return messages
            except OSError:
                data = b""
            if not data:
                return messages or None
            messages += self._decoder.feed(data)
        return messages

    @property
    def is_changing(self) -> bool:
        """Whether it starts, or stops and so makes place for one that starts."""
        return self.state in (WorkerState.STARTING, WorkerState.STOPPING)

    def begin(self, run: RunSpec, now: float, limit_seconds: float) -> None:
        """Take on a run: from here on, what comes out of the worker belongs to it."""
        self.read_pipe()
        self.state = WorkerState.BUSY
        self.run, self.begun, self.deadline = run, now, now + limit_seconds
        self._log, self._log_left = [], self._log_limit

    def finish(self) -> str:
        """End the run, and give all that it logged."""
        self.read_pipe()
        text = "".join(self._log)
        self._log = []
        self.run = None
        return text

    def log(self, message: LogText) -> None:
        """Keep what the run under way logged, up to its limit."""
        if self.run is not None and message.run_id == self.run.run_id:
            self._append(message.text)

    def read_pipe(self) -> None:
        """Take what was written to the raw stdout and stderr; it counts for the run under way."""
        for _ in range(_PIPE_READS_A_LOOK):
            if self.out_fd < 0:
                return
            try:
                data = os.read(self.out_fd, _READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._close_pipe()
            elif self.run is not None or self.state is WorkerState.STARTING:
                self._append(data.decode("utf-8", "backslashreplace"))

    @property
    def boot_output(self) -> str:
        """What a worker said that never got ready."""
        return "".join(self._log).strip()

    def measure(self, *, is_exact: bool = False) -> None:
        """Read memory and CPU time; exact memory leaves out what is shared with the zygote."""
        with contextlib.suppress(psutil.Error, OSError):
            if self._process is None:
                self._process = psutil.Process(self.pid)
            if is_exact:
                self.own_bytes = self._process.memory_full_info().uss
            memory = self._process.memory_info()
            self.memory_bytes = memory.rss - getattr(memory, "shared", 0)
            times = self._process.cpu_times()
            self.cpu_seconds = times.user + times.system

    def end(self, ending: Ending, detail: str = "") -> None:
        """Kill the worker with its process group; the first reason given stands."""
        if self.ending is None:
            self.ending, self.detail = ending, detail
        self.state = WorkerState.STOPPING
        self.kill()

    def kill(self) -> None:
        """Kill the worker with its process group, without a reason of ours."""
        if self.pid:
            end_group(self.pid)

    def close(self) -> None:
        """Close our ends; closing twice is fine."""
        self._close_their_ends()
        self.stop_listening()
        self.connection.close()
        self._close_pipe()

    def _flush(self) -> None:
        """Send what waits; the loop goes on with it where the socket is full."""
        fd = self.connection.fileno()
        while self._unsent and fd >= 0:
            data = self._unsent.popleft()
            try:
                sent = self.connection.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                # The worker is gone; the zygote tells why.
                self._unsent.clear()
                return
            if sent < len(data):
                self._unsent.appendleft(data[sent:])
                self._when_writable(fd, self._flush)
                return
        self._when_writable(fd, None)

    def _when_writable(self, fd: int, call: Callable[[], None] | None) -> None:
        if self._loop is None or fd < 0:
            return
        if call is None:
            self._loop.remove_writer(fd)
        else:
            self._loop.add_writer(fd, call)

    def _close_their_ends(self) -> None:
        self._their_connection.close()
        if self._their_out_fd >= 0:
            os.close(self._their_out_fd)
            self._their_out_fd = -1

    def _close_pipe(self) -> None:
        if self.out_fd >= 0:
            if self._loop is not None:
                self._loop.remove_reader(self.out_fd)
            os.close(self.out_fd)
            self.out_fd = -1

    def _append(self, text: str) -> None:
        if self._log_left <= 0:
            return
        kept = text[: self._log_left]
        self._log_left -= len(kept)
        self._log.append(kept)
        if self._log_left <= 0:
            self._log.append("\n… the rest was dropped\n")

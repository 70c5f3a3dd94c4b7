"""The worker process: runs charms of one space, one at a time, and answers each run by itself.

The only place where charm code is loaded. Reads a request, loads the class, binds it to the
snapshot, runs the handler, waits for everything it started, answers. Forked by the zygote.
"""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextvars import copy_context
from inspect import isawaitable
from pathlib import Path
from typing import Any

import msgspec

from bg_charm_service.domain.errors import SPENT_WORKER, FailureCause, FrameError
from bg_charm_service.domain.limits import Limits, Walls
from bg_charm_service.domain.model import Failure
from bg_charm_service.domain.size_limits import check_run_size
from bg_charm_service.sdk.charm import Charm, CharmContext
from bg_charm_service.workers.protocol.leftovers import Leftovers
from bg_charm_service.workers.protocol.messages import (
    FROM_WORKER,
    Answer,
    FetchField,
    FromWorker,
    LogText,
    Ready,
    RunSpec,
    answer_limit_bytes,
)
from bg_charm_service.workers.protocol.processes import own_memory_bytes
from bg_charm_service.workers.runtime.charm_binding import (
    LinkInfo,
    bind,
    changes,
    handler,
    load_class,
)
from bg_charm_service.workers.runtime.cleanup import Cleanup
from bg_charm_service.workers.runtime.deadline import Deadline, RunFlood
from bg_charm_service.workers.runtime.event_loop import RunEventLoop
from bg_charm_service.workers.runtime.failure_report import failure_of
from bg_charm_service.workers.runtime.log_capture import capture
from bg_charm_service.workers.runtime.requests import Requests
from bg_charm_service.workers.runtime.source_inspection import inspect_source


class StaleRun(BaseException):
    """A value that the run needs moved after the run was dispatched."""


class WireSnapshot:
    """The values of one run: those that came with it, and large ones fetched at first touch."""

    def __init__(self, spec: RunSpec, worker: Worker) -> None:
        self._spec = spec
        self._worker = worker
        #: Large ones that were asked for; those that have not come have moved.
        self._asked: dict[str, bytes | None] = {}

    def load(self, field: str) -> bytes:
        if field not in self._spec.large:
            return self._spec.values[field]
        if field not in self._asked:
            # Asked for once: a second time would count as a breach of the protocol.
            self._asked[field] = None
            self._asked[field] = self._worker.fetch(self._spec.run_id, field)
        value = self._asked[field]
        if value is None:
            raise StaleRun
        return value

    def links(self) -> Mapping[str, LinkInfo]:
        return {name: LinkInfo(writable) for name, writable in self._spec.links.items()}


class Worker:
    """One worker: a socket to the supervisor and the classes loaded so far."""

    def __init__(
        self,
        connection: socket.socket,
        tickets: socket.socket,
        confine: Callable[[Walls], None],
        retire_bytes: int,
        scratch: str,
        *,
        has_walls: bool,
        outdated: Callable[[], str] = lambda: "",
    ) -> None:
        self._connection = connection
        self._confine = confine
        self._walls: Walls | None = None
        self._requests = Requests(connection, tickets)
        self._leftovers = Leftovers(scratch)
        self._lock = threading.RLock()
        self._classes: dict[tuple[str, str], type[Charm]] = {}
        self._log_capture = capture(lambda run_id, text: self._send(LogText(run_id, text)))
        self._event_loop = RunEventLoop()
        self._cleanup = Cleanup(self._event_loop, outdated)
        self._pid = os.getpid()
        self._is_talking = False
        self._retire_bytes = retire_bytes
        self._scratch = Path(scratch or tempfile.gettempdir())
        self._has_walls = has_walls

    def serve(self) -> None:
        """Answer requests until the supervisor closes the socket."""
        self._send(Ready())
        limits: Limits | None = None
        while (request := self._requests.next()) is not None:
            if request.limits != limits:
                limits = request.limits
                self._enter(limits.walls)
            if isinstance(request, RunSpec):
                self._answer(self._execute(request), answer_limit_bytes(request.limits))
            else:
                self._send(inspect_source(request))

    def close(self) -> None:
        """Close what it opened for itself, where it is not a process of its own."""
        self._event_loop.close()

    def fetch(self, run_id: str, field: str) -> bytes:
        """Ask the supervisor for a large field; raises StaleRun when it moved."""
        with self._lock:
            self._send(FetchField(run_id, field))
            self._is_talking = True
            try:
                value = self._requests.field(run_id, field)
            finally:
                self._is_talking = False
        if value is None:
            raise StaleRun
        return value

    def _enter(self, walls: Walls) -> None:
        """Go behind walls, before any code of a charm is loaded; they never change again."""
        if self._walls is None:
            retire_bytes = self._retire_bytes
            if retire_bytes and walls.memory_bytes:
                # At half of the room that its limit leaves it, however low that is.
                half = (own_memory_bytes() + walls.memory_bytes) // 2
                retire_bytes = min(retire_bytes, half)
            self._confine(walls)
            self._walls = walls
            self._cleanup.begin(retire_bytes)
        elif walls != self._walls:
            raise FrameError("a request for other walls than this worker's")

    def _execute(self, spec: RunSpec) -> Answer:
        started = time.perf_counter()
        limits = spec.limits
        answer: dict[str, Any] = {}
        leak = ""
        deadline = Deadline(limits.timeout_seconds, limits.cpu_seconds, self._may_interrupt)
        self._log_capture.begin(spec.run_id, limits, lambda: deadline.stop(RunFlood))
        try:
            with deadline:
                charm_class = self._load(spec)
                # What the handler sets in it, a precision for one, ends with it.
                charm = copy_context().run(self._run_handler, charm_class, spec, deadline)
                leak = self._cleanup.wait_for_rest()
                found = changes(charm)
                deadline.check()
            events = [send.event for send in found.sends]
            check_run_size(found.writes, events, limits.state_bytes)
            answer = {"reads": found.reads, "writes": found.writes, "sends": found.sends}
        except StaleRun:
            answer = {"stale": True}
        except BaseException as error:
            leak = self._cleanup.leftovers()
            answer = {"failure": failure_of(error, spec, leak, has_walls=self._has_walls)}
        if os.getpid() != self._pid:
            # A child that the charm forked has come back here: it must not answer.
            os._exit(0)
        self._log_capture.end()
        unfit = self._cleanup.clear_up()
        leak = leak or unfit
        return Answer(spec.run_id, time.perf_counter() - started, leak=leak, **answer)

    def _run_handler(self, charm_class: type[Charm], spec: RunSpec, deadline: Deadline) -> Charm:
        context = CharmContext(
            run_id=spec.run_id,
            job_id=spec.job_id,
            attempt=spec.attempt,
            space=spec.space,
            charm_id=spec.charm_id,
            last_success=spec.last_success,
            scratch=self._scratch,
        )
        charm = bind(charm_class, WireSnapshot(spec, self), context)
        result = handler(charm, spec.stream)(msgspec.json.decode(spec.event))
        if isawaitable(result):
            self._event_loop.run(result, deadline)
        return charm

    def _load(self, spec: RunSpec) -> type[Charm]:
        key = (spec.source_hash, spec.class_name)
        if key not in self._classes:
            source = self._requests.sources[spec.source_hash]
            self._classes[key] = load_class(source, spec.file_name, spec.class_name)
        return self._classes[key]

    def _answer(self, answer: Answer, limit_bytes: int) -> None:
        """Answer a run; what it left behind is dealt with before there is another one."""
        failure = answer.failure
        is_spent = bool(answer.leak) or (failure is not None and failure.cause in SPENT_WORKER)
        if is_spent or self._leftovers.are_there():
            answer = msgspec.structs.replace(answer, pauses=True)
        try:
            self._send(answer, limit_bytes)
        except FrameError as error:
            text = f"The state it left is too large to store: {error}."
            failure = Failure(FailureCause.STATE_SIZE, text)
            self._send(
                Answer(
                    answer.run_id,
                    answer.duration_seconds,
                    failure,
                    leak=answer.leak,
                    pauses=answer.pauses,
                )
            )
        if answer.pauses:
            self._requests.wait_to_go_on()

    def _send(self, message: FromWorker, limit_bytes: int | None = None) -> None:
        frame = FROM_WORKER.encode(message, limit_bytes)
        with self._lock:
            self._is_talking = True
            try:
                self._connection.sendall(frame)
            finally:
                self._is_talking = False

    def _may_interrupt(self) -> bool:
        return not self._is_talking

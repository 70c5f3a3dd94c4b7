"""The worker process: runs charms of one space, one at a time, and answers each run by itself.

The only place where charm code is loaded. Reads a request, loads the class, binds it to the
snapshot, runs the handler, waits for everything it started, answers. Forked by the zygote.
"""

from __future__ import annotations

import asyncio
import decimal
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import Context, copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from bg_charm_service.domain.errors import SPENT_WORKER, FailureCause, FrameError, StateError
from bg_charm_service.domain.items import (
    ItemPage,
    StoredItem,
    TouchedItems,
    parts_of,
    run_items_limit,
)
from bg_charm_service.domain.limits import Limits, Walls
from bg_charm_service.domain.model import Failure
from bg_charm_service.domain.outcomes.run_endings import Ending, EndingKind
from bg_charm_service.domain.size_limits import check_run_size
from bg_charm_service.domain.web.requests import HttpRequest
from bg_charm_service.sdk.charm import Charm, CharmContext, class_schema, next_run_of, run_of
from bg_charm_service.sdk.endings import ProviderDown, SignInNeeded, Wait, seconds_until
from bg_charm_service.sdk.request_log import REQUESTS
from bg_charm_service.sdk.run_items import ItemSource
from bg_charm_service.workers.protocol.leftovers import Leftovers
from bg_charm_service.workers.protocol.messages import (
    FORGIVEN_SECONDS,
    FROM_WORKER,
    MOST_REFUSED,
    MOST_TOLD_REQUESTS,
    Answer,
    FetchField,
    FoundItems,
    FromWorker,
    Inspected,
    ItemsTouched,
    LogText,
    Ready,
    RequestTold,
    RunSpec,
    TokenGiven,
    TokenWanted,
    WantItems,
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
from bg_charm_service.workers.runtime.data_limit import DataLimit
from bg_charm_service.workers.runtime.deadline import Deadline, RunFlood
from bg_charm_service.workers.runtime.event_loop import RunEventLoop
from bg_charm_service.workers.runtime.failure_report import end_of
from bg_charm_service.workers.runtime.host_watch import HOSTS
from bg_charm_service.workers.runtime.log_capture import LogCapture, capture
from bg_charm_service.workers.runtime.refusals import Surroundings, hidden_refusals
from bg_charm_service.workers.runtime.requests import Request, Requests
from bg_charm_service.workers.runtime.shared_state import Setup, SharedState, shared_state
from bg_charm_service.workers.runtime.source_inspection import inspect_source
from bg_charm_service.workers.sandbox import Wall

#: How often it is looked whether a token has come by another way, in seconds.
_LOOK_SECONDS = 0.25


class StaleRun(BaseException):
    """A value that the run needs moved after the run was dispatched."""


@dataclass(frozen=True, slots=True)
class LoadedClass:
    """A class, and what its module has set: in its context, and in the process."""

    charm_class: type[Charm]
    context: Context
    setup: Setup

    def new_context(self) -> Context:
        """Make one for a run."""
        context = self.context.copy()
        if len(context):
            # Its module may have set a precision, in an object that a run would change for others.
            context.run(_renew_precision)
        return context


class WireSnapshot:
    """The values of one run: those that came with it, and large ones fetched at first touch."""

    def __init__(self, spec: RunSpec, worker: Worker) -> None:
        self._spec = spec
        self._worker = worker
        #: Large ones that were asked for; those that have not come have moved.
        self._asked: dict[str, bytes | None] = {}
        self._renewing: asyncio.Lock | None = None

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

    async def renew(self, field: str, seen: str) -> bytes:
        # One at a time waits at the socket.
        self._renewing = self._renewing or asyncio.Lock()
        async with self._renewing:
            given = await self._worker.renew(self._spec.run_id, field, seen)
        if given.value is not None:
            return given.value
        ending = given.ending or Ending(EndingKind.WAIT)
        if ending.kind is EndingKind.SIGN_IN:
            raise SignInNeeded(ending.why)
        if ending.kind is EndingKind.DOWN:
            raise ProviderDown(ending.why, host=ending.host)
        raise Wait(ending.seconds or 0, ending.why)

    def items(self, field: str) -> ItemSource:
        return WireItems(self._spec, field, self._worker)

    @property
    def most_item_bytes(self) -> int:
        return run_items_limit(self._spec.limits.state_bytes)


class WireItems:
    """A collection that a run reads from, as the supervisor gives it.

    What is known of it is asked for no more: should it have moved meanwhile, the run is stale.
    """

    def __init__(self, spec: RunSpec, field: str, worker: Worker) -> None:
        self._run_id = spec.run_id
        self._field = field
        self._worker = worker
        self._count = spec.counts.get(field)

    def find(self, keys: Sequence[str], *, has_values: bool) -> Sequence[StoredItem]:
        if self._count == 0:
            return ()
        return self._ask(keys=tuple(keys), has_values=has_values).items

    def page(self, after: str, limit: int, *, has_values: bool) -> ItemPage:
        if self._count == 0:
            return ItemPage((), 0, is_end=True)
        found = self._ask(after=after, limit=limit, has_values=has_values)
        if not (after or found.items):
            self._count = 0
        return ItemPage(found.items, found.version, found.is_end)

    def count(self) -> int:
        if self._count is None:
            self._count = self._ask().count
        return self._count

    def _ask(self, **wanted: Any) -> FoundItems:
        found = self._worker.ask(WantItems(self._run_id, self._field, **wanted))
        if found is None or found.is_lost:
            raise StaleRun
        if found.problem:
            raise StateError(found.problem)
        return found


class Bound(NamedTuple):
    """What a worker is bound to for good: the limit of its data, and what it lacks, if anything."""

    data_limit: DataLimit
    lack: str = ""


class Tools(NamedTuple):
    """What a worker has that does not depend on whose it is, made by the process that forks it.

    Whatever a child does for the first time copies the pages of all that it touches, which takes
    far longer than the doing.
    """

    output: LogCapture
    event_loop: RunEventLoop
    shared: SharedState
    cleanup: Cleanup

    @classmethod
    def make(cls) -> Tools:
        """Make those of a worker, and let them take the place of the standard ones."""
        output, event_loop, shared = capture(), RunEventLoop(), shared_state()
        return cls(output, event_loop, shared, Cleanup(event_loop, shared))


class Worker:
    """One worker: a socket to the supervisor and the classes loaded so far."""

    def __init__(
        self,
        connection: socket.socket,
        tickets: socket.socket,
        bind_to: Callable[[Walls], Bound],
        retire_bytes: int,
        scratch: str,
        *,
        walls: Collection[Wall],
        tools: Tools,
        outdated: Callable[[], str] = lambda: "",
    ) -> None:
        self._connection = connection
        self._bind_to = bind_to
        self._walls: Walls | None = None
        self._data_limit = DataLimit(Walls())
        #: Why nothing can be loaded here; empty for nothing.
        self._lack = ""
        self._requests = Requests(connection, tickets)
        self._leftovers = Leftovers(scratch)
        self._lock = threading.RLock()
        self._classes: dict[tuple[str, str], LoadedClass] = {}
        self._log_capture, self._event_loop, self._shared, self._cleanup = tools
        self._log_capture.connect(self._send_log)
        self._outdated = outdated
        self._pid = os.getpid()
        #: A thread that a run left has begun to work: nothing else is to run here.
        self.is_unfit = False
        self._is_talking = False
        #: That of the run under way, or of the last one.
        self._deadline = Deadline(0.0)
        #: For which run it is told what requests go out, and how often it may still be.
        self._tells_for, self._tells_left = "", 0
        REQUESTS.tell = self._tell_request
        #: What the run touched of collections, until it is told.
        self._touched: tuple[TouchedItems, ...] = ()
        self._retire_bytes = retire_bytes
        self._scratch = Path(scratch or tempfile.gettempdir())
        self._around = Surroundings(frozenset(walls), scratch)

    def serve(self) -> None:
        """Answer requests until the supervisor closes the socket, or this process is unfit."""
        self._send(Ready())
        limits: Limits | None = None
        while (request := self._next_request()) is not None:
            if request.limits != limits:
                limits = request.limits
                self._enter(limits.walls)
            if self._lack:
                self._refuse(request)
            elif isinstance(request, RunSpec):
                self._answer(self._execute(request), answer_limit_bytes(request.limits))
            else:
                HOSTS.begin()
                self._send(inspect_source(request, HOSTS, self._around))

    def _refuse(self, request: Request) -> None:
        """Answer what cannot be done here, and leave it to another process."""
        failure = Failure(FailureCause.PACKAGES, self._lack)
        if isinstance(request, RunSpec):
            refused = Answer(request.run_id, 0.0, failure, leak="no packages")
            self._answer(refused, answer_limit_bytes(request.limits))
        else:
            self._send(Inspected(request.request_id, failure=failure))

    def _next_request(self) -> Request | None:
        """Wait for the next request; None when the supervisor is gone, or this process is unfit.

        Its end comes before the ticket is taken: what waits was not begun, and goes elsewhere.
        """
        if self._cleanup.has_idle_threads:
            self._requests.wait()
            if self._cleanup.has_stirred():
                self.is_unfit = True
                return None
        return self._requests.next()

    def close(self) -> None:
        """Close what it opened for itself, where it is not a process of its own."""
        REQUESTS.tell = None
        self._shared.end()
        self._event_loop.close()

    def fetch(self, run_id: str, field: str) -> bytes:
        """Ask the supervisor for a large field; raises StaleRun when it moved."""
        with self._waiting():
            self._send(FetchField(run_id, field))
            value = self._requests.field(run_id, field)
        if value is None:
            raise StaleRun
        return value

    def ask(self, wanted: WantItems) -> FoundItems | None:
        """Ask the supervisor for items; None when it is gone."""
        with self._waiting():
            self._send(wanted)
            return self._requests.items(wanted.run_id)

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """Talk with the supervisor, undisturbed; where that is held up the run does not pay."""
        with self._lock:
            self._is_talking = True
            began, left = time.monotonic(), self._deadline.seconds_left()
            try:
                yield
            finally:
                if time.monotonic() - began > FORGIVEN_SECONDS:
                    self._deadline.forgive(left)
                self._is_talking = False

    async def renew(self, run_id: str, field: str, seen: str) -> TokenGiven:
        """Ask the supervisor for another token, which may take a while: other tasks go on."""
        self._send(TokenWanted(run_id, field, seen))
        loop, has_come = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._connection, has_come.set)
        try:
            while (given := self._requests.kept_token(run_id, field)) is None:
                # Whoever waits for a large field meanwhile may have read it too.
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_SECONDS):
                        await has_come.wait()
                if has_come.is_set():
                    has_come.clear()
                    with self._lock:
                        self._requests.read_ready()
        finally:
            loop.remove_reader(self._connection)
        return given

    def _enter(self, walls: Walls) -> None:
        """Go behind walls, before any code of a charm is loaded; they never change again."""
        if self._walls is None:
            retire_bytes = self._retire_bytes
            if retire_bytes and walls.memory_bytes:
                # At half of the room that its limit leaves it, however low that is.
                half = (own_memory_bytes() + walls.memory_bytes) // 2
                retire_bytes = min(retire_bytes, half)
            self._data_limit, self._lack = self._bind_to(walls)
            self._walls = walls
            self._cleanup.begin(retire_bytes, self._outdated)
        elif walls != self._walls:
            raise FrameError("a request for other walls than this worker's")

    def _execute(self, spec: RunSpec) -> Answer:
        started = time.perf_counter()
        limits = spec.limits
        answer: dict[str, Any] = {}
        leak = ""
        HOSTS.begin()
        deadline = Deadline(limits.timeout_seconds, limits.cpu_seconds, self._may_interrupt)
        self._deadline = deadline
        self._tells_for, self._tells_left = spec.run_id, MOST_TOLD_REQUESTS
        self._log_capture.begin(spec.run_id, limits, lambda: deadline.stop(RunFlood))
        try:
            with deadline:
                loaded = self._load(spec)
                # What the handler sets in it, a precision for one, ends with it.
                context = loaded.new_context()
                charm = context.run(self._run_handler, loaded.charm_class, spec, deadline)
                leak = self._cleanup.wait_for_rest()
                found = changes(charm)
                deadline.check()
            events = [send.event for send in found.sends] + [one.event for one in found.reminds]
            check_run_size(found.writes, events, limits.state_bytes)
            answer = {"reads": found.reads, "writes": found.writes, "sends": found.sends}
            self._touched = found.items
            if found.reminds:
                answer["reminds"] = found.reminds
            if found.notices:
                answer["notices"] = found.notices
            next_run = next_run_of(charm)
            if next_run is not None:
                seconds = seconds_until(next_run, time.time())
                answer["ending"] = Ending(EndingKind.AGAIN, seconds)
        except StaleRun:
            answer = {"stale": True}
        except BaseException as error:
            leak = self._cleanup.leftovers()
            failure, ending = end_of(error, spec, leak, HOSTS, self._around)
            answer = {"failure": failure, "ending": ending}
        if os.getpid() != self._pid:
            # A child that the charm forked has come back here: it must not answer.
            os._exit(0)
        if HOSTS.attempts:
            failed = answer.get("failure")
            said = failed.refusal if failed is not None else None
            answer["refused"] = hidden_refusals(said, limits, HOSTS, self._around)[:MOST_REFUSED]
        with self._lock:
            self._tells_for = ""
        if REQUESTS.count:
            answer["requests"] = REQUESTS.take()
        self._log_capture.end()
        unfit = self._cleanup.clear_up()
        leak = leak or unfit
        return Answer(spec.run_id, time.perf_counter() - started, leak=leak, **answer)

    def _run_handler(self, charm_class: type[Charm], spec: RunSpec, deadline: Deadline) -> Charm:
        def context() -> CharmContext:
            return CharmContext(
                run_id=spec.run_id,
                job_id=spec.job_id,
                attempt=spec.attempt,
                space=spec.space,
                charm_id=spec.charm_id,
                last_success=spec.last_success,
                scratch=self._scratch,
                scheduled_at=spec.scheduled_at,
                previous=spec.previous,
                hooks=spec.hooks,
                time_left=deadline.seconds_left,
                bytes_left=lambda: _room(spec, charm),
                keys_left=lambda: run_of(charm).budget().left_keys,
            )

        charm = bind(charm_class, WireSnapshot(spec, self), context)
        event = msgspec.json.decode(spec.event)
        self._event_loop.call(handler(charm, spec.stream), event, deadline)
        return charm

    def _load(self, spec: RunSpec) -> LoadedClass:
        """Give a class as its module left it, and the process as it left that."""
        key = (spec.source_hash, spec.class_name)
        loaded = self._classes.get(key)
        if loaded is None:
            source = self._requests.sources[spec.source_hash]
            self._shared.begin_load(source)
            self._data_limit.widen()
            try:
                context = copy_context()
                charm_class = context.run(load_class, source, spec.file_name, spec.class_name)
            finally:
                self._data_limit.narrow()
            loaded = LoadedClass(charm_class, context, self._shared.end_load())
            self._classes[key] = loaded
        else:
            self._shared.enter(loaded.setup)
        return loaded

    def _answer(self, answer: Answer, limit_bytes: int) -> None:
        """Answer a run; what it left behind is dealt with before there is another one."""
        touched, self._touched = self._touched, ()
        for part in parts_of(touched):
            self._send(ItemsTouched(answer.run_id, part))
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
                    requests=answer.requests,
                )
            )
        if answer.pauses:
            self._requests.wait_to_go_on()

    def _send(self, message: FromWorker, limit_bytes: int | None = None) -> None:
        frame = FROM_WORKER.encode(message, limit_bytes)
        with self._lock:
            was_talking, self._is_talking = self._is_talking, True
            try:
                self._connection.sendall(frame)
            finally:
                self._is_talking = was_talking

    def _send_log(self, run_id: str, text: str) -> None:
        self._send(LogText(run_id, text))

    def _tell_request(self, request: HttpRequest) -> None:
        """Tell of a request at once: should the run be killed, nobody else knows of it."""
        with self._lock:
            # Neither in a child that the charm has forked, nor for a run that is over.
            if self._tells_for and self._tells_left and os.getpid() == self._pid:
                self._tells_left -= 1
                self._send(RequestTold(self._tells_for, request))

    def _may_interrupt(self) -> bool:
        return not self._is_talking


def _renew_precision() -> None:
    decimal.setcontext(decimal.getcontext().copy())


def _room(spec: RunSpec, charm: Charm) -> int:
    """Give what is left of the state's limit, in bytes; links lead to the states of others.

    Where there are collections it is no more than the run may still write of items.
    """
    own = [value for name, value in spec.values.items() if name not in spec.links]
    left = max(0, spec.limits.state_bytes - spec.large_bytes - sum(map(len, own)))
    has_items = any(one.kind.is_of_items for one in class_schema(type(charm)).fields.values())
    return min(left, run_of(charm).budget().left_bytes) if has_items else left

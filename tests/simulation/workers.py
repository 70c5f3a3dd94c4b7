"""Simulated processes: a zygote and workers that speak the real protocol over real sockets.

They run in the loop of the service that they serve, misbehave as their charms do, and die with it.
What they did is the truth that the records of the service are held against.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bg_charm_service.domain.errors import SPENT_WORKER, FailureCause
from bg_charm_service.domain.model import Failure, Send
from bg_charm_service.domain.oauth import fingerprint
from bg_charm_service.domain.outcomes.run_endings import Ending, EndingKind
from bg_charm_service.workers.pool.process_usage import Processes, Usage
from bg_charm_service.workers.pool.zygote_client import ZygoteLink
from bg_charm_service.workers.protocol.messages import (
    FROM_WORKER,
    TO_WORKER,
    Answer,
    Exited,
    FoundItems,
    FromWorker,
    FromZygote,
    GoOn,
    Inspect,
    Inspected,
    ItemsTouched,
    LogText,
    Ready,
    RunSpec,
    Spawned,
    TokenGiven,
    TokenWanted,
    WantItems,
    WorkerSettings,
)
from tests.simulation.cast import (
    AUTH,
    DESERVED,
    DONE_WELL,
    NAMED_SECONDS,
    NEITHER,
    SPOILS_NEXT,
    STATUSES,
    Deed,
    answer_without_token,
    good_answer,
    neither,
    questions_of,
    schema_of,
    touched_by,
)

#: Beyond every real process, so that a stray signal can hit nobody.
_FIRST_PID = 100_000_000

_BOOT_SECONDS = 0.02

#: Of the runs with a token so many meet a provider that refuses it.
REFUSED_SHARE = 0.15
_EXIT_SECONDS = 0.002


@dataclass(slots=True)
class Truth:
    """What happened in the workers, whatever the service makes of it."""

    #: The causes of failure that a run has deserved so far, in any of its executions.
    deserved: dict[str, set[FailureCause]] = field(default_factory=dict)
    #: Runs that some worker has begun.
    begun: set[str] = field(default_factory=set)
    #: Runs that some worker ended neither well nor badly, and as what.
    neither: set[tuple[str, str]] = field(default_factory=set)
    #: Runs for which some worker gave a valid good answer.
    done_well: set[str] = field(default_factory=set)
    #: Those of them that asked for a reminder, and did not take it back.
    asked: set[str] = field(default_factory=set)
    #: Those that have asked for a new token once.
    renewed: set[str] = field(default_factory=set)
    #: The worker that makes a run of a charm now.
    running: dict[str, int] = field(default_factory=dict)
    executions: int = 0
    problems: list[str] = field(default_factory=list)

    def begin(self, spec: RunSpec, pid: int) -> None:
        """Note that a worker has begun with a run."""
        self.executions += 1
        self.begun.add(spec.run_id)
        self.deserved.setdefault(spec.run_id, set())
        other = self.running.get(spec.charm_id)
        if other is not None:
            self.problems.append(f"charm {spec.charm_id} runs in workers {other} and {pid} at once")
        self.running[spec.charm_id] = pid

    def end(self, spec: RunSpec) -> None:
        """Note that nothing of a run goes on."""
        self.running.pop(spec.charm_id, None)


@dataclass(slots=True)
class Manners:
    """How workers and charms behave; the world changes it as time goes by."""

    random: random.Random
    choose: Callable[[RunSpec], Deed]
    take_down: Callable[[], None]
    run_seconds: float = 0.05
    boot_death_rate: float = 0.0
    boot_hang_rate: float = 0.0

    def is_drawn(self, rate: float) -> bool:
        """Draw whether something happens now."""
        return rate > 0 and self.random.random() < rate


class SimulatedProcesses(Processes):
    """The operating system of one life of the service."""

    def __init__(self, truth: Truth, manners: Manners, first_pid: int) -> None:
        self.truth = truth
        self.manners = manners
        self.zygote: SimulatedZygote | None = None
        self._zygotes: list[SimulatedZygote] = []
        self.workers: dict[int, SimulatedWorker] = {}
        self.next_pid = _FIRST_PID + first_pid

    def open_zygote(self) -> ZygoteLink:
        self.zygote = SimulatedZygote(self)
        self._zygotes.append(self.zygote)
        return self.zygote

    def usage(self, pid: int) -> Usage | None:
        worker = self.workers.get(pid)
        return Usage(worker.memory_bytes, 1) if worker is not None else None

    def own_bytes(self, pid: int) -> int:
        worker = self.workers.get(pid)
        return worker.memory_bytes if worker is not None else 0

    def end_group(self, pid: int) -> None:
        worker = self.workers.get(pid)
        if worker is not None:
            worker.die(-9)

    def new_pid(self) -> int:
        """Number a process."""
        self.next_pid += 1
        return self.next_pid

    def end_all(self) -> None:
        """Let everything die that lives by the service's sockets."""
        if self.zygote is not None:
            self.zygote.die()

    def close_all(self) -> None:
        """Close what is left open of a life, as its death does."""
        for zygote in self._zygotes:
            zygote.close()


class SimulatedZygote:
    """Forks simulated workers, and reports their starts and ends."""

    def __init__(self, processes: SimulatedProcesses) -> None:
        self.control, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.setblocking(False)
        self.processes: Processes = processes
        self._worker_set = processes
        self._reports: deque[FromZygote] = deque()
        self._is_dead = False

    def spawn(self, worker_no: int, settings: WorkerSettings, fds: list[int]) -> bool:
        if self._is_dead:
            return False
        worker = SimulatedWorker(self._worker_set, self, worker_no, *map(os.dup, fds))
        self._worker_set.workers[worker.pid] = worker
        self.report(Spawned(worker_no, worker.pid))
        return True

    def read(self) -> list[FromZygote] | None:
        with contextlib.suppress(BlockingIOError, OSError):
            while self.control.recv(1):
                pass
        if self._is_dead:
            return None
        reports = list(self._reports)
        self._reports.clear()
        return reports

    def close(self) -> None:
        self.die()
        self.control.close()

    def report(self, message: FromZygote) -> None:
        """Tell the supervisor of a worker."""
        if not self._is_dead:
            self._reports.append(message)
            self._theirs.send(b"!")

    def die(self) -> None:
        """End, and take every worker along, as the kernel does; dying twice is fine."""
        self._is_dead = True
        for worker in list(self._worker_set.workers.values()):
            worker.die(-9)
        self._theirs.close()


class SimulatedWorker:
    """One worker process."""

    def __init__(
        self,
        processes: SimulatedProcesses,
        zygote: SimulatedZygote,
        worker_no: int,
        connection: int,
        output: int,
        errors: int,
        tickets: int,
    ) -> None:
        os.close(errors)
        self.pid = processes.new_pid()
        self.spec: RunSpec | None = None
        self._processes = processes
        self._truth, self._manners = processes.truth, processes.manners
        self._zygote = zygote
        self._worker_no = worker_no
        self._connection = socket.socket(fileno=connection)
        self._connection.setblocking(False)
        self._tickets = socket.socket(fileno=tickets)
        self._output = output
        self._decoder = TO_WORKER.decoder()
        #: What was read and not begun, by the numbers of the tickets.
        self._requests: dict[int, RunSpec | Inspect] = {}
        self._read_so_far = 0
        self._ticket = 0
        self._is_pausing = False
        self._has_leaked = False
        self._is_listening = False
        self._has_closed = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._connection.fileno(), self._read)
        self._is_dead = False
        self.memory_bytes = 10_000_000
        self._is_spoilt = False
        self._questions: list[WantItems] = []
        self._found: list[FoundItems] = []
        self._seconds = 0.0
        self._lives_on = False
        self._timer: asyncio.TimerHandle | None = None
        self._last_word: Callable[[], None] = lambda: None
        #: The token of its run that the provider refuses, until there is another; what came of it.
        self._refused: str | None = None
        self._refusal: Ending | None = None
        self._has_asked_before = False
        if self._manners.is_drawn(self._manners.boot_death_rate):
            self._loop.call_later(_BOOT_SECONDS, self.die, 1)
        elif not self._manners.is_drawn(self._manners.boot_hang_rate):
            self._loop.call_later(_BOOT_SECONDS, self._say, Ready())

    def die(self, exit_code: int) -> None:
        """End the process; dying twice is fine."""
        if self._is_dead:
            return
        self._is_dead = True
        self._processes.workers.pop(self.pid, None)
        self._end_run()
        self._close()
        os.close(self._output)
        if not self._loop.is_closed():
            self._loop.call_later(
                _EXIT_SECONDS, self._zygote.report, Exited(self._worker_no, exit_code)
            )

    def catch_up(self, seconds: float) -> None:
        """Do what was done while the service stood still for so long."""
        until = self._loop.time()
        if self.spec is None:
            # What was sent just before it stood still was begun at once.
            self._read()
            self._begin_next()
            until += seconds
        # A whole batch may have been made.
        while self.spec is not None and (timer := self._timer) and timer.when() <= until:
            self._timer = None
            timer.cancel()
            self._last_word()

    def live_on(self) -> None:
        """Be reported dead, and go on all the same."""
        self._lives_on = True
        self._zygote.report(Exited(self._worker_no, -9))

    def be_killed(self) -> None:
        """Be killed from outside: whoever runs pays, since nobody can tell who did it."""
        if self.spec is not None:
            self._truth.deserved[self.spec.run_id] |= DESERVED[Deed.SIGNAL]
        self.die(-9)

    def _read(self) -> None:
        try:
            data = self._connection.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data and self._lives_on:
            self._loop.remove_reader(self._connection.fileno())
            self._listen_for_tickets(wanted=False)
            return
        if not data:
            self.die(0)
            return
        for message in self._decoder.feed(data):
            if isinstance(message, GoOn):
                self._is_pausing = False
            elif isinstance(message, FoundItems):
                self._hear(message)
            elif isinstance(message, TokenGiven):
                self._take_token(message)
            elif isinstance(message, RunSpec | Inspect):
                self._read_so_far += 1
                self._requests[self._read_so_far] = message
        self._begin_next()

    def _begin_next(self) -> None:
        """Take the next ticket and begin with what it is for, unless something is under way."""
        if self._is_dead or self.spec is not None or self._is_pausing or self._has_closed:
            return
        if not self._ticket:
            with contextlib.suppress(BlockingIOError):
                data = self._tickets.recv(4, socket.MSG_DONTWAIT)
                if not data:
                    # Nobody puts tickets out any more.
                    self._listen_for_tickets(wanted=False)
                    return
                self._ticket = int.from_bytes(data, "little")
        request = self._requests.pop(self._ticket, None)
        if request is None:
            # Nothing is to be done, or it has not been read.
            self._listen_for_tickets(wanted=not self._ticket)
            return
        # What was passed over meanwhile had been taken back.
        self._requests = {no: each for no, each in self._requests.items() if no > self._ticket}
        self._ticket = 0
        self._listen_for_tickets(wanted=False)
        if isinstance(request, RunSpec):
            self._run(request)
        else:
            self._inspect(request)

    def _listen_for_tickets(self, *, wanted: bool) -> None:
        if wanted and not self._is_listening:
            self._loop.add_reader(self._tickets.fileno(), self._begin_next)
        elif self._is_listening and not wanted and not self._loop.is_closed():
            self._loop.remove_reader(self._tickets.fileno())
        self._is_listening = wanted

    def _inspect(self, request: Inspect) -> None:
        schema = schema_of(request.source)
        problems: tuple[dict[str, str], ...] = tuple({} for _ in request.values)
        answer = Inspected(request.request_id, schema, None, request.values, problems)
        self._loop.call_later(0.01, self._say, answer)

    def _run(self, spec: RunSpec) -> None:
        self.spec = spec
        self._truth.begin(spec, self.pid)
        if self._has_leaked:
            self._truth.problems.append(f"run {spec.run_id} began beside what another left")
        if self._is_spoilt:
            self._truth.deserved[spec.run_id].add(FailureCause.PROTOCOL)
        manners = self._manners
        deed = manners.choose(spec)
        self._truth.deserved[spec.run_id] |= DESERVED.get(deed, set())
        self._is_spoilt |= deed in SPOILS_NEXT
        seconds = manners.run_seconds * manners.random.uniform(0.2, 2.0)
        if deed is Deed.SLOW:
            seconds = spec.limits.timeout_seconds * manners.random.uniform(0.3, 0.99)
        if deed in (Deed.TIMEOUT, Deed.STUCK, Deed.GREED):
            seconds = spec.limits.timeout_seconds
        if deed is Deed.GREED:
            self.memory_bytes = 10 * spec.limits.memory_bytes
        if deed is Deed.LOG:
            self._say(LogText(spec.run_id, "word " * 20_000))
        self._timer = None
        self._questions, self._found = questions_of(spec), []
        self._refused = self._refusal = None
        if AUTH in spec.values and manners.random.random() < REFUSED_SHARE:
            self._refused = json.loads(spec.values[AUTH])["token"]
        if deed is not Deed.STUCK:
            self._last_word = lambda: self._finish(spec, deed, seconds)
            if self._questions:
                self._say(self._questions.pop(0))
            else:
                self._timer = self._loop.call_later(seconds, self._last_word)
        self._seconds = seconds

    def _hear(self, found: FoundItems) -> None:
        """Take the answer to a question; with the last one the work begins."""
        if self._is_dead or self.spec is None or found.run_id != self.spec.run_id:
            return
        self._found.append(found)
        if self._questions:
            self._say(self._questions.pop(0))
        else:
            self._timer = self._loop.call_later(self._seconds, self._last_word)

    def _take_token(self, given: TokenGiven) -> None:
        """Take what came of a token that its provider had refused, and go on, or end for it."""
        if self._is_dead or self.spec is None or given.run_id != self.spec.run_id:
            return
        self._refusal = given.ending
        if given.value is not None:
            shown = json.loads(given.value)
            is_same = shown["token"] == self._refused and not self._has_asked_before
            if is_same or "refresh" in given.value.decode():
                self._truth.problems.append(f"run {given.run_id} is given no new token: {shown}")
        elif given.ending is None:
            self._truth.problems.append(f"run {given.run_id} has no token, and is not told why")
        self._refused = None
        self._timer = self._loop.call_later(self._seconds, self._last_word)

    def _finish(self, spec: RunSpec, deed: Deed, seconds: float) -> None:
        if self._is_dead or self.spec is not spec:
            return
        if self._refused is not None:
            # Its provider refuses the token in the middle of the work: it waits for another one.
            self._truth.deserved[spec.run_id].add(FailureCause.TIMEOUT)
            self._timer = None
            # A run has a token renewed once, also one that is begun anew with that token.
            self._has_asked_before = spec.run_id in self._truth.renewed
            self._truth.renewed.add(spec.run_id)
            self._say(TokenWanted(spec.run_id, AUTH, fingerprint(self._refused)))
            return
        if deed is Deed.FATAL:
            self._manners.take_down()
            return
        if deed in (Deed.EXIT, Deed.SIGNAL):
            self.die(3 if deed is Deed.EXIT else -11)
            return
        if deed is Deed.CLOSE:
            self._close()
            return
        if deed is Deed.GARBAGE:
            self._send(b"\x00\x00\x00\x05hello")
            return
        # From here on it is over: nothing of it goes on beside whatever comes next.
        self._end_run()
        answer = good_answer(spec, seconds)
        named = self._manners.random.choice(NAMED_SECONDS)
        if deed in NEITHER or deed is Deed.NO_HOST:
            answer = neither(spec, deed, seconds, named)
        if deed is Deed.AGAIN:
            answer = replace_struct(answer, ending=Ending(EndingKind.AGAIN, named))
        if deed in NEITHER:
            self._truth.neither.add((spec.run_id, NEITHER[deed]))
        if deed in DONE_WELL:
            self._truth.done_well.add(spec.run_id)
            if answer.reminds and all(one.stream for one in answer.reminds):
                self._truth.asked.add(spec.run_id)
        if self._refusal is not None:
            answer = answer_without_token(spec, seconds, self._refusal)
            self._truth.neither.add((spec.run_id, STATUSES[self._refusal.kind]))
        if deed is Deed.EARLY_READY:
            self._say(Ready())
        if deed is Deed.STEAL:
            self._steal()
        if deed is Deed.OUT_OF_TURN:
            answer = replace_struct(answer, run_id=self._next_run_id())
        if any(one.is_lost for one in self._found):
            answer = replace_struct(answer, stale=True)
        elif answer.failure is None:
            for touched in touched_by(spec, self._found):
                self._say(ItemsTouched(spec.run_id, touched))
        answers = _answers(deed, answer)
        for said in answers:
            self._say(said)
        self._is_pausing = any(said.pauses for said in answers)
        self._has_leaked |= deed is Deed.LEAK
        self._begin_next()

    def _next_run_id(self) -> str:
        """The run that comes next, if it is here already."""
        waiting = [each.run_id for each in self._requests.values() if isinstance(each, RunSpec)]
        return waiting[0] if waiting else "1.1000"

    def _steal(self) -> None:
        """Take the tickets of the runs that come next: the first waits for its own in vain."""
        with contextlib.suppress(BlockingIOError):
            self._tickets.recv(1 << 16, socket.MSG_DONTWAIT)
            deserved = self._truth.deserved.setdefault(self._next_run_id(), set())
            deserved.add(FailureCause.TIMEOUT)

    def _end_run(self) -> None:
        if self.spec is not None:
            self._truth.end(self.spec)
            self.spec = None

    def _say(self, message: FromWorker) -> None:
        self._send(FROM_WORKER.encode(message))

    def _send(self, data: bytes) -> None:
        if self._connection.fileno() >= 0:
            with contextlib.suppress(OSError):
                self._connection.send(data)

    def _close(self) -> None:
        if self._connection.fileno() >= 0:
            self._has_closed = True
            self._listen_for_tickets(wanted=False)
            if not self._loop.is_closed():
                self._loop.remove_reader(self._connection.fileno())
            self._connection.close()
            self._tickets.close()


def _answers(deed: Deed, good: Answer) -> list[Answer]:
    """What a worker answers in the end, once or more often."""
    failure = {
        Deed.RAISE: Failure(FailureCause.ERROR, "ValueError: no"),
        Deed.TIMEOUT: Failure(FailureCause.TIMEOUT, "Timed out"),
        Deed.GREED: Failure(FailureCause.MEMORY, "MemoryError"),
    }.get(deed)
    if failure is not None:
        is_spent = failure.cause in SPENT_WORKER
        return [Answer(good.run_id, good.duration_seconds, failure=failure, pauses=is_spent)]
    changed = {
        Deed.LEAK: replace_struct(good, leak="a thread", pauses=True),
        Deed.LEAK_ON: replace_struct(good, leak="a thread"),
        Deed.FILES: replace_struct(good, pauses=True),
        Deed.LONG_CLAIM: replace_struct(good, duration_seconds=1e12),
        Deed.STALE: replace_struct(good, stale=True),
        Deed.FORGED: replace_struct(good, run_id="1.1000"),
        Deed.NOT_JSON: replace_struct(good, writes={**good.writes, "note": b"{"}),
        Deed.NO_FIELD: replace_struct(good, writes={**good.writes, "nothing": b"1"}),
        Deed.NO_LINK: replace_struct(good, sends=(*good.sends, Send("counter", b"{}"))),
    }
    if deed is Deed.TWICE:
        return [good, good]
    return [changed.get(deed, good)]


def replace_struct(answer: Answer, **changes: Any) -> Answer:
    """Give an answer with some of it changed."""
    return Answer(**{name: getattr(answer, name) for name in answer.__struct_fields__} | changes)

"""What happens in the service, as it happens: a bounded ring that readers follow from any place.

A reader holds a place in the ring and nothing else, so that no reader can cost the service
anything: one that falls behind the oldest event is dropped. Fed by the supervisor and the
commands; read by the API.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from bg_charm_service.domain.disclosure import CauseInstead, OpenText
from bg_charm_service.domain.errors import SPENT_WORKER, FailureCause
from bg_charm_service.domain.model import CharmRef, RunRecord
from bg_charm_service.domain.text_limits import LINE_ERROR_CHARACTERS, cut
from bg_charm_service.service.followers import Followers
from bg_charm_service.supervisor.completer import Settled
from bg_charm_service.workers.pool.events import IdleDeath

#: How many of the newest events are kept for readers that come back.
KEPT_EVENTS = 2000

#: Kind, charm and what makes the rest, for those events that somebody reads.
_Entry = tuple[str, CharmRef | None, Callable[[], object]]

#: Causes of failure that end the worker.
_DEADLY = SPENT_WORKER | {FailureCause.EXIT, FailureCause.SIGNAL, FailureCause.PROTOCOL}


@dataclass(frozen=True, slots=True)
class Event:
    """One event; ids grow, also over restarts of the service."""

    event_id: int
    kind: str
    ref: CharmRef | None
    #: A view: one of those below.
    data: object


@dataclass(frozen=True, slots=True)
class CharmChange:
    """Something was done to a charm."""

    change: OpenText


@dataclass(frozen=True, slots=True)
class PauseChange:
    """A space, or everything where `space` is empty, was paused or resumed as a whole."""

    change: OpenText
    space: OpenText = ""


@dataclass(frozen=True, slots=True)
class WorkerDeath:
    """A worker died, in a run, by its cause, or between runs, with the code that it ended with."""

    pid: int
    cause: OpenText | None = None
    exit_code: int | None = None
    change: OpenText = "died"


@dataclass(frozen=True, slots=True)
class RunEnd:
    """A run ended, and that is on disk."""

    number: int
    run_id: OpenText
    stream: OpenText
    origin: OpenText
    status: OpenText
    attempt: int
    cause: OpenText | None
    error: CauseInstead
    duration_ms: float
    finished_at: float


class Reader:
    """A place in the ring."""

    def __init__(self, feed: EventFeed, place: int, *, has_missed: bool) -> None:
        self._feed = feed
        self._place = place
        #: Whether events were lost between the one that the reader knew and its place.
        self.has_missed = has_missed
        self.news = asyncio.Event()

    async def read(self, timeout_seconds: float) -> list[Event] | None:
        """Wait for events, up to a time; None when the stream is over for this reader."""
        while True:
            if self._feed.is_closed or self._feed.oldest > self._place:
                return None
            found = self._feed.since(self._place)
            if found:
                self._place = found[-1].event_id + 1
                return found
            self.news.clear()
            try:
                async with asyncio.timeout(timeout_seconds):
                    await self.news.wait()
            except TimeoutError:
                return []

    def leave(self) -> None:
        """Follow no more."""
        self._feed.readers.discard(self)


class EventFeed:
    """The ring, and who follows it; `now` is seconds since the epoch."""

    def __init__(self, now: float, keep: int = KEPT_EVENTS) -> None:
        # Beyond what an earlier life can have given, unless it had a million events a second.
        self._next_id = int(now * 1_000_000)
        self._ring: deque[_Entry] = deque(maxlen=keep)
        self.readers: set[Reader] = set()
        self.followers = Followers()
        self.is_closed = False

    @property
    def oldest(self) -> int:
        """The id of the oldest event that is kept, or of the next one."""
        return self._next_id - len(self._ring)

    def publish(self, kind: str, ref: CharmRef | None, data: object) -> None:
        """Tell everybody who follows; `data` is a view."""
        self._tell(kind, ref, lambda: data)

    def _tell(self, kind: str, ref: CharmRef | None, data: Callable[[], object]) -> None:
        self._ring.append((kind, ref, data))
        self._next_id += 1
        for reader in self.readers:
            reader.news.set()

    def follow(self, after: int | None = None) -> Reader:
        """Follow from now on, or from behind an event that the reader knows."""
        is_known = after is not None and self.oldest - 1 <= after < self._next_id
        place = after + 1 if after is not None and is_known else self._next_id
        reader = Reader(self, place, has_missed=after is not None and not is_known)
        self.readers.add(reader)
        return reader

    def since(self, place: int) -> list[Event]:
        """Give the events from an id on."""
        oldest = self.oldest
        entries = itertools.islice(self._ring, max(0, place - oldest), None)
        first = max(place, oldest)
        return [
            Event(event_id, kind, ref, data())
            for event_id, (kind, ref, data) in enumerate(entries, first)
        ]

    def close(self) -> None:
        """End every stream: the service stops. Closing twice is fine."""
        self.is_closed = True
        for reader in self.readers:
            reader.news.set()

    def idle_worker_died(self, death: IdleDeath) -> None:
        """Tell of a worker that died between runs."""
        self.publish("worker", None, WorkerDeath(death.pid, exit_code=death.exit_code))

    def settled(self, settled: Sequence[Settled]) -> None:
        """Tell of runs whose settlement is on disk."""
        for one in settled:
            self._tell_run(one)

    def _tell_run(self, settled: Settled) -> None:
        job = settled.run.claim.job
        # No more than its record is kept with it: what else a run had is gone at once.
        self._tell("run", job.ref, partial(_about_run, settled.record))
        failure = settled.outcome.failure
        if failure is not None and failure.cause in _DEADLY:
            pid = settled.record.worker
            self.publish("worker", job.ref, WorkerDeath(pid, failure.cause))
        if settled.decision.disables:
            self.publish("charm", job.ref, CharmChange("disabled"))
        if settled.decision.enables:
            self.publish("charm", job.ref, CharmChange("enabled"))


def _about_run(record: RunRecord) -> RunEnd:
    return RunEnd(
        number=record.number,
        run_id=record.run_id,
        stream=record.stream,
        origin=record.origin,
        status=record.status,
        attempt=record.attempt,
        cause=record.cause,
        error=cut(record.error, LINE_ERROR_CHARACTERS, mark=""),
        duration_ms=record.duration_ms,
        finished_at=record.finished_at,
    )

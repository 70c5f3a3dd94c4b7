"""The polls that are live and have no row of their own, as the one process that made them knows.

While one waits, its charm's stored due time stands for it; while it is out, the row of its batch
does. Changed inside a transaction, what is remembered goes back with it. Kept by the queue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

import msgspec

from bg_charm_service.domain.model import POLL_EVENT, CharmRef, Job, Origin, Priority
from bg_charm_service.storage.records import Claim

#: Asked of its enum, a member takes many times as long (Python 3.11), and these are for each run.
_POLL: Final = Origin.POLL

_PRIORITY = int(Priority.EXECUTE_CHARM)

#: Such a poll is handed out once: whatever comes back to the queue gets a row.
_DELIVERIES = _FENCE = 1


class PlainPoll(msgspec.Struct, gc=False):
    """One of them; `batch` is the row that it went out with, 0 while it waits.

    `next_due` is when its charm is due next, as far as was known when it was put.
    """

    job_id: int
    space_key: int
    charm_key: int
    ref: CharmRef
    stream: str
    run_at: float
    scheduled_at: float | None
    created_at: float
    next_due: float
    batch: int = 0
    #: Whether an earlier life of the service had it out.
    is_left: bool = False

    def claim(self) -> Claim:
        """Give it as a claimed job."""
        return Claim(self.job(_DELIVERIES, _FENCE), self.space_key, self.charm_key)

    def job(self, deliveries: int, fence: int) -> Job:
        """Give it as a job."""
        return Job(
            self.job_id,
            self.ref,
            self.stream,
            POLL_EVENT,
            _POLL,
            _PRIORITY,
            self.run_at,
            1,
            deliveries,
            fence,
            self.created_at,
            self.scheduled_at,
        )


class PlainPolls:
    """All of them: by charm, by job, and those that wait by space, the oldest first."""

    def __init__(self, on_rollback: Callable[[Callable[[], None]], None]) -> None:
        self._on_rollback = on_rollback
        self._by_charm: dict[int, PlainPoll] = {}
        self._by_job: dict[int, PlainPoll] = {}
        self._waiting: dict[int, dict[int, PlainPoll]] = {}
        #: For each batch that is out, how many of its polls have not ended.
        self._left: dict[int, int] = {}

    @property
    def by_charm(self) -> Mapping[int, PlainPoll]:
        """The live one of each charm that has one."""
        return self._by_charm

    @property
    def by_job(self) -> Mapping[int, PlainPoll]:
        """Each by its job id."""
        return self._by_job

    @property
    def spaces(self) -> Iterator[int]:
        """The spaces in which some wait."""
        return iter(self._waiting)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    @property
    def out(self) -> int:
        """How many are out."""
        return sum(self._left.values())

    @property
    def batches(self) -> frozenset[int]:
        """The batches that are out."""
        return frozenset(self._left)

    @property
    def claimed(self) -> list[PlainPoll]:
        """Those that are out, by their ids."""
        out = [poll for poll in self._by_job.values() if poll.batch]
        return sorted(out, key=lambda poll: poll.job_id)

    def in_space(self, space_key: int) -> Mapping[int, PlainPoll]:
        """Those that wait in a space, by charm, the oldest first."""
        return self._waiting.get(space_key, {})

    def waiting_of(self, charm_key: int) -> PlainPoll | None:
        """The one of a charm, if it waits."""
        poll = self._by_charm.get(charm_key)
        return poll if poll is not None and not poll.batch else None

    def claimed_as(self, job: Job) -> PlainPoll | None:
        """The one that this claim is of; None where the claim is not the newest."""
        poll = self._by_job.get(job.job_id)
        return poll if poll is not None and poll.batch and job.fence == _FENCE else None

    def is_owed(self, charm_key: int) -> bool:
        """Whether a charm's stored due time stands for a poll: it must not be moved before that."""
        return charm_key in self._by_charm

    def put(self, polls: Sequence[PlainPoll]) -> None:
        """Add some that wait."""
        for poll in polls:
            self._add(poll)
        self._on_rollback(partial(self._drop, polls))

    def load(self, batch: int, polls: Sequence[PlainPoll]) -> None:
        """Take up those that an earlier life of the service had out."""
        for poll in polls:
            poll.batch = batch
            self._add(poll)
        self._left[batch] = len(polls)

    def take(self, polls: Sequence[PlainPoll], batch: int) -> None:
        """Let some that wait be out, in a batch of their own."""
        for poll in polls:
            poll.batch = batch
            self._stop_waiting(poll)
        self._left[batch] = len(polls)
        self._on_rollback(partial(self._put_back, polls, batch))

    def end(self, polls: Sequence[PlainPoll]) -> list[int]:
        """Forget some that are over, or got rows; gives the batches that are over by that."""
        over = []
        self._drop(polls)
        for poll in polls:
            if poll.batch:
                self._left[poll.batch] -= 1
                if not self._left[poll.batch]:
                    del self._left[poll.batch]
                    over.append(poll.batch)
        self._on_rollback(partial(self._bring_back, polls))
        return over

    def _add(self, poll: PlainPoll) -> None:
        self._by_charm[poll.charm_key] = self._by_job[poll.job_id] = poll
        if not poll.batch:
            self._waiting.setdefault(poll.space_key, {})[poll.charm_key] = poll

    def _drop(self, polls: Sequence[PlainPoll]) -> None:
        for poll in polls:
            del self._by_charm[poll.charm_key], self._by_job[poll.job_id]
            if not poll.batch:
                self._stop_waiting(poll)

    def _stop_waiting(self, poll: PlainPoll) -> None:
        waiting = self._waiting[poll.space_key]
        del waiting[poll.charm_key]
        if not waiting:
            del self._waiting[poll.space_key]

    def _put_back(self, polls: Sequence[PlainPoll], batch: int) -> None:
        """Let those wait again whose claim was undone."""
        del self._left[batch]
        for poll in polls:
            poll.batch = 0
            self._add(poll)
        self._sort({poll.space_key for poll in polls})

    def _bring_back(self, polls: Sequence[PlainPoll]) -> None:
        """Let those be live again whose end was undone."""
        for poll in polls:
            self._add(poll)
            if poll.batch:
                self._left[poll.batch] = self._left.get(poll.batch, 0) + 1
        self._sort({poll.space_key for poll in polls if not poll.batch})

    def _sort(self, space_keys: set[int]) -> None:
        """Let the oldest be the first again."""
        for space_key in space_keys:
            waiting = self._waiting[space_key].values()
            ordered = sorted(waiting, key=lambda poll: poll.job_id)
            self._waiting[space_key] = {poll.charm_key: poll for poll in ordered}

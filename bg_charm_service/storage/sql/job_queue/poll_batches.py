"""Polls without rows of their own, as far as the table knows of them: the rows of their batches.

Writes the row of a batch, ends it with the last of its polls, and gives a poll a row of its own as
soon as anything happens to it. Who is live is kept by `PlainPolls`. Used by the queue alone, which
counts and hints, inside its transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from bg_charm_service.domain.model import CharmRef, Job
from bg_charm_service.storage.records import NewJob, PollEnd
from bg_charm_service.storage.sql.database import Database
from bg_charm_service.storage.sql.job_queue import sql
from bg_charm_service.storage.sql.keys import json_keys
from bg_charm_service.storage.sql.plain_polls import PlainPoll

#: So many ids are reserved at a time: that is a page of its own to write. A kill leaves out what is
#: left of them.
_RESERVED_IDS = 64

#: Batches that are over are deleted so many at a time, for the same reason, and so many are kept.
_PRUNED_BATCHES = _KEPT_BATCHES = 100


class JobIds:
    """Gives ids, each once, in the order in which they are asked for: of jobs and of batches."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._next = 1
        #: The newest that is reserved.
        self._end = 0

    def take(self, count: int = 1) -> int:
        """Give the first of so many that follow each other."""
        while self._next + count - 1 > self._end:
            self._reserve(self._next + count - 1 - self._end + _RESERVED_IDS)
        first, self._next = self._next, self._next + count
        return first

    def _reserve(self, count: int) -> None:
        (end,) = self._database.row(sql.RESERVE, (count,))
        if end - count != self._end:
            # The first of this life of the service.
            self._next = end - count + 1
        self._database.on_rollback(partial(setattr, self, "_end", self._end))
        self._end = end

    def give_back(self) -> None:
        """Let the next life of the service go on with the id that is next here."""
        if self._next <= self._end:
            self._database.execute(sql.GIVE_BACK, (self._next - 1, self._end))
            self._end = self._next - 1


class FinishedRows:
    """The rows that are over: the newest are kept."""

    def __init__(self, database: Database, keep: int) -> None:
        self._database = database
        self._keep = keep
        #: Batches that are over, the oldest first.
        self._batches: list[int] = []

    def prune_later(self) -> None:
        """Delete what is not kept with the commit of the transaction that is open."""
        self._database.before_commit(self._prune)

    def add_batches(self, batches: Sequence[int]) -> None:
        """Take note of batches that are over, and delete old ones, now and then."""
        before, known = self._batches, [*self._batches, *batches]
        if len(known) >= _KEPT_BATCHES + _PRUNED_BATCHES:
            self._database.execute(sql.DROP_BATCHES, (json_keys(known[:_PRUNED_BATCHES]),))
            del known[:_PRUNED_BATCHES]
        self._database.on_rollback(partial(setattr, self, "_batches", before))
        self._batches = known

    def _prune(self) -> None:
        self._database.execute(sql.DROP_OLD_DONE, (self._keep,))


class PollBatches:
    """Plain polls, and the rows that they go out with."""

    def __init__(self, database: Database, finished: FinishedRows, ids: JobIds) -> None:
        self._database = database
        self._finished = finished
        self._ids = ids
        self._due_times = database.sole_writer.due_times
        self._polls = database.sole_writer.plain_polls

    def load(self) -> None:
        """Take up the polls that an earlier life of the service had out."""
        for batch, status, data, created_at, space_key in self._database.rows(sql.FIND_BATCHES):
            if status == sql.DONE:
                self._finished.add_batches([batch])
                continue
            polls = list(sql.polls_of(data))
            keys = json_keys([charm_key for _, _, charm_key, *_ in polls])
            known = {key: rest for key, *rest in self._database.rows(sql.FIND_LAST_POLLS, (keys,))}
            left = []
            for stream, job_id, charm_key, run_at, scheduled_at, next_due in polls:
                space, charm_id, last_poll = known.get(charm_key, ("", "", job_id))
                if last_poll < job_id:
                    one = PlainPoll(
                        job_id,
                        space_key,
                        charm_key,
                        CharmRef(space, charm_id),
                        stream,
                        run_at,
                        scheduled_at,
                        created_at,
                        next_due,
                        is_left=True,
                    )
                    left.append(one)
            if left:
                self._polls.load(batch, left)

    def put(self, polls: Sequence[NewJob], now: float) -> None:
        """Remember polls that have ids and no rows; a crash leaves their charms due."""
        first = self._ids.take(len(polls))
        self._polls.put(
            [
                PlainPoll(
                    job_id,
                    poll.space_key,
                    poll.charm_key,
                    poll.ref,
                    poll.stream,
                    poll.run_at,
                    poll.scheduled_at,
                    now,
                    poll.next_due or poll.run_at,
                )
                for job_id, poll in enumerate(polls, first)
            ]
        )

    def take(self, polls: Sequence[PlainPoll], now: float) -> None:
        """Let polls that wait be out, which one row says of all of them."""
        batch = self._ids.take()
        self._database.execute(sql.INSERT_BATCH, sql.batch_of(batch, polls, now))
        self._polls.take(polls, batch)

    def end(self, polls: Sequence[PlainPoll]) -> None:
        """Forget polls that are over; what is stored with their charms is the caller's."""
        over = self._polls.end(polls)
        if over:
            self._database.executemany(sql.END_BATCH, [(batch,) for batch in over])
            self._finished.add_batches(over)

    def end_of(self, poll: PlainPoll) -> PollEnd:
        """Give what is to be stored with a poll's end."""
        due_at = poll.next_due if poll.is_left else self._due_times.at(poll.charm_key)
        return PollEnd(poll.job_id, due_at)

    def drop(self, polls: Sequence[PlainPoll]) -> int:
        """End polls, store that with their charms, and say how many they were."""
        ends = [(*self.end_of(poll), poll.charm_key) for poll in polls]
        self._database.executemany(sql.END_POLL, ends)
        self.end(polls)
        return len(polls)

    def write_out(self, poll: PlainPoll, status: int, job: Job) -> None:
        """Give a poll a row, which says of it what counts from now on."""
        self._database.execute(sql.WRITE_OUT, sql.row_of(poll, status, job))
        self.drop([poll])

    def give_row(self, charm_key: int) -> bool:
        """Let the poll of a charm have a row, if it has none; says whether it is out."""
        poll = self._polls.by_charm.get(charm_key)
        if poll is None:
            return False
        if poll.batch:
            self.write_out(poll, sql.CLAIMED, poll.claim().job)
        else:
            self.write_out(poll, sql.READY, poll.job(0, 0))
        return poll.batch != 0

    def drop_waiting(self, charm_key: int) -> int:
        """Drop the poll of a charm, if it waits without a row, and say how many that are."""
        poll = self._polls.waiting_of(charm_key)
        return self.drop([] if poll is None else [poll])

"""The durable job queue: put, claim, and end a claim by ack, retry, release or bury.

Beside what a stock queue has: priority, `run_at`, attempts, unique polls, claims in
batches with fencing, order of sends, dead letters. Every method joins the transaction around it;
none commits by itself, and what is remembered of the table changes when it has committed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import suppress
from functools import partial
from heapq import nsmallest
from itertools import islice
from operator import itemgetter
from typing import Any

from msgspec.structs import replace

from bg_charm_service.domain.errors import ClaimLost, Conflict, StorageError
from bg_charm_service.domain.model import CharmRef, Job, Origin
from bg_charm_service.storage.records import (
    KEEP_DONE,
    MOST_DEAD_SENDS,
    NOTHING_PAUSED,
    SUSPECT_DELIVERIES,
    Claim,
    IsPaused,
    JobChoice,
    NewJob,
    Pausing,
    PollEnd,
    QueuedJob,
)
from bg_charm_service.storage.sql.database import Database
from bg_charm_service.storage.sql.job_queue import sql
from bg_charm_service.storage.sql.job_queue.poll_batches import FinishedRows, JobIds, PollBatches
from bg_charm_service.storage.sql.job_queue.ready_jobs import ReadyJobs
from bg_charm_service.storage.sql.keys import json_keys
from bg_charm_service.storage.sql.plain_polls import PlainPoll


class JobQueue:
    """Jobs of all charms, claimed space by space."""

    def __init__(self, database: Database, *, keep_done: int = KEEP_DONE) -> None:
        self._database = database
        self._backlog = database.sole_writer.backlog
        self._plain = database.sole_writer.plain_polls
        self._finished = FinishedRows(database, keep_done)
        self._ids = JobIds(database)
        self._batches = PollBatches(database, self._finished, self._ids)
        self._ready = ReadyJobs(database)
        self._notes_integrations = False
        #: Committed dead letters of polls: nearly always there are none to look for.
        self._dead_polls = 0
        self._batches.load()
        self.recount()

    def close(self) -> None:
        """Let the ids that were not given be the next ones; the connection is the database's."""
        with suppress(StorageError):
            self._ids.give_back()

    def recount(self) -> None:
        """Count and hint anew, after a repair changed the table."""
        counted: dict[int, int] = dict(self._database.rows(sql.COUNT_ALL))
        waiting = self._plain.waiting
        self._backlog.recount(
            pending=counted.get(sql.READY, 0) + waiting,
            claimed=counted.get(sql.CLAIMED, 0) + len(self._plain.by_job) - waiting,
            dead=counted.get(sql.DEAD, 0),
        )
        (self._dead_polls,) = self._database.row(sql.COUNT_DEAD_POLLS)
        self._ready.recount()
        self._rehint(self._database.rows(sql.WAITING))

    @property
    def pending(self) -> int:
        """Committed jobs that wait."""
        return self._backlog.pending

    @property
    def claimed(self) -> int:
        """Committed jobs that run."""
        return self._backlog.claimed

    @property
    def dead(self) -> int:
        """Committed dead letters."""
        return self._backlog.dead

    def hot_spaces(self, now: float, *, without: Set[str] = frozenset()) -> set[int]:
        """Spaces that may have a job ready now, of other integrations than these."""
        return self._backlog.hot_spaces(now, without=without)

    def spaces_left_hot(self) -> set[int]:
        """Spaces that were hot at the last look and not found empty by it."""
        return self._backlog.spaces_left_hot()

    def ready_since(self, now: float) -> float | None:
        """Since when the oldest job that is ready may have been ready; None when none is."""
        return self._backlog.ready_since(now)

    def next_run_at(self) -> float | None:
        """When the next waiting job's time comes; None when none waits."""
        return self._backlog.next_run_at()

    def look_everywhere(self) -> None:
        """Take it that each space with a job that may run has one ready now."""
        for (space_key,) in self._database.rows(sql.LOOK_EVERYWHERE):
            self._hint(space_key, 0.0)
        self._hint_all(self._plain.spaces, 0.0)

    def look_again(self, space_key: int) -> None:
        """Take it that a space may have a job ready now."""
        self._hint(space_key, 0.0)

    def has_suspect(self, now: float, *, is_paused: IsPaused | None = None) -> bool:
        """Whether `claim_suspect` would find one."""
        return bool(self._ready.suspect(now, is_paused))

    def is_live(self, job_id: int) -> bool:
        """Whether a job waits or runs."""
        return job_id in self._plain.by_job or (
            self._database.row(sql.IS_LIVE, (job_id,)) is not None
        )

    def holds(self, job: Job) -> bool:
        """Whether a job's claim is still the newest one; a late answer is refused by this."""
        if self._plain.claimed_as(job) is not None:
            return True
        return self._database.row(sql.HOLDS, (job.job_id, job.fence)) is not None

    def claimed_jobs(self) -> list[Claim]:
        """Jobs that are claimed: at start, those of the last supervisor, for it to rescue."""
        claims = [sql.claim_of(row) for row in self._database.rows(sql.FIND_CLAIMED)]
        claims += [poll.claim() for poll in self._plain.claimed]
        return sorted(claims, key=lambda claim: claim.job.job_id)

    def batches_out(self) -> frozenset[int]:
        """The rows of the batches whose polls are not all over."""
        return self._plain.batches

    def find(self, job_id: int) -> Claim | None:
        """Look a job up by its id, whatever its status; a plain poll that is over is none."""
        poll = self._plain.by_job.get(job_id)
        if poll is not None:
            return (
                poll.claim()
                if poll.batch
                else Claim(poll.job(0, 0), poll.space_key, poll.charm_key)
            )
        row = self._database.row(sql.FIND, (job_id,))
        return sql.claim_of(row) if row else None

    def dead_letters(self, after: int = 0, limit: int = 100) -> list[Claim]:
        """The dead letters of all charms, oldest first, from behind job id `after`."""
        rows = self._database.rows(sql.FIND_DEAD, (after, limit))
        return [sql.dead_letter_of(row) for row in rows]

    def dead_letters_of(self, charm_key: int, after: int = 0, limit: int = 100) -> list[Claim]:
        """The dead letters of a charm, oldest first, from behind job id `after`."""
        rows = self._database.rows(sql.FIND_DEAD_OF, (charm_key, after, limit))
        return [sql.dead_letter_of(row) for row in rows]

    def count_dead_letters(self, charm_key: int) -> int:
        """How many dead letters a charm has."""
        (count,) = self._database.row(sql.COUNT_DEAD_OF, (charm_key,))
        return int(count)

    def has_room_for_dead(self, charm_key: int) -> bool:
        """Whether one more event of a charm may become a dead letter."""
        if self._backlog.dead < MOST_DEAD_SENDS:
            return True
        (count,) = self._database.row(sql.COUNT_DEAD_SENDS, (charm_key,))
        return int(count) < MOST_DEAD_SENDS

    def waiting(self, charm_key: int) -> int:
        """How many jobs of a charm wait or run."""
        (count,) = self._database.row(sql.COUNT_LIVE, (charm_key,))
        return int(count) + (charm_key in self._plain.by_charm)

    def has_waiting(self, charm_key: int, most: int) -> bool:
        """Whether so many jobs of a charm, or more, wait or run."""
        (count,) = self._database.row(sql.COUNT_SOME_LIVE, (charm_key, most))
        return int(count) >= most

    def live_polls(self, charm_keys: Sequence[int]) -> set[int]:
        """Those of the charms that have a poll waiting, running or between retries."""
        rows = self._database.rows(sql.FIND_LIVE_POLLS, (json_keys(charm_keys),))
        plain = self._plain.by_charm
        return {key for key in charm_keys if key in plain} | {row[0] for row in rows}

    def put_poll(
        self,
        space_key: int,
        charm_key: int,
        ref: CharmRef,
        stream: str,
        event: bytes,
        *,
        origin: Origin,
        run_at: float,
        now: float,
    ) -> int | None:
        """Queue a poll; None when the charm has a live one already, which is left alone."""
        if charm_key in self._plain.by_charm:
            return None
        return self._insert(NewJob(space_key, charm_key, ref, stream, event, run_at, origin), now)

    def put_polls(self, polls: Sequence[NewJob], *, now: float) -> None:
        """Queue polls of charms that have no live one; they may be claimed at once.

        With each is stored when its charm is due next, at its end where the poll is plain.
        """
        if not polls:
            return
        is_noted = self._notes_integrations
        plain = [] if is_noted else [poll for poll in polls if poll.is_plain]
        others = polls if is_noted else [poll for poll in polls if not poll.is_plain]
        if others:
            ids = itertools.count(self._ids.take(len(others)))
            jobs = [
                sql.columns_of(poll, job_id, now, is_noted=is_noted)
                for poll, job_id in zip(others, ids, strict=False)
            ]
            self._database.executemany(sql.INSERT, jobs)
            moved = [(poll.next_due, poll.charm_key) for poll in others]
            self._database.executemany(sql.MOVE_DUE, moved)
        if plain:
            self._batches.put(plain, now)
        self._database.after_commit(partial(self._tally, pending=len(polls)))
        earliest = min(poll.run_at for poll in polls)
        for space_key in {poll.space_key for poll in polls}:
            # Not only once this is committed: those that are claimed in the same transaction share
            # its commit. Where it is undone instead, the hint costs a look.
            self._backlog.hint(earliest, space_key)

    def put_send(
        self,
        space_key: int,
        charm_key: int,
        ref: CharmRef,
        stream: str,
        event: bytes,
        *,
        run_at: float,
        now: float,
        is_held: bool,
        not_before: float = 0.0,
        is_accepted: bool = False,
    ) -> int:
        """Queue an event behind the charm's earlier ones; `is_held` while the charm is disabled.

        The first in line runs `not_before` a moment. Raises Conflict where a charm has as many
        dead letters of events as are kept, unless the event was accepted before.
        """
        if not is_accepted and not self.has_room_for_dead(charm_key):
            raise Conflict(
                f"{ref} takes no more events: {MOST_DEAD_SENDS:,} of them were given up. Requeue "
                f"or drop them: `bg-charm-service dead-letters requeue {ref}`, or `drop`."
            )
        held = is_held or self._database.row(sql.FIND_SEND, (charm_key,)) is not None
        if not held:
            run_at = max(run_at, not_before)
        origin = Origin.SEND
        job = NewJob(space_key, charm_key, ref, stream, event, run_at, origin, is_held=held)
        job_id = self._insert(job, now)
        assert job_id is not None
        return job_id

    def note_integrations(self) -> None:
        """Note of each job whose its charm is, so that claims can leave out integrations."""
        self._notes_integrations = True
        self._database.execute(sql.NOTE_INTEGRATIONS)

    def claim(
        self,
        space_key: int,
        limit: int,
        now: float,
        *,
        without: Set[str] = frozenset(),
        choose: JobChoice | None = None,
        pausing: Pausing = NOTHING_PAUSED,
    ) -> Sequence[Claim]:
        """Take up to `limit` ready jobs of a space, one a charm: by priority, then age.

        Those of the integrations `without` which it is, once they are noted, wait on, and so do
        those that `choose` leaves out, and those of what is paused.
        """
        claims: Sequence[Claim]
        claims, is_all, oldest = self._ready.in_space(space_key, limit, now, without, pausing)
        if choose is not None and claims:
            chosen = choose(claims)
            is_all = is_all and len(chosen) == len(claims)
            claims = chosen
        if is_all:
            cool = partial(self._backlog.cool, space_key, frozenset(without))
            self._database.after_commit(cool)
        elif claims:
            # What was not seen was put later, and so became ready later; but for retries.
            self._database.after_commit(partial(self._backlog.advance, space_key, oldest))
        self._take(claims, now)
        return claims

    def claim_job(self, job_id: int, *, is_alone: bool = False) -> Claim | None:
        """Take one job by its id, whatever its time; a suspect only where it is to run alone."""
        poll = self._plain.by_job.get(job_id)
        if poll is not None:
            if poll.batch or self._ready.is_busy(poll.charm_key):
                return None
            claim = poll.claim()
            self._take([claim], claim.job.run_at)
            return claim
        found = self._database.rows(sql.FIND_WAITING, (job_id, is_alone))
        return next(iter(self._claim(found)), None)

    def claim_suspect(self, now: float, *, is_paused: IsPaused | None = None) -> Claim | None:
        """Take one job that several supervisors died with; it is to run alone."""
        return next(iter(self._claim(self._ready.suspect(now, is_paused))), None)

    def ack(self, claim: Claim) -> bool:
        """End a claim as done; False when it is not the newest, and nothing was changed."""
        if not self._settle(sql.DONE, claim):
            return False
        self._finished.prune_later()
        return True

    def ack_all(self, claims: Sequence[Claim]) -> dict[int, PollEnd]:
        """End claims of polls as done; raises ClaimLost, with some of it written, for a late one.

        The caller undoes what was written then. Gives what is to be stored with the health of some
        of their charms, by key.
        """
        by_job = self._plain.by_job
        rows = [claim for claim in claims if claim.job.job_id not in by_job]
        if rows:
            ends = [(sql.DONE, claim.job.job_id, claim.job.fence) for claim in rows]
            if self._database.executemany(sql.SETTLE, ends).rowcount != len(ends):
                raise ClaimLost
            self._finished.prune_later()
            self._ready.set_busy([claim.charm_key for claim in rows], is_busy=False)
        plain = [by_job[claim.job.job_id] for claim in claims if claim.job.job_id in by_job]
        if any(not poll.batch for poll in plain):
            raise ClaimLost
        self._batches.end(plain)
        self._database.after_commit(partial(self._tally, claimed=-len(claims)))
        self._hint_all((claim.space_key for claim in claims), 0.0)
        return {poll.charm_key: self._batches.end_of(poll) for poll in plain}

    def retry(self, claim: Claim, run_at: float) -> bool:
        """End a claim and let the job run again at `run_at`, as its next attempt."""
        return self._put_back(claim, run_at, claim.job.attempt + 1, deliveries=0)

    def release(self, claim: Claim, run_at: float) -> bool:
        """Give a job back unharmed: same attempt, and this delivery does not count."""
        return self._put_back(claim, run_at, claim.job.attempt, claim.job.deliveries - 1)

    def rescue(self, claim: Claim, run_at: float) -> bool:
        """Give a dead supervisor's job back to the queue; the delivery stays counted."""
        return self._put_back(claim, run_at, claim.job.attempt, claim.job.deliveries)

    def suspect(self, job_id: int) -> None:
        """Let a claimed job be a suspect if it is rescued; any other is left as it is."""
        poll = self._plain.by_job.get(job_id)
        if poll is None:
            self._database.execute(sql.SUSPECT, (job_id,))
        elif poll.batch:
            job = poll.job(SUSPECT_DELIVERIES, 1)
            self._batches.write_out(poll, sql.CLAIMED, job)
            self._ready.set_busy([poll.charm_key], is_busy=True)

    def bury(self, claim: Claim, error: str = "", cause: str = "") -> bool:
        """End a claim as a dead letter: the newest of a charm's polls replaces an older one.

        `error` is what its last attempt failed with, and `cause` of which kind that was.
        """
        poll = self._plain.claimed_as(claim.job)
        if poll is not None:
            self._batches.write_out(poll, sql.DEAD, claim.job)
            self._free(claim, pending=0)
        elif not self._settle(sql.DEAD, claim):
            return False
        if error or cause:
            self._database.execute(sql.NOTE_ERROR, (error, cause, claim.job.job_id))
        is_poll = claim.job.origin is not Origin.SEND
        self._database.after_commit(lambda: self._tally_dead(1, polls=int(is_poll)))
        if is_poll:
            self._drop_dead_poll(claim.charm_key, but=claim.job.job_id)
        return True

    def drop_dead_poll(self, charm_key: int) -> None:
        """Forget the dead letter of a charm's poll, as a later success does."""
        self._drop_dead_poll(charm_key, but=0)

    def drop_dead_polls(self, charm_keys: Sequence[int]) -> None:
        """Forget the dead letters of charms' polls, as a later success does."""
        # Those charms had a run out: none of them became a dead letter in this transaction.
        if self._dead_polls:
            rows = [(charm_key, 0) for charm_key in charm_keys]
            dropped = self._database.executemany(sql.DROP_DEAD_POLL, rows).rowcount
            self._database.after_commit(lambda: self._tally_dead(-dropped, polls=-dropped))

    def drop_dead_letter(self, job_id: int) -> bool:
        """Drop one dead letter for good; says whether there was one."""
        letter = self.find(job_id)
        if letter is None or not self._database.execute(sql.DROP_DEAD, (job_id,)).rowcount:
            return False
        is_poll = letter.job.origin is not Origin.SEND
        self._database.after_commit(lambda: self._tally_dead(-1, polls=-int(is_poll)))
        return True

    def requeue(self, job_id: int, now: float) -> int | None:
        """Bring a dead letter back; None where it is none, or its charm has a live poll.

        It becomes a new job, so that its runs get ids of their own. A send goes behind those that
        wait, and waits with them while the charm is disabled; a poll runs all the same.
        """
        letter = self.find(job_id)
        if letter is None:
            return None
        if letter.job.origin is not Origin.SEND and letter.charm_key in self._plain.by_charm:
            return None
        new_id = self._ids.take()
        job = {
            "new": new_id,
            "dead": job_id,
            "now": now,
            "charm": letter.charm_key,
            "is_noted": self._notes_integrations,
        }
        if self._database.execute(sql.REQUEUE, job).rowcount == 0:
            return None
        self._database.after_commit(lambda: self._tally(pending=1))
        self._hint(letter.space_key, now)
        self.drop_dead_letter(job_id)
        return new_id

    def put_off(self, space_key: int, charm_key: int, until: float) -> None:
        """Let a charm's waiting poll, and the first of its sends, run no sooner than a moment.

        A run that a person has asked for is left alone.
        """
        self.write_out(charm_key)
        if self._database.execute(sql.PUT_OFF, {"charm": charm_key, "until": until}).rowcount:
            self._hint(space_key, until)

    def bring_on(self, space_key: int, charm_key: int, was: float, until: float) -> None:
        """Let what was put off until one moment run from another one on."""
        moments = {"charm": charm_key, "was": was, "until": until}
        if self._database.execute(sql.BRING_ON, moments).rowcount:
            self._hint(space_key, until)

    def hasten(self, charm_key: int, now: float) -> int | None:
        """Let a charm's waiting poll run now; gives the live poll's job id, None without one."""
        poll = self._plain.by_charm.get(charm_key)
        if poll is not None and poll.batch:
            return poll.job_id
        self.write_out(charm_key)
        row = self._database.row(sql.FIND_POLL, (charm_key,))
        if row is None:
            return None
        job_id, status, space_key = row
        if status == sql.READY:
            self._database.execute(sql.HASTEN, (now, job_id))
            self._hint(space_key, now)
        return int(job_id)

    def hasten_jobs(self, wanted: Mapping[int, int], now: float) -> None:
        """Let those of some jobs run now that wait for their time; by job, the key of its space."""
        for job_id, space_key in wanted.items():
            if self._database.execute(sql.HASTEN_WAITING, (now, job_id, now)).rowcount:
                self._hint(space_key, now)

    def hold(self, charm_key: int) -> None:
        """Take a disabled charm's waiting poll out and keep its sends from running.

        A job under way may end, but does not come back: a poll is dropped then, a send waits.
        """
        self.drop_waiting_poll(charm_key)
        self.write_out(charm_key)
        self._database.execute(sql.HOLD, (charm_key,))
        self._database.execute(sql.HOLD_DEAD, (charm_key,))

    def drop_poll(self, charm_key: int) -> None:
        """Take an unregistered charm's poll out; one under way may end, but is not retried."""
        self.drop_waiting_poll(charm_key)
        self.write_out(charm_key)
        self._database.execute(sql.HOLD_POLL, (charm_key,))

    def unhold(self, space_key: int, charm_key: int, now: float) -> None:
        """Undo `hold`: the charm's first waiting send may run."""
        self._database.execute(sql.UNHOLD, {"charm": charm_key})
        self._database.execute(sql.UNHOLD_DEAD, (charm_key,))
        self._hint(space_key, now)

    def drop_some_polls(self, space_key: int, limit: int) -> int:
        """Take up to so many waiting polls of a space out, and say how many."""
        dropped = self._database.execute(sql.DROP_SOME_POLLS, (space_key, limit)).rowcount
        plain = islice(self._plain.in_space(space_key).values(), limit - dropped)
        dropped += self._batches.drop(list(plain))
        self._database.after_commit(lambda: self._tally(pending=-dropped))
        return dropped

    def newest(self) -> int:
        """The id of the newest job; 0 without any."""
        (newest,) = self._database.row(sql.NEWEST)
        return int(newest)

    def drop_waiting_poll(self, charm_key: int) -> None:
        """Take a charm's waiting poll out; one under way goes on as if nothing was."""
        dropped = self._database.execute(sql.DROP_POLL, (charm_key,)).rowcount
        dropped += self._batches.drop_waiting(charm_key)
        self._database.after_commit(lambda: self._tally(pending=-dropped))

    def page(self, after: int, limit: int, *, charm_key: int | None = None) -> list[QueuedJob]:
        """Jobs from behind an id, by their ids, whatever their status; of all charms, or of one."""
        parameters = {"after": after, "limit": limit}
        if charm_key is None:
            rows = self._database.rows(sql.LIST_ALL, parameters)
        else:
            parameters["charm"] = charm_key
            found = [self._database.rows(each, parameters) for each in sql.LIST_OF_CHARM]
            rows = sorted(itertools.chain(*found), key=itemgetter(0))[:limit]
        jobs = [sql.listed(row, self._data) for row in rows]
        if charm_key is None:
            of_all = self._plain.by_job
            plain = [of_all[key] for key in nsmallest(limit, (k for k in of_all if k > after))]
        else:
            one = self._plain.by_charm.get(charm_key)
            plain = [one] if one is not None and one.job_id > after else []
        if plain:
            jobs += map(sql.shown, plain)
            jobs = sorted(jobs, key=lambda job: job.job_id)[:limit]
        return jobs

    def write_out(self, charm_key: int) -> None:
        """Let no poll of a charm rest on its due time any more, since that is about to move."""
        if self._batches.give_row(charm_key):
            self._ready.set_busy([charm_key], is_busy=True)

    def withdraw(self, charm_key: int, job_ids: Sequence[int]) -> int:
        """Delete those of some jobs of a charm that wait; gives how many did.

        What waited behind them may run then.
        """
        keys = (json_keys(job_ids),)
        has_first = self._database.row(sql.HAS_FIRST, keys) is not None
        withdrawn = self._database.execute(sql.DROP_SOME, keys).rowcount
        poll = self._plain.waiting_of(charm_key)
        if poll is not None and poll.job_id in job_ids:
            withdrawn += self._batches.drop([poll])
        self._database.after_commit(lambda: self._tally(pending=-withdrawn))
        if has_first:
            self._database.execute(sql.RELEASE_FIRST, {"charm": charm_key})
        return withdrawn

    def discard(self, charm_key: int) -> None:
        """Delete every job of a removed charm that is not claimed, dead letters too."""
        (polls,) = self._database.row(sql.COUNT_DEAD_POLLS_OF, (charm_key,))
        dead = self._database.execute(sql.DROP_ALL_DEAD, (charm_key,)).rowcount
        self._database.after_commit(lambda: self._tally_dead(-dead, polls=-polls))
        dropped = self._database.execute(sql.DROP_WAITING, (charm_key,)).rowcount
        dropped += self._batches.drop_waiting(charm_key)
        self._database.after_commit(lambda: self._tally(pending=-dropped))

    def forget_deliveries(self) -> None:
        """Let no waiting job be a suspect: those that are count as never handed out."""
        self._database.execute(sql.FORGET_DELIVERIES)

    def bring_near(self, now: float, latest: float) -> None:
        """Let no retry wait beyond `latest`, and no other job for its time at all."""
        self._database.execute(sql.BRING_NEAR, (latest,))
        self._database.execute(sql.BRING_TO_NOW, (now,))
        waiting = self._database.rows(sql.WAITING)
        self._database.after_commit(lambda: self._rehint(waiting))

    def _insert(self, job: NewJob, now: float) -> int | None:
        job_id = self._ids.take()
        columns = sql.columns_of(job, job_id, now, is_noted=self._notes_integrations)
        cursor = self._database.execute(sql.INSERT, columns)
        if cursor.rowcount == 0:
            return None
        self._database.after_commit(lambda: self._tally(pending=1))
        self._hint(job.space_key, job.run_at)
        return job_id

    def _data(self, job_id: int) -> bytes:
        (data,) = self._database.row(sql.DATA, (job_id,))
        return bytes(data)

    def _claim(self, found: Sequence[Any]) -> list[Claim]:
        claims = [sql.claim_of(row, deliveries=1) for row in found]
        claims = [claim for claim in claims if not self._ready.is_out(claim.charm_key)]
        self._take(claims, 0.0)
        return claims

    def _take(self, claims: Sequence[Claim], now: float) -> None:
        if not claims:
            return
        by_job = self._plain.by_job
        rows = [claim for claim in claims if claim.job.job_id not in by_job]
        if rows:
            self._database.executemany(sql.CLAIM, [(claim.job.job_id,) for claim in rows])
            self._ready.set_busy([claim.charm_key for claim in rows], is_busy=True)
        plain = [by_job[claim.job.job_id] for claim in claims if claim.job.job_id in by_job]
        if plain:
            self._batches.take(plain, now)
        taken = len(claims)
        self._database.after_commit(partial(self._tally, pending=-taken, claimed=taken))

    def _settle(self, status: int, claim: Claim) -> bool:
        job = claim.job
        poll = self._plain.claimed_as(job)
        if poll is not None:
            self._batches.drop([poll])
            self._free(claim, pending=0)
            return True
        if self._database.execute(sql.SETTLE, (status, job.job_id, job.fence)).rowcount == 0:
            return False
        if job.origin is Origin.SEND:
            self._database.execute(
                sql.RELEASE_NEXT_SEND, {"charm": claim.charm_key, "settled": job.job_id}
            )
        self._ready.set_busy([claim.charm_key], is_busy=False)
        self._free(claim, pending=0)
        return True

    def _put_back(self, claim: Claim, run_at: float, attempt: int, deliveries: int) -> bool:
        job = claim.job
        poll = self._plain.claimed_as(job)
        if poll is not None:
            return self._put_back_plain(poll, claim, run_at, attempt, deliveries)
        newest = (job.job_id, job.fence)
        if self._database.execute(sql.DROP_HELD_POLL, newest).rowcount:
            self._ready.set_busy([claim.charm_key], is_busy=False)
            self._free(claim, pending=0)
            return True
        changes = (run_at, attempt, deliveries)
        if self._database.execute(sql.PUT_BACK, (*changes, *newest)).rowcount == 0:
            return False
        self._ready.set_busy([claim.charm_key], is_busy=False)
        self._free(claim, pending=1)
        self._hint(claim.space_key, run_at)
        return True

    def _put_back_plain(
        self, poll: PlainPoll, claim: Claim, run_at: float, attempt: int, deliveries: int
    ) -> bool:
        """Give a plain poll that comes back a row."""
        job = replace(claim.job, run_at=run_at, attempt=attempt, deliveries=deliveries)
        self._batches.write_out(poll, sql.READY, job)
        self._free(claim, pending=1)
        self._hint(claim.space_key, run_at)
        return True

    def _free(self, claim: Claim, *, pending: int) -> None:
        self._hint(claim.space_key, 0.0)  # The charm is idle: what waited for that may run now.
        self._database.after_commit(lambda: self._tally(pending=pending, claimed=-1))

    def _drop_dead_poll(self, charm_key: int, *, but: int) -> None:
        dropped = self._database.execute(sql.DROP_DEAD_POLL, (charm_key, but)).rowcount
        self._database.after_commit(lambda: self._tally_dead(-dropped, polls=-dropped))

    def _rehint(self, waiting: Iterable[tuple[float, int]]) -> None:
        plain = [(0.0, space_key) for space_key in self._plain.spaces]
        self._backlog.rehint([*waiting, *plain])

    def _hint(self, space_key: int, run_at: float) -> None:
        self._database.after_commit(lambda: self._backlog.hint(run_at, space_key))

    def _hint_all(self, space_keys: Iterable[int], run_at: float) -> None:
        for space_key in set(space_keys):
            self._hint(space_key, run_at)

    def _tally_dead(self, dead: int, *, polls: int) -> None:
        self._dead_polls += polls
        self._tally(dead=dead)

    def _tally(self, *, pending: int = 0, claimed: int = 0, dead: int = 0) -> None:
        self._backlog.tally(pending=pending, claimed=claimed, dead=dead)

"""The durable job queue: put, claim, and end a claim by ack, retry, release or bury.

Adds what stock persist-queue lacks: priority, `run_at`, attempts, unique polls, claims in
batches with fencing, order of sends, dead letters. Every method joins the transaction around it;
none commits by itself, and what is remembered of the table changes when it has committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from functools import partial
from typing import Any

from bg_charm_service.domain.errors import ClaimLost
from bg_charm_service.domain.model import CharmRef, Job, Origin
from bg_charm_service.storage.records import KEEP_DONE, Claim, JobChoice, NewJob
from bg_charm_service.storage.sqlite.database import Database
from bg_charm_service.storage.sqlite.job_queue import sql
from bg_charm_service.storage.sqlite.job_queue.persist_queue import StockQueue
from bg_charm_service.storage.sqlite.keys import json_keys


class JobQueue(StockQueue):
    """Jobs of all charms, claimed space by space."""

    def __init__(self, database: Database, *, keep_done: int = KEEP_DONE) -> None:
        super().__init__(database)
        self._keep_done = keep_done
        self._backlog = database.sole_writer.backlog
        self._notes_integrations = False
        self.recount()

    def recount(self) -> None:
        """Count and hint anew, after a repair changed the table."""
        counted: dict[int, int] = dict(self._database.rows(sql.COUNT_ALL))
        self._backlog.recount(
            pending=counted.get(sql.READY, 0),
            claimed=counted.get(sql.CLAIMED, 0),
            dead=counted.get(sql.DEAD, 0),
        )
        self._backlog.rehint(self._database.rows(sql.WAITING))

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

    @property
    def size(self) -> int:
        """Jobs that wait, as the stock class calls them."""
        return self._backlog.pending

    def active_size(self) -> int:
        """Jobs that wait or run, as the stock class calls them."""
        return self._backlog.pending + self._backlog.claimed

    def hot_spaces(self, now: float, *, without: Set[str] = frozenset()) -> set[int]:
        """Spaces that may have a job ready now, of other integrations than these."""
        return self._backlog.hot_spaces(now, without=without)

    def spaces_left_hot(self) -> set[int]:
        """Spaces that were hot at the last look and not found empty by it."""
        return self._backlog.spaces_left_hot()

    def next_run_at(self) -> float | None:
        """When the next waiting job's time comes; None when none waits."""
        return self._backlog.next_run_at()

    def has_suspect(self, now: float) -> bool:
        """Whether `claim_suspect` would find one."""
        return self._database.row(sql.FIND_SUSPECT, (now,)) is not None

    def is_live(self, job_id: int) -> bool:
        """Whether a job waits or runs."""
        return self._database.row(sql.IS_LIVE, (job_id,)) is not None

    def holds(self, job: Job) -> bool:
        """Whether a job's claim is still the newest one; a late answer is refused by this."""
        return self._database.row(sql.HOLDS, (job.job_id, job.fence)) is not None

    def claimed_jobs(self) -> list[Claim]:
        """Jobs that are claimed: at start, those of the last supervisor, for it to rescue."""
        return [sql.claim_of(row) for row in self._database.rows(sql.FIND_CLAIMED)]

    def find(self, job_id: int) -> Claim | None:
        """Look a job up by its id, whatever its status."""
        row = self._database.row(sql.FIND, (job_id,))
        return sql.claim_of(row) if row else None

    def dead_letters(self, after: int = 0, limit: int = 100) -> list[Claim]:
        """The dead letters of all charms, oldest first, from behind job id `after`."""
        return [sql.claim_of(row) for row in self._database.rows(sql.FIND_DEAD, (after, limit))]

    def dead_letter(self, charm_key: int) -> Claim | None:
        """The dead letter of a charm, if it has one."""
        row = self._database.row(sql.FIND_DEAD_LETTER, (charm_key,))
        return sql.claim_of(row) if row else None

    def waiting(self, charm_key: int) -> int:
        """How many jobs of a charm wait or run."""
        (count,) = self._database.row(sql.COUNT_LIVE, (charm_key,))
        return int(count)

    def live_polls(self, charm_keys: Sequence[int]) -> set[int]:
        """Those of the charms that have a poll waiting, running or between retries."""
        rows = self._database.rows(sql.FIND_LIVE_POLLS, (json_keys(charm_keys),))
        return {row[0] for row in rows}

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
        return self._insert(NewJob(space_key, charm_key, ref, stream, event, run_at, origin), now)

    def put_polls(self, polls: Sequence[NewJob], *, now: float) -> None:
        """Queue polls of charms that have no live one; they may be claimed at once."""
        if not polls:
            return
        is_noted = self._notes_integrations
        jobs = [sql.columns_of(poll, now, is_noted=is_noted) for poll in polls]
        self._database.executemany(sql.INSERT, jobs)
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
    ) -> int:
        """Queue an event behind the charm's earlier ones; `is_held` while the charm is disabled."""
        held = is_held or self._database.row(sql.FIND_SEND, (charm_key,)) is not None
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
    ) -> Sequence[Claim]:
        """Take up to `limit` ready jobs of a space, one a charm: by priority, then age.

        Those of the integrations `without` which it is, once they are noted, wait on, and so do
        those that `choose` leaves out.
        """
        found, is_all = self._next_ready(space_key, limit, now, without)
        claims: Sequence[Claim] = [sql.claim_of(row, deliveries=1) for row in found]
        if choose is not None and claims:
            chosen = choose(claims)
            is_all = is_all and len(chosen) == len(claims)
            claims = chosen
        if is_all:
            cool = partial(self._backlog.cool, space_key, frozenset(without))
            self._database.after_commit(cool)
        self._take([claim.job.job_id for claim in claims])
        return claims

    def claim_job(self, job_id: int, *, is_alone: bool = False) -> Claim | None:
        """Take one job by its id, whatever its time; a suspect only where it is to run alone."""
        found = self._database.rows(sql.FIND_WAITING, (job_id, is_alone))
        return next(iter(self._claim(found)), None)

    def claim_suspect(self, now: float) -> Claim | None:
        """Take one job that several supervisors died with; it is to run alone."""
        return next(iter(self._claim(self._database.rows(sql.FIND_SUSPECT, (now,)))), None)

    def ack(self, claim: Claim) -> bool:  # type: ignore[override]
        """End a claim as done; False when it is not the newest, and nothing was changed."""
        if not self._settle(sql.DONE, claim):
            return False
        self._database.before_commit(self._prune)
        return True

    def ack_all(self, claims: Sequence[Claim]) -> None:
        """End claims of polls as done; raises ClaimLost, with some of it written, for a late one.

        The caller undoes what was written then.
        """
        rows = [(sql.DONE, claim.job.job_id, claim.job.fence) for claim in claims]
        if self._database.executemany(sql.SETTLE, rows).rowcount != len(rows):
            raise ClaimLost
        self._database.after_commit(partial(self._tally, claimed=-len(claims)))
        self._hint_all((claim.space_key for claim in claims), 0.0)
        self._database.before_commit(self._prune)

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
        self._database.execute(sql.SUSPECT, (job_id,))

    def bury(self, claim: Claim) -> bool:
        """End a claim as a dead letter: the newest of its charm replaces an older one."""
        if not self._settle(sql.DEAD, claim):
            return False
        self._database.after_commit(lambda: self._tally(dead=1))
        self._drop_dead(claim.charm_key, but=claim.job.job_id)
        return True

    def drop_dead_letter(self, charm_key: int) -> None:
        """Forget a charm's dead letter, as a later success does."""
        self._drop_dead(charm_key, but=0)

    def drop_dead_letters(self, charm_keys: Sequence[int]) -> None:
        """Forget the dead letters of charms, as a later success does."""
        # Those charms had a run out: none of them became a dead letter in this transaction.
        if self._backlog.dead:
            rows = [(charm_key, 0) for charm_key in charm_keys]
            dropped = self._database.executemany(sql.DROP_DEAD, rows).rowcount
            self._database.after_commit(partial(self._tally, dead=-dropped))

    def requeue(self, charm_key: int, now: float) -> int | None:
        """Bring a charm's dead letter back; None without one, or with a live poll.

        It becomes a new job, so that its runs get ids of their own. A send goes behind those that
        wait, and waits with them while the charm is disabled; a poll runs all the same.
        """
        row = self._database.row(sql.FIND_DEAD_OF, (charm_key,))
        if row is None:
            return None
        dead_id, space_key = row
        job = {
            "dead": dead_id,
            "now": now,
            "charm": charm_key,
            "is_noted": self._notes_integrations,
        }
        cursor = self._database.execute(sql.REQUEUE, job)
        if cursor.rowcount == 0:
            return None
        self._database.after_commit(lambda: self._tally(pending=1))
        self._hint(space_key, now)
        self._drop_dead(charm_key, but=0)
        return cursor.lastrowid

    def hasten(self, charm_key: int, now: float) -> int | None:
        """Let a charm's waiting poll run now; gives the live poll's job id, None without one."""
        row = self._database.row(sql.FIND_POLL, (charm_key,))
        if row is None:
            return None
        job_id, status, space_key = row
        if status == sql.READY:
            self._database.execute(sql.HASTEN, (now, job_id))
            self._hint(space_key, now)
        return int(job_id)

    def hold(self, charm_key: int) -> None:
        """Take a disabled charm's waiting poll out and keep its sends from running.

        A job under way may end, but does not come back: a poll is dropped then, a send waits.
        """
        dropped = self._database.execute(sql.DROP_POLL, (charm_key,)).rowcount
        self._database.after_commit(lambda: self._tally(pending=-dropped))
        self._database.execute(sql.HOLD, (charm_key,))
        self._database.execute(sql.HOLD_DEAD, (charm_key,))

    def drop_poll(self, charm_key: int) -> None:
        """Take an unregistered charm's poll out; one under way may end, but is not retried."""
        dropped = self._database.execute(sql.DROP_POLL, (charm_key,)).rowcount
        self._database.after_commit(lambda: self._tally(pending=-dropped))
        self._database.execute(sql.HOLD_POLL, (charm_key,))

    def unhold(self, space_key: int, charm_key: int, now: float) -> None:
        """Undo `hold`: the charm's first waiting send may run."""
        self._database.execute(sql.UNHOLD, {"charm": charm_key})
        self._database.execute(sql.UNHOLD_DEAD, (charm_key,))
        self._hint(space_key, now)

    def discard(self, charm_key: int) -> None:
        """Delete every job of a removed charm that is not claimed, dead letters too."""
        self.drop_dead_letter(charm_key)
        dropped = self._database.execute(sql.DROP_WAITING, (charm_key,)).rowcount
        self._database.after_commit(lambda: self._tally(pending=-dropped))

    def forget_deliveries(self) -> None:
        """Let no waiting job be a suspect: those that are count as never handed out."""
        self._database.execute(sql.FORGET_DELIVERIES)

    def bring_near(self, now: float, latest: float) -> None:
        """Let no retry wait beyond `latest`, and no other job for its time at all."""
        self._database.execute(sql.BRING_NEAR, (latest,))
        self._database.execute(sql.BRING_TO_NOW, (now,))
        waiting = self._database.rows(sql.WAITING)
        self._database.after_commit(lambda: self._backlog.rehint(waiting))

    def _insert(self, job: NewJob, now: float) -> int | None:
        columns = sql.columns_of(job, now, is_noted=self._notes_integrations)
        cursor = self._database.execute(sql.INSERT, columns)
        if cursor.rowcount == 0:
            return None
        self._database.after_commit(lambda: self._tally(pending=1))
        self._hint(job.space_key, job.run_at)
        return cursor.lastrowid

    def _next_ready(
        self, space_key: int, limit: int, now: float, without: Set[str]
    ) -> tuple[list[Any], bool]:
        """Give up to `limit` rows of ready jobs, by priority, then age, and whether these were all.

        However many jobs of the integrations `without` which it is there are, none is looked at.
        """
        # A charm has at most two jobs that may run, a poll and a send.
        most = limit * 2
        if without:
            names = [
                name
                for (name,) in self._database.rows(sql.READY_INTEGRATIONS, {"space": space_key})
            ]
            found = [
                row
                for name in names
                if name not in without
                for row in self._database.rows(sql.FIND_READY_OF, (space_key, name, now, most))
            ]
            found = sorted(found, key=lambda row: (-row[4], row[0]))[:most]
        else:
            found = self._database.rows(sql.FIND_READY, (space_key, now, most))
        by_charm: dict[int, Any] = {}
        for row in found:
            by_charm.setdefault(row[10], row)
        return list(by_charm.values())[:limit], len(found) < most and len(by_charm) <= limit

    def _claim(self, found: Sequence[Any]) -> list[Claim]:
        self._take([row[0] for row in found])
        return [sql.claim_of(row, deliveries=1) for row in found]

    def _take(self, job_ids: Sequence[int]) -> None:
        if job_ids:
            self._database.executemany(sql.CLAIM, [(job_id,) for job_id in job_ids])
            taken = len(job_ids)
            self._database.after_commit(partial(self._tally, pending=-taken, claimed=taken))

    def _settle(self, status: int, claim: Claim) -> bool:
        job = claim.job
        if self._database.execute(sql.SETTLE, (status, job.job_id, job.fence)).rowcount == 0:
            return False
        if job.origin is Origin.SEND:
            self._database.execute(
                sql.RELEASE_NEXT_SEND, {"charm": claim.charm_key, "settled": job.job_id}
            )
        self._free(claim, pending=0)
        return True

    def _put_back(self, claim: Claim, run_at: float, attempt: int, deliveries: int) -> bool:
        job = claim.job
        newest = (job.job_id, job.fence)
        if self._database.execute(sql.DROP_HELD_POLL, newest).rowcount:
            self._free(claim, pending=0)
            return True
        changes = (run_at, attempt, deliveries)
        if self._database.execute(sql.PUT_BACK, (*changes, *newest)).rowcount == 0:
            return False
        self._free(claim, pending=1)
        self._hint(claim.space_key, run_at)
        return True

    def _free(self, claim: Claim, *, pending: int) -> None:
        self._hint(claim.space_key, 0.0)  # The charm is idle: what waited for that may run now.
        self._database.after_commit(lambda: self._tally(pending=pending, claimed=-1))

    def _drop_dead(self, charm_key: int, *, but: int) -> None:
        dropped = self._database.execute(sql.DROP_DEAD, (charm_key, but)).rowcount
        self._database.after_commit(lambda: self._tally(dead=-dropped))

    def _prune(self) -> None:
        self._database.execute(sql.DROP_OLD_DONE, (self._keep_done,))

    def _hint(self, space_key: int, run_at: float) -> None:
        self._database.after_commit(lambda: self._backlog.hint(run_at, space_key))

    def _hint_all(self, space_keys: Iterable[int], run_at: float) -> None:
        for space_key in set(space_keys):
            self._hint(space_key, run_at)

    def _tally(self, *, pending: int = 0, claimed: int = 0, dead: int = 0) -> None:
        self._backlog.tally(pending=pending, claimed=claimed, dead=dead)

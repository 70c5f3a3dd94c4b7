"""What the loop does to many jobs at once, a statement each: plan polls, claim, end claims.

The same rules as for one job, over rows that have nothing unusual; what has goes through the
queue's single verbs. A base of the queue.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from functools import partial
from typing import Any

from bg_charm_service.domain.errors import ClaimLost
from bg_charm_service.storage.sqlite.job_queue import sql
from bg_charm_service.storage.sqlite.job_queue.choice import next_ready
from bg_charm_service.storage.sqlite.job_queue.counted import CountedQueue
from bg_charm_service.storage.sqlite.job_queue.sql import Claim, NewJob
from bg_charm_service.storage.sqlite.keys import json_keys

#: Chooses which of the jobs that are ready are claimed.
Choice = Callable[[Sequence[Claim]], Sequence[Claim]]


class JobBatches(CountedQueue):
    """Jobs by the hundred."""

    def live_polls(self, charm_keys: Sequence[int]) -> set[int]:
        """Those of the charms that have a poll waiting, running or between retries."""
        rows = self._database.rows(sql.FIND_LIVE_POLLS, (json_keys(charm_keys),))
        return {row[0] for row in rows}

    def put_polls(self, polls: Sequence[NewJob], *, now: float) -> None:
        """Queue polls of charms that have no live one; they may be claimed at once."""
        if not polls:
            return
        is_noted = self._notes_integrations
        jobs = [poll.columns(now, is_noted=is_noted) for poll in polls]
        self._database.executemany(sql.INSERT, jobs)
        self._database.after_commit(partial(self._tally, pending=len(polls)))
        earliest = min(poll.run_at for poll in polls)
        for space_key in {poll.space_key for poll in polls}:
            # Not only once this is committed: those that are claimed in the same transaction share
            # its commit. Where it is undone instead, the hint costs a look.
            self._hints.add(earliest, space_key)

    def claim(
        self,
        space_key: int,
        limit: int,
        now: float,
        *,
        without: Set[str] = frozenset(),
        choose: Choice | None = None,
    ) -> Sequence[Claim]:
        """Take up to `limit` ready jobs of a space, one a charm: by priority, then age.

        Those of the integrations `without` which it is, once they are noted, wait on, and so do
        those that `choose` leaves out.
        """
        found, is_all = next_ready(self._database, space_key, limit, now, without)
        claims: Sequence[Claim] = [sql.claim_of(row, deliveries=1) for row in found]
        if choose is not None and claims:
            chosen = choose(claims)
            is_all = is_all and len(chosen) == len(claims)
            claims = chosen
        if is_all:
            cool = partial(self._hints.cool, space_key, frozenset(without))
            self._database.after_commit(cool)
        self._take([claim.job.job_id for claim in claims])
        return claims

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

    def drop_dead_letters(self, charm_keys: Sequence[int]) -> None:
        """Forget the dead letters of charms, as a later success does."""
        # Those charms had a run out: none of them became a dead letter in this transaction.
        if self.dead:
            rows = [(charm_key, 0) for charm_key in charm_keys]
            dropped = self._database.executemany(sql.DROP_DEAD, rows).rowcount
            self._database.after_commit(partial(self._tally, dead=-dropped))

    def _claim(self, found: Sequence[Any]) -> list[Claim]:
        self._take([row[0] for row in found])
        return [sql.claim_of(row, deliveries=1) for row in found]

    def _take(self, job_ids: Sequence[int]) -> None:
        if job_ids:
            self._database.executemany(sql.CLAIM, [(job_id,) for job_id in job_ids])
            taken = len(job_ids)
            self._database.after_commit(partial(self._tally, pending=-taken, claimed=taken))

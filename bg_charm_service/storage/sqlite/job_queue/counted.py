"""The counts and hints that mirror the table of jobs in memory, and what keeps them right.

They change only when the transaction around commits. The base of the queue's verbs.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

from bg_charm_service.storage.sqlite.database import Database
from bg_charm_service.storage.sqlite.job_queue import sql
from bg_charm_service.storage.sqlite.job_queue.lookup import JobLookup
from bg_charm_service.storage.sqlite.job_queue.ready_hints import ReadyHints


class CountedQueue(JobLookup):
    """`pending`, `claimed` and `dead` count the committed jobs that wait, run, are dead letters."""

    def __init__(self, database: Database, *, keep_done: int = sql.KEEP_DONE) -> None:
        super().__init__(database)
        self._keep_done, self._hints = keep_done, ReadyHints(())
        self._notes_integrations = False
        self.recount()

    def recount(self) -> None:
        """Count and hint anew, after a repair changed the table."""
        counted: dict[int, int] = dict(self._database.rows(sql.COUNT_ALL))
        counts = (counted.get(one, 0) for one in (sql.READY, sql.CLAIMED, sql.DEAD))
        self.pending, self.claimed, self.dead = counts
        self._hints.reload(self._database.rows(sql.WAITING))

    @property
    def size(self) -> int:
        """Jobs that wait."""
        return self.pending

    def active_size(self) -> int:
        """Jobs that wait or run."""
        return self.pending + self.claimed

    def hot_spaces(self, now: float, *, without: Set[str] = frozenset()) -> set[int]:
        """Spaces that may have a job ready now, of other integrations than these."""
        return self._hints.hot(now, without)

    def spaces_left_hot(self) -> set[int]:
        """Spaces that were hot at the last look and not found empty by it."""
        return self._hints.left_hot()

    def next_run_at(self) -> float | None:
        """When the next waiting job's time comes; None when none waits."""
        return self._hints.next_run_at()

    def _prune(self) -> None:
        self._database.execute(sql.DROP_OLD_DONE, (self._keep_done,))

    def _hint(self, space_key: int, run_at: float) -> None:
        self._database.after_commit(lambda: self._hints.add(run_at, space_key))

    def _hint_all(self, space_keys: Iterable[int], run_at: float) -> None:
        for space_key in set(space_keys):
            self._hint(space_key, run_at)

    def _tally(self, *, pending: int = 0, claimed: int = 0, dead: int = 0) -> None:
        self.pending += pending
        self.claimed += claimed
        self.dead += dead

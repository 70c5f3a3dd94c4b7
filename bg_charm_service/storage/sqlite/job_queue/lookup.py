"""What can be asked of the queue without changing anything. The base of the queue itself."""

from __future__ import annotations

from bg_charm_service.domain.model import Job
from bg_charm_service.storage.sqlite.job_queue import sql
from bg_charm_service.storage.sqlite.job_queue.persist_queue import StockQueue
from bg_charm_service.storage.sqlite.job_queue.sql import Claim


class JobLookup(StockQueue):
    """Jobs by id, by status, by charm."""

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

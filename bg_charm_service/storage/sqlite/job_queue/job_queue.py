"""The queue's verbs: put, claim, and end a claim by ack, retry, release or bury.

Every method joins the transaction around it; none commits by itself.
"""

from __future__ import annotations

from bg_charm_service.domain.model import CharmRef, Origin
from bg_charm_service.storage.sqlite.job_queue import sql
from bg_charm_service.storage.sqlite.job_queue.many import JobBatches
from bg_charm_service.storage.sqlite.job_queue.sql import Claim, NewJob


class JobQueue(JobBatches):
    """Jobs of all charms, claimed space by space."""

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

    def retry(self, claim: Claim, run_at: float) -> bool:
        """End a claim and let the job run again at `run_at`, as its next attempt."""
        return self._put_back(claim, run_at, claim.job.attempt + 1, deliveries=0)

    def release(self, claim: Claim, run_at: float) -> bool:
        """Give a job back unharmed: same attempt, and this delivery does not count."""
        return self._put_back(claim, run_at, claim.job.attempt, claim.job.deliveries - 1)

    def rescue(self, claim: Claim, run_at: float) -> bool:
        """Give a dead supervisor's job back to the queue; the delivery stays counted."""
        return self._put_back(claim, run_at, claim.job.attempt, claim.job.deliveries)

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

    def bring_near(self, latest: float) -> None:
        """Let no job wait beyond `latest`: after the clock was set back."""
        self._database.execute(sql.BRING_NEAR, (latest,))
        waiting = self._database.rows(sql.WAITING)
        self._database.after_commit(lambda: self._hints.reload(waiting))

    def _insert(self, job: NewJob, now: float) -> int | None:
        columns = job.columns(now, is_noted=self._notes_integrations)
        cursor = self._database.execute(sql.INSERT, columns)
        if cursor.rowcount == 0:
            return None
        self._database.after_commit(lambda: self._tally(pending=1))
        self._hint(job.space_key, job.run_at)
        return cursor.lastrowid

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

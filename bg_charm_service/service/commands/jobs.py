"""Commands about single jobs: list those of all charms, take back what waits or runs.

A job that waits is deleted. A run under way is stopped and its writes are refused; it costs its
charm nothing. Dead letters are none of this module's.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from bg_charm_service.domain.errors import Conflict, NotFound, ServiceStopping
from bg_charm_service.domain.identity import space_did
from bg_charm_service.domain.model import CharmRef, DisabledBy, JobStatus, Origin
from bg_charm_service.domain.outcomes.policy import RunStatus
from bg_charm_service.domain.outcomes.run_endings import EndingKind
from bg_charm_service.domain.views import ListedJob
from bg_charm_service.service.charm_packages import CharmPackages
from bg_charm_service.service.commands.context import CommandContext
from bg_charm_service.storage.records import CharmRecord, QueuedJob

#: Jobs that are read, or deleted, at a time: it is one step of the loop.
_SLICE = 250

#: For one page of a list so many slices are looked through; then it goes on from there.
_MOST_SLICES = 40


@dataclass(frozen=True, slots=True)
class JobQuery:
    """Which jobs a page lists, from behind which job; `space` is a name or DID."""

    ref: CharmRef | None = None
    space: str | None = None
    status: JobStatus | None = None
    stream: str | None = None
    cursor: int = 0
    limit: int = 100


class JobCommands:
    """What waits and runs, one by one."""

    def __init__(self, context: CommandContext, packages: CharmPackages) -> None:
        self._context = context
        self._packages = packages
        self._supervisor = context.supervisor
        self._parts = context.parts
        self._store = context.store
        self._queue = context.parts.queue

    async def list_jobs(self, query: JobQuery) -> tuple[list[ListedJob], int | None]:
        """A page of jobs in the order of their ids, and the cursor of the next; None at the end.

        A page may be empty and have a next one all the same: it found nothing so far.
        """
        charm_key = self._context.charm(query.ref).charm_key if query.ref is not None else None
        space = space_did(query.space) if query.space is not None else None
        found: list[ListedJob] = []
        after = query.cursor
        for _ in range(_MOST_SLICES):
            rows = self._queue.page(after, _SLICE, charm_key=charm_key)
            for job in rows:
                after = job.job_id
                if (
                    (space is None or job.ref.space == space)
                    and query.status in (None, job.status)
                    and query.stream in (None, job.stream)
                ):
                    found.append(self._view(job))
                    if len(found) == query.limit:
                        return found, after
            if len(rows) < _SLICE:
                return found, None
            await asyncio.sleep(0)
        return found, after

    def find(self, job_id: int) -> ListedJob:
        """Look a job up; raises NotFound."""
        rows = self._queue.page(job_id - 1, 1)
        if not rows or rows[0].job_id != job_id:
            raise NotFound(f"There is no job {job_id}: `bg-charm-service jobs list` shows them.")
        return self._view(rows[0])

    async def cancel(self, job_id: int) -> ListedJob:
        """Take a job back: one that waits is deleted, a run under way is stopped.

        Gives the job as it was. Raises Conflict for one that had ended.
        """
        job = self.find(job_id)
        charm = self._context.owned_charm(CharmRef(job.space, job.charm_id))
        if job.status == JobStatus.FAILED:
            raise Conflict(
                f"Job {job_id} was given up already: it is a dead letter, and does not run again "
                f"by itself. `bg-charm-service dead-letters drop {job_id}` drops it, "
                f"`bg-charm-service dead-letters requeue {job_id}` tries it again."
            )
        if job.status == JobStatus.COMPLETED:
            raise Conflict(f"Job {job_id} has ended already.")
        if job.status == JobStatus.PENDING:
            with self._context.change("cancel job", charm.ref, detail=str(job_id)):
                self._withdraw(charm, [job_id])
                self._queue.look_again(charm.space_key)
                self._context.tell(charm.ref, "job cancelled")
            self._supervisor.wake()
        else:
            await self._stop(charm, job_id)
        return job

    async def purge(self, ref: CharmRef, stream: str) -> int:
        """Delete every event that waits for a stream of a charm, reminders too; gives the count.

        A run under way goes on. Events that come meanwhile stay. Raises NotFound for a stream that
        the charm does not have, unless events wait for it all the same: it had it once.
        """
        charm = self._context.owned_charm(ref)
        key, newest = charm.charm_key, self._queue.newest()
        purged, after, is_over, is_noted = 0, 0, False, False
        while not is_over:
            # Read and deleted in one go: what begins meanwhile waits no longer.
            with self._parts.database.transaction():
                rows = self._queue.page(after, _SLICE, charm_key=key)
                unwanted = [one.job_id for one in rows if _is_unwanted(one, stream, newest)]
                found = self._withdraw(charm, unwanted)
                if not after:
                    found += self._store.reminders.drop_stream(key, stream)
                if not is_noted and (found or stream in charm.schema.streams):
                    self._context.record("purge", charm.ref, detail=stream)
                    is_noted = True
                self._queue.look_again(charm.space_key)
            purged += found
            is_over = len(rows) < _SLICE or rows[-1].job_id >= newest
            after = rows[-1].job_id if rows else after
            await asyncio.sleep(0)
        if not is_noted:
            there = ", ".join(charm.schema.streams)
            raise NotFound(f"{charm.name} has no stream {stream:.100}; it has {there}.")
        self._context.tell(charm.ref, "purged")
        self._supervisor.wake()
        return purged

    def _withdraw(self, charm: CharmRecord, job_ids: list[int]) -> int:
        """Delete jobs that wait; what is first in line now waits with its charm."""
        found = self._queue.withdraw(charm.charm_key, job_ids)
        until = self._parts.waiting.not_before(charm.charm_key)
        if found and until:
            self._queue.put_off(charm.space_key, charm.charm_key, until)
        return found

    async def _stop(self, charm: CharmRecord, job_id: int) -> None:
        """Stop a run under way, and wait until that is on disk."""
        runs = self._parts.runs
        run = runs.of_charm(charm.charm_key)
        if run is None or run.claim.job.job_id != job_id:
            raise Conflict(f"Job {job_id} is about to run; try again in a moment.")
        with self._context.change("cancel job", charm.ref, detail=str(job_id)):
            pass
        # What it may have answered already is refused too: it is not settled yet.
        runs.withdrawn.add(job_id)
        settlement = self._supervisor.settlement_of(job_id)
        self._parts.pool.cancel(run.run_id)
        self._supervisor.wake()
        settled = await settlement
        if settled is None:
            stopped = ServiceStopping("The service stopped first; the job runs again.")
            raise self._supervisor.ended_by or stopped
        if settled.decision.status is not RunStatus.CANCELLED:
            raise Conflict(f"Job {job_id} ended as {settled.decision.status} before.")

    def _view(self, job: QueuedJob) -> ListedJob:
        clock = self._parts.clock
        return ListedJob(
            job_id=job.job_id,
            space=job.ref.space,
            charm_id=job.ref.charm_id,
            stream=job.stream,
            origin=job.origin,
            status=job.status,
            attempt=job.attempt,
            run_at=job.run_at - clock.steady() + clock.now(),
            created_at=job.created_at,
            waits_for=self._waits_for(job),
        )

    def _waits_for(self, job: QueuedJob) -> str:
        if job.status != JobStatus.PENDING:
            return ""
        is_by_hand = job.origin is Origin.RUN_NOW
        if not is_by_hand and self._store.pauses.over(job.space_key, job.charm_key) is not None:
            return "resume"
        if job.is_held:
            off_by = self._store.health.get(job.charm_key).disabled_by
            if off_by is None:
                return "earlier event"
            return "sign-in" if off_by is DisabledBy.SIGN_IN else "enable"
        if job.run_at <= self._parts.clock.steady():
            lacks = self._packages.view(job.charm_key) is not None
            return "its packages" if lacks else "a worker"
        waiting = self._parts.waiting.get(job.charm_key)
        is_down = waiting is not None and waiting.kind is EndingKind.DOWN and not is_by_hand
        return f"{waiting.host} is down" if waiting is not None and is_down else "its time"


def _is_unwanted(job: QueuedJob, stream: str, newest: int) -> bool:
    return (
        job.origin is Origin.SEND
        and job.status == JobStatus.PENDING
        and job.stream == stream
        and job.job_id <= newest
    )

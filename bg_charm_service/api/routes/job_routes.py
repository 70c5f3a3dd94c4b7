"""Routes of the jobs of all charms: listed, cancelled, and the events of a stream purged."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query

from bg_charm_service.api.auth.authorization import Bounded, Changing, Listing
from bg_charm_service.api.dependencies import Charm, Cursor, Limit, Service, make_router
from bg_charm_service.api.requests import PurgeBody
from bg_charm_service.api.responses import ListedJobs, Purged
from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.model import JobStatus
from bg_charm_service.domain.views import ListedJob
from bg_charm_service.service.commands import JobQuery

router = make_router("jobs")


@router.get("/api/jobs")
async def list_jobs(
    service: Service,
    caller: Listing,
    bounds: Bounded,
    space: str | None = None,
    charm: Annotated[
        str | None, Query(max_length=300, description="Id or cause of a charm of that space")
    ] = None,
    status: JobStatus | None = None,
    stream: Annotated[str | None, Query(max_length=1000)] = None,
    cursor: Cursor = 0,
    limit: Limit = 100,
) -> ListedJobs:
    """List jobs that wait, run or ended lately, the oldest first.

    A page may be empty and have a next one: what matches may lie behind many that do not.
    """
    if caller.spaces is not None:
        space = space or caller.space
        if space is None:
            raise InvalidInput("space: Say which one; you may see the jobs of some only.")
        caller.check_space(space)
    if charm is not None and space is None:
        raise InvalidInput("charm: Say in which space it is.")
    ref = service.queries.resolve(space, charm) if space is not None and charm else None
    query = JobQuery(ref, space, status, stream, cursor, limit)
    jobs, following = await service.jobs.list_jobs(query)
    return ListedJobs(tuple(jobs), following)


@router.post("/api/jobs/{job_id}/cancel")
async def cancel_job(
    service: Service,
    caller: Changing,
    bounds: Bounded,
    job_id: Annotated[int, Path(ge=1, le=2**62)],
) -> ListedJob:
    """Take a job back: one that waits is deleted, a run under way is stopped at no cost.

    Answers with the job as it was.
    """
    caller.check_space(service.jobs.find(job_id).space)
    return await service.jobs.cancel(job_id)


@router.post("/api/charms/{space}/{charm_id}/purge")
async def purge_stream(service: Service, caller: Changing, ref: Charm, body: PurgeBody) -> Purged:
    """Delete the events that wait for one stream of a charm; a run under way goes on."""
    return Purged(await service.jobs.purge(ref, body.stream))

"""Routes of what a charm does: events, runs, being polled or not, dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Annotated

import msgspec
from fastapi import Query
from fastapi.responses import Response, StreamingResponse

from bg_charm_service.api.auth.authorization import Changing, Listing, Reading
from bg_charm_service.api.dependencies import (
    Charm,
    Cursor,
    Limit,
    Service,
    make_router,
    stored_json,
)
from bg_charm_service.api.requests import IntervalBody, SendBody
from bg_charm_service.api.responses import Done, JobPage, QueuedJob
from bg_charm_service.domain.model import CharmRef, RunRecord
from bg_charm_service.domain.views import RunReport
from bg_charm_service.service.commands import Commands

router = make_router("runs")

#: Of a long history so many runs are read and sent at a time: each may have a long log.
_RUNS_A_PIECE = 20


@router.post("/api/charms/{space}/{charm_id}/send")
async def send_event(service: Service, caller: Changing, ref: Charm, body: SendBody) -> QueuedJob:
    """Send an event to a stream; events are run in order, and none is dropped."""
    return QueuedJob(service.polling.send(ref, body.stream, body.event_json()))


@router.post("/api/charms/{space}/{charm_id}/run", response_model=RunReport)
async def run_charm(service: Service, caller: Changing, ref: Charm) -> Response:
    """Poll a charm once now, or join the poll under way, and answer when it is over."""
    report = await service.polling.run_now(ref)
    return stored_json(msgspec.json.encode(report))


@router.get("/api/charms/{space}/{charm_id}/runs", response_model=list[RunRecord])
async def list_runs(
    service: Service,
    caller: Reading,
    ref: Charm,
    before: Annotated[int | None, Query(ge=0, le=2**62)] = None,
    limit: Limit = 20,
) -> Response:
    """List a charm's recorded runs with their logs, the newest first."""
    first = service.queries.runs(ref, before, min(limit, _RUNS_A_PIECE))
    return StreamingResponse(_runs(service, ref, first, limit), media_type="application/json")


@router.post("/api/charms/{space}/{charm_id}/enable")
async def enable_charm(service: Service, caller: Changing, ref: Charm) -> Done:
    """Poll a disabled charm again, at once."""
    service.polling.enable(ref)
    return Done()


@router.post("/api/charms/{space}/{charm_id}/disable")
async def disable_charm(service: Service, caller: Changing, ref: Charm) -> Done:
    """Stop polling a charm until somebody enables it."""
    service.polling.disable(ref)
    return Done()


@router.put("/api/charms/{space}/{charm_id}/interval")
async def set_interval(service: Service, caller: Changing, ref: Charm, body: IntervalBody) -> Done:
    """Say how often a charm is polled."""
    service.polling.set_interval(ref, body.seconds)
    return Done()


@router.post("/api/charms/{space}/{charm_id}/requeue")
async def requeue_charm(service: Service, caller: Changing, ref: Charm) -> QueuedJob:
    """Try a charm's dead letter again."""
    return QueuedJob(service.polling.requeue(ref))


@router.get("/api/dead-letters")
async def list_dead_letters(
    service: Service, caller: Listing, cursor: Cursor = 0, limit: Limit = 100
) -> JobPage:
    """List the jobs that were given up."""
    jobs = tuple(service.queries.dead_letters(cursor, limit))
    return JobPage(jobs, jobs[-1].job_id if len(jobs) == limit else None)


async def _runs(
    service: Commands, ref: CharmRef, runs: Sequence[RunRecord], limit: int
) -> AsyncIterator[bytes]:
    """Write runs as one list, piece by piece; others get their turn in between."""
    left, opening = limit, b"["
    while runs:
        # Without the brackets of the piece.
        yield opening + msgspec.json.encode(runs)[1:-1]
        left, opening = left - len(runs), b","
        is_over = left <= 0 or len(runs) < _RUNS_A_PIECE
        await asyncio.sleep(0)
        before, most = runs[-1].number, min(left, _RUNS_A_PIECE)
        runs = [] if is_over else service.queries.runs(ref, before, most)
    yield b"[]" if opening == b"[" else b"]"

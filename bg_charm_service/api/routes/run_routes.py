"""Routes of what a charm does: events, runs, being polled or not, dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Annotated

import msgspec
from fastapi import Header, Query
from fastapi.responses import Response, StreamingResponse

from bg_charm_service.api.auth.authorization import Bounded, Caller, Changing, Listing, Reading
from bg_charm_service.api.dependencies import (
    Charm,
    Cursor,
    Limit,
    Service,
    make_router,
    stored_json,
)
from bg_charm_service.api.requests import IntervalBody, LettersBody, ScheduleBody, SendBody
from bg_charm_service.api.responses import Done, JobPage, QueuedJob, SentEvent
from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.model import CharmRef, RunRecord
from bg_charm_service.domain.views import LettersReport, ReminderView, RunReport, ScheduleView
from bg_charm_service.service.commands import Commands
from bg_charm_service.service.commands.letters import LetterChoice
from bg_charm_service.service.commands.sending import check_key

router = make_router("runs")

#: Of a long history so many runs are read and sent at a time: each may have a long log.
_RUNS_A_PIECE = 20


@router.post("/api/charms/{space}/{charm_id}/send")
async def send_event(
    service: Service,
    caller: Changing,
    ref: Charm,
    body: SendBody,
    *,
    wait: Annotated[bool, Query(description="Answer once its run has ended")] = False,
    idempotency_key: Annotated[
        str | None, Header(description="The same key stands for the same event, for a day")
    ] = None,
) -> SentEvent:
    """Send an event to a stream, now or later; events are run in order, and none is dropped.

    It has to fit the type of its handler, where that has one.
    """
    event = body.event_json()
    key = check_key(idempotency_key) if idempotency_key is not None else ""
    if body.at is None and body.after is None:
        sent = await service.sending.send(ref, body.stream, event, key=key)
        run = await service.sending.end_of(ref, sent.job_id) if wait else None
        waits_for = service.sending.waits_for(sent.job_id) if run is None else ""
        return SentEvent(sent.job_id, None, sent.is_repeated, waits_for, run)
    if wait or key:
        raise InvalidInput("at, after: Not with `wait` or an Idempotency-Key.")
    if body.at is not None and body.after is not None:
        raise InvalidInput("after: Give this or `at`, not both.")
    later = service.reminders.send_later(
        ref, body.stream, event, at=body.at, after=body.after or 0.0
    )
    return SentEvent(None, later)


@router.get("/api/charms/{space}/{charm_id}/reminders")
async def list_reminders(service: Service, caller: Listing, ref: Charm) -> list[ReminderView]:
    """List the events that are to be sent to a charm later, the next one first."""
    return service.reminders.of(ref)


@router.delete("/api/charms/{space}/{charm_id}/reminders/{name:path}")
async def forget_reminder(service: Service, caller: Changing, ref: Charm, name: str) -> Done:
    """Take back an event that is to be sent later, by its name, or its number behind a #."""
    service.reminders.forget(ref, name)
    return Done()


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


@router.put("/api/charms/{space}/{charm_id}/schedule")
async def set_schedule(
    service: Service, caller: Changing, ref: Charm, body: ScheduleBody
) -> ScheduleView:
    """Say when a charm runs; an expression of cron takes the place of its interval."""
    service.polling.set_schedule(
        ref, cron=body.cron, time_zone=body.time_zone, quiet=body.quiet, missed=body.missed
    )
    return service.queries.show_charm(ref).schedule


@router.delete("/api/charms/{space}/{charm_id}/schedule")
async def reset_schedule(service: Service, caller: Changing, ref: Charm) -> ScheduleView:
    """Let a charm run as its class says, or else in the service's interval."""
    service.polling.reset_schedule(ref)
    return service.queries.show_charm(ref).schedule


@router.post("/api/charms/{space}/{charm_id}/requeue")
async def requeue_charm(service: Service, caller: Changing, ref: Charm) -> QueuedJob:
    """Try a charm's dead letters again; gives the first of the jobs that stand for them."""
    report = await service.letters.requeue(LetterChoice(ref=ref))
    return QueuedJob(report.requeued[0])


@router.get("/api/dead-letters")
async def list_dead_letters(
    service: Service, caller: Listing, cursor: Cursor = 0, limit: Limit = 100
) -> JobPage:
    """List the jobs that were given up."""
    jobs = tuple(service.queries.dead_letters(cursor, limit))
    return JobPage(jobs, jobs[-1].job_id if len(jobs) == limit else None)


@router.post("/api/dead-letters/requeue")
async def requeue_dead_letters(
    service: Service, caller: Changing, bounds: Bounded, body: LettersBody
) -> LettersReport:
    """Try jobs again that were given up: one, those of a charm, or all."""
    return await service.letters.requeue(_choice(service, caller, body))


@router.post("/api/dead-letters/drop")
async def drop_dead_letters(
    service: Service, caller: Changing, bounds: Bounded, body: LettersBody
) -> LettersReport:
    """Drop jobs for good that were given up: one, those of a charm, or all."""
    return await service.letters.drop(_choice(service, caller, body))


def _choice(service: Commands, caller: Caller, body: LettersBody) -> LetterChoice:
    """Which dead letters a request means, of those that its caller may change."""
    if (body.job is not None) + (body.charm is not None) + body.all != 1:
        raise InvalidInput("Say which dead letters: one of job, charm and all.")
    if body.job is not None:
        caller.check_space(service.letters.charm_of(body.job).space)
        return LetterChoice(job_id=body.job)
    if body.charm is not None:
        space, _, charm = body.charm.partition("/")
        ref = service.queries.resolve(space, charm)
        caller.check_space(ref.space)
        return LetterChoice(ref=ref)
    return LetterChoice(spaces=caller.spaces)


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

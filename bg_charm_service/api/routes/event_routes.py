"""Routes that go on: the service's events, and the pulse that pages refresh by."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any, cast

from fastapi import Header, Query, Request
from fastapi.responses import Response

from bg_charm_service.api.auth.authorization import Bounded, Caller, Listing
from bg_charm_service.api.dependencies import Service, make_router
from bg_charm_service.api.event_stream import HEARTBEAT, EventStream, frame
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.service.commands import Commands
from bg_charm_service.service.event_feed import Event, PauseChange
from bg_charm_service.service.followers import Follower, OpenStream

router = make_router("events")

#: How often the status is told, and something at all, in seconds.
_STATUS_SECONDS = 10.0

#: A page is told of changes this often at most, in seconds.
_PULSE_SECONDS = 1.0

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
        "description": "Server-sent events: run, charm, pause, worker, status, missed",
    }
}


@router.get("/api/events", responses=_STREAM, response_class=Response)
async def follow_events(
    service: Service,
    caller: Listing,
    bounds: Bounded,
    request: Request,
    space: str | None = None,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Follow what happens: registrations, runs, deaths of workers, the status.

    With `Last-Event-ID` the stream goes on behind that event; `missed` comes first when some of
    those between are gone. A reader that falls behind is dropped, and may come back.
    A stream ends with what it was opened with: a token, a session. Of more than 8 of a session or
    32 of a peer the oldest ends.
    """
    wanted = _spaces(service, caller, space)
    after = None
    if last_event_id is not None:
        after = int(last_event_id) if last_event_id.isdecimal() and len(last_event_id) < 20 else -1
    if request.method == "HEAD":
        return _no_stream()
    stream = _open_stream(service, request, caller)
    return EventStream(_events(service, caller, wanted, after), stream, service.clock)


@router.get("/live", include_in_schema=False, response_class=Response)
async def follow_changes(
    service: Service,
    caller: Listing,
    bounds: Bounded,
    request: Request,
    charm: Annotated[str | None, Query(max_length=300)] = None,
) -> Response:
    """Tell a page when what it shows has changed, once a second at most."""
    named = CharmRef.of_names(charm) if charm else None
    ref = service.queries.resolve(named.space, named.charm_id) if named else None
    wanted = _spaces(service, caller, ref.space if ref else None)
    if request.method == "HEAD":
        return _no_stream()
    stream = _open_stream(service, request, caller)
    return EventStream(_pulse(service, wanted, ref), stream, service.clock)


async def _events(
    service: Commands, caller: Caller, spaces: frozenset[str] | None, after: int | None
) -> AsyncIterator[bytes]:
    reader = service.events.follow(after)
    loop = asyncio.get_running_loop()
    try:
        yield b"retry: 2000\n\n"
        if reader.has_missed:
            yield frame("missed", data={})
        status_at = loop.time()
        while True:
            if spaces is None and loop.time() >= status_at:
                status_at = loop.time() + _STATUS_SECONDS
                yield frame("status", asdict(caller.shown(service.queries.status())))
            events = await reader.read(_STATUS_SECONDS)
            if events is None:
                return
            frames = [_framed(event, caller) for event in events if _is_wanted(event, spaces)]
            yield b"".join(frames) or HEARTBEAT
    finally:
        reader.leave()


async def _pulse(
    service: Commands, spaces: frozenset[str] | None, ref: CharmRef | None
) -> AsyncIterator[bytes]:
    reader = service.events.follow()
    try:
        yield b"retry: 2000\n\n"
        while True:
            events = await reader.read(_STATUS_SECONDS)
            if events is None and service.events.is_closed:
                return
            if events is None:
                # The page asks for what is there now: what was missed does not matter to it.
                reader.leave()
                reader = service.events.follow()
            if events is None or any(
                _is_wanted(event, spaces) and (event.ref is None or ref in (None, event.ref))
                for event in events
            ):
                yield frame("changed", data={})
                await asyncio.sleep(_PULSE_SECONDS)
            elif not events:
                # Ages, lag and workers change while nothing runs.
                yield frame("changed" if ref is None else "idle", data={})
    finally:
        reader.leave()


def _framed(event: Event, caller: Caller) -> bytes:
    about = {"space": event.ref.space, "charm_id": event.ref.charm_id} if event.ref else {}
    data = asdict(cast("Any", caller.shown(event.data)))
    return frame(event.kind, {**about, **data}, event.event_id)


def _is_wanted(event: Event, spaces: frozenset[str] | None) -> bool:
    if spaces is None:
        return True
    if event.ref is not None:
        return event.ref.space in spaces
    # What is paused as a whole, a space or everything, is so for each charm in it.
    return isinstance(event.data, PauseChange) and event.data.space in ("", *spaces)


def _spaces(service: Commands, caller: Caller, space: str | None) -> frozenset[str] | None:
    """The spaces whose events a caller is told: what it asks for, or all that it may see."""
    if space is None:
        return caller.spaces
    caller.check_space(space)
    found = service.queries.space(space)
    return frozenset([found.did] if found else [])


def _no_stream() -> Response:
    """What a stream begins with: nobody follows it, so no other has to end for it."""
    head = Response(media_type=EventStream.media_type)
    del head.headers["content-length"]
    return head


def _open_stream(service: Commands, request: Request, caller: Caller) -> OpenStream:
    peer = getattr(request.state, "peer", None)
    follower = Follower(
        peer=peer.name if peer is not None else "",
        session=caller.session,
        credentials=caller.credentials,
        expires_at=caller.credentials_end_at,
    )
    return service.events.followers.open(follower)

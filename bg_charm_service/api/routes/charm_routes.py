"""Routes of charms: many at once, one, its source, its state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.responses import Response, StreamingResponse

from bg_charm_service.api.auth.authorization import Bounded, Caller, Changing, Listing, Reading
from bg_charm_service.api.dependencies import (
    STORED_JSON,
    Charm,
    Limit,
    Service,
    make_router,
    stored_json,
)
from bg_charm_service.api.requests import CharmBody, SourceBody, check_import, read_charm
from bg_charm_service.api.responses import CharmPage, CharmSource, Done, Imported
from bg_charm_service.domain.errors import AuthorizationError, InvalidInput, ServiceError
from bg_charm_service.domain.views import (
    AddedCharm,
    CharmDetail,
    NewCharm,
    PackageStep,
    UpdateReport,
)
from bg_charm_service.service.commands import CharmQuery
from bg_charm_service.storage.records import CharmOrder, Standing

router = make_router("charms")

#: An export is sent in pieces of about this size, in bytes.
_PIECE_BYTES = 64 * 1024


@router.get("/api/charms")
async def list_charms(
    service: Service,
    caller: Listing,
    bounds: Bounded,
    space: str | None = None,
    integration: str | None = None,
    standing: Standing | None = None,
    text: Annotated[str, Query(max_length=300)] = "",
    order: CharmOrder = CharmOrder.ADDED,
    cursor: Annotated[str, Query(max_length=2000)] = "",
    limit: Limit = 100,
) -> CharmPage:
    """List charms: all, or those that a text, a filter, a space or an integration finds."""
    if caller.spaces is not None:
        space = space or caller.space
        if space is None:
            raise InvalidInput("space: Say which one; you may see the charms of some only.")
        caller.check_space(space)
    query = CharmQuery(text, space, integration, standing, order, cursor, limit)
    charms, next_cursor = service.queries.list_charms(query)
    return CharmPage(tuple(charms), next_cursor)


@router.post("/api/charms")
async def add_charm(
    service: Service, caller: Changing, bounds: Bounded, body: CharmBody
) -> AddedCharm:
    """Add a charm; its source is loaded in a worker first."""
    charm = _by(caller, body.to_charm())
    _check_spaces(caller, charm)
    return await service.charms.add(charm)


@router.post("/api/charms/import")
async def import_charms(
    service: Service, caller: Changing, bounds: Bounded, body: list[Any]
) -> list[Imported]:
    """Add many charms; each is answered by itself, in order."""
    read = [_charm_or_error(caller, value) for value in check_import(body)]
    added = iter(
        await service.charms.add_many([each for each in read if isinstance(each, NewCharm)])
    )
    outcomes = [next(added) if isinstance(each, NewCharm) else each for each in read]
    return [
        Imported(outcome, None) if isinstance(outcome, AddedCharm) else Imported(None, str(outcome))
        for outcome in outcomes
    ]


@router.get(
    "/api/export",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}}},
)
async def export_charms(service: Service, caller: Reading) -> StreamingResponse:
    """Give all charms as lines of JSON that an import takes."""
    return StreamingResponse(_pieces(service.queries.export()), media_type="application/x-ndjson")


@router.get("/api/spaces/{space}/packages")
async def list_package_steps(service: Service, caller: Reading, space: str) -> list[PackageStep]:
    """List what is being done for the packages of a space's charms now, while they are added."""
    return service.queries.package_steps(space)


@router.get("/api/charms/{space}/{charm_id}")
async def show_charm(service: Service, caller: Reading, ref: Charm) -> CharmDetail:
    """Show a charm with its registration, health and newest runs."""
    return service.queries.show_charm(ref)


@router.delete("/api/charms/{space}/{charm_id}")
async def remove_charm(service: Service, caller: Changing, ref: Charm) -> Done:
    """Remove a charm with its state; a run under way is stopped and its writes are refused."""
    await service.charms.remove(ref)
    return Done()


@router.get("/api/charms/{space}/{charm_id}/source")
async def get_source(service: Service, caller: Reading, ref: Charm) -> CharmSource:
    """Give a charm's source."""
    return CharmSource(service.queries.source(ref))


@router.put("/api/charms/{space}/{charm_id}/source")
async def update_charm(
    service: Service, caller: Changing, ref: Charm, body: SourceBody
) -> UpdateReport:
    """Give a charm new source, if its state fits."""
    return await service.updates.update_source(
        ref,
        body.source,
        body.file_name,
        body.class_name,
        dry_run=body.dry_run,
        may_name_any=caller.may_name_any_package,
        upgrade=body.upgrade,
        keeps_items=body.keep_items,
    )


@router.get("/api/charms/{space}/{charm_id}/state", response_class=Response, responses=STORED_JSON)
async def get_state(service: Service, caller: Reading, ref: Charm) -> Response:
    """Give a charm's state as one object; secrets are redacted."""
    return stored_json(service.queries.state(ref))


@router.get(
    "/api/charms/{space}/{charm_id}/state/{field}", response_class=Response, responses=STORED_JSON
)
async def get_field(service: Service, caller: Reading, ref: Charm, field: str) -> Response:
    """Give the value of one field."""
    return stored_json(service.queries.field(ref, field))


@router.put(
    "/api/charms/{space}/{charm_id}/state/{field}",
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": {"schema": {}}}}
    },
)
async def set_field(
    service: Service, caller: Changing, ref: Charm, field: str, request: Request
) -> Done:
    """Set one field to the JSON value that is the body."""
    await service.updates.set_field(ref, field, await request.body())
    return Done()


def _by(caller: Caller, charm: NewCharm) -> NewCharm:
    return replace(charm, may_name_any=caller.may_name_any_package)


def _charm_or_error(caller: Caller, value: object) -> NewCharm | ServiceError:
    try:
        charm = _by(caller, read_charm(value))
        _check_spaces(caller, charm)
    except (InvalidInput, AuthorizationError) as error:
        return error
    return charm


def _check_spaces(caller: Caller, charm: NewCharm) -> None:
    """A new charm touches its own space, and those that its links lead to."""
    if charm.limits and not caller.is_unlimited:
        raise AuthorizationError(f"limits: {caller.name} may not set them; the operator may.")
    caller.check_space(charm.space)
    targets = (*charm.links.values(), *charm.writable_links.values())
    # To make a DID of a name takes its time: once for each.
    for space in {target.partition("/")[0] for target in targets}:
        caller.check_space(space)


async def _pieces(lines: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Join lines to pieces, each sent before the next is made: other requests get their turn."""
    piece = bytearray()
    for line in lines:
        piece += line if line.endswith(b"\n") else line + b"\n"
        if len(piece) >= _PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
            # Where the reader is quick, sending is no pause.
            await asyncio.sleep(0)
    if piece:
        yield bytes(piece)

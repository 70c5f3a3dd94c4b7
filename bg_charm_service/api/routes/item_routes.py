"""Routes of collections: their items a page at a time, one of them, and writing some."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import Response
from pydantic import Field

from bg_charm_service.api.auth.authorization import Changing, Reading
from bg_charm_service.api.dependencies import (
    STORED_JSON,
    Charm,
    Limit,
    Service,
    make_router,
    stored_json,
)
from bg_charm_service.api.responses import Done
from bg_charm_service.domain.items import LONGEST_KEY_BYTES
from bg_charm_service.service.commands.items import MOST_FILTERS, read_filters

router = make_router("charms")

#: Its values are checked by the class of the charm, in a worker.
_GIVEN = {
    "type": "object",
    "properties": {
        "items": {"type": "object"},
        "remove": {"type": "array", "items": {"type": "string"}},
    },
}

_Filter = Annotated[str, Field(max_length=600)]
_Key = Annotated[str, Query(max_length=LONGEST_KEY_BYTES)]


@router.get(
    "/api/charms/{space}/{charm_id}/items/{field}", response_class=Response, responses=STORED_JSON
)
async def list_items(
    service: Service,
    caller: Reading,
    ref: Charm,
    field: str,
    after: _Key = "",
    limit: Limit = 100,
    text: Annotated[str, Query(max_length=300)] = "",
    where: Annotated[list[_Filter] | None, Query(max_length=MOST_FILTERS)] = None,
) -> Response:
    """List items of a collection, from behind a key: all, or those that a search finds.

    `text` is looked for in keys and values; `where=sender:alice` in one member of the values.

    `next` is where the list goes on, null at its end. A page of large items, or of those that a
    text finds, may be shorter than the limit, or empty, and others follow it.
    """
    filters = read_filters(where or ())
    found = service.items.page(ref, field, after=after, limit=limit, text=text, where=filters)
    return stored_json(found.as_json())


@router.get(
    "/api/charms/{space}/{charm_id}/item/{field}", response_class=Response, responses=STORED_JSON
)
async def get_item(
    service: Service, caller: Reading, ref: Charm, field: str, key: _Key
) -> Response:
    """Give the value of one item."""
    return stored_json(service.items.item(ref, field, key))


@router.put(
    "/api/charms/{space}/{charm_id}/items/{field}",
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": {"schema": _GIVEN}}}
    },
)
async def write_items(
    service: Service, caller: Changing, ref: Charm, field: str, request: Request
) -> Done:
    """Write items of a collection, and remove some, all of it or nothing.

    `items` is an object of values by their keys, `remove` a list of keys; up to 20,000 of them,
    of 4 MB together.
    """
    await service.updates.write_items(ref, field, await request.body())
    return Done()

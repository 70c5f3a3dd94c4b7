"""What every route takes from its request: the commands, the charm it names, a page's limits."""

from __future__ import annotations

from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from bg_charm_service.api.auth.authorization import GuardedRoute
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.service.commands import Commands

_PROBLEM = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}

#: The answers that every route can give; naming them keeps the framework's own form out. Given as
#: a class, their form would be worked out for each route anew, for a tenth of the time of a start.
ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"content": _PROBLEM, "description": "The request was refused; nothing was changed."},
    "5XX": {"content": _PROBLEM, "description": "The service cannot do it now."},
}

#: For routes that answer with JSON that is stored as text.
STORED_JSON: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {"schema": {}}}, "description": "The JSON value"}
}


# Asynchronous, as every dependency and route here: others run in threads, and all that the
# commands own belongs to the loop's thread.
async def _commands(request: Request) -> Commands:
    return cast("Commands", request.app.state.commands)


Service = Annotated[Commands, Depends(_commands)]


async def _charm(service: Service, space: str, charm_id: str) -> CharmRef:
    return service.queries.resolve(space, charm_id)


Charm = Annotated[CharmRef, Depends(_charm)]
Limit = Annotated[int, Query(ge=1, le=1000)]
Cursor = Annotated[int, Query(ge=0, le=2**62)]


def make_router(tag: str) -> APIRouter:
    """Make a router of guarded routes, which fail in one form and are named by functions."""
    return APIRouter(
        tags=[tag],
        responses=ERROR_RESPONSES,
        generate_unique_id_function=_operation_id,
        route_class=GuardedRoute,
    )


def _operation_id(route: APIRoute) -> str:
    return route.name


def stored_json(value: bytes) -> Response:
    """Answer with JSON as it is stored."""
    return Response(value, media_type="application/json")

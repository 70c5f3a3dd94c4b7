"""The first page: how the service is doing, and the list of charms."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Query, Request
from fastapi.responses import Response

from bg_charm_service.api.auth.authorization import Bounded, Caller, Changing, Page
from bg_charm_service.api.dependencies import Service
from bg_charm_service.api.pages import charts
from bg_charm_service.api.pages.charm_actions import Action, perform_action
from bg_charm_service.api.pages.forms import Form
from bg_charm_service.api.pages.rendering import done, make_page_router, page
from bg_charm_service.domain.disclosure import OpenText
from bg_charm_service.domain.errors import InvalidInput, ServiceError
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.domain.views import CharmView, SpaceView
from bg_charm_service.service.commands import CharmQuery, Commands
from bg_charm_service.storage.records import CharmOrder, Space, Standing

router = make_page_router()

#: Charms on a page.
PAGE_CHARMS = 50

#: Runs in a sparkline.
SPARK_RUNS = 30

#: Spaces that the filter offers; any other is found by its name in the address.
_OFFERED_SPACES = 200

#: Charms of a selection that run at a time.
_RUNS_AT_A_TIME = 5

_ORDERS = {
    CharmOrder.ADDED: "Order added",
    CharmOrder.NAME: "Name",
    CharmOrder.LAST_RUN: "Last run",
    CharmOrder.DURATION: "Duration",
    CharmOrder.FAILURES: "Failures in a row",
}
_STANDINGS = {
    Standing.FAILING: "Failing",
    Standing.SIGN_IN: "Sign in again",
    Standing.WAITING: "Waiting",
    Standing.DISABLED: "Disabled",
    Standing.STOPPED: "Stopped",
    Standing.PAUSED: "Paused",
    Standing.STALE: "Stale",
    Standing.SLOW: "Slow",
    Standing.UNREGISTERED: "Not registered",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A charm of the list with its newest runs as bars."""

    charm: CharmView
    shapes: list[charts.Shape]
    runs_text: OpenText


@router.get("/")
async def show_charms(
    request: Request,
    service: Service,
    caller: Page,
    q: Annotated[str, Query(max_length=300)] = "",
    space: Annotated[str, Query(max_length=300)] = "",
    integration: Annotated[str, Query(max_length=300)] = "",
    show: str = "",
    order: str = "",
    cursor: Annotated[str, Query(max_length=2000)] = "",
) -> Response:
    """Show the status and a page of charms."""
    if not caller.may_see_lists:
        return page(request, "closed.html", 401)
    shown = Standing(show) if show in list(Standing) else None
    ordered = CharmOrder(order) if order in list(CharmOrder) else CharmOrder.ADDED
    if caller.spaces is not None and not (space and caller.may_touch(space)):
        space = caller.space or ""
    is_hidden = caller.spaces is not None and not space
    query = CharmQuery(q, space or None, integration or None, shown, ordered, cursor, PAGE_CHARMS)
    charms, more = ([], None) if is_hidden else service.queries.list_charms(query)
    wanted = {"q": q, "show": show, "space": space, "integration": integration, "order": order}
    kept = {name: value for name, value in wanted.items() if value}
    status = service.queries.status()
    return page(
        request,
        "charms.html",
        status=status if caller.spaces is None else None,
        rows=[_row(service, charm) for charm in charms],
        query=wanted,
        is_filtered=any(wanted[name] for name in ("q", "show", "space", "integration")),
        is_first_page=cursor in ("", "0"),
        here="/" + (f"?{urlencode({**kept, 'cursor': cursor})}" if kept or cursor else ""),
        first="/" + (f"?{urlencode(kept)}" if kept else ""),
        following=f"/?{urlencode({**kept, 'cursor': more})}" if more else None,
        orders=_ORDERS,
        standings=_STANDINGS,
        spaces=_offered_spaces(service, caller),
        integrations=[] if caller.spaces else [one.integration for one in status.integrations],
    )


@router.post("/charms/selected")
async def act_on_selection(
    request: Request,
    service: Service,
    caller: Changing,
    bounds: Bounded,
    form: Form,
) -> Response:
    """Do the same to several charms; what fails for one does not stop the others."""
    if form.text("action") not in list(Action):
        raise InvalidInput("Choose what to do with the charms.")
    action = Action(form.text("action"))
    refs = [CharmRef.parse(text) for text in form.texts("charm")[:1000]]
    if not refs:
        raise InvalidInput("Select charms first.")
    for ref in refs:
        caller.check_space(ref.space)
    room = asyncio.Semaphore(_RUNS_AT_A_TIME)

    async def one(ref: CharmRef) -> str:
        async with room:
            return await perform_action(service, ref, action)

    problems = await _problems([one(ref) for ref in refs])
    message = f"{action.past}: {len(refs) - len(problems)} of {len(refs)} charms."
    return done(request, " ".join([message, *problems[:3]]), _own_page(form.text("then")))


async def _problems(works: list[Awaitable[str]]) -> list[str]:
    results = await asyncio.gather(*works, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, ServiceError):
            raise result
    return [str(result) for result in results if isinstance(result, ServiceError)]


def _row(service: Commands, charm: CharmView) -> Row:
    ref = CharmRef(charm.space, charm.charm_id)
    outcomes = service.queries.recent_outcomes(ref, SPARK_RUNS)
    shapes = charts.spark_shapes(outcomes, SPARK_RUNS)
    return Row(charm, shapes, charts.describe_outcomes(outcomes))


def _offered_spaces(service: Commands, caller: Caller) -> Sequence[SpaceView | Space]:
    if caller.spaces is None:
        return service.system.spaces(limit=_OFFERED_SPACES)
    found = map(service.queries.space, sorted(caller.spaces)[:_OFFERED_SPACES])
    return [space for space in found if space is not None]


def _own_page(then: str) -> str:
    """Keep a form from sending people to other sites."""
    return then if then.startswith("/") and not then.startswith(("//", "/\\")) else "/"

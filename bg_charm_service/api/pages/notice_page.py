"""The page of notices: who is told of what, and what was sent or is to be. The operator's only."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import Response

from bg_charm_service.api.auth.authorization import Bounded, Governing, Listing
from bg_charm_service.api.dependencies import Service
from bg_charm_service.api.pages.rendering import done, make_page_router, page

router = make_page_router()

_ROWS = 50


@router.get("/notices")
async def show_notices(
    request: Request,
    service: Service,
    caller: Listing,
    bounds: Bounded,
    before: Annotated[int, Query(ge=0, le=2**62)] = 0,
) -> Response:
    """Show to whoever governs the service where notices go, and what was sent."""
    governs = caller.may_change and caller.is_unlimited
    messages = service.notices.messages(before, _ROWS) if governs else []
    return page(
        request,
        "notices.html",
        governs=governs,
        targets=service.notices.targets() if governs and not before else [],
        messages=messages,
        is_first_page=not before,
        more=messages[-1].message_id if len(messages) == _ROWS else None,
    )


@router.post("/notices/{name}/test")
async def test_target(request: Request, service: Service, caller: Governing, name: str) -> Response:
    """Send a message to a target now."""
    found = await service.notices.test(name)
    told = f"Sent to {name}." if found.status == "sent" else f"Not sent: {found.problem}"
    return done(request, told, "/notices")

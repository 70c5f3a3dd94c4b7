"""The page that says who is signed in, until when, and ends all sessions."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import Response

from bg_charm_service.api.auth.authorization import Bounded, Governing, Listing
from bg_charm_service.api.dependencies import Service
from bg_charm_service.api.pages.rendering import make_page_router, moved, page
from bg_charm_service.api.routes.session_routes import end_all_sessions

router = make_page_router()


@router.get("/session")
async def show_session(
    request: Request, service: Service, caller: Listing, bounds: Bounded
) -> Response:
    """Show the caller, and to whoever governs the service all sessions."""
    governs = caller.may_change and caller.is_unlimited
    return page(
        request,
        "session.html",
        sessions=service.tokens.list_sessions() if governs else [],
        governs=governs,
        spaces=sorted(caller.spaces) if caller.spaces is not None else None,
    )


@router.post("/sessions/end")
async def end_sessions(request: Request, service: Service, caller: Governing) -> Response:
    """End all sessions, that of the caller too."""
    end_all_sessions(service, request)
    return moved(request, "/login")

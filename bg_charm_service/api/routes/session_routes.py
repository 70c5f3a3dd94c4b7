"""Routes of who is signed in: the caller itself, all sessions, and the end of all of them."""

from __future__ import annotations

from typing import cast

from fastapi import Request

from bg_charm_service.api.auth.authorization import Bounded, Governing, Listing
from bg_charm_service.api.auth.login_codes import LoginCodes
from bg_charm_service.api.dependencies import Service, make_router
from bg_charm_service.api.responses import CallerView, EndedSessions
from bg_charm_service.domain.views import SessionView
from bg_charm_service.service.commands import Commands

router = make_router("access")


@router.get("/api/session")
async def show_caller(caller: Listing, bounds: Bounded) -> CallerView:
    """Say who the caller is to the service, what it may do, and until when."""
    return CallerView(
        name=caller.shown_name,
        kind=caller.kind,
        may_read=caller.may_read,
        may_change=caller.may_change,
        spaces=tuple(sorted(caller.spaces)) if caller.spaces is not None else None,
        expires_at=caller.credentials_end_at,
    )


@router.get("/api/sessions")
async def list_sessions(service: Service, caller: Governing) -> list[SessionView]:
    """List the sessions of browsers that are under way, the newest first."""
    return service.tokens.list_sessions()


@router.delete("/api/sessions")
async def end_sessions(service: Service, caller: Governing, request: Request) -> EndedSessions:
    """End all sessions at once, with the streams opened in them; login links are good no more."""
    return EndedSessions(end_all_sessions(service, request))


def end_all_sessions(service: Commands, request: Request) -> int:
    """End every session and every way into one that was given out; gives how many ended."""
    cast("LoginCodes", request.app.state.login_codes).forget_all()
    return service.tokens.end_all_sessions()

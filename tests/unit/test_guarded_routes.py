"""Deny by default: every route declares what its caller must be allowed."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute

from bg_charm_service.api import create_app
from bg_charm_service.api.auth.authorization import (
    Changing,
    GuardedRoute,
    Permission,
    Reading,
    permission_of,
)
from bg_charm_service.api.dependencies import make_router
from bg_charm_service.domain.clock import SystemClock
from bg_charm_service.service.commands import Commands

#: What everybody may have: it is the same for all, and changes nothing but a session.
#: Who comes back from a provider brings a state that was made for that sign-in alone.
PUBLIC = {
    *("/login", "/logout", "/docs", "/favicon.ico", "/static/{name:path}"),
    "/api/integrations/{provider}-oauth/callback",
    "/api/integrations/{provider}-oauth/confirm",
}


def routes() -> list[Any]:
    """Give every route of the application."""
    commands = SimpleNamespace(clock=SystemClock())
    return list(create_app(cast("Commands", commands)).routes)


def guarded() -> list[APIRoute]:
    """Give the routes that declare a need."""
    return [route for route in routes() if isinstance(route, APIRoute)]


def test_every_route_is_guarded() -> None:
    """No route comes around the guard."""
    assert len(guarded()) > 20
    assert [] == [route.path for route in routes() if not isinstance(route, GuardedRoute)]


def test_nothing_is_public_but_signing_in() -> None:
    """A route of the API asks something; only pages are for all, and show what each may see."""
    permissions = [(route.path, permission_of(route)) for route in guarded()]
    assert PUBLIC >= {path for path, permission in permissions if permission is Permission.NONE}
    assert not [
        path
        for path, permission in permissions
        if permission is Permission.PAGE and path.startswith("/api/")
    ]


def test_what_changes_something_asks_for_it() -> None:
    """Without a right to change, only reading and registering are possible."""
    weak = {
        (method, route.path)
        for route in guarded()
        for method in route.methods or ()
        if permission_of(route) in (Permission.LISTING, Permission.READING, Permission.PAGE)
        and method != "GET"
    }
    assert set() == {each for each in weak if each[0] not in ("HEAD", "OPTIONS")}
    assert {"/api/integrations/bg"} == {
        route.path for route in guarded() if permission_of(route) is Permission.REGISTERING
    }


def test_a_route_without_a_need_answers_nobody() -> None:
    """Who forgets to say what a route asks is told by its first request."""
    called: list[str] = []

    async def forgotten() -> None:
        called.append("forgotten")

    async def undecided(caller: Changing, reader: Reading) -> None:
        called.append("undecided")

    for endpoint in (forgotten, undecided):
        router = make_router("test")
        router.get("/forgotten")(endpoint)
        with pytest.raises(RuntimeError, match="it must declare one"):
            ask(router, "/forgotten")
    assert [] == called


def test_a_route_is_built_when_it_is_asked() -> None:
    """Until then it is only found; to look at one builds it too, once."""
    router = make_router("test")

    async def read(caller: Reading) -> None: ...

    router.get("/read")(read)
    [route] = router.routes
    assert "dependant" not in vars(route)
    assert isinstance(route, APIRoute)
    assert Permission.READING is permission_of(route)
    assert route.dependant is route.dependant
    assert not hasattr(route, "colour")


def ask(router: APIRouter, path: str) -> None:
    """Send a request to a router; what its route raises is raised here."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: MutableMapping[str, Any]) -> None: ...

    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}
    asyncio.run(router(scope, receive, send))

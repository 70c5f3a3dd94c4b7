"""Promises of how large a body may be: by its route, and by the limits of the charm."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
from fastapi.routing import APIRoute

from bg_charm_service.api import create_app
from bg_charm_service.api.auth.body_limit import SMALL_BODY_BYTES, body_kind, body_limit
from bg_charm_service.domain.clock import SystemClock
from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.service.commands import Commands

MEGABYTE = 1024 * 1024
SIZES = {"small": MEGABYTE, None: 16 * MEGABYTE}


def state_bytes(ref: CharmRef | None) -> int:
    """How large the state of a charm may be: one has a limit of its own."""
    return SIZES[ref.charm_id if ref is not None else None]


def resolve(space: str, charm_id: str) -> CharmRef:
    """Read a charm's address."""
    if charm_id not in SIZES:
        raise InvalidInput("Invalid charm ID")
    return CharmRef(space, charm_id)


COMMANDS = cast(
    "Commands",
    SimpleNamespace(
        clock=SystemClock(),
        limits=SimpleNamespace(state_bytes=state_bytes),
        queries=SimpleNamespace(resolve=resolve),
    ),
)


def routes() -> list[APIRoute]:
    """Every route of the application."""
    found = create_app(COMMANDS).routes
    return [route for route in found if isinstance(route, APIRoute)]


@pytest.mark.parametrize(
    ("path", "charm_id", "limit_bytes"),
    [
        ("/api/charms/{space}/{charm_id}/send", "small", MEGABYTE),
        ("/api/charms/{space}/{charm_id}/source", "small", 4 * MEGABYTE),
        ("/api/charms/{space}/{charm_id}/state/{field}", "small", 2 * MEGABYTE + SMALL_BODY_BYTES),
        ("/api/charms/{space}/{charm_id}/state/{field}", "x", 32 * MEGABYTE + SMALL_BODY_BYTES),
        ("/api/charms", None, 36 * MEGABYTE),
        ("/api/charms/import", None, 44 * MEGABYTE),
        ("/api/charms/{space}/{charm_id}/limits", "small", SMALL_BODY_BYTES),
        ("/charms/{space}/{charm_id}/field", "small", SMALL_BODY_BYTES),
    ],
)
def test_a_route_takes_what_it_needs(path: str, charm_id: str | None, limit_bytes: int) -> None:
    """An event 1 MB, a state what its charm may have as JSON, all that is never large 256 kB."""
    assert path in {route.path for route in routes()}
    given = {"space": "did:key:here", "charm_id": charm_id} if charm_id else {}
    assert limit_bytes == body_limit(path, given, COMMANDS)


def test_what_is_read_as_json_is_read_elsewhere_where_it_is_large() -> None:
    """A route that takes more than is read on the loop says what its body is."""
    for route in routes():
        if route.body_field is None:
            continue
        limit_bytes = body_limit(route.path, {}, COMMANDS)
        is_post = bool({"POST", "PUT"} & (route.methods or set()))
        may_be_large = is_post and limit_bytes > SMALL_BODY_BYTES
        assert may_be_large == (body_kind(route.path) is not None), route.path

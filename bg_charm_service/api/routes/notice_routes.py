"""Routes of notices: where they go, and what was sent. The operator's only."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path

from bg_charm_service.api.auth.authorization import Governing
from bg_charm_service.api.dependencies import Cursor, Limit, Service, make_router
from bg_charm_service.api.requests import TargetBody
from bg_charm_service.api.responses import Done
from bg_charm_service.domain.views import AddedTarget, MessageView, TargetView

router = make_router("notices")

_Target = Annotated[str, Path(max_length=100, description="A target's name")]


@router.post("/api/notice-targets")
async def add_target(service: Service, caller: Governing, body: TargetBody) -> AddedTarget:
    """Have notices sent to an address; it is kept encrypted, and never shown again."""
    return await service.notices.add(
        body.url,
        name=body.name,
        space=body.space,
        kinds=body.kinds,
        down_after_seconds=body.down_after_seconds,
    )


@router.get("/api/notice-targets")
async def list_targets(service: Service, caller: Governing) -> list[TargetView]:
    """List where notices go, with masked addresses, and how each target does."""
    return service.notices.targets()


@router.delete("/api/notice-targets/{name}")
async def remove_target(service: Service, caller: Governing, name: _Target) -> Done:
    """Send nothing more to a target."""
    service.notices.remove(name)
    return Done()


@router.post("/api/notice-targets/{name}/test")
async def test_target(service: Service, caller: Governing, name: _Target) -> MessageView:
    """Send a message to a target now, and say what came of it."""
    return await service.notices.test(name)


@router.get("/api/notices")
async def list_messages(
    service: Service, caller: Governing, before: Cursor = 0, limit: Limit = 50
) -> list[MessageView]:
    """List what was sent or is to be, the newest first."""
    return service.notices.messages(before, limit)

"""Routes of hooks: their addresses, for those who may change their charm, and other ones for them.

What comes to an address comes by a listener of its own (`api/hooks`), never here.
"""

from __future__ import annotations

from bg_charm_service.api.auth.authorization import Changing
from bg_charm_service.api.dependencies import Charm, Service, make_router
from bg_charm_service.domain.views import HookView

router = make_router("hooks")


@router.get("/api/charms/{space}/{charm_id}/hooks")
async def list_hooks(service: Service, caller: Changing, ref: Charm) -> list[HookView]:
    """List the hooks of a charm with their addresses."""
    return service.hooks.of(ref)


@router.post("/api/charms/{space}/{charm_id}/hooks/{stream}/rotate")
async def rotate_hook(service: Service, caller: Changing, ref: Charm, stream: str) -> HookView:
    """Give a hook another address; the one before leads nowhere from then on."""
    return service.hooks.rotate(ref, stream)

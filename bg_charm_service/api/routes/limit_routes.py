"""Routes of limits, per charm and per space. Whoever may read sees them; the operator sets them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path

from bg_charm_service.api.auth.authorization import Governing, Reading
from bg_charm_service.api.dependencies import Charm, Service, make_router
from bg_charm_service.api.requests import LimitsBody, Name
from bg_charm_service.domain.views import LimitsView

router = make_router("limits")

#: One that is not there yet is made by its first limits, and keeps its name.
_Space = Annotated[Name, Path(description="A space's DID or name")]


@router.get("/api/charms/{space}/{charm_id}/limits")
async def show_charm_limits(service: Service, caller: Reading, ref: Charm) -> LimitsView:
    """Show what a charm's runs may use, and whose word that is."""
    return service.limits.of_charm(ref)


@router.put("/api/charms/{space}/{charm_id}/limits")
async def set_charm_limits(
    service: Service, caller: Governing, ref: Charm, body: LimitsBody
) -> LimitsView:
    """Set some limits of a charm; null takes one back, and what is left out stays."""
    return service.limits.set_for_charm(ref, body.given())


@router.delete("/api/charms/{space}/{charm_id}/limits")
async def reset_charm_limits(service: Service, caller: Governing, ref: Charm) -> LimitsView:
    """Take back all limits that were set for a charm itself."""
    return service.limits.reset_for_charm(ref)


@router.get("/api/spaces/{space}/limits")
async def show_space_limits(service: Service, caller: Reading, space: _Space) -> LimitsView:
    """Show what the charms of a space may use, and whose word that is; also before the first."""
    return service.limits.of_space(space)


@router.put("/api/spaces/{space}/limits")
async def set_space_limits(
    service: Service, caller: Governing, space: _Space, body: LimitsBody
) -> LimitsView:
    """Set some limits of a space; null takes one back, and what is left out stays.

    A space that is not there yet is made.
    """
    return service.limits.set_for_space(space, body.given())


@router.delete("/api/spaces/{space}/limits")
async def reset_space_limits(service: Service, caller: Governing, space: str) -> LimitsView:
    """Take back all limits that were set for a space; those of its charms stay."""
    return service.limits.reset_for_space(space)

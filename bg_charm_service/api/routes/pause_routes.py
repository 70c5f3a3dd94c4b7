"""Routes that pause and resume a charm, a space or everything."""

from __future__ import annotations

from bg_charm_service.api.auth.authorization import Changing, Governing, Listing
from bg_charm_service.api.dependencies import Charm, Limit, Service, make_router
from bg_charm_service.api.responses import Done
from bg_charm_service.domain.views import PauseView

router = make_router("pauses")


@router.get("/api/pauses")
async def list_pauses(service: Service, caller: Listing, limit: Limit = 100) -> list[PauseView]:
    """List what is paused, the widest first."""
    return service.queries.paused(limit)


@router.post("/api/pause")
async def pause_all(service: Service, caller: Governing) -> Done:
    """Let no charm run until everything is resumed, but for runs by hand; events wait."""
    await service.pauses.pause_all()
    return Done()


@router.post("/api/resume")
async def resume_all(service: Service, caller: Governing) -> Done:
    """Let charms run again, but for spaces and charms that are paused by themselves."""
    await service.pauses.resume_all()
    return Done()


@router.post("/api/spaces/{space}/pause")
async def pause_space(service: Service, caller: Changing, space: str) -> Done:
    """Let no charm of a space run until it is resumed; events wait."""
    await service.pauses.pause_space(space)
    return Done()


@router.post("/api/spaces/{space}/resume")
async def resume_space(service: Service, caller: Changing, space: str) -> Done:
    """Let the charms of a space run again."""
    await service.pauses.resume_space(space)
    return Done()


@router.post("/api/charms/{space}/{charm_id}/pause")
async def pause_charm(service: Service, caller: Changing, ref: Charm) -> Done:
    """Let a charm not run until it is resumed; events sent to it wait."""
    await service.pauses.pause_charm(ref)
    return Done()


@router.post("/api/charms/{space}/{charm_id}/resume")
async def resume_charm(service: Service, caller: Changing, ref: Charm) -> Done:
    """Let a charm run again, at its next time."""
    await service.pauses.resume_charm(ref)
    return Done()

"""Pages about the service as a whole: what needs attention, spaces, integrations, the audit log."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import Response

from bg_charm_service.api.auth.authorization import Governing, Listing
from bg_charm_service.api.dependencies import Service
from bg_charm_service.api.pages.rendering import make_page_router, page
from bg_charm_service.domain.model import CharmRef, RunRecord
from bg_charm_service.domain.views import CharmView, JobView
from bg_charm_service.service.commands import CharmQuery, Commands
from bg_charm_service.storage.records import CharmOrder, Standing

router = make_page_router()

_ROWS = 50


@router.get("/attention")
async def show_attention(
    request: Request,
    service: Service,
    caller: Listing,
    letter: Annotated[int, Query(ge=0, le=2**62)] = 0,
    cursor: Annotated[str, Query(max_length=2000)] = "",
) -> Response:
    """Show disabled charms and dead letters, why, and what to do."""
    query = CharmQuery(
        standing=Standing.DISABLED, order=CharmOrder.FAILURES, cursor=cursor, limit=_ROWS
    )
    disabled, more = service.queries.list_charms(query)
    letters = service.queries.dead_letters(letter, _ROWS)
    return page(
        request,
        "attention.html",
        disabled=disabled,
        more=more,
        letters=[_explained(service, one) for one in letters],
        more_letters=letters[-1].job_id if len(letters) == _ROWS else None,
    )


@router.get("/spaces")
async def show_spaces(
    request: Request,
    service: Service,
    caller: Listing,
    after: Annotated[str, Query(max_length=300)] = "",
) -> Response:
    """Show the spaces and who owns them."""
    spaces = service.system.spaces(after, _ROWS + 1)
    return page(
        request,
        "spaces.html",
        spaces=spaces[:_ROWS],
        is_first_page=not after,
        more=spaces[_ROWS - 1].did if len(spaces) > _ROWS else None,
        operator=service.about.operator,
    )


@router.get("/integrations")
async def show_integrations(request: Request, service: Service, caller: Listing) -> Response:
    """Show the integrations with their last scan."""
    return page(request, "integrations.html", integrations=await service.system.integrations())


@router.get("/audit")
async def show_audit(
    request: Request,
    service: Service,
    caller: Governing,
    before: Annotated[int | None, Query(ge=0, le=2**62)] = None,
) -> Response:
    """Show who changed what, the newest first."""
    entries = service.queries.audit(before, _ROWS)
    older = entries[-1].entry_id if len(entries) == _ROWS else None
    return page(request, "audit.html", entries=entries, older=older, before=before)


def _explained(service: Commands, letter: JobView) -> tuple[JobView, CharmView, RunRecord | None]:
    """A dead letter with its charm, and the run that it ended with, while that is kept."""
    ref = CharmRef(letter.space, letter.charm_id)
    detail = service.queries.show_charm(ref)
    last = next((run for run in detail.history if run.job_id == letter.job_id), None)
    return letter, detail.charm, last

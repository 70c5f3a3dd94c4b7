"""Pages about the service as a whole: what needs attention, spaces, integrations, the audit log."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import Response

from bg_charm_service.api.auth.authorization import Changing, Governing, Listing
from bg_charm_service.api.dependencies import Service
from bg_charm_service.api.pages.rendering import done, make_page_router, page
from bg_charm_service.domain.model import CharmRef, RunRecord
from bg_charm_service.domain.views import CharmView, DeadLetter, PauseView, SignInView
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
    """Show who has to sign in, what is paused, stale, disabled or a dead letter, and what to do."""
    query = CharmQuery(
        standing=Standing.DISABLED, order=CharmOrder.FAILURES, cursor=cursor, limit=_ROWS
    )
    disabled, more = service.queries.list_charms(query)
    asked = CharmQuery(standing=Standing.SIGN_IN, order=CharmOrder.FAILURES, limit=_ROWS)
    sign_ins, more_sign_ins = service.queries.list_charms(asked)
    unchanged = CharmQuery(standing=Standing.STALE, limit=_ROWS)
    stale, more_stale = service.queries.list_charms(unchanged)
    pauses = service.queries.paused(_ROWS + 1)
    letters = service.queries.dead_letters(letter, _ROWS)
    return page(
        request,
        "attention.html",
        pauses=[_named(service, one) for one in pauses[:_ROWS]],
        more_pauses=len(pauses) > _ROWS,
        stale=[(one, service.queries.expectations(one)) for one in stale],
        more_stale=more_stale is not None,
        sign_ins=[(one, _sign_in_of(service, one)) for one in sign_ins],
        more_sign_ins=more_sign_ins is not None,
        disabled=disabled,
        more=more,
        letters=[_explained(service, one) for one in letters],
        more_letters=letters[-1].job_id if len(letters) == _ROWS else None,
    )


def _sign_in_of(service: Commands, charm: CharmView) -> SignInView | None:
    """The field of a charm that a person has to sign in for."""
    found = service.sign_ins.of_charm(CharmRef(charm.space, charm.charm_id))
    return next((one for one in found if not one.is_signed_in), None)


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
        operator=service.operator.did,
    )


class PauseAction(StrEnum):
    """What can be done to a whole space, or to everything."""

    PAUSE = "pause"
    RESUME = "resume"


@router.post("/spaces/{space}/do/{action}")
async def act_on_space(
    request: Request, service: Service, caller: Changing, space: str, action: PauseAction
) -> Response:
    """Pause a space, or resume it."""
    if action is PauseAction.PAUSE:
        await service.pauses.pause_space(space)
        return done(request, "The space is paused.", "/spaces")
    await service.pauses.resume_space(space)
    return done(request, "The space runs again.", "/spaces")


@router.post("/service/do/{action}")
async def act_on_service(
    request: Request, service: Service, caller: Governing, action: PauseAction
) -> Response:
    """Pause everything, or resume it."""
    if action is PauseAction.PAUSE:
        await service.pauses.pause_all()
        return done(request, "Everything is paused.", "/spaces")
    await service.pauses.resume_all()
    return done(request, "Charms run again.", "/spaces")


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


def _named(service: Commands, pause: PauseView) -> tuple[PauseView, CharmView | None]:
    """A pause with the charm that it is of, if it is of one."""
    if pause.space is None or pause.charm_id is None:
        return pause, None
    return pause, service.queries.show_charm(CharmRef(pause.space, pause.charm_id)).charm


def _explained(
    service: Commands, letter: DeadLetter
) -> tuple[DeadLetter, CharmView, RunRecord | None]:
    """A dead letter with its charm, and the run that it ended with, while that is kept."""
    ref = CharmRef(letter.space, letter.charm_id)
    detail = service.queries.show_charm(ref)
    last = next((run for run in detail.history if run.job_id == letter.job_id), None)
    return letter, detail.charm, last

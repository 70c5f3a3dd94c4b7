"""A charm's page, and the page of one of its runs."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query, Request
from fastapi.responses import Response

from bg_charm_service.api.auth.authorization import Listing, Reading
from bg_charm_service.api.dependencies import Charm, Service
from bg_charm_service.api.pages import charts
from bg_charm_service.api.pages.items_page import glimpses
from bg_charm_service.api.pages.rendering import make_page_router, page
from bg_charm_service.api.pages.state_view import read_state, shown_fields
from bg_charm_service.domain.text_limits import PAGE_LOG_CHARACTERS
from bg_charm_service.domain.web.requests import KEPT_AT_EACH_END, requests_left_out

router = make_page_router()

#: Runs on a page.
_RUNS = 20

#: A text of this name says how far a charm is, and stands at the top of what it has.
_PROGRESS = "progress"

#: Runs in the chart at the top.
_BARS = 60


@router.get("/charms/{space}/{charm_id}")
async def show_charm(
    request: Request,
    service: Service,
    caller: Listing,
    ref: Charm,
    before: Annotated[int | None, Query(ge=0, le=2**62)] = None,
) -> Response:
    """Show a charm; its state, runs and source only to those who may read them."""
    detail = service.queries.show_charm(ref)
    outcomes = service.queries.recent_outcomes(ref, _BARS)
    shown: dict[str, Any] = {
        "fields": [],
        "runs": [],
        "older": None,
        "source": "",
        "sign_ins": [],
        "hooks": [],
        "glimpses": [],
        "progress": "",
    }
    if caller.may_read:
        runs = service.queries.runs(ref, before, _RUNS + 1)
        state = read_state(service.queries.state(ref))
        progress = state.get(_PROGRESS)
        shown = {
            "fields": shown_fields(state, {one.name: one.kind for one in detail.fields}),
            "glimpses": glimpses(service, ref),
            "progress": progress if isinstance(progress, str) else "",
            "runs": runs[:_RUNS],
            "older": runs[_RUNS - 1].number if len(runs) > _RUNS else None,
            "source": service.queries.source(ref),
            "sign_ins": service.sign_ins.of_charm(ref),
            # Whoever may only read is not told where to send to.
            "hooks": service.hooks.shown(ref) if caller.may_change else [],
        }
    return page(
        request,
        "charm.html",
        detail=detail,
        charm=detail.charm,
        ref=ref,
        shapes=charts.spark_shapes(outcomes, _BARS),
        bar_places=_BARS,
        runs_text=charts.describe_outcomes(outcomes),
        log_characters=PAGE_LOG_CHARACTERS,
        before=before,
        service_interval=service.about.interval_seconds,
        **shown,
    )


@router.get("/charms/{space}/{charm_id}/runs/{number}")
async def show_run(
    request: Request,
    service: Service,
    caller: Reading,
    ref: Charm,
    number: Annotated[int, Path(ge=1, lt=2**32)],
    show: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """Show one run with its traceback, and with its whole log or its requests."""
    charm, run = service.queries.show_charm(ref).charm, service.queries.run(ref, number)
    return page(
        request,
        "run.html",
        charm=charm,
        ref=ref,
        run=run,
        shows_requests=show == "requests" and bool(run.requests),
        left_out=requests_left_out(run.requests),
        kept_at_each_end=KEPT_AT_EACH_END,
    )

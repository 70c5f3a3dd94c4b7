"""Routes for monitors: does the loop advance, can it do its work, what has it counted."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Header
from fastapi.responses import Response

from bg_charm_service.api.auth.authorization import Listing
from bg_charm_service.api.dependencies import Service, make_router
from bg_charm_service.api.responses import Done

router = make_router("monitoring")

_TEXT = {"schema": {"type": "string"}}

_METRICS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"text/plain": _TEXT, "application/openmetrics-text": _TEXT},
        "description": "Metrics in the text format of Prometheus, or of OpenMetrics",
    }
}


@router.get("/livez")
async def check_alive(service: Service, caller: Listing) -> Done:
    """Whether the loop that runs charms advances; 503 if not."""
    await service.monitoring.check_alive()
    return Done("alive")


@router.get("/readyz")
async def check_ready(service: Service, caller: Listing) -> Done:
    """Whether the database can be written, workers are up, and no stop is under way; 503 if not."""
    service.monitoring.check_ready()
    return Done("ready")


@router.get("/metrics", responses=_METRICS, response_class=Response)
async def get_metrics(
    service: Service, caller: Listing, accept: Annotated[str, Header()] = ""
) -> Response:
    """Give what Prometheus scrapes; the guide for operators has the table of names."""
    await service.monitoring.prepare()
    text, media_type = service.monitoring.metrics(accept)
    return Response(text, media_type=media_type)

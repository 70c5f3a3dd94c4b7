"""Puts the API's application together: routes, limits, failures, and its description."""

from __future__ import annotations

import importlib.metadata

from fastapi import FastAPI
from fastapi.routing import APIRoute

from bg_charm_service.api import charm_routes, run_routes, service_routes
from bg_charm_service.api.access import FAILURES
from bg_charm_service.api.body_limit import BodyLimit
from bg_charm_service.api.failures import add_failures
from bg_charm_service.commands import Commands


def build_app(commands: Commands) -> FastAPI:
    """Make the application; it holds nothing but the commands."""
    app = FastAPI(
        title="Background Charm Service",
        version=importlib.metadata.version("bg-charm-service"),
        responses=FAILURES,
        generate_unique_id_function=_operation_id,
        redirect_slashes=False,
    )
    app.state.commands = commands
    app.add_middleware(BodyLimit)
    add_failures(app)
    for module in (service_routes, charm_routes, run_routes):
        app.include_router(module.router)
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name

"""Puts the API's application together: routes, limits, failures, and its description."""

from __future__ import annotations

import importlib.metadata

from fastapi import FastAPI

from bg_charm_service.api import charm_routes, event_routes, run_routes, service_routes
from bg_charm_service.api.body_limit import BodyLimit
from bg_charm_service.api.credentials import Doorman
from bg_charm_service.api.failures import add_failures
from bg_charm_service.commands import Commands


def build_app(commands: Commands) -> FastAPI:
    """Make the application; it holds nothing but the commands."""
    app = FastAPI(
        title="Background Charm Service",
        version=importlib.metadata.version("bg-charm-service"),
        redirect_slashes=False,
    )
    app.state.commands = commands
    app.state.identify = Doorman().identify
    app.add_middleware(BodyLimit)
    add_failures(app)
    for module in (service_routes, charm_routes, run_routes, event_routes):
        # Included, every route would be built a second time, which takes longer than a request.
        app.router.routes += module.router.routes
    return app

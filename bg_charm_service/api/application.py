"""Puts the API's application together: routes, limits, failures, and its description."""

from __future__ import annotations

import importlib.metadata

from fastapi import FastAPI

from bg_charm_service.api.auth.authentication import Doorman
from bg_charm_service.api.auth.body_limit import BodyLimit
from bg_charm_service.api.auth.login_codes import LoginCodes, ServiceAddress
from bg_charm_service.api.auth.origin_middleware import Gate
from bg_charm_service.api.auth.throttle import Attempts
from bg_charm_service.api.error_responses import add_failures
from bg_charm_service.api.pages import PAGES
from bg_charm_service.api.routes import backup_routes as keeping_routes
from bg_charm_service.api.routes import (
    charm_routes,
    event_routes,
    limit_routes,
    login_routes,
    run_routes,
    token_routes,
)
from bg_charm_service.api.routes import registration_routes as service_routes
from bg_charm_service.service.commands import Commands


def build_app(commands: Commands, service_address: ServiceAddress) -> FastAPI:
    """Make the application; it holds the commands, and what it knows of those who come in."""
    clock = commands.clock
    doorman = Doorman(commands, Attempts(clock))
    app = FastAPI(
        title="Background Charm Service",
        version=importlib.metadata.version("bg-charm-service"),
        redirect_slashes=False,
        # The reference is a page of ours: the framework's would load from another host.
        docs_url=None,
        redoc_url=None,
        # Described by a route of ours, which has a guard.
        openapi_url=None,
    )
    app.state.commands = commands
    app.state.identify = doorman.identify
    app.state.doorman = doorman
    app.state.codes = LoginCodes(clock)
    app.state.service_address = service_address
    app.add_middleware(BodyLimit)
    add_failures(app)
    # Added last, it is asked first.
    app.add_middleware(Gate, plate=service_address.plate)
    modules = (
        service_routes,
        charm_routes,
        run_routes,
        limit_routes,
        event_routes,
        token_routes,
        keeping_routes,
        login_routes,
        *PAGES,
    )
    for module in modules:
        # Included, every route would be built a second time, which takes longer than a request.
        app.router.routes += module.router.routes
    return app

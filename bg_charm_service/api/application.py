"""Puts the API's application together: routes, middleware, error responses, its description."""

from __future__ import annotations

import importlib.metadata

from fastapi import FastAPI

from bg_charm_service.api.auth.allowed_origins import ServiceAddress
from bg_charm_service.api.auth.authentication import Authenticator
from bg_charm_service.api.auth.login_codes import LoginCodes
from bg_charm_service.api.auth.origin_middleware import OriginMiddleware
from bg_charm_service.api.auth.throttle import Throttle
from bg_charm_service.api.error_responses import add_error_handlers
from bg_charm_service.api.large_bodies import LargeBodies
from bg_charm_service.api.pages import PAGES
from bg_charm_service.api.routes import (
    backup_routes,
    charm_routes,
    event_routes,
    limit_routes,
    login_routes,
    registration_routes,
    run_routes,
    token_routes,
)
from bg_charm_service.service.commands import Commands


def build_app(
    commands: Commands, service_address: ServiceAddress, large_bodies: LargeBodies | None
) -> FastAPI:
    """Make the application; its state holds the commands and what authenticates callers."""
    clock = commands.clock
    authenticator = Authenticator(commands, Throttle(clock))
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
    app.state.authenticate = authenticator.authenticate
    app.state.authenticator = authenticator
    app.state.login_codes = LoginCodes(clock)
    app.state.service_address = service_address
    app.state.large_bodies = large_bodies
    add_error_handlers(app)
    # Added last, it is asked first.
    app.add_middleware(OriginMiddleware, policy=service_address.origin_policy)
    modules = (
        registration_routes,
        charm_routes,
        run_routes,
        limit_routes,
        event_routes,
        token_routes,
        backup_routes,
        login_routes,
        *PAGES,
    )
    for module in modules:
        # Included, every route would be built a second time, which takes longer than a request.
        app.router.routes += module.router.routes
    return app

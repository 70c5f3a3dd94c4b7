"""Puts the API's application together: routes, middleware, error responses, its description."""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from pydantic import TypeAdapter

from bg_charm_service.api.auth.allowed_origins import ServiceAddress
from bg_charm_service.api.auth.authentication import Authenticator
from bg_charm_service.api.auth.login_codes import LoginCodes
from bg_charm_service.api.auth.origin_middleware import OriginMiddleware
from bg_charm_service.api.auth.throttle import Throttle
from bg_charm_service.api.error_responses import add_error_handlers
from bg_charm_service.api.large_bodies import LargeBodies
from bg_charm_service.api.pages import PAGES
from bg_charm_service.api.responses import Problem
from bg_charm_service.api.routes import (
    backup_routes,
    charm_routes,
    event_routes,
    hook_routes,
    item_routes,
    job_routes,
    limit_routes,
    login_routes,
    monitoring_routes,
    notice_routes,
    pause_routes,
    registration_routes,
    run_routes,
    session_routes,
    sign_in_routes,
    token_routes,
)
from bg_charm_service.domain.typed_commands import Reader
from bg_charm_service.service.commands import Commands

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig

#: Newer versions of FastAPI record requests for OpenTelemetry, where the environment says so.
_NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}


class _Application(FastAPI):
    """Describes the form of errors, which its routes only name."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            schemas = super().openapi()["components"]["schemas"]
            schemas["Problem"] = TypeAdapter(Problem).json_schema()
        return super().openapi()


def build_app(
    commands: Commands,
    service_address: ServiceAddress,
    large_bodies: LargeBodies | None,
    reader: Reader,
) -> FastAPI:
    """Make the application; its state holds the commands and what authenticates callers.

    `reader` is who reads its pages, on the machine of the service.
    """
    clock = commands.clock
    authenticator = Authenticator(commands, Throttle(clock))
    app = _Application(
        title="Background Charm Service",
        version=importlib.metadata.version("bg-charm-service"),
        redirect_slashes=False,
        # The reference is a page of ours: the framework's would load from another host.
        docs_url=None,
        redoc_url=None,
        # Described by a route of ours, which has a guard.
        openapi_url=None,
        # What it would send by itself has the addresses of requests, and some have login codes.
        telemetry=_NO_TELEMETRY,
    )
    app.state.commands = commands
    app.state.authenticate = authenticator.authenticate
    app.state.authenticator = authenticator
    app.state.login_codes = LoginCodes(clock)
    app.state.service_address = service_address
    app.state.large_bodies = large_bodies
    app.state.reader = reader
    add_error_handlers(app)
    # Added last, it is asked first.
    app.add_middleware(OriginMiddleware, policy=service_address.origin_policy)
    modules = (
        registration_routes,
        charm_routes,
        run_routes,
        job_routes,
        pause_routes,
        limit_routes,
        event_routes,
        item_routes,
        hook_routes,
        token_routes,
        session_routes,
        sign_in_routes,
        backup_routes,
        monitoring_routes,
        notice_routes,
        login_routes,
        *PAGES,
    )
    for module in modules:
        # Included, every route would be built a second time, which takes longer than a request.
        app.router.routes += module.router.routes
    return app

"""Turns templates into responses: escaped text only, a strict policy, errors as pages too.

Nothing from a charm reaches a page but as text. The policy lets no inline script or style run,
whatever a mistake might let through.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any, cast

import jinja2
from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from bg_charm_service.api.auth.authorization import (
    CredentialKind,
    GuardedRoute,
    caller_of,
    csrf_token,
)
from bg_charm_service.api.error_responses import status_of
from bg_charm_service.api.pages import charts, formatting
from bg_charm_service.api.pages.assets import asset_url
from bg_charm_service.api.requests import first_problem
from bg_charm_service.domain.errors import ServiceError
from bg_charm_service.domain.outcomes.run_endings import sign_in_host
from bg_charm_service.domain.typed_commands import Reader
from bg_charm_service.domain.version import VERSION
from bg_charm_service.service.commands import Commands

#: Only files of our own; nothing inline, no outside host, no frame around us.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

_HEADERS = {
    "content-security-policy": POLICY,
    "cache-control": "no-store",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}

#: htmx evaluates nothing, styles nothing inline, and keeps no copy of a page in the browser.
_HTMX = {"allowEval": False, "includeIndicatorStyles": False, "historyCacheSize": 0}


class PageRoute(GuardedRoute):
    """A route whose errors are pages, or one line of text for the scripts of a page."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        respond = super().get_route_handler()

        async def shown(request: Request) -> Response:
            try:
                return await respond(request)
            except ServiceError as error:
                return error_page(request, str(error), status_of(error))
            except RequestValidationError as error:
                return error_page(request, first_problem(error.errors()), 400)

        return shown


def make_page_router() -> APIRouter:
    """Make a router of pages; they are not part of the API's description."""
    return APIRouter(
        route_class=PageRoute, include_in_schema=False, default_response_class=Response
    )


def page(request: Request, template: str, code: int = 200, **values: Any) -> Response:
    """Fill a template with values as the caller may see them; `code` is the answer's status."""
    caller = caller_of(request)
    commands = cast("Commands", request.app.state.commands)
    text = (
        _templates()
        .get_template(template)
        .render(
            caller=caller,
            is_signed_in=caller.kind is not CredentialKind.ANONYMOUS,
            is_session=caller.kind is CredentialKind.SESSION,
            csrf=csrf_token(request),
            bulletin=commands.queries.bulletin(),
            pause=commands.queries.paused_all() if caller.may_see_lists else None,
            path=request.url.path,
            now=time.time(),
            program=_reader(request).typed,
            **caller.shown(values),
        )
    )
    return HTMLResponse(text, code, _HEADERS)


def error_page(request: Request, text: str, status: int) -> Response:
    """Say what went wrong, in the form that the client can show."""
    if "hx-request" in request.headers:
        return Response(text, status, _HEADERS, "text/plain; charset=utf-8")
    if not hasattr(request.state, "caller"):
        plain = _templates().get_template("refused.html").render(text=text, status=status)
        return HTMLResponse(plain, status, _HEADERS)
    text = _reader(request).typeable(text)
    return page(request, "error.html", status, text=text, status_code=status)


def _reader(request: Request) -> Reader:
    """Give who reads a page; a stranger is not told where the service keeps its data."""
    if caller_of(request).kind is CredentialKind.ANONYMOUS:
        return Reader()
    return cast("Reader", request.app.state.reader)


def done(request: Request, message: str, then: str) -> Response:
    """Answer a form: a script is told to refresh the page, a browser is sent to one."""
    if "hx-request" in request.headers:
        told = json.dumps({"notice": {"text": message}, "changed": {}})
        return Response(None, 204, {"hx-trigger": told})
    return RedirectResponse(then, 303)


def moved(request: Request, then: str) -> Response:
    """Send script or browser to another page."""
    if "hx-request" in request.headers:
        return Response(None, 204, {"hx-redirect": then})
    return RedirectResponse(then, 303)


@cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bg_charm_service.api"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    for name in (
        "duration",
        "size",
        "percent",
        "counted",
        "first_line",
        "short_did",
        "interval",
        "zoned",
    ):
        environment.filters[name] = getattr(formatting, name)
    environment.filters["moment"] = formatting.moment_text
    environment.filters["iso"] = formatting.iso
    environment.filters["clock"] = formatting.clock_text
    environment.globals.update(
        ago=formatting.ago,
        mark_of=formatting.mark_of,
        paused_text=formatting.paused_text,
        advice=formatting.advice,
        sign_in_host=sign_in_host,
        charts=charts,
        asset=asset_url,
        version=VERSION,
        htmx_config=json.dumps(_HTMX),
    )
    return environment

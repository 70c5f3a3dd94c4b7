"""What goes wrong in a request, turned into `{"error": text, "kind": …}` with the right status.

The only place where the API catches: routes let errors pass. An error that nobody raised on
purpose is logged with its traceback, and told without its text, which could hold anything.
"""

from __future__ import annotations

import asyncio
import math
import traceback
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from loguru import logger
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bg_charm_service.api.requests import first_problem
from bg_charm_service.domain.errors import (
    AuthorizationError,
    ChangeInDoubt,
    Conflict,
    InvalidInput,
    LoopStandsStill,
    NotFound,
    NotReady,
    NotSignedIn,
    ProviderFailed,
    ServiceError,
    ServiceStopping,
    StorageError,
    TooManyAttempts,
)
from bg_charm_service.domain.text_limits import RESPONSE_ERROR_CHARACTERS, cut

#: The first class that fits gives the status; other errors of ours are 500.
STATUSES: tuple[tuple[type[ServiceError], int], ...] = (
    (NotFound, 404),
    (Conflict, 409),
    (InvalidInput, 400),
    (NotSignedIn, 401),
    (AuthorizationError, 403),
    (TooManyAttempts, 429),
    (ServiceStopping, 503),
    (NotReady, 503),
    (ProviderFailed, 502),
    (LoopStandsStill, 503),
    # Not one after which a program asks again by itself.
    (ChangeInDoubt, 500),
    (StorageError, 503),
)


def add_error_handlers(app: FastAPI) -> None:
    """Let an application answer every failure in the one form."""
    app.add_exception_handler(ServiceError, _on_service_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_middleware(InternalErrorMiddleware)


def status_of(error: ServiceError) -> int:
    """Give the HTTP status that stands for an error."""
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 500)


class InternalErrorMiddleware:
    """Answers 500 for an error nobody expected; the server above would print a traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_started = False

        async def watch(message: Message) -> None:
            nonlocal has_started
            has_started = has_started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except ClientDisconnect:
            # Whoever hung up before the request was whole waits for no answer.
            return
        except (Exception, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            is_ours = isinstance(error, asyncio.CancelledError) and task and task.cancelling()
            if scope["type"] != "http" or is_ours:
                # Ours is the request that the server ends; another's is work that was given up.
                raise
            place = _place_of(error)
            bound = logger.bind(event="api.error", method=scope["method"], path=scope["path"])
            bound.opt(exception=error).error(
                f"Internal error in {scope['method']} {scope['path']}: {place}"
            )
            if has_started:
                # Half an answer must not look like a whole one.
                raise
            text = f"Internal error: {place}. The log of the service has the details."
            await _error_response(text, 500, "InternalError")(scope, receive, send)


def _error_response(
    text: str, status: int, kind: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    text = cut(" ".join(text.split()), RESPONSE_ERROR_CHARACTERS)
    return JSONResponse({"error": text, "kind": kind}, status, headers)


async def _on_service_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ServiceError)
    headers: dict[str, str] = {}
    if isinstance(error, NotSignedIn):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, TooManyAttempts):
        headers["retry-after"] = str(math.ceil(error.retry_after_seconds))
    return _error_response(str(error), status_of(error), type(error).__name__, headers)


async def _on_invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return _error_response(first_problem(error.errors()), 400, InvalidInput.__name__)


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers) if error.headers else None
    kind = NotFound if error.status_code == 404 else InvalidInput
    return _error_response(str(error.detail), error.status_code, kind.__name__, headers)


def _place_of(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return type(error).__name__
    return f"{type(error).__name__} in {Path(frames[-1].filename).name}, line {frames[-1].lineno}"

"""Signing a browser in and out: by the link of a one-time code, or by a token in a form."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Annotated, cast

from fastapi import Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from bg_charm_service.api.auth.authentication import Authenticator, cookie_name
from bg_charm_service.api.auth.authorization import Public
from bg_charm_service.api.auth.login_codes import LoginCodes
from bg_charm_service.api.dependencies import Service, make_router
from bg_charm_service.api.pages.forms import Form
from bg_charm_service.domain.errors import InvalidInput, NotSignedIn, TooManyAttempts
from bg_charm_service.service.commands import Commands
from bg_charm_service.service.commands.tokens import SESSION_SECONDS
from bg_charm_service.storage.records import TokenRecord

router = make_router("pages")

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sign in: Background Charm Service</title>
<link rel="stylesheet" href="/static/style.css">
</head>
<body>
<main class="login">
<h1>Sign in</h1>
{problem}<p>On the machine of the service, <code>bg-charm-service open</code> prints a link that signs you in.
Elsewhere, enter a token; <code>bg-charm-service token new --name NAME</code> makes one.</p>
<form method="post" action="/login">
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required>
<button type="submit">Sign in</button>
</form>
<p><a href="/">Look around without signing in</a></p>
</main>
</body>
</html>
"""  # noqa: E501 - lines of a page


@router.get("/login", response_class=HTMLResponse, include_in_schema=False)
async def show_login(
    service: Service,
    caller: Public,
    request: Request,
    code: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """Sign in with a one-time code, or show the form for a token."""
    if code is None or request.method == "HEAD":
        # Looking whether there is a page must not use a code up.
        return HTMLResponse(_PAGE.format(problem=""))
    if "prefetch" in request.headers.get("sec-purpose", request.headers.get("purpose", "")):
        # Looking ahead must not use the code up.
        raise InvalidInput("This page is not to be fetched ahead.")
    codes = cast("LoginCodes", request.app.state.login_codes)
    return _login_response(service, request, None, is_good=lambda: codes.redeem(code))


@router.post("/login", response_class=HTMLResponse, include_in_schema=False)
async def sign_in(service: Service, caller: Public, request: Request, form: Form) -> Response:
    """Sign in with the token of the form."""
    token = service.tokens.find_token(form.text("token").strip())
    return _login_response(service, request, token, is_good=lambda: token is not None)


@router.post("/logout", include_in_schema=False)
async def sign_out(service: Service, caller: Public, request: Request) -> Response:
    """End the session."""
    name = cookie_name(request)
    service.tokens.end_session(request.cookies.get(name, ""))
    response = RedirectResponse("/login", 303)
    response.delete_cookie(name, path="/", httponly=True, samesite="strict")
    return response


def _login_response(
    service: Commands,
    request: Request,
    token: TokenRecord | None,
    *,
    is_good: Callable[[], bool],
) -> Response:
    """Begin a session if what was given is good, or show the form again, with the reason."""
    try:
        cast("Authenticator", request.app.state.authenticator).check_login(request, is_good)
    except (NotSignedIn, TooManyAttempts) as error:
        problem = f'<p role="alert" class="problem">{html.escape(str(error))}</p>\n'
        status = 401 if isinstance(error, NotSignedIn) else 429
        return HTMLResponse(_PAGE.format(problem=problem), status)
    response = RedirectResponse("/", 303)
    response.set_cookie(
        cookie_name(request),
        service.tokens.begin_session(token),
        max_age=int(SESSION_SECONDS),
        path="/",
        # What a proxy says of itself only makes the cookie stricter.
        secure=request.headers.get("x-forwarded-proto") == "https",
        httponly=True,
        samesite="strict",
    )
    return response

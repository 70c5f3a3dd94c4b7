"""Routes of sign-ins at providers: beginning and ending one, the way back, the operator's clients.

A provider sends people back to `callback` from its own page, so that no session comes along: the
state that was made when the sign-in was begun is what proves it.
"""

from __future__ import annotations

import html
from typing import Annotated

from fastapi import Path, Query, Request
from fastapi.responses import HTMLResponse, Response

from bg_charm_service.api.auth.authorization import (
    Bounded,
    Caller,
    Changing,
    Governing,
    Public,
    Reading,
)
from bg_charm_service.api.dependencies import Service, make_router
from bg_charm_service.api.error_responses import status_of
from bg_charm_service.api.pages.forms import Form
from bg_charm_service.api.requests import CallbackBody, ClientBody, SignedInBody, SignInBody
from bg_charm_service.api.responses import Done
from bg_charm_service.domain.errors import InvalidInput, ServiceError
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.domain.views import ClientView, SignInLink, SignInView

router = make_router("sign-ins")

Provider = Annotated[str, Path(max_length=60)]
Given = Annotated[str, Query(max_length=20_000)]

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: Background Charm Service</title>
<link rel="stylesheet" href="/static/style.css">
</head>
<body>
<main class="login">
<h1>{title}</h1>
{text}
</main>
</body>
</html>
"""


_QUESTION = """\
<p>What you have allowed at {provider} is then used by the charm <strong>{charm}</strong>, in your
name, for: {scopes}.</p>
<p>This sign-in was begun by <strong>{actor}</strong>. If that is not you, and nobody told you of it
whom you trust with it, close this page: nothing is kept then.</p>
<form method="post" action="/api/integrations/{provider}-oauth/confirm">
<input type="hidden" name="state" value="{state}">
<input type="hidden" name="code" value="{code}">
<button type="submit">Sign in for this charm</button>
</form>
"""


@router.post("/api/integrations/{provider}-oauth/login")
async def begin_sign_in(
    service: Service, caller: Changing, bounds: Bounded, provider: Provider, body: SignInBody
) -> SignInLink:
    """Begin to sign in for a charm; the answer has the address at the provider to go to."""
    caller.check_space(body.space)
    return await service.sign_ins.begin(provider, body.space, body.charm, body.field)


@router.get(
    "/api/integrations/{provider}-oauth/callback",
    response_class=HTMLResponse,
    include_in_schema=False,
)
async def return_from_provider(
    service: Service,
    caller: Public,
    request: Request,
    provider: Provider,
    state: Given = "",
    code: Given = "",
    error: Given = "",
) -> Response:
    """Ask whom a provider has signed in whether they meant it; for browsers.

    The state proves that the sign-in was begun here, and not that this is the person who began it:
    nothing is kept before they have read for whom it is.
    """
    looks_ahead = "prefetch" in request.headers.get(
        "sec-purpose", request.headers.get("purpose", "")
    )
    if request.method == "HEAD" or looks_ahead:
        raise InvalidInput("This page is not to be fetched ahead.")
    try:
        if error or not code:
            await service.sign_ins.finish(provider, state, code, error)
        pending = service.sign_ins.pending(provider, state)
    except ServiceError as problem:
        return _problem(request, problem)
    shown = {
        "charm": f"{pending.charm_name} ({pending.space_name or pending.space}/{pending.charm_id})",
        "scopes": ", ".join(pending.scopes) or "what you have allowed there",
        "actor": pending.actor,
        "provider": provider,
        "state": state,
        "code": code,
    }
    text = _QUESTION.format_map({name: html.escape(one) for name, one in shown.items()})
    return HTMLResponse(_PAGE.format(title="Sign in?", text=text))


@router.post(
    "/api/integrations/{provider}-oauth/confirm",
    response_class=HTMLResponse,
    include_in_schema=False,
)
async def confirm_sign_in(
    service: Service, caller: Public, request: Request, provider: Provider, form: Form
) -> Response:
    """Sign in, as the person at the browser has confirmed; what the form has proves who asks."""
    try:
        found = await service.sign_ins.finish(provider, form.text("state"), form.text("code"))
    except ServiceError as problem:
        return _problem(request, problem)
    who = f" as {html.escape(found.user)}" if found.user else ""
    path = f"/charms/{found.space}/{found.charm_id}"
    text = f'<p>Signed in at {html.escape(provider)}{who}. <a href="{path}">To the charm</a></p>'
    return HTMLResponse(_PAGE.format(title="Signed in", text=text))


@router.post("/api/integrations/{provider}-oauth/callback")
async def finish_sign_in(
    service: Service, caller: Changing, bounds: Bounded, provider: Provider, body: CallbackBody
) -> SignInView:
    """Finish a sign-in by the address that the provider has sent a browser to."""
    return await service.sign_ins.finish_at(provider, body.address)


@router.post("/api/integrations/{provider}-oauth/refresh")
async def renew_token(
    service: Service, caller: Changing, bounds: Bounded, provider: Provider, body: SignedInBody
) -> SignInView:
    """Renew the token of a sign-in now; the answer does not hold it."""
    ref = _charm_of(service, caller, body)
    return await service.sign_ins.refresh(ref, body.field, provider)


@router.post("/api/integrations/{provider}-oauth/logout")
async def sign_out(
    service: Service, caller: Changing, bounds: Bounded, provider: Provider, body: SignedInBody
) -> Done:
    """Forget a sign-in, and give its token back where the provider takes it."""
    ref = _charm_of(service, caller, body)
    was_revoked = await service.sign_ins.log_out(ref, body.field, provider)
    return Done("revoked" if was_revoked else "forgotten")


@router.get("/api/sign-ins")
async def list_sign_ins(service: Service, caller: Reading, bounds: Bounded) -> list[SignInView]:
    """List the sign-ins, without their tokens."""
    return [one for one in service.sign_ins.list_sign_ins() if caller.may_touch(one.space)]


@router.get("/api/oauth-clients")
async def list_clients(service: Service, caller: Reading, bounds: Bounded) -> list[ClientView]:
    """List the providers that people can sign in at."""
    return service.sign_ins.clients()


@router.put("/api/oauth-clients/{provider}")
async def set_client(
    service: Service, caller: Governing, provider: Provider, body: ClientBody
) -> ClientView:
    """Keep the client that is registered at a provider; its secret is shown nowhere."""
    return await service.sign_ins.set_client(
        provider, body.client_id, body.client_secret, body.issuer
    )


@router.delete("/api/oauth-clients/{provider}")
async def remove_client(service: Service, caller: Governing, provider: Provider) -> Done:
    """Forget the client at a provider."""
    service.sign_ins.remove_client(provider)
    return Done()


def _problem(request: Request, problem: ServiceError) -> Response:
    """Show a person why they are not signed in; raises it again for programs."""
    if "text/html" not in request.headers.get("accept", ""):
        raise problem
    text = f'<p role="alert" class="problem">{html.escape(str(problem))}</p>'
    return HTMLResponse(_PAGE.format(title="Not signed in", text=text), status_of(problem))


def _charm_of(service: Service, caller: Caller, body: SignedInBody) -> CharmRef:
    caller.check_space(body.space)
    return service.queries.resolve(body.space, body.charm)

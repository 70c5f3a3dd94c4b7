"""The page that leads to a provider, where a person signs in for a charm; and signing out.

A link, not a redirect: the policy of our pages lets no form lead to another host.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import Response

from bg_charm_service.api.auth.authorization import Changing
from bg_charm_service.api.dependencies import Charm, Service
from bg_charm_service.api.pages.charm_actions import path_of
from bg_charm_service.api.pages.forms import Form
from bg_charm_service.api.pages.rendering import done, make_page_router, page

router = make_page_router()


@router.post("/charms/{space}/{charm_id}/sign-in")
async def begin_sign_in(
    request: Request, service: Service, caller: Changing, ref: Charm, form: Form
) -> Response:
    """Begin to sign in, and show the way to the provider."""
    provider = form.text("provider")
    link = await service.sign_ins.begin(provider, ref.space, ref.charm_id, form.text("field"))
    return page(
        request,
        "sign_in.html",
        detail=service.queries.show_charm(ref),
        link=link,
        provider=provider,
        host=urlsplit(link.url).netloc,
    )


@router.post("/charms/{space}/{charm_id}/sign-out")
async def sign_out(
    request: Request, service: Service, caller: Changing, ref: Charm, form: Form
) -> Response:
    """Forget a sign-in, and give its token back."""
    provider = form.text("provider")
    was_revoked = await service.sign_ins.log_out(ref, form.text("field"), provider)
    told = "" if was_revoked else " What it allowed can be taken back at the provider."
    return done(request, f"Signed out.{told}", path_of(ref))

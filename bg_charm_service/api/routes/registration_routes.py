"""Routes of the service itself: status, registrations, spaces, integrations, the admin charm."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import JSONResponse

from bg_charm_service.api.auth.authorization import (
    Bounded,
    Changing,
    CredentialKind,
    Listing,
    Registering,
)
from bg_charm_service.api.dependencies import Charm, Service, make_router
from bg_charm_service.api.requests import AdminCharmBody, GrantBody, RegistrationBody
from bg_charm_service.api.responses import Done
from bg_charm_service.domain.errors import AuthorizationError, InvalidInput, NotFound
from bg_charm_service.domain.identity import space_did
from bg_charm_service.domain.views import IntegrationView, Registered, SpaceView
from bg_charm_service.service.status.views import ServiceStatus

router = make_router("service")

#: What the button and the documents of the original post, with any content type.
_REGISTRATION_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["space", "integration"],
                    "properties": {
                        "pieceId": {
                            "type": "string",
                            "description": "The charm's id, or the cause it was added for",
                        },
                        "charmId": {"type": "string", "description": "Another name for pieceId"},
                        "space": {"type": "string", "description": "The space's DID or name"},
                        "integration": {"type": "string"},
                    },
                }
            }
        },
    }
}


@router.get("/openapi.json", include_in_schema=False)
async def describe_api(caller: Listing, bounds: Bounded, request: Request) -> JSONResponse:
    """Describe this API."""
    return JSONResponse(request.app.openapi())


@router.get("/api/status")
async def get_status(service: Service, caller: Listing) -> ServiceStatus:
    """Give the snapshot that log, command line and page show."""
    return service.queries.status()


@router.post(
    "/api/integrations/bg",
    openapi_extra=_REGISTRATION_BODY,
    response_model_exclude_none=True,
)
async def register_charm(
    service: Service, caller: Registering, bounds: Bounded, request: Request
) -> Registered:
    """Register a charm for polling, or enable it again; it is polled at once.

    Without a credential an operator's word stays: that a charm is disabled, and its integration.
    `not_done` of the answer says so.
    """
    body = RegistrationBody.read(await request.body())
    member = body.charm_member
    caller.check_space(body.space)
    try:
        ref = service.queries.resolve(body.space, body.charm)
    except InvalidInput as error:
        raise InvalidInput(f"{member}: {error}") from None
    try:
        registered = await service.polling.register(
            ref, body.integration.strip(), is_vouched_for=caller.may_change
        )
    except NotFound as error:
        # As the original does: what is missing here is not the address, but a member's value.
        raise InvalidInput(f"{member}: {error}") from None
    return registered


@router.delete("/api/integrations/bg/{space}/{charm_id}")
async def unregister_charm(service: Service, caller: Changing, ref: Charm) -> Done:
    """Stop polling a charm; a run under way finishes, charm and state stay."""
    service.polling.unregister(ref)
    return Done()


@router.get("/api/integrations")
async def list_integrations(service: Service, caller: Listing) -> list[IntegrationView]:
    """List the integrations with their last scan."""
    return await service.system.integrations()


@router.post("/api/integrations/{integration_id}/initialize")
async def initialize_integration(service: Service, caller: Changing, integration_id: str) -> Done:
    """Initialise an integration's cell, unless charms are in it already."""
    return Done(await service.system.initialize(integration_id))


@router.get("/api/spaces")
async def list_spaces(service: Service, caller: Listing, bounds: Bounded) -> list[SpaceView]:
    """List the spaces and who owns them."""
    return [space for space in service.system.spaces() if caller.may_touch(space.did)]


@router.post("/api/spaces/{space}/owners")
async def grant_space(service: Service, caller: Changing, space: str, body: GrantBody) -> Done:
    """Make an identity an owner of a space."""
    if not caller.is_unlimited and caller.kind is not CredentialKind.KEY:
        raise AuthorizationError(f"{caller.name} may act on its space, and not give it away.")
    service.system.grant_space(space_did(space), body.did)
    return Done()


@router.post("/api/admin-charm")
async def add_admin_charm(service: Service, caller: Changing, body: AdminCharmBody) -> Done:
    """Add the admin charm to the system space, and let another identity in."""
    return Done(await service.system.add_admin_charm(body.grant))

"""Routes of who may: tokens, login codes, the operator's identity, and the audit log."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Query, Request

from bg_charm_service.api.auth.allowed_origins import ServiceAddress
from bg_charm_service.api.auth.authorization import Governing, Local, Reading
from bg_charm_service.api.auth.login_codes import CODE_SECONDS, LoginCodes
from bg_charm_service.api.dependencies import Limit, Service, make_router
from bg_charm_service.api.requests import RotationBody, TokenBody
from bg_charm_service.api.responses import Done, LoginLink, MadeToken, Rotated
from bg_charm_service.domain.errors import Conflict, InvalidInput
from bg_charm_service.storage.records import AuditEntry, TokenRecord

router = make_router("access")


@router.post("/api/tokens")
async def make_token(service: Service, caller: Governing, body: TokenBody) -> MadeToken:
    """Make a token; this is the only answer that holds its text."""
    text, record = service.tokens.create(
        body.name,
        space=body.space,
        read_only=body.read_only,
        expires_seconds=body.expires_seconds,
        latest=caller.expires_at,
    )
    return MadeToken(text, record)


@router.get("/api/tokens")
async def list_tokens(service: Service, caller: Governing) -> list[TokenRecord]:
    """List all tokens, those that are valid no more too."""
    return service.tokens.list_tokens()


@router.delete("/api/tokens/{name}")
async def revoke_token(service: Service, caller: Governing, name: str) -> Done:
    """Let a token, and the sessions that were begun with it, be valid no more."""
    service.tokens.revoke(name)
    return Done()


@router.get("/api/audit")
async def list_changes(
    service: Service,
    caller: Reading,
    before: Annotated[int | None, Query(ge=0, le=2**62)] = None,
    limit: Limit = 100,
) -> list[AuditEntry]:
    """List who changed what, the newest first."""
    return service.queries.audit(before, limit)


@router.post("/api/login-codes")
async def make_login_code(service: Service, caller: Local, request: Request) -> LoginLink:
    """Make a link that signs a browser in, once and within five minutes."""
    return login_link(
        cast("ServiceAddress", request.app.state.service_address),
        cast("LoginCodes", request.app.state.login_codes),
    )


@router.post("/api/identity")
async def rotate_identity(service: Service, caller: Local, body: RotationBody) -> Rotated:
    """Give all that the operator owns to a new key, which signs that it takes it over."""
    try:
        proof = bytes.fromhex(body.proof)
    except ValueError:
        raise InvalidInput("proof: Not a signature in hex.") from None
    return Rotated(service.operator.rotate(body.did, proof), body.did)


def login_link(service_address: ServiceAddress, codes: LoginCodes) -> LoginLink:
    """Make a link that signs a browser in; raises Conflict where no browser could follow it."""
    if not service_address.base_url:
        raise Conflict(
            "The service listens on no port (--no-api), or does not run: there is no page to open."
        )
    code = codes.new()
    return LoginLink(f"{service_address.base_url}/login?code={code}", code, CODE_SECONDS)

"""Finds out who sent a request: by the listener, a token, a signature, a session, or nobody.

A credential that does not hold is refused, logged and counted, whatever the request wants; only
a cookie that is over is taken for none, since browsers go on sending it. Called by the routes'
guard, before a body is read.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import parse_qs

from fastapi import Request

from bg_charm_service.api.auth.allowed_origins import RequestOrigin, is_loopback
from bg_charm_service.api.auth.authorization import Caller, CredentialKind, Permission
from bg_charm_service.api.auth.listeners import SOCKET, TCP
from bg_charm_service.api.auth.origin_middleware import request_origin
from bg_charm_service.api.auth.registration_rate import RegistrationRate
from bg_charm_service.api.auth.request_signing import SCHEME, WINDOW_SECONDS, RequestText, Signature
from bg_charm_service.api.auth.throttle import Throttle
from bg_charm_service.domain.errors import AuthorizationError, InvalidInput, NotSignedIn
from bg_charm_service.domain.identity import COMMON_USER_PASSPHRASE, DEFAULT_PASSPHRASE, Identity
from bg_charm_service.service.commands import Commands
from bg_charm_service.service.commands.tokens import (
    LiveSession,
    digest,
    session_credential,
    token_credential,
)
from bg_charm_service.storage.records import TokenRecord

#: Headers of a proxy: what comes through one is not from this machine.
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

_OPERATOR = Caller(
    "operator",
    CredentialKind.SOCKET,
    SOCKET,
    may_see_lists=True,
    may_register=True,
    may_read=True,
    may_change=True,
)


class Authenticator:
    """Gives the caller of each request."""

    def __init__(self, commands: Commands, throttle: Throttle) -> None:
        self._commands = commands
        self._throttle = throttle
        self._registrations = RegistrationRate(commands.clock)
        public = (DEFAULT_PASSPHRASE, COMMON_USER_PASSPHRASE)
        self._public_dids = {Identity.from_passphrase(each).did() for each in public}

    async def authenticate(self, request: Request, permission: Permission) -> Caller:
        """Give the caller; raises NotSignedIn, AuthorizationError, TooManyAttempts."""
        if getattr(request.state, "listener", TCP) == SOCKET:
            return _OPERATOR
        authorization = request.headers.get("authorization")
        if authorization is not None:
            return await self._by_authorization_header(request, authorization)
        if request_origin(request) is RequestOrigin.ALLOWED:
            if permission is Permission.NONE and request.method not in _SAFE_METHODS:
                raise AuthorizationError("Signing in is done on a page of the service's own.")
            return Caller("a page of another origin", CredentialKind.ANONYMOUS, TCP)
        secret = request.cookies.get(cookie_name(request), "")
        session = self._commands.tokens.find_session(secret) if secret else None
        if session is None:
            return self._anonymous(request, permission)
        if request.method in _SAFE_METHODS or permission is Permission.NONE:
            return _session_caller(secret, session)
        if await _has_csrf_token(request, secret):
            return _session_caller(secret, session)
        if permission is Permission.REGISTERING:
            # The button sends no token; that its page is ours is known by its origin.
            is_ours = request_origin(request) is RequestOrigin.SAME_ORIGIN
            return (
                _session_caller(secret, session)
                if is_ours
                else self._anonymous(request, permission)
            )
        raise AuthorizationError("The form carries no valid CSRF token: reload its page.")

    def check_login(self, request: Request, is_good: Callable[[], bool]) -> None:
        """Count a login code or token that somebody entered; raises NotSignedIn, TooManyAttempts.

        One that is good is taken at any time: a link that follows a wrong code stands anywhere.
        """
        if is_good():
            return
        self._throttle.record_failure(
            _client_host(request), "a login code or token that is not good"
        )
        raise NotSignedIn("This code or token is not good, was used already, or has expired.")

    async def _by_authorization_header(self, request: Request, text: str) -> Caller:
        scheme, _, rest = text.partition(" ")
        try:
            if scheme.lower() == "bearer":
                return self._by_token(rest.strip())
            if scheme.lower() == SCHEME.lower():
                return await self._by_signature(request, rest)
            raise NotSignedIn(f"Expected Authorization: Bearer TOKEN, or {SCHEME} ….")
        except NotSignedIn as error:
            self._throttle.record_failure(_throttle_key(request), str(error))
            raise

    def _by_token(self, text: str) -> Caller:
        token = self._commands.tokens.find_token(text)
        if token is None:
            raise NotSignedIn("This token does not exist, was revoked, or has expired.")
        return _token_caller(token, f"token {token.name}", CredentialKind.TOKEN)

    async def _by_signature(self, request: Request, text: str) -> Caller:
        try:
            signature = Signature.parse(text)
        except InvalidInput as error:
            raise NotSignedIn(str(error)) from None
        did = signature.did
        spaces = self._commands.tokens.spaces_of(did)
        if did in self._public_dids or not spaces:
            raise NotSignedIn(
                f"{did} owns no space here, or is a key that everybody can compute; an owner "
                "makes it one with `bg-charm-service space grant SPACE DID`."
            )
        now = self._commands.clock.now()
        if abs(now - signature.time) > WINDOW_SECONDS:
            raise NotSignedIn(f"The signature is not of this minute: the time here is {now:.0f}.")
        target = request.scope["raw_path"]
        if request.scope["query_string"]:
            target += b"?" + request.scope["query_string"]
        signed = RequestText(
            request.method,
            request.headers.get("host", ""),
            target.decode("latin-1"),
            await request.body(),
        )
        if not signature.holds(signed):
            raise NotSignedIn("The signature does not hold for this request.")
        # The nonce goes last: whoever has no key must not be able to use one up.
        ends = signature.time + WINDOW_SECONDS + 1.0
        if not self._commands.tokens.take_nonce(did, signature.nonce, ends):
            raise NotSignedIn("This request was sent before: sign it again, with another nonce.")
        return _unrestricted_caller(f"key {did}", CredentialKind.KEY, spaces=spaces)

    def _anonymous(self, request: Request, permission: Permission) -> Caller:
        is_direct = not any(name in request.headers for name in _FORWARDED)
        is_local = is_direct and is_loopback(_client_host(request))
        if is_local and permission is Permission.REGISTERING:
            peer = getattr(request.state, "peer", None)
            self._registrations.take(peer.name if peer is not None else _client_host(request))
        return Caller(
            "anonymous",
            CredentialKind.ANONYMOUS,
            TCP,
            may_see_lists=is_local,
            may_register=is_local,
        )


def cookie_name(request: Request) -> str:
    """Give the name of the session's cookie; cookies of one host are shared by all its ports."""
    server = request.scope.get("server") or ("", 0)
    return f"bg_charm_session_{server[1]}"


def csrf_of(secret: str) -> str:
    """Give what the forms of a session carry."""
    return digest(f"csrf {secret}").hex()


async def _has_csrf_token(request: Request, secret: str) -> bool:
    given = request.headers.get("x-csrf-token", "")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not given and kind == "application/x-www-form-urlencoded":
        form = parse_qs((await request.body()).decode("latin-1"), max_num_fields=10_000)
        given = form.get("csrf", [""])[0]
    return hmac.compare_digest(given.encode(), csrf_of(secret).encode())


def _session_caller(secret: str, session: LiveSession) -> Caller:
    csrf = csrf_of(secret)
    token = session.token
    if token is None:
        caller = _unrestricted_caller("session", CredentialKind.SESSION, csrf=csrf)
    else:
        caller = _token_caller(
            token, f"session of token {token.name}", CredentialKind.SESSION, csrf
        )
    name = session_credential(secret)
    return replace(
        caller,
        session=name,
        credentials=caller.credentials | {name},
        credentials_end_at=min(session.expires_at, caller.credentials_end_at or math.inf),
    )


def _token_caller(token: TokenRecord, name: str, kind: CredentialKind, csrf: str = "") -> Caller:
    return Caller(
        name,
        kind,
        TCP,
        may_see_lists=True,
        may_register=not token.read_only,
        may_read=True,
        may_change=not token.read_only,
        spaces=frozenset({token.space}) if token.space is not None else None,
        csrf=csrf,
        expires_at=token.expires_at,
        credentials=frozenset({token_credential(token)}),
        credentials_end_at=token.expires_at,
    )


def _unrestricted_caller(
    name: str, kind: CredentialKind, *, spaces: frozenset[str] | None = None, csrf: str = ""
) -> Caller:
    return Caller(
        name,
        kind,
        TCP,
        may_see_lists=True,
        may_register=True,
        may_read=True,
        may_change=True,
        spaces=spaces,
        csrf=csrf,
    )


def _throttle_key(request: Request) -> str:
    """Give what failures are counted by: a host bound to our address must not count as we do."""
    host = _client_host(request)
    return host if getattr(request.state, "is_known_host", False) else f"{host}, by another name"


def _client_host(request: Request) -> str:
    return request.client.host if request.client else ""

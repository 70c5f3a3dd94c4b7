"""Sign-ins at providers: what a provider is, what is kept of a sign-in, what a token answer means.

A sign-in is kept in the original's form, one JSON object: `{token, tokenType, scope, expiresIn,
expiresAt, refreshToken, user}`, with `expiresAt` in ms since the epoch, 0 for no end. Of that a run
sees all but the refresh token. Pure; nothing here asks a provider. Used by the storage, which
leaves the refresh token out, by what keeps tokens good, and by the commands.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from bg_charm_service.domain.errors import InvalidInput

#: The member of a sign-in that no run gets to see.
REFRESH_TOKEN: Final = "refreshToken"

#: A token that lives shorter than a run may take is taken while it is younger, in seconds.
FRESH_SECONDS: Final = 30.0

#: A token, or what a person may give, is not longer; in characters.
LONGEST_TOKEN: Final = 16 * 1024

#: No token is good for longer, in seconds.
_LONGEST_SECONDS: Final = 1e9

#: Names that stand for this machine, where an endpoint may be reached without TLS.
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_ERROR: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")

#: What a provider says that is known by its words to be over with a sign-in, for good: RFC 6749
#: (5.2), OpenID Connect Core (3.1.2.6), GitHub's and Slack's own.
_OVER: Final = frozenset(
    {
        "invalid_grant",
        "access_denied",
        *("interaction_required", "login_required", "consent_required", "account_inactive"),
        *("bad_refresh_token", "bad_verification_code"),
        *(
            "invalid_refresh_token",
            "token_revoked",
            "token_expired",
            "invalid_code",
            "code_expired",
        ),
    }
)

#: What a provider says of the client that the operator has registered there.
_CLIENT: Final = frozenset(
    {
        *("invalid_client", "unauthorized_client", "incorrect_client_credentials"),
        *("invalid_client_id", "bad_client_secret", "redirect_uri_mismatch", "bad_redirect_uri"),
        *("unsupported_grant_type", "invalid_scope", "invalid_request"),
    }
)


class Provider(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A provider, as data: where it is asked, and in which ways it differs from the standard.

    `scopes` are asked for beside those that a charm names, `extra` goes along when a person is sent
    there. `client_auth` is how the client proves itself (RFC 6749, 2.3.1). `user` says which member
    of the answer of `user_url` is a person's email, name and picture. Charms of the integrations
    that it names may keep the original's plain `auth`; `labels` says of which one a charm is that
    asks for a scope that begins so. `advice` is what to do about its words for a refusal.
    """

    name: str
    authorize_url: str
    token_url: str
    title: str = ""
    revoke_url: str = ""
    user_url: str = ""
    scopes: tuple[str, ...] = ()
    scope_separator: str = " "
    extra: dict[str, str] = {}
    client_auth: str = "client_secret_post"
    has_pkce: bool = True
    user: dict[str, str] = {}
    integrations: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    advice: dict[str, str] = {}

    @property
    def shown(self) -> str:
        """How people call it."""
        return self.title or self.name

    @property
    def token_host(self) -> str:
        """Who is asked for tokens."""
        return urlsplit(self.token_url).hostname or ""


class OAuthClient(msgspec.Struct, frozen=True):
    """What the operator has registered at a provider."""

    client_id: str
    client_secret: str = ""

    def __repr__(self) -> str:
        return "OAuthClient(…)"


#: The field in which charms of the original keep a sign-in themselves.
PLAIN_AUTH: Final = "auth"


class SignInKey(msgspec.Struct, frozen=True, order=True):
    """Where a sign-in is kept: a field of a charm."""

    charm_key: int
    field: str


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """A sign-in as it is to be stored, and when its token ends, in seconds since the epoch.

    That is 0 for a token without an end.
    """

    stored: bytes
    expires_at: float


def check_name(name: str) -> str:
    """Give a provider's name; raises InvalidInput for what cannot be one."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{name!r:.60} is no name of a provider: small letters, digits and hyphens, up to 40."
        )
    return name


def check_provider(provider: Provider) -> None:
    """Raise InvalidInput for a provider that must not, or cannot, be asked."""
    check_name(provider.name)
    check_endpoint(provider.authorize_url, "authorize_url")
    check_endpoint(provider.token_url, "token_url")
    for name in ("revoke_url", "user_url"):
        url = getattr(provider, name)
        if url:
            check_endpoint(url, name)
    if provider.client_auth not in ("client_secret_post", "client_secret_basic"):
        raise InvalidInput("client_auth: client_secret_post or client_secret_basic.")


def check_endpoint(url: str, name: str) -> None:
    """Raise InvalidInput unless an address may be sent tokens: https, or this machine itself."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    is_plain = url.isascii() and url.isprintable() and not set(url) & set(" \\\"'<>")
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)
    is_whole = bool(host) and port != 0 and "@" not in parts.netloc and not parts.fragment
    if not (is_plain and is_safe and is_whole and len(url) <= 2000):
        raise InvalidInput(
            f"{name}: {url!r:.100} is no address of a provider: it begins with https://, and holds "
            "no user and no fragment."
        )


def discovered(name: str, issuer: str, document: object) -> Provider:
    """Read a provider's own description (RFC 8414, 2); raises InvalidInput."""
    if not isinstance(document, dict):
        raise InvalidInput(f"{issuer} describes itself in no form that is known (RFC 8414).")
    if document.get("issuer") != issuer:
        said = document.get("issuer")
        raise InvalidInput(f"{issuer} describes another issuer than itself: {said!r:.100}.")

    def text(member: str) -> str:
        found = document.get(member, "")
        return found if isinstance(found, str) else ""

    methods = document.get("token_endpoint_auth_methods_supported")
    known = methods if isinstance(methods, list) else ["client_secret_basic"]
    challenges = document.get("code_challenge_methods_supported")
    provider = Provider(
        name,
        text("authorization_endpoint"),
        text("token_endpoint"),
        revoke_url=text("revocation_endpoint"),
        user_url=text("userinfo_endpoint"),
        # Both are mandatory; what is announced as Basic alone is refused by some in the form.
        client_auth="client_secret_post"
        if "client_secret_post" in known
        else "client_secret_basic",
        has_pkce=not isinstance(challenges, list) or "S256" in challenges,
        user={"email": "email", "name": "name", "picture": "picture"},
    )
    check_provider(provider)
    return provider


def metadata_urls(issuer: str) -> tuple[str, ...]:
    """Where a provider may describe itself (RFC 8414, 3.1 and 5); raises InvalidInput."""
    check_endpoint(issuer, "issuer")
    parts = urlsplit(issuer)
    if parts.query:
        raise InvalidInput(f"issuer: {issuer!r:.100} has a query; an issuer has none.")
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    return (
        f"{origin}/.well-known/oauth-authorization-server{path}",
        f"{origin}{path}/.well-known/openid-configuration",
    )


def integration_of(provider: Provider, scopes: Iterable[str]) -> str:
    """The integration of a charm that asks for these scopes; empty where that is not told."""
    for scope in scopes:
        for label, beginning in provider.labels.items():
            if scope.startswith(beginning):
                return label
    return ""


def advice_of(provider: Provider | None, error: str, redirect_uri: str = "") -> str:
    """What to do about a provider's word, after a colon; empty where nothing is known."""
    told = provider.advice.get(error, "") if provider is not None else ""
    return f": {told.replace('REDIRECT', redirect_uri)}" if told else ""


def asked_scopes(provider: Provider, scopes: tuple[str, ...]) -> tuple[str, ...]:
    """The scopes that a sign-in asks for: the charm's own, and the provider's."""
    return tuple(dict.fromkeys((*scopes, *provider.scopes)))


def read_answer(
    answer: dict[str, Any],
    *,
    asked_at: float,
    answered_at: float,
    scopes: tuple[str, ...] = (),
    before: bytes = b"",
) -> TokenAnswer | None:
    """Make of a token answer what is stored (RFC 6749, 5.1); None where it holds no token.

    `before` is the sign-in as it is stored already: what the answer leaves out stays as it was, the
    refresh token above all. The end counts from when the provider was asked, or from when it had
    answered where the clock was set back meanwhile: too early an end costs a renewal, no more. An
    end that cannot be read, or lies behind, is now: then the token is renewed before each run.
    """
    asked_at = min(asked_at, answered_at)
    if not _text(answer.get("access_token")) and isinstance(answer.get("authed_user"), dict):
        # Slack's, of a person.
        answer = answer["authed_user"]
    token = _text(answer.get("access_token"))
    if not token:
        return None
    known: dict[str, Any] = _object(before)
    seconds = _seconds(answer.get("expires_in"))
    expires_at = 0.0 if seconds is None else asked_at + seconds
    stored = {
        **known,
        "token": token,
        "tokenType": _text(answer.get("token_type")) or known.get("tokenType") or "Bearer",
        "scope": _scopes(answer.get("scope")) or known.get("scope") or list(scopes),
        "expiresIn": seconds or 0,
        "expiresAt": int(expires_at * 1000),
        REFRESH_TOKEN: _text(answer.get("refresh_token")) or known.get(REFRESH_TOKEN) or "",
        "user": known.get("user"),
    }
    return TokenAnswer(_dumped(stored), expires_at)


def obtained_at(asked_at: float, answered_at: float) -> float:
    """Say since when a token is there: since its answer, unless that was not looked at for long.

    Then, as when the machine slept meanwhile, it is as old as its request: it may have ended.
    """
    return answered_at if 0 <= answered_at - asked_at < FRESH_SECONDS else asked_at


def renewed_plain(before: bytes, new: bytes) -> bytes:
    """Put what was renewed into the plain `auth` of a charm; the rest stays as its class has it.

    No member is added: that class may know no other.
    """
    known, found = _object(before), _object(new)
    moved = ("token", "expiresIn", "expiresAt", REFRESH_TOKEN)
    return _dumped(known | {name: found[name] for name in moved if name in known})


def plain_end(stored: bytes) -> float | None:
    """When the token of a plain `auth` ends, in seconds since the epoch.

    None for what is none that could be renewed.
    """
    known = _object(stored)
    ends_at = known.get("expiresAt")
    is_number = isinstance(ends_at, int | float) and not isinstance(ends_at, bool)
    if not (_text(known.get("token")) and _text(known.get(REFRESH_TOKEN)) and is_number):
        return None
    return float(ends_at) / 1000  # type: ignore[arg-type]


def with_user(stored: bytes, provider: Provider, said: object) -> bytes:
    """Add what a provider says of the person who has signed in, as far as it can be read."""
    if not isinstance(said, dict):
        return stored
    user = {
        member: found
        for member, name in provider.user.items()
        if (found := _text(said.get(name))) and len(found) <= 2000
    }
    return _dumped({**_object(stored), "user": user or None})


def without_refresh_token(stored: bytes) -> bytes:
    """Give of a sign-in what a run may see."""
    known = _object(stored)
    known.pop(REFRESH_TOKEN, None)
    return _dumped(known)


def refresh_token_of(stored: bytes) -> str:
    """The refresh token of a sign-in; empty for none."""
    return _text(_object(stored).get(REFRESH_TOKEN))


def token_of(stored: bytes) -> str:
    """The token of a sign-in."""
    return _text(_object(stored).get("token"))


def secrets_of(stored: bytes) -> list[bytes]:
    """What of a sign-in must show nowhere, each as JSON."""
    tokens = (token_of(stored), refresh_token_of(stored))
    return [json.dumps(token).encode() for token in tokens if token]


def fingerprint(token: str) -> str:
    """Tell tokens apart without holding them."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def shown_user(stored: bytes) -> str:
    """Say who has signed in: by email, or else by name; empty where nobody knows."""
    user = _object(stored).get("user")
    if not isinstance(user, dict):
        return ""
    return _text(user.get("email")) or _text(user.get("name"))


def scopes_of(stored: bytes) -> tuple[str, ...]:
    """What the provider has granted."""
    return tuple(_scopes(_object(stored).get("scope")))


def is_over(error: str) -> bool:
    """Whether a provider's word means that a person has to sign in again."""
    return error in _OVER


def is_about_client(error: str) -> bool:
    """Whether a provider's word is about what the operator has registered there."""
    return error in _CLIENT


def error_of(answer: object) -> str:
    """The word by which a token answer refuses; empty for none. Slack's come with status 200."""
    if not isinstance(answer, dict):
        return ""
    error = answer.get("error")
    if isinstance(error, str) and _ERROR.fullmatch(error):
        return error
    return "unknown_error" if error or answer.get("ok") is False else ""


def _object(stored: bytes) -> dict[str, Any]:
    found = json.loads(stored) if stored else None
    return found if isinstance(found, dict) else {}


def _dumped(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _text(value: object) -> str:
    """Give a text that can be stored and sent; empty for anything else."""
    if not isinstance(value, str) or len(value) > LONGEST_TOKEN:
        return ""
    try:
        value.encode()
    except UnicodeEncodeError:
        return ""
    return value


def _scopes(value: object) -> list[str]:
    """Scopes as a list: separated by blanks (RFC 6749, 3.3), or by commas as some write them."""
    if isinstance(value, str):
        value = value.replace(",", " ").split()
    return list(filter(None, map(_text, value))) if isinstance(value, list) else []


def _seconds(value: object) -> float | None:
    """For how long a token is good; None where nothing is said, 0 where it cannot be read."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return 0.0
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return 0.0
    return min(max(0.0, seconds), _LONGEST_SECONDS) if math.isfinite(seconds) else 0.0

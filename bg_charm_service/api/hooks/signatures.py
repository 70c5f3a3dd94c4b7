"""Whether a request was signed by whom its hook is for: each scheme, on the raw body.

Compares in constant time, and looks at the time that the sender signed. Pure. Nothing is said about
why something is refused: whoever sends it learns no more than that it leads nowhere.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from bg_charm_service.domain.events.hooks import DEFAULT_HEADERS, HookSchema, Scheme

#: What was signed longer ago, or further ahead, is not taken, in seconds.
TOLERANCE_SECONDS: Final = 300.0

#: What hubs sign with (WebSub, 8).
_WEBSUB_METHODS: Final = ("sha1", "sha256", "sha384", "sha512")

#: A time is no longer than this: later it is none that anybody means.
_LONGEST_TIME: Final = 12

#: Of one request no more signatures are looked at.
_MOST_SIGNATURES: Final = 10

#: Headers by their names in lower case.
Headers = Mapping[str, str]


def is_signed(
    hook: HookSchema, secrets: Sequence[str], headers: Headers, body: bytes, now: float
) -> bool:
    """Whether a request was signed with one of these secrets; `now` is since the epoch."""
    check = _CHECKS[Scheme(hook.sign)]
    # Each is tried: how long it takes says nothing about which it was.
    return _is_any([check(hook, secret, headers, body, now) for secret in secrets])


def secret_headers(hook: HookSchema) -> frozenset[str]:
    """The headers, in lower case, that prove who a sender is: nothing for a charm to keep."""
    own = hook.header or DEFAULT_HEADERS.get(Scheme(hook.sign), "")
    return frozenset({own.lower(), "authorization", "cookie", "proxy-authorization"}) | _SIGNED


def _github(hook: HookSchema, secret: str, headers: Headers, body: bytes, now: float) -> bool:
    return _is_mac(secret, body, headers.get("x-hub-signature-256", ""), prefix="sha256=")


def _slack(hook: HookSchema, secret: str, headers: Headers, body: bytes, now: float) -> bool:
    time = headers.get("x-slack-request-timestamp", "")
    signed = b"v0:%s:%s" % (time.encode("latin-1", "replace"), body)
    is_theirs = _is_mac(secret, signed, headers.get("x-slack-signature", ""), prefix="v0=")
    return is_theirs and _is_recent(time, now)


def _stripe(hook: HookSchema, secret: str, headers: Headers, body: bytes, now: float) -> bool:
    parts = [part.partition("=") for part in headers.get("stripe-signature", "").split(",")]
    time = next((value for name, _, value in parts if name.strip() == "t"), "")
    signed = b"%s.%s" % (time.encode("latin-1", "replace"), body)
    given = [value for name, _, value in parts if name.strip() == "v1"][:_MOST_SIGNATURES]
    is_theirs = _is_any([_is_mac(secret, signed, one) for one in given])
    return is_theirs and _is_recent(time, now)


def _standard(hook: HookSchema, secret: str, headers: Headers, body: bytes, now: float) -> bool:
    # Nobody else pays for it.
    from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

    time, name = headers.get("webhook-timestamp", ""), headers.get("webhook-id", "")
    if not name or not _is_recent(time, now):
        return False
    try:
        at = datetime.fromtimestamp(int(time), tz=UTC)
        own = Webhook(secret).sign(name, at, body.decode()).partition(",")[2]
    except (ValueError, EmptyWebhookSecretError):
        # A secret that is no base64, or a body that is no text.
        return False
    given = headers.get("webhook-signature", "").split(" ")[:_MOST_SIGNATURES]
    return _is_any([_is_same(own, one[len("v1,") :]) for one in given if one.startswith("v1,")])


def _hmac(hook: HookSchema, secret: str, headers: Headers, body: bytes, now: float) -> bool:
    given = headers.get((hook.header or DEFAULT_HEADERS[Scheme.HMAC]).lower(), "")
    return _is_mac(secret, body, given.removeprefix("sha256="))


def _token(hook: HookSchema, secret: str, headers: Headers, body: bytes, now: float) -> bool:
    header = (hook.header or DEFAULT_HEADERS[Scheme.TOKEN]).lower()
    given = headers.get(header, "")
    if header == "authorization":
        scheme, _, rest = given.partition(" ")
        given = rest.strip() if scheme.lower() == "bearer" else ""
    return _is_same(_digest(secret), _digest(given))


def _websub(hook: HookSchema, secret: str, headers: Headers, body: bytes, now: float) -> bool:
    method, _, given = headers.get("x-hub-signature", "").partition("=")
    method = method.lower()
    if method not in _WEBSUB_METHODS:
        return False
    return _is_mac(secret, body, given, method=method)


_CHECKS: Final[dict[Scheme, Callable[[HookSchema, str, Headers, bytes, float], bool]]] = {
    Scheme.GITHUB: _github,
    Scheme.SLACK: _slack,
    Scheme.STRIPE: _stripe,
    Scheme.STANDARD: _standard,
    Scheme.HMAC: _hmac,
    Scheme.TOKEN: _token,
    Scheme.WEBSUB: _websub,
}

_SIGNED: Final = frozenset(
    {
        "x-hub-signature",
        "x-hub-signature-256",
        "x-slack-signature",
        "stripe-signature",
        "webhook-signature",
    }
)


def _is_mac(
    secret: str, signed: bytes, given: str, *, prefix: str = "", method: str = "sha256"
) -> bool:
    """Whether a text is the HMAC of bytes in hex, behind a prefix."""
    key = secret.encode("utf-8", "surrogatepass")
    own = prefix + hmac.new(key, signed, getattr(hashlib, method)).hexdigest()
    return _is_same(own, given.strip().lower())


def _is_same(own: str, given: str) -> bool:
    return hmac.compare_digest(own.encode(), given.encode("utf-8", "surrogatepass"))


def _is_any(found: Sequence[bool]) -> bool:
    # Of a list, and so all of them were looked for.
    return True in found


def _digest(text: str) -> str:
    # Of one length, whatever is compared.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _is_recent(time: str, now: float) -> bool:
    """Whether a sender's time, whole seconds since the epoch, is close to ours."""
    if not (time.isascii() and time.isdigit() and len(time) <= _LONGEST_TIME):
        return False
    return abs(now - int(time)) <= TOLERANCE_SECONDS

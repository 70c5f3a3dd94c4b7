"""Signed requests: what is signed, and how the signature is written into a request's header.

The signature covers method, host, path with query, the body's hash, the time and a nonce.
Whether a signer may do anything is for the API to say.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from dataclasses import dataclass

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.identity import Identity, is_did, verify

#: The name of the scheme in the Authorization header.
SCHEME = "Charm-Signature"

#: How far the signer's clock may be from the service's, in seconds.
WINDOW_SECONDS = 60.0

_HEADER = re.compile(
    r'did="(?P<did>[^"]{1,100})", *time="(?P<time>[0-9]{1,12})", *'
    r'nonce="(?P<nonce>[A-Za-z0-9_-]{16,64})", *signature="(?P<signature>[A-Za-z0-9_-]{86})"'
)


@dataclass(frozen=True, slots=True)
class RequestText:
    """What of a request is signed; `target` is path and query as they are sent."""

    method: str
    host: str
    target: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature as a header carries it; `time` in whole seconds since the epoch."""

    did: str
    time: int
    nonce: str
    signature: bytes

    @classmethod
    def parse(cls, text: str) -> Signature:
        """Read what follows the scheme's name; raises InvalidInput."""
        found = _HEADER.fullmatch(text.strip())
        if found is None or not is_did(found["did"]):
            raise InvalidInput(
                f'Expected {SCHEME} did="did:key:…", time="SECONDS", nonce="16 to 64 letters and '
                'digits", signature="64 bytes in base64url".'
            )
        try:
            signature = base64.urlsafe_b64decode(found["signature"] + "==")
        except binascii.Error:
            raise InvalidInput("signature: This is not base64url.") from None
        return cls(found["did"], int(found["time"]), found["nonce"], signature)

    def holds(self, request: RequestText) -> bool:
        """Whether it is this request's, by the key that it names."""
        return verify(self.did, message(request, self.time, self.nonce), self.signature)


def message(request: RequestText, time: int, nonce: str) -> bytes:
    """Give the bytes that are signed."""
    lines = (
        "bg-charm-service request 1",
        request.method.upper(),
        request.host.lower(),
        request.target,
        hashlib.sha256(request.body).hexdigest(),
        str(time),
        nonce,
    )
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def authorization(identity: Identity, request: RequestText, now: float) -> str:
    """Sign a request: give the value of its Authorization header."""
    time, nonce = int(now), secrets.token_urlsafe(16)
    signature = identity.sign(message(request, time, nonce))
    text = base64.urlsafe_b64encode(signature).rstrip(b"=").decode()
    return f'{SCHEME} did="{identity.did()}", time="{time}", nonce="{nonce}", signature="{text}"'

"""Senders of webhooks, as GitHub, Slack, Stripe, Standard Webhooks and hubs sign what they send.

Written from their documents, with nothing of the service's, so that a test compares two ways.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass, field
from typing import Any

import httpx2

#: The longest that a test waits for an answer, in seconds.
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Request:
    """What a sender sends."""

    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    def post(self, url: str) -> httpx2.Response:
        """Send it."""
        with httpx2.Client(timeout=PATIENCE_SECONDS, trust_env=False) as client:
            return client.post(url, content=self.body, headers=self.headers)


def mac(secret: bytes, signed: bytes, method: str = "sha256") -> str:
    """The HMAC of bytes, in hex."""
    return hmac.new(secret, signed, getattr(hashlib, method)).hexdigest()


def github(secret: str, event: Any, *, delivery: str, kind: str = "push") -> Request:
    """A delivery of GitHub."""
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    return Request(
        body,
        {
            "content-type": "application/json",
            "x-github-event": kind,
            "x-github-delivery": delivery,
            "x-hub-signature-256": "sha256=" + mac(secret.encode(), body),
        },
    )


def slack(secret: str, body: bytes, *, at: float, content_type: str) -> Request:
    """A request of Slack."""
    signed = b"v0:%d:%s" % (int(at), body)
    return Request(
        body,
        {
            "content-type": content_type,
            "x-slack-request-timestamp": str(int(at)),
            "x-slack-signature": "v0=" + mac(secret.encode(), signed),
        },
    )


def slack_event(secret: str, event: Any, *, at: float) -> Request:
    """An event of Slack."""
    return slack(secret, json.dumps(event).encode(), at=at, content_type="application/json")


def stripe(secret: str, event: Any, *, at: float) -> Request:
    """An event of Stripe, signed by two secrets, as while one is being replaced."""
    body = json.dumps(event).encode()
    signed = b"%d.%s" % (int(at), body)
    old, new = mac(b"whsec_old", signed), mac(secret.encode(), signed)
    return Request(
        body,
        {
            "content-type": "application/json; charset=utf-8",
            "stripe-signature": f"t={int(at)},v1={old},v1={new},v0=6ffbb59b2300",
        },
    )


def standard(secret: str, event: Any, *, name: str, at: float) -> Request:
    """A message of a sender that keeps to Standard Webhooks."""
    body = json.dumps(event).encode()
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = b"%s.%d.%s" % (name.encode(), int(at), body)
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return Request(
        body,
        {
            "content-type": "application/json",
            "webhook-id": name,
            "webhook-timestamp": str(int(at)),
            "webhook-signature": f"v1a,bm90IG91cnM= v1,{signature}",
        },
    )


def hub(secret: str, body: bytes, *, method: str = "sha256") -> Request:
    """What a WebSub hub distributes."""
    signature = f"{method}={mac(secret.encode(), body, method)}"
    return Request(body, {"content-type": "application/atom+xml", "x-hub-signature": signature})

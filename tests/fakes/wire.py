"""Answers in the forms of providers, as their documents show them, of what emulators never answer.

Google: limits as 403, a history that is too old as 404, a sync token that is gone as 410. GitHub:
a limit as 403 with headers. RFC 6750: a scope that is missing. RFC 6578: reports of WebDAV.
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax.saxutils import escape

from tests.fakes.http_server import Answer, answer, json_answer

XML = "application/xml; charset=utf-8"


def google_error(status: int, reason: str, domain: str = "global") -> Answer:
    """An error of Google's APIs, with its reason."""
    one = {"domain": domain, "reason": reason, "message": f"about {reason}"}
    error = {"code": status, "message": one["message"], "errors": [one]}
    return json_answer({"error": error}, status)


def google_limit() -> Answer:
    """Too many requests, as Google says that where it says 403."""
    return google_error(403, "userRateLimitExceeded", "usageLimits")


def history_too_old() -> Answer:
    """What Gmail says of a startHistoryId from which it knows no changes any more."""
    return google_error(404, "notFound")


def sync_token_gone() -> Answer:
    """What Google's Calendar says of a syncToken that has expired."""
    return google_error(410, "fullSyncRequired", "calendar")


def github_limit(reset: int) -> Answer:
    """Nothing left of a rate until a moment, in seconds since the epoch."""
    headers = {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": str(reset)}
    return json_answer({"message": "API rate limit exceeded"}, 403, **headers)


def missing_scope() -> Answer:
    """A token that does not reach so far (RFC 6750, 3.1)."""
    return answer(403, WWW_Authenticate='Bearer realm="api", error="insufficient_scope"')


def multistatus(
    members: Mapping[str, str | int],
    token: str = "",
    *,
    texts: Mapping[str, str] | None = None,
) -> Answer:
    """A report of WebDAV: for each address its etag, or the status that it is told with."""
    texts = texts or {}
    parts = []
    for href, fact in members.items():
        text = texts.get(href)
        data = "" if text is None else f"<c:calendar-data>{escape(text)}</c:calendar-data>"
        inner = (
            f"<d:status>HTTP/1.1 {fact} Said</d:status>"
            if isinstance(fact, int)
            else f"<d:propstat><d:prop><d:getetag>{escape(fact)}</d:getetag>{data}</d:prop>"
            "<d:status>HTTP/1.1 200 OK</d:status></d:propstat>"
        )
        parts.append(f"<d:response><d:href>{escape(href)}</d:href>{inner}</d:response>")
    if token:
        parts.append(f"<d:sync-token>{escape(token)}</d:sync-token>")
    body = (
        '<?xml version="1.0" encoding="utf-8"?><d:multistatus xmlns:d="DAV:" '
        f'xmlns:c="urn:ietf:params:xml:ns:caldav">{"".join(parts)}</d:multistatus>'
    )
    return answer(207, body, content_type=XML)


def dav_error(status: int, condition: str) -> Answer:
    """A refusal of WebDAV, with the condition that was not met."""
    body = f'<?xml version="1.0"?><d:error xmlns:d="DAV:"><d:{condition}/></d:error>'
    return answer(status, body, content_type=XML)

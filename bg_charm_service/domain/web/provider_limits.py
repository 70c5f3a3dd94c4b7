"""Which 403 means a limit, which a missing right, and which an API that nobody has switched on.

Providers say all of it by one status.

Data of each provider, by its hosts, and what holds for all: RFC 6585 has 429 for limits, but some
are older. Pure. Used by `self.http`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

#: So deep, and at so many members, a refusal's body is looked into.
_MOST_MEMBERS: Final = 200

#: An API that is switched on is seen after some minutes; in seconds.
SWITCHED_ON_SECONDS: Final = 300.0

#: An API of Google's and a project, where a refusal names them: of its text no more is told.
_API: Final = re.compile(r"\b[a-z][a-z0-9-]{0,60}\.googleapis\.com\b")
_PROJECT: Final = re.compile(r"\bprojects?[=/ ](\d{5,20})\b")


@dataclass(frozen=True, slots=True)
class ProviderWords:
    """The reasons in a 403 of one provider; `hosts` are its domains, with all below them."""

    hosts: tuple[str, ...]
    #: Not now: a quota or a rate.
    limits: frozenset[str] = frozenset()
    #: Never with this sign-in: a person has to grant more.
    scopes: frozenset[str] = frozenset()
    #: Never for this client: the operator has not switched the API on for it.
    off: frozenset[str] = frozenset()


PROVIDERS: Final = (
    # https://developers.google.com/workspace/gmail/api/guides/handle-errors
    ProviderWords(
        ("googleapis.com",),
        limits=frozenset(
            {
                *("rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded"),
                *("dailyLimitExceeded", "RATE_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED"),
            }
        ),
        scopes=frozenset({"insufficientPermissions", "ACCESS_TOKEN_SCOPE_INSUFFICIENT"}),
        off=frozenset({"accessNotConfigured", "SERVICE_DISABLED"}),
    ),
    # https://learn.microsoft.com/graph/throttling
    ProviderWords(
        ("graph.microsoft.com",),
        limits=frozenset({"TooManyRequests", "activityLimitReached", "ApplicationThrottled"}),
    ),
    # https://docs.slack.dev/apis/web-api/rate-limits
    ProviderWords(
        ("slack.com",),
        limits=frozenset({"ratelimited", "rate_limited"}),
        scopes=frozenset({"missing_scope"}),
    ),
)


def is_limit(
    host: str, headers: Mapping[str, str], body: object, also: Collection[str] = ()
) -> bool:
    """Whether a 403 asks to wait.

    By its headers, as GitHub has it (https://docs.github.com/rest/using-the-rest-api): Retry-After,
    or nothing left of a rate; or by a reason in its body, which is JSON as read. `also` are reasons
    that an author knows of.
    """
    if "retry-after" in headers or headers.get("x-ratelimit-remaining", "").strip() == "0":
        return True
    words = {word for one in _of(host) for word in one.limits}.union(also)
    return not words.isdisjoint(_texts(body))


def is_missing_scope(host: str, headers: Mapping[str, str], body: object) -> bool:
    """Whether a 403 says that the sign-in does not reach so far (RFC 6750, 3.1)."""
    if 'error="insufficient_scope"' in headers.get("www-authenticate", ""):
        return True
    words = {word for one in _of(host) for word in one.scopes}
    return not words.isdisjoint(_texts(body))


def switched_off(host: str, body: object) -> str:
    """Say which API nobody has switched on for the client, and where that is done; else nothing."""
    texts = _texts(body)
    if texts.isdisjoint({word for one in _of(host) for word in one.off}):
        return ""
    # Links for people name another host than the one that was asked: the API itself.
    named = [match[0] for text in sorted(texts, key=len) for match in _API.finditer(text)]
    api = next((one for one in named if one != "www.googleapis.com"), host)
    project = next(
        (f"?project={match[1]}" for text in texts for match in _PROJECT.finditer(text)), ""
    )
    return (
        "this API is not switched on in the project of the OAuth client: switch it on at "
        f"https://console.cloud.google.com/apis/library/{api}{project}"
    )


def _of(host: str) -> Iterator[ProviderWords]:
    for one in PROVIDERS:
        if any(host == domain or host.endswith(f".{domain}") for domain in one.hosts):
            yield one


def _texts(body: object) -> set[str]:
    """The texts in a body of JSON, as far as it is looked into."""
    found: set[str] = set()
    pending: list[Any] = [body]
    for _ in range(_MOST_MEMBERS):
        if not pending:
            break
        one = pending.pop()
        if isinstance(one, dict):
            pending += list(one.values())[:_MOST_MEMBERS]
        elif isinstance(one, list):
            pending += one[:_MOST_MEMBERS]
        elif isinstance(one, str):
            found.add(one)
    return found

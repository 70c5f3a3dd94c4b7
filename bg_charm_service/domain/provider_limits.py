"""Which 403 means a limit, and which a missing right: providers say both by one status.

Data of each provider, by its hosts, and what holds for all: RFC 6585 has 429 for limits, but some
are older. Pure. Used by `self.http`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

#: So deep, and at so many members, a refusal's body is looked into.
_MOST_MEMBERS: Final = 200


@dataclass(frozen=True, slots=True)
class ProviderWords:
    """The reasons in a 403 of one provider; `hosts` are its domains, with all below them."""

    hosts: tuple[str, ...]
    #: Not now: a quota or a rate.
    limits: frozenset[str] = frozenset()
    #: Never with this sign-in: a person has to grant more.
    scopes: frozenset[str] = frozenset()


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

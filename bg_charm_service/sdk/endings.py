"""How a charm says that its run ends neither well nor badly: exceptions for authors to raise.

Nothing of such a run is stored, and it counts as neither success nor failure. What follows from
each is decided by the service: `domain/outcomes/run_endings.py`. Read by the worker that the charm
runs in.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from bg_charm_service.domain.outcomes.run_endings import is_host, is_sign_in_url
from bg_charm_service.domain.quantities import span


class RunEnding(Exception):
    """Base of all of them; raise one of the others."""

    def __init__(self, why: str = "") -> None:
        if not isinstance(why, str):
            raise TypeError(f"{type(self).__name__} takes a text that says why, not {why!r:.100}")
        super().__init__(why)
        self.why = why


class Wait(RunEnding):
    """Not now: run again no sooner than after a while, or at a moment; at most a day.

        raise Wait("1h", "the quota of this hour is used up")

    `until` is seconds, a text such as "5m", a timedelta, or a datetime with a time zone.
    A time that is not ahead names none: then it is 30 s, doubled each time up to 10 minutes.
    """

    def __init__(self, until: float | str | timedelta | datetime, why: str = "") -> None:
        super().__init__(why)
        self.until = checked_time(until, "Wait")


class ProviderDown(RunEnding):
    """The provider cannot be reached, or fails itself: asked again after 30 s, then less often.

        raise ProviderDown("it answers with its maintenance page", host="api.example.org")

    `host` is whose fault it is; left out, it is the last one that the run has connected to.
    """

    def __init__(self, why: str = "", *, host: str = "") -> None:
        super().__init__(why)
        name = urlsplit(host).hostname or "" if "://" in host else host
        if host and not is_host(name):
            raise ValueError(f"host is the name of one, such as api.example.org, not {host!r:.100}")
        self.host = name


class SignInNeeded(RunEnding):
    """A person has to sign in again: runs when the charm, its secret or a linked value changes.

        raise SignInNeeded("the token was revoked", url="https://example.org/oauth")

    `url` is where to do that: an https address, or a page of the service such as /login.
    """

    def __init__(self, why: str = "", *, url: str = "") -> None:
        super().__init__(why)
        if url and not is_sign_in_url(url):
            raise ValueError(
                f"url is an https address, or a page of the service to sign in, not {url!r:.100}"
            )
        self.url = url


class Stop(RunEnding):
    """There is nothing to do any more: runs again once it is enabled, updated or registered.

    raise Stop("the parcel was delivered")
    """


def checked_time(value: object, name: str) -> float | datetime:
    """Give a number of seconds or a moment with a time zone; raises TypeError, ValueError."""
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise ValueError(f"{name}: give the datetime a time zone, as datetime.now(UTC) has")
        return value
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, str):
        try:
            return span(value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(
            f"{name} takes seconds, a text such as '5m', a timedelta, or a datetime with a time "
            f"zone, not {value!r:.100}"
        )
    if not math.isfinite(value):
        raise ValueError(f"{name}: {value!r} is no number of seconds")
    return value


def seconds_until(moment: float | datetime, now: float) -> float:
    """How far away a checked time is, in seconds; `now` is seconds since the epoch."""
    return moment.timestamp() - now if isinstance(moment, datetime) else float(moment)

"""How a run can end besides well or badly, and what its charm waits for then.

The table of docs/charms.md ("How a run can end") in code, for `policy`. Pure: time and chance come
in as arguments. What a worker says of an ending is checked by
`supervisor/answers/answer_validation.py`; who keeps what is waited for is
`supervisor/waiting_charms.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

import msgspec

from bg_charm_service.domain.disclosure import OpenText
from bg_charm_service.domain.outcomes.backoff import provider_delay_seconds

#: Longer than this nobody is waited for at a time, in seconds: a day.
LONGEST_WAIT_SECONDS: Final = 86400.0

#: A time that is nearer than this is taken for this, in seconds.
SHORTEST_WAIT_SECONDS: Final = 1.0

#: The furthest that a charm may put its next run, in seconds: as far as an interval may.
LONGEST_PAUSE_SECONDS: Final = 366 * 86400.0

#: So many runs may follow each other at the charm's own wish, sooner than its interval.
MOST_IN_A_ROW: Final = 1000

#: The charms that wait for a host are asked over so long once one was answered, in seconds.
SPREAD_SECONDS: Final = 60.0

#: A host's name may be so long: names of the domain name system are shorter.
LONGEST_HOST: Final = 255

#: An address to sign in at may be so long.
LONGEST_URL: Final = 2000

#: The routes of this service where people sign in.
SIGN_IN_ROUTES: Final = frozenset({"/login"})


class EndingKind(StrEnum):
    """What a run says of its end, where that is neither a plain success nor a failure."""

    AGAIN = "again"  #: done, and the charm names the time of its next run
    WAIT = "wait"  #: not now: a provider, or the charm, asks for patience
    DOWN = "down"  #: its provider cannot be reached, or fails itself
    SIGN_IN = "sign_in"  #: a person has to sign in again
    STOP = "stop"  #: there is nothing to do any more


#: How a charm stands after a run that ended so, in words of the service's own.
ENDING_WORDS: Final = {
    EndingKind.AGAIN: "Goes on",
    EndingKind.WAIT: "Waiting",
    EndingKind.SIGN_IN: "Sign in again",
    EndingKind.STOP: "Stopped",
}


class Ending(msgspec.Struct, frozen=True):
    """The end of one run, as its worker tells it; absent for a plain success or failure.

    `seconds` is how far away the named time is, counted from the end of the run; None where none
    was named. `host` is whom it could not reach, `url` where to sign in; empty for none.
    """

    kind: EndingKind
    seconds: float | None = None
    why: str = ""
    host: str = ""
    url: str = ""


class Waiting(msgspec.Struct, frozen=True):
    """What one charm waits for, as it is stored.

    `until` is by the steady clock, 0 where no time ends it. `since` is when this began, in seconds
    since the epoch. `tries` counts the runs that ended so, one after another.
    """

    kind: EndingKind
    until: float
    since: float
    tries: int = 1
    host: str = ""
    why: str = ""
    url: str = ""

    @property
    def holds_events(self) -> bool:
        """Whether events wait with the polls until its time."""
        return self.kind in (EndingKind.WAIT, EndingKind.DOWN)


@dataclass(frozen=True, slots=True)
class WaitingView:
    """What a charm waits for, as it is shown; times in seconds since the epoch, 0 for none."""

    kind: OpenText
    until: float
    since: float
    host: OpenText
    why: str
    url: str


@dataclass(frozen=True, slots=True)
class HostDown:
    """A host that charms wait for, once for all of them; `since` in seconds since the epoch."""

    host: OpenText
    since: float
    charms: int


def next_waiting(
    ending: Ending,
    before: Waiting | None,
    *,
    now: float,
    steady: float,
    chance: float,
    interval_seconds: float,
    is_by_hand: bool = False,
) -> Waiting | None:
    """Say what a charm waits for after a run that ended so; None for nothing.

    `before` is what it waited for until then; `chance` is in [0, 1). A run by hand that names no
    time changes nothing for a charm that waits for the same already.
    """
    if before is not None and before.kind is not ending.kind:
        before = None
    if ending.kind is EndingKind.AGAIN:
        return _again(ending, before, now, steady, interval_seconds)
    if ending.kind in (EndingKind.SIGN_IN, EndingKind.STOP):
        return Waiting(ending.kind, 0.0, now, why=ending.why, url=ending.url)
    named = ending.seconds if ending.kind is EndingKind.WAIT else None
    has_time = named is not None and named > 0
    if before is not None and is_by_hand and not has_time:
        return before
    tries = before.tries + 1 if before is not None else 1
    if named is not None and has_time:
        delay = min(max(named, SHORTEST_WAIT_SECONDS), LONGEST_WAIT_SECONDS)
    else:
        delay = provider_delay_seconds(tries, chance)
    is_same = before is not None and before.host == ending.host
    since = before.since if before is not None and is_same else now
    return Waiting(ending.kind, steady + delay, since, tries, ending.host, ending.why)


def _again(
    ending: Ending, before: Waiting | None, now: float, steady: float, interval_seconds: float
) -> Waiting:
    """The charm's own next time; after many in a row its interval comes in between."""
    delay = min(max(ending.seconds or 0.0, 0.0), LONGEST_PAUSE_SECONDS)
    in_a_row = before.tries + 1 if before is not None else 1
    if delay >= interval_seconds:
        in_a_row = 0
    elif in_a_row >= MOST_IN_A_ROW:
        delay, in_a_row = interval_seconds, 0
    return Waiting(ending.kind, steady + delay, now, in_a_row)


def brought_forward(count: int) -> list[float]:
    """After how many seconds each of so many charms is asked, once their host has answered."""
    return [SPREAD_SECONDS * place / count for place in range(count)]


def status_of(ending: Ending) -> str:
    """Say in a line how a charm stands after a run that ended so."""
    because = f": {ending.why}" if ending.why else ""
    return f"{waiting_word(ending.kind, ending.host)}{because}"


def waiting_word(kind: EndingKind, host: str) -> str:
    """Say how a charm stands that waits so, in words of the service's own."""
    return f"{host} is down" if kind is EndingKind.DOWN else ENDING_WORDS[kind]


def is_host(text: str) -> bool:
    """Whether a text can be the name or the address of a host, and nothing else."""
    return (
        0 < len(text) <= LONGEST_HOST
        and text.isascii()
        and all(letter.isalnum() or letter in "-._:%[]" for letter in text)
    )


def is_sign_in_url(text: str) -> bool:
    """Whether people may be led there to sign in: a route of ours for that, or https to a host."""
    if not 0 < len(text) <= LONGEST_URL or not text.isascii() or not text.isprintable():
        return False
    if " " in text or "\\" in text or '"' in text:
        return False
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not (parts.scheme or parts.netloc):
        return parts.path in SIGN_IN_ROUTES
    return parts.scheme == "https" and "@" not in parts.netloc and bool(host and is_host(host))


def sign_in_host(url: str) -> str:
    """The host that an address to sign in at leads to; empty for one of ours."""
    return urlsplit(url).hostname or ""

"""A simulated provider of sign-ins: it rotates, takes no refresh token twice, and misbehaves.

It outlives the service, and knows what it has given out. What the service has on disk is held
against that: no token that it could keep is lost, and where one is, a person is told why.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from bg_charm_service.domain.oauth import fingerprint
from bg_charm_service.service.token_keeper import MARGIN_SECONDS
from bg_charm_service.sign_in.messages import (
    AnswerKind,
    Authorize,
    Deed,
    Exchange,
    ProviderAnswer,
    Refresh,
)
from tests.simulation.disk import FaultyConnection
from tests.simulation.timeline import Timeline

#: How long a request to renew a token may take, in seconds; the service's own bound.
TIMEOUT_SECONDS = 10.0

#: For how long tokens are good, in seconds: shorter than any run may take, and longer.
_LIFETIMES = (50.0, 600.0, 3600.0, 86400.0)

#: A token that lives shorter than a run may take is taken for so long, in seconds.
_FRESH_SECONDS = 30.0

#: What a provider that asks to wait names, in seconds.
_NAMED_SECONDS = (None, 5.0, 60.0)

#: What people are told of a run whose token could not be asked for.
_UNASKED = ("its token could not be renewed now", "the service is stopping")

_ROWS = "SELECT charm_key, refresh_hash, asked_at, problem FROM sign_ins ORDER BY charm_key"
_MARKED = "SELECT 1 FROM sign_ins WHERE refresh_hash = ? AND asked_at > 0"
_OBTAINED = "SELECT obtained_at FROM sign_ins WHERE refresh_hash = ?"


class Fate(StrEnum):
    """What becomes of one request to renew a token."""

    WELL = "well"
    BUSY = "asks to wait"
    UNREACHED = "is not reached"
    UNHEARD = "never hears of it"
    LOST = "rotates, and its answer is lost"
    REVOKED = "has ended the sign-in"


class Stage(StrEnum):
    """How far a request to renew a token is."""

    ASKED = "asked"
    ROTATED = "rotated"
    ANSWERED = "answered"


_ODDS = {
    Fate.WELL: 8,
    Fate.BUSY: 1,
    Fate.UNREACHED: 2,
    Fate.UNHEARD: 1,
    Fate.LOST: 1,
    Fate.REVOKED: 1,
}


@dataclass(slots=True)
class Grant:
    """One sign-in of a person, as the provider knows it."""

    name: str
    #: The refresh token that is good; how many there were.
    current: str = ""
    issued: int = 0
    #: The life of the service in which it was given out, and whether that was seen on disk.
    life: int = 0
    is_stored: bool = False
    #: Whether its answer was lost on the way.
    is_lost: bool = False
    is_revoked: bool = False
    has_ended: bool = False
    is_asked: bool = False


@dataclass(frozen=True, slots=True)
class Issued:
    """A token: when it was given out and ends by the wall clock, and how far that was ahead.

    `known_as` is the fingerprint of the refresh token that came with it.
    """

    grant: Grant
    known_as: str
    issued_at: float
    seconds: float
    ahead: float


@dataclass(slots=True)
class SimulatedProvider:
    """Answers what the service asks, in all of its lives."""

    timeline: Timeline
    random: random.Random
    problems: list[str]
    note: Callable[[str], None]
    connection: Callable[[], FaultyConnection | None]
    is_calm: Callable[[], bool]
    life: int = 0
    #: Lives that ended badly, or with a disk that failed: what was under way may be lost.
    excused: set[int] = field(default_factory=set)
    tokens: dict[str, Issued] = field(default_factory=dict)
    grants: dict[str, Grant] = field(default_factory=dict)
    #: All that it said when it gave no token; and by whom in this life it was refused.
    said: set[str] = field(default_factory=set)
    #: Told how far a request is.
    on_stage: Callable[[Stage], None] = lambda _: None
    _refused: set[str] = field(default_factory=set)
    #: Sign-ins that people have ended, by the names of their grants.
    _given_up: set[str] = field(default_factory=set)
    _people: int = 0

    def give_up(self, known_as: str) -> None:
        """Note that a person has signed out, and that this is on disk."""
        self._given_up.add(self.grants[known_as].name)

    def begin_life(self, life: int) -> None:
        """Be asked by another process."""
        self.life = life
        self._refused.clear()
        for grant in self.grants.values():
            grant.is_asked = False

    async def ask(self, deed: Deed) -> ProviderAnswer:
        """Answer as a provider does, in its time."""
        if isinstance(deed, Authorize):
            return ProviderAnswer(AnswerKind.DONE, url=f"https://login/?state={deed.state}")
        if isinstance(deed, Exchange):
            await asyncio.sleep(self.random.uniform(0.0, 2.0))
            self._people += 1
            return self._issue(Grant(f"person {self._people}"))
        assert isinstance(deed, Refresh)
        return await self._refresh(deed.refresh_token)

    async def _refresh(self, refresh_token: str) -> ProviderAnswer:
        grant, known_as = self.grants[fingerprint(refresh_token)], fingerprint(refresh_token)
        connection = self.connection()
        assert connection is not None
        if connection.in_transaction or not connection.bare(_MARKED, (known_as,)).fetchone():
            self.problems.append(f"a token of {grant.name} is asked for, and that is not on disk")
        if grant.is_asked:
            self.problems.append(f"a token of {grant.name} is asked for twice at once")
        if known_as in self._refused and self.life not in self.excused:
            self.problems.append(f"a token of {grant.name} is asked for again after a refusal")
        grant.is_asked = True
        try:
            return await self._answer(grant, refresh_token)
        finally:
            grant.is_asked = False

    async def _answer(self, grant: Grant, refresh_token: str) -> ProviderAnswer:
        fate = Fate.WELL
        if not self.is_calm():
            (fate,) = self.random.choices(list(_ODDS), list(_ODDS.values()))
        self.note(f"provider: {fate} for {grant.name}, token {grant.issued}")
        there, back = (self.random.choice([0.01, 0.5, 4.0]) for _ in range(2))
        self.on_stage(Stage.ASKED)
        await asyncio.sleep(there)
        if fate is Fate.UNREACHED:
            return self._no_token(AnswerKind.UNASKED, "could not be reached")
        if fate is Fate.BUSY:
            seconds = self.random.choice(_NAMED_SECONDS)
            return self._no_token(AnswerKind.BUSY, "asks to wait", seconds)
        if fate is Fate.UNHEARD:
            await asyncio.sleep(TIMEOUT_SECONDS - there)
            return self._no_token(AnswerKind.DOWN, "gave no answer")
        if fate is Fate.REVOKED:
            grant.is_revoked = grant.has_ended = True
        if grant.has_ended or refresh_token != grant.current:
            grant.has_ended = True
            await asyncio.sleep(back)
            self._refused.add(fingerprint(refresh_token))
            why = f"{grant.name} is over"
            return ProviderAnswer(AnswerKind.REFUSED, error="invalid_grant", why=why)
        answer = self._issue(grant)
        self.on_stage(Stage.ROTATED)
        if fate is Fate.LOST:
            grant.is_lost = True
            await asyncio.sleep(TIMEOUT_SECONDS - there)
            return self._no_token(AnswerKind.DOWN, "gave no answer")
        await asyncio.sleep(back)
        self.on_stage(Stage.ANSWERED)
        return answer

    def _issue(self, grant: Grant) -> ProviderAnswer:
        """Give out a token, and the refresh token that is good from now on."""
        grant.issued += 1
        grant.life, grant.is_stored = self.life, False
        grant.current = f"refresh {grant.issued} of {grant.name}"
        token = f"token {grant.issued} of {grant.name}"
        seconds = self.random.choice(_LIFETIMES)
        self.grants[fingerprint(grant.current)] = grant
        now, ahead = self.timeline.wall, self._ahead()
        known_as = fingerprint(grant.current)
        self.tokens[token] = Issued(grant, known_as, now, seconds, ahead)
        body = {"access_token": token, "refresh_token": grant.current, "expires_in": seconds}
        return ProviderAnswer(AnswerKind.DONE, json.dumps(body).encode(), host="login")

    def _no_token(self, kind: AnswerKind, why: str, seconds: float | None = None) -> ProviderAnswer:
        self.said.add(why)
        return ProviderAnswer(kind, why=why, host="login.example.org", seconds=seconds)

    def _ahead(self) -> float:
        """How far the wall clock is ahead of the one that nobody sets."""
        return self.timeline.wall - self.timeline.boottime

    # What the service makes of it.

    def broken(self, connection: FaultyConnection) -> Iterator[str]:
        """Name the sign-ins whose newest token is lost, and nobody is told, or wrongly."""
        for charm_key, known_as, asked_at, problem in connection.bare(_ROWS).fetchall():
            grant, name = self.grants[known_as], f"the sign-in of charm {charm_key}"
            if grant.name in self._given_up:
                yield f"{name} is there again, and somebody has signed out of it"
            is_newest = fingerprint(grant.current) == known_as
            grant.is_stored |= is_newest
            if not problem:
                if not asked_at and not (is_newest and (grant.is_revoked or not grant.has_ended)):
                    yield f"{name} has lost its newest token, and nobody knows"
            elif grant.is_stored and not grant.is_revoked:
                yield f"{name} is over, and nothing of it was lost: {problem}"
            elif not grant.is_stored and not grant.is_revoked:
                if not grant.is_lost and grant.life not in self.excused:
                    yield f"{name} has lost a token in a life that went well"
                if "was lost with the service or on its way" not in problem:
                    yield f"{name} has lost a token, and does not say so: {problem}"

    def unfit(
        self, value: bytes, timeout_seconds: float, connection: FaultyConnection
    ) -> Iterator[str]:
        """Say what is wrong with the token that a run is given, now that it begins."""
        shown = json.loads(value)
        issued = self.tokens[shown["token"]]
        if "refresh" in value.decode():
            yield "a run is given a refresh token"
        if abs(self._ahead() - issued.ahead) > 1.0:
            # Somebody has set the clock meanwhile: by it, nobody can tell.
            return
        needed_seconds = timeout_seconds + MARGIN_SECONDS
        left = issued.issued_at + issued.seconds - self.timeline.wall
        if left >= needed_seconds:
            return
        if issued.seconds < needed_seconds:
            found = connection.bare(_OBTAINED, (issued.known_as,)).fetchone()
            if found is not None and self.timeline.wall - found[0] < _FRESH_SECONDS:
                return
        yield f"a run begins with a token that is good for {left:.1f} s of {needed_seconds:.0f}"

    def may_have_said(self, status: str, error: str) -> bool:
        """Whether a run may end as this without having begun, for want of a token."""
        if status == "sign_in":
            return "nobody has signed in" in error or "is over" in error
        return any(why in error for why in (*self.said, *_UNASKED))

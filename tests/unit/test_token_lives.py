"""Whatever a provider does, and whenever the service dies: no token is lost that could be kept.

A provider that rotates and takes no refresh token twice, a service that lives again and again on
one disk, and all that can happen between the two, in any order.
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from enum import Enum
from itertools import count

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from bg_charm_service.sign_in.messages import AnswerKind, ProviderAnswer, Refresh
from tests.unit.test_token_keeper import Bench


class Fate(Enum):
    """What becomes of one refresh."""

    WELL = "the answer comes, and is stored"
    REFUSED_FOR_NOW = "the provider asks to wait"
    UNREACHED = "the provider is not reached"
    LOST_ON_THE_WAY = "the provider has rotated, and its answer is lost"
    NEVER_ARRIVED = "the request is lost, and nobody knows"
    DIES_BEFORE = "the service dies, and the request never arrives"
    DIES_AFTER = "the service dies when the provider has rotated"
    DIES_STORED = "the service dies when the answer is stored"


#: Fates in which the provider has given out a token that nobody has heard of.
UNHEARD = {Fate.LOST_ON_THE_WAY, Fate.DIES_AFTER}


class Rotating:
    """What a provider holds to be good: one refresh token, which it takes once."""

    def __init__(self) -> None:
        self.numbers = count(1)
        self.current = "refresh 0"
        self.has_ended = False

    def refresh(self, refresh_token: str) -> ProviderAnswer:
        """Give another one for the current one; a used one ends everything."""
        if self.has_ended or refresh_token != self.current:
            self.has_ended = True
            return ProviderAnswer(AnswerKind.REFUSED, error="invalid_grant", why="over")
        number = next(self.numbers)
        self.current = f"refresh {number}"
        body = {"access_token": f"token {number}", "refresh_token": self.current}
        return ProviderAnswer(AnswerKind.DONE, msgspec.json.encode({**body, "expires_in": 60}))


@given(st.lists(st.sampled_from(Fate), min_size=1, max_size=12))
def test_no_token_is_lost(fates: list[Fate]) -> None:
    """What is stored is good, or it is known that it may not be; a person is asked for no less."""
    bench = Bench()
    with closing(bench.engine):
        bench.sign_in("token 0", "refresh 0")
        rotating = Rotating()
        was_unheard, stored = False, rotating.current
        for fate in fates:
            asyncio.run(suffer(bench, rotating, fate))
            was_unheard |= fate in UNHEARD
            record, (_, stored) = bench.record, bench.stored
            is_current = stored == rotating.current and not rotating.has_ended
            assert is_current or record.asked_at or record.problem
            # Nobody has to sign in again who has lost nothing.
            assert not record.problem or was_unheard
            if record.problem:
                return
        if not was_unheard:
            assert stored == rotating.current


async def suffer(bench: Bench, rotating: Rotating, fate: Fate) -> None:
    """Have the token renewed once, and let this become of it."""
    # What was said a moment ago counts no more.
    bench.clock.seconds += 60
    asked = len(bench.provider.asked)
    waiting = asyncio.create_task(bench.keeper.refresh_now(bench.key))
    await bench.provider.wait_until_asked(asked + 1)
    (deed,) = bench.provider.asked[-1:]
    assert isinstance(deed, Refresh)
    lost = ProviderAnswer(AnswerKind.DOWN, why="no answer", host="example.org")
    match fate:
        case Fate.WELL | Fate.DIES_STORED:
            bench.provider.give(rotating.refresh(deed.refresh_token))
        case Fate.REFUSED_FOR_NOW:
            bench.provider.give(ProviderAnswer(AnswerKind.BUSY, why="busy", seconds=5))
        case Fate.UNREACHED:
            bench.provider.give(ProviderAnswer(AnswerKind.UNASKED, why="away", host="example.org"))
        case Fate.LOST_ON_THE_WAY:
            rotating.refresh(deed.refresh_token)
            bench.provider.give(lost)
        case Fate.NEVER_ARRIVED:
            bench.provider.give(lost)
        case Fate.DIES_AFTER:
            rotating.refresh(deed.refresh_token)
    if fate not in (Fate.DIES_BEFORE, Fate.DIES_AFTER):
        await waiting
    if fate in (Fate.DIES_BEFORE, Fate.DIES_AFTER, Fate.DIES_STORED):
        waiting.cancel()
        bench.kill()

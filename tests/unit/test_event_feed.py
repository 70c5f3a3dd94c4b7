"""Promises of the ring of events: every reader sees each event once, in order, or is dropped."""

from __future__ import annotations

import asyncio
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from bg_charm_service.service.event_feed import EventFeed, Reader


def numbers(feed: EventFeed, reader: Reader) -> list[int] | None:
    """Read what is there; None when the reader was dropped."""
    found = asyncio.run(reader.read(0.0))
    return None if found is None else [cast("int", event.data) for event in found]


def test_a_reader_gets_what_comes() -> None:
    """Following starts now; each event is read once."""
    events = EventFeed(1.0)
    events.publish("run", None, 1)
    reader = events.follow()
    events.publish("run", None, 2)
    events.publish("run", None, 3)
    assert [2, 3] == numbers(events, reader)
    assert [] == numbers(events, reader)


@given(known=st.integers(0, 12), kept=st.integers(1, 12))
def test_following_goes_on_behind_a_known_event(known: int, kept: int) -> None:
    """Who comes back gets exactly what it missed, or is told that some of it is gone."""
    events = EventFeed(1.0, keep=kept)
    first = events.oldest
    for number in range(12):
        events.publish("run", None, number)
    reader = events.follow(first + known - 1)
    is_kept = known >= 12 - kept
    assert (not is_kept) == reader.has_missed
    assert (list(range(known, 12)) if is_kept else []) == numbers(events, reader)


def test_an_event_of_another_life_is_unknown() -> None:
    """After a restart ids go on growing, and what was before is missed, not mixed up."""
    before = EventFeed(1.0)
    before.publish("run", None, 1)
    known = before.oldest
    after = EventFeed(2.0)
    after.publish("run", None, 2)
    assert after.oldest > known
    assert after.follow(known).has_missed
    assert after.follow(10**18).has_missed


def test_a_slow_reader_is_dropped() -> None:
    """A reader that falls behind the ring gets no more; others are not disturbed."""
    events = EventFeed(1.0, keep=3)
    slow, quick = events.follow(), events.follow()
    for number in range(3):
        events.publish("run", None, number)
    assert [0, 1, 2] == numbers(events, quick)
    events.publish("run", None, 3)
    assert None is numbers(events, slow)
    assert [3] == numbers(events, quick)


def test_closing_ends_every_stream() -> None:
    """When the service stops, who waits is let go."""

    async def wait() -> object:
        events = EventFeed(1.0)
        reading = asyncio.create_task(events.follow().read(60.0))
        await asyncio.sleep(0)
        events.close()
        return await reading

    assert None is asyncio.run(wait())

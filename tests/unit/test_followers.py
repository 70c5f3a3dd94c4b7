"""Who follows the events: nobody has too many streams, none outlives what it was opened with."""

from __future__ import annotations

import asyncio

import pytest

from bg_charm_service.service.followers import (
    MOST_STREAMS,
    STREAMS_OF_A_PEER,
    STREAMS_OF_A_SESSION,
    Follower,
    Followers,
    OpenStream,
)


class Clock:
    """A clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def steady(self) -> float:
        return 0.0

    def awake(self) -> float:
        return self.steady()


def left(followers: Followers, opened: list[OpenStream]) -> list[int]:
    """Which of the opened streams are still there, by their order."""
    return [number for number, stream in enumerate(opened) if stream in followers]


def test_the_oldest_stream_of_a_session_ends() -> None:
    """A session has eight; others of the same peer keep theirs."""
    followers = Followers()
    other = followers.open(Follower("one", session="b"))
    opened = [followers.open(Follower("one", session="a")) for _ in range(STREAMS_OF_A_SESSION + 2)]
    assert list(range(2, STREAMS_OF_A_SESSION + 2)) == left(followers, opened)
    assert (True, False) == (opened[0].was_replaced, opened[2].was_replaced)
    assert other in followers


def test_the_oldest_stream_of_a_peer_ends() -> None:
    """A peer has thirty-two, with sessions or without; another peer keeps its own."""
    followers = Followers()
    other = followers.open(Follower("two"))
    opened = [followers.open(Follower("one")) for _ in range(200)]
    assert STREAMS_OF_A_PEER == len(left(followers, opened))
    assert opened[-1] in followers
    assert other in followers


def test_whoever_has_the_most_gives_way() -> None:
    """When all together have too many, the oldest of the busiest peer ends; a new one has room."""
    followers = Followers()
    lonely = followers.open(Follower("lonely"))
    peers = MOST_STREAMS // STREAMS_OF_A_PEER + 1
    for number in range(peers * STREAMS_OF_A_PEER):
        followers.open(Follower(f"peer {number % peers}"))
    late = followers.open(Follower("late"))
    assert MOST_STREAMS == len(followers)
    assert lonely in followers
    assert late in followers


def test_a_credential_ends_what_rests_on_it() -> None:
    """Streams end with their session and with the token that it was begun with, and no others."""

    async def go(credential: str) -> list[str]:
        followers, clock = Followers(), Clock()
        waits = {
            name: asyncio.create_task(
                followers.open(Follower("one", credentials=frozenset(rests_on))).wait_for_end(clock)
            )
            for name, rests_on in {
                "token": ["token 1"],
                "session": ["session s", "token 1"],
                "other": ["token 2"],
                "nobody": [],
            }.items()
        }
        await asyncio.sleep(0)
        followers.end(credential)
        for _ in range(3):
            await asyncio.sleep(0)
        ended = [name for name, task in waits.items() if task.done()]
        for task in waits.values():
            task.cancel()
        return ended

    assert ["token", "session"] == asyncio.run(go("token 1"))
    assert ["session"] == asyncio.run(go("session s"))


@pytest.mark.parametrize("expires_at", [999.0, 1000.0])
def test_a_right_that_is_over_ends_at_once(expires_at: float) -> None:
    """Nobody has to say that the time of a token is up."""

    async def go() -> bool:
        stream = Followers().open(Follower("one", expires_at=expires_at))
        await stream.wait_for_end(Clock())
        return True

    assert asyncio.run(go())

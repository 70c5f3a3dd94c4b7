"""What leads nowhere is answered alike, and so long after it has come, whatever is behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bg_charm_service.api.hooks.listener import REFUSED_AFTER_SECONDS, HookListener
from bg_charm_service.domain.events.hooks import HOOK_PATH, HookSchema, Scheme
from bg_charm_service.service.hooks.intake import HookIntake, OpenHook
from bg_charm_service.service.metrics.hook_counts import HookCounts
from tests.simulation.timeline import SimulatedLoop, Timeline

KNOWN, UNKNOWN, NONE = "k" * 43, "u" * 43, "short"

#: How long looking something up takes, in seconds: longer for what is there.
LOOKED_UP = {KNOWN: 0.011, UNKNOWN: 0.004}
SECRETS_READ_SECONDS = 0.007


class SlowIntake:
    """One hook, whose sender signs as GitHub does; everything takes time."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        record = SimpleNamespace(hook_key=1, stream="pushed")
        schema = HookSchema(Scheme.GITHUB, "secret")
        self._hook = OpenHook(cast("Any", record), cast("Any", SimpleNamespace()), schema)

    @property
    def clock_now(self) -> float:
        return self._timeline.wall

    @property
    def clock_steady(self) -> float:
        return self._timeline.monotonic

    def check_open(self) -> None: ...

    def at(self, address: str) -> OpenHook | None:
        self._timeline.advance(LOOKED_UP[address])
        return self._hook if address == KNOWN else None

    def is_full(self, hook: OpenHook) -> bool:
        return False

    def with_secrets(self, hook: OpenHook) -> OpenHook:
        self._timeline.advance(SECRETS_READ_SECONDS)
        return OpenHook(hook.record, hook.charm, hook.schema, ("the-secret",))

    def was_asked_for(self, hook: OpenHook, topic: str) -> bool:
        return False


Answered = tuple[list[MutableMapping[str, Any]], float]


@pytest.fixture
def ask() -> Callable[..., Answered]:
    """Sends requests in simulated time; gives what was answered, and when, since it was sent."""

    def send_one(
        address: str, method: str = "POST", later: float = 0.0, signature: str = ""
    ) -> Answered:
        timeline = Timeline(1_800_000_000.0)
        listener = HookListener(cast("HookIntake", SlowIntake(timeline)), HookCounts())
        answer: list[MutableMapping[str, Any]] = []
        headers = [(b"x-hub-signature-256", signature.encode())]
        scope = {
            "type": "http",
            "method": method,
            "path": HOOK_PATH + address,
            "headers": headers,
            "query_string": b"hub.mode=subscribe&hub.challenge=x",
        }
        begun_at = timeline.monotonic
        #: When the last byte of it was sent.
        sent_at = [begun_at]

        async def receive() -> dict[str, Any]:
            wait = begun_at + later - timeline.monotonic
            if later:
                await asyncio.sleep(max(0.0, wait))
                sent_at[0] = begun_at + later
            return {"type": "http.request", "body": b"{}"}

        async def send(message: MutableMapping[str, Any]) -> None:
            answer.append(message)

        with asyncio.Runner(loop_factory=lambda: SimulatedLoop(timeline)) as runner:
            runner.run(listener(scope, receive, send))
            return answer, timeline.monotonic - sent_at[0]

    return send_one


#: Of a few turns of the loop, in seconds.
TURNS = 0.003


@pytest.mark.parametrize("later", [0.0, 0.02, 0.024, 0.026, 0.2])
def test_unknown_and_not_signed_are_answered_alike(
    ask: Callable[..., Answered], later: float
) -> None:
    """Also where the body comes later than the head."""
    found = [
        ask(address, later=later, signature=signature)
        for address, signature in (
            *((NONE, ""), (UNKNOWN, ""), (UNKNOWN, "sha256=0")),
            *((KNOWN, ""), (KNOWN, "sha256=0"), (KNOWN, "sha256=" + "0" * 64)),
        )
    ]
    answers = [answer for answer, _ in found]
    assert [answers[0]] * len(found) == answers
    assert (404, b"") == (answers[0][0]["status"], answers[0][1]["body"])
    times = [seconds for _, seconds in found]
    assert max(times) - min(times) < TURNS
    assert all(
        REFUSED_AFTER_SECONDS / 2 - TURNS < one < REFUSED_AFTER_SECONDS + TURNS for one in times
    )


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_other_methods_take_as_long(ask: Callable[..., Answered], method: str) -> None:
    """What only hubs ask, and what nobody asks."""
    found = [ask(address, method) for address in (NONE, UNKNOWN, KNOWN)]
    assert {404} == {answer[0]["status"] for answer, _ in found}
    times = [seconds for _, seconds in found]
    assert max(times) - min(times) < TURNS

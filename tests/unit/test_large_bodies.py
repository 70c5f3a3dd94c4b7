"""Promises of large bodies: they are read by another process, as they would be in place."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any

import psutil
import pytest
from pydantic import ValidationError

from bg_charm_service.api import body_reader, large_bodies
from bg_charm_service.api.body_messages import BodyKind, Refused
from bg_charm_service.api.large_bodies import LargeBodies
from bg_charm_service.api.requests import (
    CharmBody,
    SendBody,
    SourceBody,
    first_problem,
    read_charm,
)
from bg_charm_service.domain.errors import InvalidInput, ServiceStopping
from bg_charm_service.domain.views import NewCharm

CHARM = {
    "source": "x = 'ü'",
    "space": "demo",
    "file": "some.py",
    "class": "Some",
    "set": {"text": "é" * 300_000, "list": [[], {}, None, 1.5, "\\ud83d"]},
    "links": {"other": "demo/charm/field"},
    "register": True,
    "limits": {"timeout": 5, "network": "deny"},
}


def run(main: Callable[[LargeBodies], Coroutine[Any, Any, Any]], **seconds: float) -> Any:
    """Do something with large bodies."""

    async def inside() -> Any:
        async with LargeBodies(**seconds) as bodies:
            return await main(bodies)

    return asyncio.run(inside())


def read(*bodies: tuple[BodyKind, object]) -> list[Any]:
    """Read bodies one after the other; gives what each is, or why it is refused."""

    async def main(reading: LargeBodies) -> list[Any]:
        found: list[Any] = []
        for kind, body in bodies:
            written = body if isinstance(body, bytes) else json.dumps(body).encode()
            try:
                found.append(await reading.read(kind, written))
            except InvalidInput as error:
                found.append(str(error))
        return found

    found: list[Any] = run(main)
    return found


def charm_or_error(value: object) -> NewCharm | str:
    """Read a member of an import."""
    try:
        return read_charm(value)
    except InvalidInput as error:
        return str(error)


def test_bodies_are_what_they_are_in_place() -> None:
    """A charm, an import, a source and an event have the same values, wherever they are read."""
    source = {"source": "y = 2", "file": "new.py", "class": None, "dry_run": True}
    event = {"stream": "take", "event": {"deep": [[["x"]]], "text": "é"}}
    import_ = [CHARM, 5, {**CHARM, "cause": "other"}, {"space": "demo"}]
    charm, new_source, sent, imported = read(
        ("charm", CHARM), ("source", source), ("event", event), ("import", import_)
    )

    assert CharmBody.model_validate(CHARM).to_charm() == charm.to_charm()
    assert SourceBody.model_validate(source) == new_source
    in_place = SendBody.model_validate(event)
    assert (in_place.stream, in_place.event_json()) == (sent.stream, sent.event_json())
    assert list(map(charm_or_error, import_)) == list(map(charm_or_error, imported))


@pytest.mark.parametrize(
    ("kind", "body", "reason"),
    [
        ("charm", b"{", "The body is not JSON."),
        ("charm", b"[" * 100_000, "The body is not JSON."),
        ("event", b"\xff", "The body is not JSON."),
        ("import", b"{}", "Input should be a valid list"),
        ("import", b"[" + b"0," * 1000 + b"0]", "One request takes 1000 charms; these are 1001."),
        ("event", b'{"event": NaN}', "event: "),
        ("charm", b'{"source": "", "space": "s", "set": {"x": "\\ud800"}}', "set.x: "),
    ],
)
def test_what_is_none_is_refused_in_the_same_words(
    kind: BodyKind, body: bytes, reason: str
) -> None:
    """The reader goes on with the next body."""
    refused, sent = read((kind, body), ("event", {"event": 1}))
    assert refused.startswith(reason)
    assert b"1" == sent.event_json()


def test_findings_are_those_of_the_routes() -> None:
    """What is wrong with a member is said as it is for a small body."""
    bodies: list[object] = [
        {**CHARM, "more": 1},
        {**CHARM, "set": {str(number): 0 for number in range(1001)}},
        {**CHARM, "cause": "x" * 1001},
        [],
    ]
    for body, refused in zip(bodies, read(*(("charm", body) for body in bodies)), strict=True):
        with pytest.raises(ValidationError) as found:
            CharmBody.model_validate(body)
        assert first_problem(found.value.errors()) == refused


def test_too_much_memory_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that takes more than its reader may have is refused by the reader itself."""

    def exhaust(body: object) -> Any:
        raise MemoryError

    monkeypatch.setattr(body_reader, "_json", exhaust)
    (message,) = body_reader.messages_of("event", b"{}")
    assert Refused("To read it takes more than 1G of memory.") == message


def test_one_process_reads_and_ends_with_the_service() -> None:
    """It is kept for the next body, and is gone when nobody may come any more."""

    async def main(bodies: LargeBodies) -> psutil.Process:
        await asyncio.gather(*(bodies.read("event", b'{"event": 1}') for _ in range(3)))
        process = psutil.Process(bodies.pid)
        await bodies.read("event", b'{"event": 1}')
        assert process.pid == bodies.pid
        assert process.is_running()
        return process

    assert not run(main).is_running()


def test_it_ends_when_it_is_idle() -> None:
    """Memory is not held for a body that may never come; the next one is read all the same."""

    async def main(bodies: LargeBodies) -> None:
        await bodies.read("event", b'{"event": 1}')
        pid = bodies.pid
        assert pid is not None
        handle, has_ended = os.pidfd_open(pid), asyncio.Event()
        asyncio.get_running_loop().add_reader(handle, has_ended.set)
        try:
            await has_ended.wait()
        finally:
            asyncio.get_running_loop().remove_reader(handle)
            os.close(handle)
        assert bodies.pid is None
        sent = await bodies.read("event", b'{"event": 2}')
        assert b"2" == sent.event_json()

    run(main, idle_seconds=0.0)


def test_one_that_does_not_answer_is_ended() -> None:
    """Whoever waits is told, and the next body has a reader of its own."""

    async def main(bodies: LargeBodies) -> None:
        await bodies.read("event", b'{"event": 1}')
        pid = bodies.pid
        assert pid is not None
        stopped = psutil.Process(pid)
        os.kill(pid, signal.SIGSTOP)
        bodies.read_seconds = 0.0
        with pytest.raises(InvalidInput, match="was not read within 0 s"):
            await bodies.read("event", b'{"event": 1}')
        bodies.read_seconds = 60.0
        sent = await bodies.read("event", b'{"event": 2}')
        assert b"2" == sent.event_json()
        assert not stopped.is_running()

    run(main)


def test_one_that_was_ended_is_replaced() -> None:
    """Somebody ended it while it was idle: the next body has another one."""

    async def main(bodies: LargeBodies) -> None:
        await bodies.read("event", b'{"event": 1}')
        process = psutil.Process(bodies.pid)
        process.kill()
        sent = await bodies.read("event", b'{"event": 2}')
        assert b"2" == sent.event_json()
        assert process.pid != bodies.pid

    run(main)


def test_one_that_ends_over_a_body_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that ends its reader, by what it takes, is refused, and not tried for ever."""

    async def main(bodies: LargeBodies) -> None:
        with pytest.raises(InvalidInput, match="the process that read it ended"):
            await bodies.read("event", b'{"event": 1}')
        assert bodies.pid is None

    monkeypatch.setattr(large_bodies, "python_command", lambda module: ["/bin/true"])
    run(main)


def test_a_closed_one_takes_nothing() -> None:
    """A request that comes while the service stops is told so."""

    async def main(bodies: LargeBodies) -> None:
        async with bodies:
            pass
        with pytest.raises(ServiceStopping):
            await bodies.read("event", b"{}")

    run(main)

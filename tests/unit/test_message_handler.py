"""Whatever a worker says, the pool goes on, and the run that it was given pays for it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import asdict

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.items import TouchedItems
from bg_charm_service.domain.model import Failure
from bg_charm_service.domain.web.requests import MOST_REQUESTS, TOLD_PATH_CHARACTERS, HttpRequest
from bg_charm_service.workers.pool.events import FieldWanted, ItemsWanted
from bg_charm_service.workers.protocol.messages import (
    FROM_WORKER,
    MOST_TOLD_REQUESTS,
    Answer,
    FetchField,
    FieldValue,
    FoundItems,
    FromWorker,
    Inspected,
    ItemsTouched,
    LogText,
    Ready,
    RequestTold,
    WantItems,
    answer_limit_bytes,
)
from tests.unit.fake_zygote import INSPECTION, LIMITS, FakeWorker, PoolBench, with_fake_workers

#: More than the memory that any attack may cost the service, in bytes.
MOST_BYTES = 64 * 1024 * 1024

LARGEST = answer_limit_bytes(LIMITS)


def frame(message: FromWorker) -> bytes:
    """The bytes of a message."""
    return FROM_WORKER.encode(message)


def framed(body: bytes) -> bytes:
    """Any bytes as a frame."""
    return len(body).to_bytes(4, "big") + body


def tagged(tag: str, *members: object) -> bytes:
    """A message of a type, with members that it may not have."""
    return framed(msgspec.msgpack.encode([tag, *members]))


def answer(run_id: str, **members: object) -> bytes:
    """An answer with members that no worker would give."""
    good: dict[str, object] = structs.asdict(Answer(run_id, 0.1))
    assert members.keys() <= good.keys()
    return tagged("answer", *(good | members).values())


def endless(piece: bytes) -> Callable[[str], bytes]:
    """Bytes that go on for longer than anything may."""
    return lambda _: piece * (4 * LARGEST // len(piece))


#: As a worker tells of a request.
REQUEST = asdict(HttpRequest(1, "GET", "h.example", "/", 200, 1.0, 10))

ATTACKS: dict[str, Callable[[str], bytes]] = {
    "a second ready": lambda _: frame(Ready()),
    "an answer for another run": lambda _: frame(Answer("999.1", 0.1)),
    "a log of another run": lambda _: frame(LogText("999.1", "hello")),
    "a field of another run": lambda _: frame(FetchField("999.1", "big")),
    "a field that is not to be fetched": lambda run_id: frame(FetchField(run_id, "x")),
    "a field twice": lambda run_id: frame(FetchField(run_id, "big")) * 2,
    "items of another run": lambda _: frame(WantItems("999.1", "box")),
    "items before it has those it asked for": lambda run_id: frame(WantItems(run_id, "box")) * 2,
    "an answer before it has its items": lambda run_id: (
        frame(WantItems(run_id, "box")) + frame(Answer(run_id, 0.1))
    ),
    "a long key": lambda run_id: frame(WantItems(run_id, "box", keys=("x" * 501,))),
    "many keys at once": lambda run_id: frame(WantItems(run_id, "box", keys=("x",) * 501)),
    "touched items of another run": lambda _: frame(ItemsTouched("999.1", TouchedItems("box"))),
    "touched items without end": lambda run_id: (
        frame(ItemsTouched(run_id, TouchedItems("box"))) * 100_000
    ),
    "too many touched keys": lambda run_id: b"".join(
        frame(ItemsTouched(run_id, TouchedItems("box", {f"{part}/{key}": 1 for key in range(500)})))
        for part in range(41)
    ),
    "too much of items": lambda run_id: b"".join(
        frame(ItemsTouched(run_id, TouchedItems("box", writes={f"{part}": b"x" * 900_000})))
        for part in range(6)
    ),
    "a request of another run": lambda _: frame(RequestTold("999.1", HttpRequest(**REQUEST))),
    "requests without end": lambda run_id: (
        frame(RequestTold(run_id, HttpRequest(**REQUEST))) * (MOST_TOLD_REQUESTS + 1)
    ),
    "an inspection": lambda _: frame(Inspected(1)),
    "inspections without end": endless(frame(Inspected(1))),
    "garbage": lambda _: b"\xc1" * 100,
    "zeros": endless(b"\0"),
    "empty frames": endless(framed(b"")),
    "a frame as long as can be said": lambda _: b"\xff\xff\xff\xff",
    "a frame over the limit": lambda _: (LARGEST + 1).to_bytes(4, "big"),
    "a stranger": lambda _: tagged("stranger", "1.1"),
    "deep": lambda _: framed(b"\x91" * 100_000 + b"\xc0"),
    "deep in an answer": lambda _: framed(b"\x9a\xa6answer\xa31.1" + b"\x91" * 100_000 + b"\xc0"),
    "deep behind an answer": lambda run_id: framed(
        b"\x9b" + answer(run_id)[5:] + b"\x91" * 100_000 + b"\xc0"
    ),
    "more than an answer has": lambda run_id: tagged(
        "answer", *structs.asdict(Answer(run_id, 0.1)).values(), "more"
    ),
    "not utf-8": lambda _: framed(b"\x93\xa3log\xa31.1\xa2\xff\xfe"),
    "a map": lambda run_id: framed(
        msgspec.msgpack.encode({"type": "answer", "run_id": run_id, "duration_seconds": 0.1})
    ),
    "no duration": lambda run_id: tagged("answer", run_id),
    "a duration that is no number": lambda run_id: answer(run_id, duration_seconds=float("nan")),
    "an endless duration": lambda run_id: answer(run_id, duration_seconds=float("inf")),
    "a negative duration": lambda run_id: answer(run_id, duration_seconds=-1.0),
    "a cause that there is not": lambda run_id: answer(run_id, failure={"cause": "x"}),
    "too many writes": lambda run_id: answer(
        run_id, writes={str(number): b"" for number in range(10_001)}
    ),
    "too many reads": lambda run_id: answer(run_id, reads=[""] * 1_000_000),
    "too many events": lambda run_id: answer(
        run_id, sends=[{"field": "", "event": b""} for _ in range(10_001)]
    ),
    "too many requests": lambda run_id: answer(run_id, requests=[REQUEST] * (MOST_REQUESTS + 1)),
    "a request of a long path": lambda run_id: answer(
        run_id, requests=[{**REQUEST, "path": "x" * (TOLD_PATH_CHARACTERS + 1)}]
    ),
    "a request that took no time": lambda run_id: answer(
        run_id, requests=[{**REQUEST, "duration_ms": float("nan")}]
    ),
    "a state that is too large": lambda run_id: answer(run_id, writes={"x": bytes(2 * LARGEST)}),
    "a huge log": lambda run_id: frame(LogText(run_id, "x" * (2 * LARGEST))),
    "a log without end": lambda run_id: frame(LogText(run_id, "hello\n")) * 100_000,
    "an empty log without end": lambda run_id: frame(LogText(run_id, "")) * 100_000,
}


async def pour(bench: PoolBench, worker: FakeWorker, data: bytes) -> None:
    """Say all of it, as fast as the pool takes it, until the pool has had enough."""
    while data and not worker.is_dead:
        data = data[worker.write(data) :]
        await bench.turn()


async def attacked(bench: PoolBench, attack: Callable[[str], bytes]) -> Failure:
    """Let a run's worker attack while a neighbour runs; gives what the run pays for."""
    guilty, neighbour = bench.out(1, large=("big",)), bench.out(2)
    attacker = bench.maker(guilty)
    await bench.until(lambda: guilty in attacker.read_and_begin())
    data = attack(guilty.run_id)
    tracemalloc.start()
    try:
        await pour(bench, attacker, data)
        end = await bench.end_of(guilty)
        assert tracemalloc.get_traced_memory()[1] < len(data) + MOST_BYTES
    finally:
        tracemalloc.stop()
    await bench.answered(neighbour)
    await bench.until(lambda: bench.pool.free_workers().count == 2)
    assert end.answer is None
    assert end.death is not None
    return end.death


def test_answers_are_written_as_workers_write_them() -> None:
    """The attacks on the members of an answer are such: with good members it is one."""
    assert frame(Answer("1.1", 0.1)) == answer("1.1")


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_attack_costs_the_attacker(attack: Callable[[str], bytes]) -> None:
    """The run fails for breaking the protocol, its worker is replaced, others go on."""

    async def work(bench: PoolBench) -> None:
        assert FailureCause.PROTOCOL is (await attacked(bench, attack)).cause

    with_fake_workers(work)


def test_raw_flood_is_named() -> None:
    """A run that floods its raw output is ended, and told how much it may write."""

    async def work(bench: PoolBench) -> None:
        run = bench.out()
        maker = bench.maker(run)
        await bench.until(lambda: run in maker.read_and_begin())
        while not maker.is_dead:
            maker.print(b"x" * 65536)
            await bench.turn()
        end = await bench.end_of(run)
        assert end.death is not None
        assert FailureCause.LOG is end.death.cause
        assert "a run may write 0.25 MB" in end.death.message
        assert len(end.log) < LIMITS.log_bytes + 16 * 1024

    with_fake_workers(work)


@pytest.mark.parametrize(
    "said",
    [b"", b"\0\0", (1000).to_bytes(4, "big") + b"half"],
    ids=["nothing", "half a length", "half a frame"],
)
def test_stall_ends_at_the_limit(said: bytes) -> None:
    """A worker that stops in the middle of what it says has as long as the run has."""

    async def work(bench: PoolBench) -> None:
        run = bench.out()
        maker = bench.maker(run)
        await bench.until(lambda: run in maker.read_and_begin())
        maker.write(said)
        await bench.turn()
        assert not bench.ended(run)
        bench.clock.ahead_seconds = 100.0
        end = await bench.end_of(run)
        assert end.death is not None
        assert FailureCause.TIMEOUT is end.death.cause

    with_fake_workers(work)


def test_closed_socket_is_no_escape() -> None:
    """A worker that hangs up and lives on is ended, and its run blamed."""

    async def work(bench: PoolBench) -> None:
        run = bench.out()
        maker = bench.maker(run)
        await bench.until(lambda: run in maker.read_and_begin())
        maker.hang_up()
        await bench.turn()
        bench.clock.ahead_seconds = 2.0
        end = await bench.end_of(run)
        assert end.death is not None
        assert FailureCause.PROTOCOL is end.death.cause
        assert maker.is_dead

    with_fake_workers(work)


def test_answer_to_what_was_not_read_is_refused() -> None:
    """A worker that does not read cannot have the service keep more and more for it."""

    async def work(bench: PoolBench) -> None:
        run = bench.out(size=4 * 1024 * 1024)
        bench.maker(run).say(Answer(run.run_id, 0.1))
        end = await bench.end_of(run)
        # It did not even begin: nobody pays.
        assert (None, None) == (end.answer, end.death)
        assert "not read" in bench.idle_deaths[0].detail

    with_fake_workers(work)


@pytest.mark.parametrize(
    "said",
    [b"\xc1" * 100, frame(Inspected(7)), frame(Answer("1.1", 0.1)), frame(Inspected(1)) * 1000],
    ids=["garbage", "another inspection", "an answer", "a flood"],
)
def test_inspection_is_bounded_too(said: bytes) -> None:
    """A source that attacks while it is loaded is heard once at most."""

    async def work(bench: PoolBench) -> None:
        bench.pool.inspect(INSPECTION)
        asked = [worker for worker in bench.workers if worker.read_and_begin()]
        await pour(bench, asked[0], said)
        await bench.until(lambda: bench.events)
        await bench.until(lambda: asked[0].is_dead)
        assert 1 == len(bench.events)

    with_fake_workers(work)


messages = st.one_of(
    st.just(Ready()),
    st.builds(FetchField, st.sampled_from(["1.1", "2.1", ""]), st.sampled_from(["big", "x", ""])),
    st.builds(LogText, st.sampled_from(["1.1", "2.1"]), st.text(max_size=50)),
    st.builds(Answer, st.sampled_from(["2.1", "7.1", ""]), st.floats(0, 10)),
    st.builds(Inspected, st.integers(-1, 3)),
)
pieces = st.one_of(
    messages.map(frame),
    messages.map(lambda message: frame(message)[:-1]),
    st.binary(max_size=64),
    st.binary(max_size=64).map(framed),
    st.integers(0, 2**32 - 1).map(lambda length: length.to_bytes(4, "big")),
    st.sampled_from([attack("1.1") for name, attack in ATTACKS.items() if "end" not in name]),
)


@settings(max_examples=40)
@given(said=st.lists(pieces, min_size=1, max_size=8), hangs_up=st.booleans())
def test_noise_ends_one_run_only(said: list[bytes], *, hangs_up: bool) -> None:
    """Any mixture of right and wrong frames ends that worker's own run, and nothing else."""

    async def work(bench: PoolBench) -> None:
        guilty, neighbour = bench.out(1, large=("big",)), bench.out(2)
        attacker = bench.maker(guilty)
        await bench.until(lambda: guilty in attacker.read_and_begin())
        for piece in said:
            await pour(bench, attacker, piece)
        if hangs_up:
            attacker.hang_up()
            await bench.turn()
        for event in bench.events:
            # What is asked for is answered, as the supervisor does; until then no time counts.
            if isinstance(event, FieldWanted):
                bench.pool.give_field(event.run_id, FieldValue(event.field, None))
            elif isinstance(event, ItemsWanted):
                bench.pool.give_items(FoundItems(event.wanted.run_id))
        await bench.answered(neighbour)
        bench.clock.ahead_seconds = 100.0
        end = await bench.end_of(guilty)
        assert end.answer is None
        assert end.death is not None
        assert end.death.cause in (FailureCause.PROTOCOL, FailureCause.TIMEOUT)
        bench.clock.ahead_seconds = 0.0
        await bench.until(lambda: bench.pool.free_workers().count == 2)
        assert [guilty.run_id, neighbour.run_id] == sorted(one.run.run_id for one in bench.ends)

    with_fake_workers(work)

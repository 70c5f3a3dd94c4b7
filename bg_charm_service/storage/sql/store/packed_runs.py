"""Plain runs of a charm, packed eight to a row: what a run leaves when nothing is to be said of it.

A charm's newest lie in a ring in its own record, one place for each number of a block of eight.
It has the same size from the first run on, so SQLite overwrites it where it is. With the first run
of the next block the ring begins anew, and what was in it becomes a row of the history. Pure:
bytes in, bytes out; called by the table of runs.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import compress
from typing import Final, NamedTuple

import msgspec

from bg_charm_service.domain.model import RunRecord
from bg_charm_service.domain.outcomes.policy import RunStatus

#: So many numbers are a block.
BLOCK_RUNS = 8
_BLOCK_BITS = 3
_PLACE = BLOCK_RUNS - 1

#: Asked of its enum, a member takes many times as long (Python 3.11).
SUCCESS: Final = str(RunStatus.SUCCESS)

#: Of a ring: the newest number of the charm, the oldest that is kept, and when the newest of those
#: in it ended. In this order of bytes times can be compared as they lie there.
_HEAD = struct.Struct(">IId")
#: Of a run: its job, when it ended, how long it took, how late it was, its worker, and its shape,
#: counted from 1. All of them are 0 where there is none.
_RUN = struct.Struct(">QdddIB")
_RUNS = struct.Struct(f">{_RUN.format[1:] * BLOCK_RUNS}")
_NOTHING = bytes(_RUNS.size)
#: Where the shapes of a ring begin.
_SHAPES_AT = _HEAD.size + _RUNS.size
#: What a run has of numbers, and where in that it says when it ended, and its shape.
_VALUES, _ENDED, _SHAPE = 6, 1, 5

#: Texts that are the same for nearly all runs of a charm are behind the runs, once. Longer ones are
#: not packed.
_MOST_TEXT = 200
_MOST_JOB, _MOST_WORKER = (1 << 63) - 1, (1 << 32) - 1

#: Where a ring says when the newest of its runs ended, for SQL: first byte (from 1), and bytes.
LATEST_AT, LATEST_BYTES = 9, 8

_encode = msgspec.json.Encoder().encode


class Shape(NamedTuple):
    """What runs of a charm have in common."""

    stream: str
    origin: str
    writes: tuple[str, ...]


_Shapes = tuple[Shape, ...]
_decode = msgspec.json.Decoder(tuple[tuple[str, str, tuple[str, ...]], ...]).decode


class PackedRun(NamedTuple):
    """One of them; times as in a RunRecord."""

    number: int
    job_id: int
    finished_at: float
    duration_ms: float
    lag_ms: float
    worker: int
    shape: Shape

    @property
    def run_id(self) -> str:
        return f"{self.job_id}.1"

    def record(self) -> RunRecord:
        """Give it as any other run."""
        stream, origin, writes = self.shape
        return RunRecord(
            number=self.number,
            run_id=self.run_id,
            job_id=self.job_id,
            attempt=1,
            stream=stream,
            origin=origin,
            status=SUCCESS,
            cause=None,
            error="",
            traceback="",
            finished_at=self.finished_at,
            duration_ms=self.duration_ms,
            lag_ms=self.lag_ms,
            worker=self.worker,
            writes=writes,
            log="",
        )


class Chunk(NamedTuple):
    """Runs of one block as a row has them; times are when the oldest and the newest ended."""

    block: int
    oldest: float
    newest: float
    packed: bytes


class Step(NamedTuple):
    """What a run does to its charm's ring; `chunk` is what was in it, if it began anew."""

    ring: bytes
    is_packed: bool
    is_new_block: bool
    chunk: Chunk | None


@lru_cache(maxsize=4096)
def _shapes(text: bytes) -> _Shapes:
    return tuple(Shape(*one) for one in _decode(text))


#: The ring of a charm that has had no run.
NEW_RING = _HEAD.pack(0, 0, 0.0) + _NOTHING + _encode(())


def block_of(number: int) -> int:
    """Give the block that a number is in."""
    return number >> _BLOCK_BITS


def newest_of(ring: bytes) -> int:
    """Give the number of the newest run of a ring's charm, packed or not; 0 for none."""
    return int(_HEAD.unpack_from(ring)[0])


def floor_of(ring: bytes) -> int:
    """Give the number of the oldest run that is kept."""
    return int(_HEAD.unpack_from(ring)[1])


def time_key(moment: float) -> bytes:
    """Give a time as rings have it, to be compared in SQL."""
    return struct.pack(">d", moment)


def is_plain(run: RunRecord) -> bool:
    """Whether all that is to be said of a run can be packed."""
    return (
        run.status == SUCCESS
        and run.attempt == 1
        and not (run.cause or run.error or run.traceback or run.log or run.retired or run.requests)
        and run.run_id == f"{run.job_id}.1"
        and 0 < run.job_id <= _MOST_JOB
        and 0 <= run.worker <= _MOST_WORKER
        and len(run.stream) + sum(map(len, run.writes)) <= _MOST_TEXT
    )


def step(ring: bytes, run: RunRecord, keep: int) -> Step:
    """Say what a run does to the ring of its charm, of which the newest `keep` are kept.

    Raises ValueError for a run that is not newer than those that the ring knows of.
    """
    newest, floor, latest = _HEAD.unpack_from(ring)
    number = run.number
    if number <= newest:
        raise ValueError(f"run {number} is recorded after run {newest}")
    floor = max(floor, number - keep + 1)
    is_new_block = number >> _BLOCK_BITS != newest >> _BLOCK_BITS
    chunk = None
    if is_new_block:
        chunk = chunk_of_ring(ring)
        ring, latest = NEW_RING, 0.0
    if not is_plain(run):
        head = _HEAD.pack(number, floor, latest)
        return Step(head + ring[_HEAD.size :], False, is_new_block, chunk)
    ended = run.finished_at
    at = _HEAD.size + _RUN.size * (number & _PLACE)
    place, shapes = _place(ring[_SHAPES_AT:], run.stream, run.origin, run.writes)
    after = (
        _HEAD.pack(number, floor, ended if ended > latest else latest),
        ring[_HEAD.size : at],
        _RUN.pack(run.job_id, ended, run.duration_ms, run.lag_ms, run.worker, place),
        ring[at + _RUN.size : _SHAPES_AT],
        shapes,
    )
    return Step(b"".join(after), True, is_new_block, chunk)


@lru_cache(maxsize=4096)
def _place(text: bytes, stream: str, origin: str, writes: tuple[str, ...]) -> tuple[int, bytes]:
    """Give the place of a shape among those of a block, and their text with it."""
    shapes, shape = _shapes(text), Shape(stream, origin, writes)
    if shape in shapes:
        return shapes.index(shape) + 1, text
    return len(shapes) + 1, _encode((*shapes, shape))


def runs_in(ring: bytes) -> list[PackedRun]:
    """Give the runs in a ring, the newest first."""
    return runs_of(block_of(newest_of(ring)), ring[_HEAD.size :])


def runs_of(block: int, packed: bytes) -> list[PackedRun]:
    """Give the runs of a block, the newest first."""
    return list(_read(block, packed))


def _read(block: int, packed: bytes) -> Iterator[PackedRun]:
    shapes = _shapes(packed[_RUNS.size :])
    for place in reversed(range(BLOCK_RUNS)):
        job_id, ended, took, lag, worker, shape = _RUN.unpack_from(packed, place * _RUN.size)
        if shape:
            number = block << _BLOCK_BITS | place
            yield PackedRun(number, job_id, ended, took, lag, worker, shapes[shape - 1])


def _chunk(block: int, packed: bytes) -> Chunk:
    values = _RUNS.unpack_from(packed)
    times = list(compress(values[_ENDED::_VALUES], values[_SHAPE::_VALUES]))
    return Chunk(block, min(times), max(times), packed)


def chunk_without(
    block: int, packed: bytes, is_gone: Callable[[PackedRun], bool]
) -> tuple[int, Chunk | None]:
    """Take runs out of a block: how many those are, and what is left; None where nothing is."""
    changed = bytearray(packed)
    gone = _clear(changed, 0, [run for run in _read(block, packed) if is_gone(run)])
    is_empty = changed.startswith(_NOTHING)
    return gone, None if is_empty else _chunk(block, bytes(changed))


def chunk_near(block: int, packed: bytes, now: float) -> tuple[int, Chunk]:
    """Let no run of a block have ended after `now`: how many did, and the block as it is then."""
    changed = bytearray(packed)
    moved = _bring_near(changed, 0, list(_read(block, packed)), now)
    return moved, _chunk(block, bytes(changed))


def ring_without(ring: bytes, number: int) -> bytes:
    """Take a run out of a ring."""
    changed = bytearray(ring)
    runs = runs_in(ring)
    _clear(changed, _HEAD.size, [run for run in runs if run.number == number])
    return _with_latest(changed, [run.finished_at for run in runs if run.number != number])


def ring_near(ring: bytes, now: float) -> tuple[int, bytes]:
    """Let no run of a ring have ended after `now`: how many did, and the ring as it is then."""
    changed = bytearray(ring)
    runs = runs_in(ring)
    moved = _bring_near(changed, _HEAD.size, runs, now)
    return moved, _with_latest(changed, [min(run.finished_at, now) for run in runs])


def chunk_of_ring(ring: bytes) -> Chunk | None:
    """Give what is in a ring as a row has it; None where nothing is."""
    packed = ring[_HEAD.size :]
    return None if packed.startswith(_NOTHING) else _chunk(block_of(newest_of(ring)), packed)


def is_readable(ring: bytes) -> bool:
    """Whether all that is in a ring can be read, and is of its block."""
    try:
        newest, floor, _ = _HEAD.unpack_from(ring)
        runs = runs_in(ring)
    except (struct.error, msgspec.DecodeError, LookupError):
        return False
    return floor <= newest and all(run.number <= newest for run in runs)


def _with_latest(ring: bytearray, times: list[float]) -> bytes:
    newest, floor, _ = _HEAD.unpack_from(ring)
    _HEAD.pack_into(ring, 0, newest, floor, max(times, default=0.0))
    return bytes(ring)


def _clear(packed: bytearray, start: int, runs: list[PackedRun]) -> int:
    for run in runs:
        at = start + _RUN.size * (run.number & _PLACE)
        packed[at : at + _RUN.size] = bytes(_RUN.size)
    return len(runs)


def _bring_near(packed: bytearray, start: int, runs: list[PackedRun], now: float) -> int:
    ahead = [run for run in runs if run.finished_at > now]
    for run in ahead:
        # When it ended is what follows on its job.
        struct.pack_into(">d", packed, start + _RUN.size * (run.number & _PLACE) + 8, now)
    return len(ahead)

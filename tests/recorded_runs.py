"""Reads the history of runs out of a database file, by code that shares nothing with the service.

Used by the audit of the kill loop, the invariants of the simulation, and tests that damage a file.
"""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

_HEAD, _RUN = struct.Struct(">IId"), struct.Struct(">QdddIB")
_AT_A_TIME = 8


class RecordedRun(NamedTuple):
    """One recorded run; `place` is the table that has it."""

    charm_key: int
    number: int
    run_id: str
    status: str
    place: str


def recorded_runs(
    ask: Callable[..., Any], charm_key: int | None = None, *, is_all: bool = False
) -> Iterator[RecordedRun]:
    """Give the runs of all charms, or of one; also those that nobody sees any more, where wanted.

    `ask` executes SQL and gives what can be iterated. One that is recorded twice comes twice.
    """
    which = "" if charm_key is None else f" WHERE {{}} = {charm_key}"
    floors: dict[int, int] = {}
    found = []
    for key, ring in ask(f"SELECT charm_key, ring FROM health{which.format('charm_key')}"):  # noqa: S608 - a number
        if ring is not None:
            floors[key] = _HEAD.unpack_from(ring)[1]
            found += list(runs_in_ring(key, ring))
    by_chunk = which.format("chunk_key >> 32")
    for key, packed in ask(f"SELECT chunk_key, packed FROM run_chunks{by_chunk}"):  # noqa: S608
        found += list(_packed(key >> 32, key & 0xFFFFFFFF, packed, "run_chunks"))
    by_run = which.format("run_key >> 32")
    for key, run_id, status in ask(f"SELECT run_key, run_id, status FROM runs{by_run}"):  # noqa: S608
        found.append(RecordedRun(key >> 32, key & 0xFFFFFFFF, run_id, status, "runs"))
    for run in found:
        if is_all or run.number >= floors.get(run.charm_key, 0):
            yield run


def runs_in_ring(charm_key: int, ring: bytes | None) -> Iterator[RecordedRun]:
    """Give the runs that the record of a charm has."""
    if ring is not None:
        block = _HEAD.unpack_from(ring)[0] // _AT_A_TIME
        yield from _packed(charm_key, block, ring[_HEAD.size :], "ring")


def unpack(connection: sqlite3.Connection) -> None:
    """Give each run of a file that can be seen a row of its own, so that SQL can reach it."""
    seen = list(recorded_runs(connection.execute))
    packed = [run for run in seen if run.place != "runs"]
    for run in set(recorded_runs(connection.execute, is_all=True)).difference(seen):
        key = run.charm_key << 32 | run.number
        connection.execute("DELETE FROM runs WHERE run_key = ?", (key,))
    connection.executemany(
        "INSERT INTO runs VALUES (?, ?, 1, 1, '', '', ?, NULL, '', '', 1, 1, 1, 1, '', '', '')",
        [(run.charm_key << 32 | run.number, run.run_id, run.status) for run in packed],
    )
    connection.execute("UPDATE health SET ring = NULL")
    connection.execute("DELETE FROM run_chunks")


def _packed(charm_key: int, block: int, packed: bytes, place: str) -> Iterator[RecordedRun]:
    shapes = json.loads(packed[_RUN.size * _AT_A_TIME :])
    for number in range(_AT_A_TIME):
        job_id, *_, shape = _RUN.unpack_from(packed, _RUN.size * number)
        if shape:
            assert shape <= len(shapes)
            run_number = block * _AT_A_TIME + number
            yield RecordedRun(charm_key, run_number, f"{job_id}.1", "success", place)

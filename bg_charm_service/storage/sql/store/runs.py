"""Run history: the newest runs of each charm, with what they logged.

Of plain runs the newest lie in the record of their charm, and those before them eight to a row
(`packed_runs`): a run changes one row. Any other run has a row of its own, and lists merge them.
What is no longer kept of a charm is deleted with each block of numbers, rows also with each that
comes, and is never shown meanwhile.

A run's key is its charm's key and its number in one integer, that of a row of packed ones has the
block instead, so that a charm's runs lie together. The requests of a run, which few make, stand
behind the names of the fields that it wrote, in a line of their own: others have no room for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from math import inf
from typing import Any

from msgspec.structs import astuple, replace

from bg_charm_service.domain.model import RunRecord
from bg_charm_service.domain.web.requests import pack_requests, unpack_requests
from bg_charm_service.storage.records import BroughtNear, Pruned, RunOutcome
from bg_charm_service.storage.sql.database import Database
from bg_charm_service.storage.sql.keys import KEYS, json_keys
from bg_charm_service.storage.sql.remembered import Remembered
from bg_charm_service.storage.sql.store import packed_runs
from bg_charm_service.storage.sql.store.packed_runs import Chunk, PackedRun

_COLUMNS = (
    "run_key, run_id, job_id, attempt, stream, origin, status, cause, error, traceback,"
    " finished_at, duration_ms, lag_ms, worker, writes, log, retired"
)
_INSERT = f"INSERT INTO runs ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
_SEQUENCE_BITS = 32
_LAST_NUMBER = (1 << _SEQUENCE_BITS) - 1
_LAST_BLOCK = packed_runs.block_of(_LAST_NUMBER)

_INSERT_CHUNK = "INSERT INTO run_chunks (chunk_key, oldest, newest, packed) VALUES (?, ?, ?, ?)"
_SET_CHUNK = "UPDATE run_chunks SET oldest = ?2, newest = ?3, packed = ?4 WHERE chunk_key = ?1"
_SET_RING = "UPDATE health SET ring = ? WHERE charm_key = ?"
_RINGS = f"SELECT charm_key, ring FROM {KEYS} CROSS JOIN health ON charm_key = wanted"

#: Old runs from behind a place, and rows of packed ones with the oldest of them.
_OLD = """SELECT run_key, finished_at FROM runs INDEXED BY runs_by_age
    WHERE finished_at >= ?1 AND (finished_at, run_key) > (?1, ?2) AND finished_at < ?3
    ORDER BY finished_at, run_key LIMIT ?4"""
_OLD_CHUNKS = """SELECT chunk_key, oldest, packed FROM run_chunks INDEXED BY run_chunks_by_age
    WHERE oldest >= ?1 AND (oldest, chunk_key) > (?1, ?2) AND oldest < ?3
    ORDER BY oldest, chunk_key LIMIT ?4"""
#: Which is the newest of a charm that there is; of one that is gone none is kept.
_NEWEST = f"""SELECT wanted, ring, (SELECT max(run_key) FROM runs
        WHERE run_key BETWEEN wanted << 32 AND (wanted << 32 | 4294967295))
    FROM {KEYS} CROSS JOIN charms ON charms.charm_key = wanted
    LEFT JOIN health ON health.charm_key = wanted"""
_BEGINNING = (-1.0e99, -1)

_AHEAD = "SELECT chunk_key, packed FROM run_chunks INDEXED BY run_chunks_by_end WHERE newest > ?"
_RINGS_AHEAD = f"""SELECT charm_key,
    CASE WHEN substr(ring, {packed_runs.LATEST_AT}, {packed_runs.LATEST_BYTES}) > ?2 THEN ring END
    FROM health WHERE charm_key > ?1 ORDER BY charm_key LIMIT ?3"""


def _key(charm_key: int, number: int) -> int:
    return charm_key << _SEQUENCE_BITS | number


def _record(row: Any) -> RunRecord:
    run_key, *others, writes, log, retired = row
    writes, _, packed = writes.partition("\n")
    fields = tuple(filter(None, writes.split(",")))
    requests = unpack_requests(packed) if packed else ()
    values: list[Any] = [run_key & _LAST_NUMBER, *others, fields, log, retired, requests]
    return RunRecord(*values)


def _row(charm_key: int, run: RunRecord) -> tuple[object, ...]:
    number, *others, writes, log, retired, requests = astuple(run)
    written = ",".join(writes)
    if requests:
        written = f"{written}\n{pack_requests(requests)}"
    return _key(charm_key, number), *others, written, log, retired


def _chunk_row(charm_key: int, chunk: Chunk) -> tuple[object, ...]:
    return _key(charm_key, chunk.block), chunk.oldest, chunk.newest, chunk.packed


class Runs:
    """The tables `runs` and `run_chunks`, and the rings in `health`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rings: Remembered[bytes] = Remembered(database.sole_writer.changes, database.on_undo)
        #: Runs and rows of packed ones up to here were looked at since pruning began anew.
        self._pruned_to: tuple[float, int] = _BEGINNING
        self._chunks_pruned_to: tuple[float, int] = _BEGINNING
        #: No run ended after this, but those in rings of charms behind `_unseen_from`.
        self._latest = inf
        self._unseen_from: int | None = 0

    def record(self, charm_key: int, run: RunRecord, keep: int) -> None:
        """Store a run, and drop the charm's runs beyond the newest `keep`."""
        self.record_all([(charm_key, run)], keep)

    def record_all(self, rows: Sequence[tuple[int, RunRecord]], keep: int) -> None:
        """Store runs, each with its charm's key, as `record` does."""
        rings = self.pack(rows, keep)
        self._database.executemany(_SET_RING, [(ring, key) for key, ring in rings.items()])

    def pack(self, rows: Sequence[tuple[int, RunRecord]], keep: int) -> dict[int, bytes]:
        """Store runs as `record_all` does, but for the rings of their charms.

        Those are given by the charms' keys, and the caller writes them, in the same transaction.
        """
        keys = [key for key, _ in rows]
        rings = self._rings.find(keys)
        missing = [key for key in keys if key not in rings]
        if missing:
            found = self._database.rows(_RINGS, (json_keys(missing),))
            rings.update((key, ring or packed_runs.NEW_RING) for key, ring in found)
        own, chunks, latest = [], [], self._latest
        # Charms of which something may lie beyond what is kept, and those with a new block.
        full: set[int] = set()
        begun: set[int] = set()
        for key, run in rows:
            latest = max(latest, run.finished_at)
            ring = rings.get(key)
            if ring is None:
                # Its charm has no record, which a check of the store finds.
                own.append(_row(key, run))
                continue
            after = packed_runs.step(ring, run, keep)
            rings[key] = after.ring
            if not after.is_packed:
                own.append(_row(key, run))
                full.add(key)
            if after.is_new_block:
                begun.add(key)
                if after.chunk is not None:
                    chunks.append(_chunk_row(key, after.chunk))
        self._latest = latest
        if own:
            self._database.executemany(_INSERT, own)
        if chunks:
            self._database.executemany(_INSERT_CHUNK, chunks)
        if full or begun:
            self._drop_beyond(
                {key: packed_runs.floor_of(rings[key]) for key in full | begun}, begun
            )
        for key, ring in rings.items():
            self._rings.keep(key, ring)
        return rings

    def of(self, charm_key: int, *, before: int | None = None, limit: int = 20) -> list[RunRecord]:
        """A charm's runs, newest first, from before run number `before`."""
        newest = _LAST_NUMBER if before is None else before - 1
        ring = self._ring(charm_key)
        floor = packed_runs.floor_of(ring)
        rows = self._database.rows(
            f"SELECT {_COLUMNS} FROM runs WHERE run_key BETWEEN ? AND ?"
            " ORDER BY run_key DESC LIMIT ?",
            (_key(charm_key, floor), _key(charm_key, newest), limit),
        )
        packed = self._packed(charm_key, ring, newest, limit)
        found = [*map(_record, rows), *(run.record() for run in packed)]
        found.sort(key=lambda run: -run.number)
        return found[:limit]

    def numbered(self, charm_key: int, number: int) -> RunRecord | None:
        """One run by its number; None when it is not kept."""
        found = self.of(charm_key, before=number + 1, limit=1)
        return found[0] if found and found[0].number == number else None

    def outcomes(self, charm_key: int, limit: int) -> list[RunOutcome]:
        """How a charm's newest runs ended, the oldest of them first.

        A cancelled run says nothing about its charm, and is left out.
        """
        ring = self._ring(charm_key)
        rows = self._database.rows(
            "SELECT run_key, status, duration_ms FROM runs WHERE run_key BETWEEN ? AND ?"
            " AND status <> 'cancelled' ORDER BY run_key DESC LIMIT ?",
            (
                _key(charm_key, packed_runs.floor_of(ring)),
                _key(charm_key, _LAST_NUMBER),
                limit,
            ),
        )
        packed = self._packed(charm_key, ring, _LAST_NUMBER, limit)
        found = [(key & _LAST_NUMBER, RunOutcome(status, took)) for key, status, took in rows]
        found += [(run.number, RunOutcome(packed_runs.SUCCESS, run.duration_ms)) for run in packed]
        found.sort()
        return [outcome for _, outcome in found[-limit:]]

    def find(self, charm_key: int, run_id: str) -> RunRecord | None:
        """The newest record of a run id."""
        ring = self._ring(charm_key)
        row = self._database.row(
            f"SELECT {_COLUMNS} FROM runs WHERE run_key BETWEEN ? AND ? AND run_id = ?"
            " ORDER BY run_key DESC LIMIT 1",
            (
                _key(charm_key, packed_runs.floor_of(ring)),
                _key(charm_key, _LAST_NUMBER),
                run_id,
            ),
        )
        packed = self._packed(charm_key, ring, _LAST_NUMBER, _LAST_NUMBER)
        found = [run.record() for run in packed if run.run_id == run_id]
        if row:
            found.append(_record(row))
        return max(found, key=lambda run: run.number, default=None)

    def note_retired(self, charm_key: int, run_id: str, why: str) -> None:
        """Note why a run's worker was replaced, where that shows only later."""
        run = self.find(charm_key, run_id)
        if run is None:
            return
        key = _key(charm_key, run.number)
        cursor = self._database.execute("UPDATE runs SET retired = ? WHERE run_key = ?", (why, key))
        if cursor.rowcount:
            return
        # It is not plain any more.
        self._unpack(charm_key, run.number)
        self._database.execute(_INSERT, _row(charm_key, replace(run, retired=why)))

    def prune(self, before: float, limit: int, *, keep: int) -> Pruned:
        """Look at up to `limit` rows with runs that finished before a moment; delete such runs.

        Those that are kept are many where many charms have not run for long: a place is remembered,
        so that each call goes on behind them. What is in a ring is among the newest, and stays.
        """
        rows = self._database.rows(_OLD, (*self._pruned_to, before, limit))
        left = limit - len(rows)
        chunks = (
            self._database.rows(_OLD_CHUNKS, (*self._chunks_pruned_to, before, left))
            if left
            else []
        )
        kept_from = self._kept_from({row[0] >> _SEQUENCE_BITS for row in chain(rows, chunks)}, keep)
        gone = [
            (run_key,)
            for run_key, _ in rows
            if run_key & _LAST_NUMBER < kept_from.get(run_key >> _SEQUENCE_BITS, inf)
        ]
        if gone:
            self._database.executemany("DELETE FROM runs WHERE run_key = ?", gone)
        deleted = len(gone) + sum(
            self._prune_chunk(
                chunk_key, packed, before, kept_from.get(chunk_key >> _SEQUENCE_BITS, inf)
            )
            for chunk_key, _, packed in chunks
        )
        is_over = len(rows) + len(chunks) < limit
        if is_over:
            self._pruned_to = self._chunks_pruned_to = _BEGINNING
        else:
            if rows:
                self._pruned_to = (rows[-1][1], rows[-1][0])
            if chunks:
                self._chunks_pruned_to = (chunks[-1][1], chunks[-1][0])
        return Pruned(deleted, is_over)

    def bring_near(self, now: float, limit: int) -> BroughtNear:
        """Let runs that finished after `now` have finished now, up to `limit` rows of them."""
        cursor = self._database.execute(
            "UPDATE runs SET finished_at = ? WHERE run_key IN"
            " (SELECT run_key FROM runs WHERE finished_at > ? LIMIT ?)",
            (now, now, limit),
        )
        moved, left = cursor.rowcount, limit - cursor.rowcount
        chunks = self._database.rows(f"{_AHEAD} LIMIT ?", (now, left)) if left else []
        for chunk_key, packed in chunks:
            charm_key, block = chunk_key >> _SEQUENCE_BITS, chunk_key & _LAST_NUMBER
            runs, near = packed_runs.chunk_near(block, packed, now)
            moved += runs
            self._database.execute(_SET_CHUNK, _chunk_row(charm_key, near))
        left -= len(chunks)
        return self._bring_rings_near(now, left, moved)

    def keep_packed(self, charm_keys: Sequence[int]) -> None:
        """Let what is in the rings of charms have rows: their records are about to be deleted."""
        found = self._database.rows(_RINGS, (json_keys(charm_keys),))
        chunks = [(key, packed_runs.chunk_of_ring(ring)) for key, ring in found if ring]
        self._database.executemany(
            _INSERT_CHUNK, [_chunk_row(key, chunk) for key, chunk in chunks if chunk]
        )
        self._rings.forget(charm_keys)

    def _bring_rings_near(self, now: float, limit: int, moved: int) -> BroughtNear:
        """Look into up to `limit` rings, if the clock was set back since all of them were seen."""
        if now < self._latest:
            self._latest, self._unseen_from = now, 0
        if self._unseen_from is None or not limit:
            return BroughtNear(moved, is_over=limit > 0)
        rows = self._database.rows(
            _RINGS_AHEAD, (self._unseen_from, packed_runs.time_key(now), limit)
        )
        changed = []
        for charm_key, ring in rows:
            if ring is not None:
                runs, near = packed_runs.ring_near(ring, now)
                moved += runs
                changed.append((near, charm_key))
        if changed:
            self._database.executemany(_SET_RING, changed)
            self._rings.forget([charm_key for _, charm_key in changed])
        is_over = len(rows) < limit
        self._unseen_from = None if is_over else rows[-1][0]
        return BroughtNear(moved, is_over)

    def _ring(self, charm_key: int) -> bytes:
        """Give what is in a charm's ring."""
        row = self._database.row("SELECT ring FROM health WHERE charm_key = ?", (charm_key,))
        return (row and row[0]) or packed_runs.NEW_RING

    def _packed(self, charm_key: int, ring: bytes, newest: int, limit: int) -> list[PackedRun]:
        """Give packed runs up to a number, the newest first, as many as `limit` or a few more."""
        found = [run for run in packed_runs.runs_in(ring) if run.number <= newest][:limit]
        left = limit - len(found)
        if left:
            floor = packed_runs.floor_of(ring)
            last = packed_runs.block_of(newest)
            # There is one at least in each but in the first, if `newest` is in the middle of it.
            rows = self._database.rows(
                "SELECT chunk_key, packed FROM run_chunks WHERE chunk_key BETWEEN ? AND ?"
                " ORDER BY chunk_key DESC LIMIT ?",
                (
                    _key(charm_key, packed_runs.block_of(floor)),
                    _key(charm_key, last),
                    min(left, _LAST_BLOCK) + 1,
                ),
            )
            for chunk_key, packed in rows:
                runs = packed_runs.runs_of(chunk_key & _LAST_NUMBER, packed)
                found += [run for run in runs if floor <= run.number <= newest]
                if len(found) >= limit:
                    break
        return [run for run in found if run.number >= packed_runs.floor_of(ring)]

    def _unpack(self, charm_key: int, number: int) -> None:
        """Take a run out of the ring or the row that it is packed in."""
        ring, block = self._ring(charm_key), packed_runs.block_of(number)
        if block == packed_runs.block_of(packed_runs.newest_of(ring)):
            rest = packed_runs.ring_without(ring, number)
            self._database.execute(_SET_RING, (rest, charm_key))
            self._rings.forget([charm_key])
            return
        key = _key(charm_key, block)
        row = self._database.row("SELECT packed FROM run_chunks WHERE chunk_key = ?", (key,))
        _, chunk = packed_runs.chunk_without(block, row[0], lambda run: run.number == number)
        self._set_chunk(charm_key, block, chunk)

    def _set_chunk(self, charm_key: int, block: int, chunk: Chunk | None) -> None:
        if chunk is None:
            key = _key(charm_key, block)
            self._database.execute("DELETE FROM run_chunks WHERE chunk_key = ?", (key,))
        else:
            self._database.execute(_SET_CHUNK, _chunk_row(charm_key, chunk))

    def _drop_beyond(self, floors: dict[int, int], begun: set[int]) -> None:
        """Delete what lies before the oldest number that is kept of each charm.

        Packed runs only of charms that have `begun` a block.
        """
        beyond = [
            (_key(key, 0), _key(key, floor - 1)) for key, floor in floors.items() if floor > 1
        ]
        if beyond:
            self._database.executemany("DELETE FROM runs WHERE run_key BETWEEN ? AND ?", beyond)
        blocks = [
            (_key(key, 0), _key(key, block - 1))
            for key, floor in floors.items()
            if key in begun and (block := packed_runs.block_of(floor))
        ]
        if blocks:
            self._database.executemany(
                "DELETE FROM run_chunks WHERE chunk_key BETWEEN ? AND ?", blocks
            )

    def _kept_from(self, charm_keys: set[int], keep: int) -> dict[int, int]:
        """Give the oldest number among the newest `keep` of each charm that there is."""
        rows = self._database.rows(_NEWEST, (json_keys(list(charm_keys)),)) if charm_keys else []
        found = {}
        for charm_key, ring, run_key in rows:
            in_ring = packed_runs.newest_of(ring) if ring else 0
            in_row = (run_key or 0) & _LAST_NUMBER
            found[charm_key] = max(in_ring, in_row) - keep + 1
        return found

    def _prune_chunk(self, chunk_key: int, packed: bytes, before: float, kept_from: float) -> int:
        """Take out of a row what is old and not kept, and say how many runs that are."""
        charm_key, block = chunk_key >> _SEQUENCE_BITS, chunk_key & _LAST_NUMBER

        def is_gone(run: PackedRun) -> bool:
            return run.finished_at < before and run.number < kept_from

        gone, chunk = packed_runs.chunk_without(block, packed, is_gone)
        if gone:
            self._set_chunk(charm_key, block, chunk)
        return gone

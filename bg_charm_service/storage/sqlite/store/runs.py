"""Run history: the newest runs of each charm, with what they logged.

A run's key is its charm's key and its number in one integer, so that a charm's runs lie
together and pruning deletes one range. The requests of a run, which few make, stand behind the
names of the fields that it wrote, in a line of their own: others have no room for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import astuple

from bg_charm_service.domain.http_requests import pack_requests, unpack_requests
from bg_charm_service.domain.model import RunRecord
from bg_charm_service.storage.records import Pruned, RunOutcome
from bg_charm_service.storage.sqlite.database import Database

_COLUMNS = (
    "run_key, run_id, job_id, attempt, stream, origin, status, cause, error, traceback,"
    " finished_at, duration_ms, lag_ms, worker, writes, log, retired"
)
_INSERT = f"INSERT INTO runs ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
_SEQUENCE_BITS = 32
_LAST_NUMBER = (1 << _SEQUENCE_BITS) - 1

#: Old runs from behind a place, each with whether it is among the newest of a charm that there is.
_OLD = """SELECT run_key, finished_at,
        EXISTS (SELECT 1 FROM charms WHERE charm_key = old.run_key >> 32) AND run_key > (
            SELECT max(run_key) FROM runs
            WHERE run_key BETWEEN old.run_key AND (old.run_key | 4294967295)) - ?5
    FROM runs AS old INDEXED BY runs_by_age
    WHERE finished_at >= ?1 AND (finished_at, run_key) > (?1, ?2) AND finished_at < ?3
    ORDER BY finished_at, run_key LIMIT ?4"""
_BEGINNING = (-1.0e99, -1)


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


class Runs:
    """The table `runs`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        #: Runs up to here were looked at since pruning began anew.
        self._pruned_to: tuple[float, int] = _BEGINNING

    def record(self, charm_key: int, run: RunRecord, keep: int) -> None:
        """Store a run, and drop the charm's runs beyond the newest `keep`."""
        self.record_all([(charm_key, run)], keep)

    def record_all(self, rows: Sequence[tuple[int, RunRecord]], keep: int) -> None:
        """Store runs, each with its charm's key, as `record` does."""
        self._database.executemany(_INSERT, [_row(key, run) for key, run in rows])
        beyond = [
            (_key(key, 0), _key(key, run.number - keep)) for key, run in rows if run.number > keep
        ]
        if beyond:
            self._database.executemany("DELETE FROM runs WHERE run_key BETWEEN ? AND ?", beyond)

    def of(self, charm_key: int, *, before: int | None = None, limit: int = 20) -> list[RunRecord]:
        """A charm's runs, newest first, from before run number `before`."""
        newest = _LAST_NUMBER if before is None else before - 1
        rows = self._database.rows(
            f"SELECT {_COLUMNS} FROM runs WHERE run_key BETWEEN ? AND ?"
            " ORDER BY run_key DESC LIMIT ?",
            (_key(charm_key, 0), _key(charm_key, newest), limit),
        )
        return [_record(row) for row in rows]

    def numbered(self, charm_key: int, number: int) -> RunRecord | None:
        """One run by its number; None when it is not kept."""
        row = self._database.row(
            f"SELECT {_COLUMNS} FROM runs WHERE run_key = ?", (_key(charm_key, number),)
        )
        return _record(row) if row else None

    def outcomes(self, charm_key: int, limit: int) -> list[RunOutcome]:
        """How a charm's newest runs ended, the oldest of them first.

        A cancelled run says nothing about its charm, and is left out.
        """
        rows = self._database.rows(
            "SELECT status, duration_ms FROM runs WHERE run_key BETWEEN ? AND ?"
            " AND status <> 'cancelled' ORDER BY run_key DESC LIMIT ?",
            (_key(charm_key, 0), _key(charm_key, _LAST_NUMBER), limit),
        )
        return [RunOutcome(*row) for row in reversed(rows)]

    def find(self, charm_key: int, run_id: str) -> RunRecord | None:
        """The newest record of a run id."""
        row = self._database.row(
            f"SELECT {_COLUMNS} FROM runs WHERE run_key BETWEEN ? AND ? AND run_id = ?"
            " ORDER BY run_key DESC LIMIT 1",
            (_key(charm_key, 0), _key(charm_key, _LAST_NUMBER), run_id),
        )
        return _record(row) if row else None

    def note_retired(self, charm_key: int, run_id: str, why: str) -> None:
        """Note why a run's worker was replaced, where that shows only later."""
        self._database.execute(
            "UPDATE runs SET retired = ? WHERE run_key = (SELECT max(run_key) FROM runs"
            " WHERE run_key BETWEEN ? AND ? AND run_id = ?)",
            (why, _key(charm_key, 0), _key(charm_key, _LAST_NUMBER), run_id),
        )

    def prune(self, before: float, limit: int, *, keep: int) -> Pruned:
        """Look at up to `limit` runs that finished before a moment, and delete what is not kept.

        Those that stay are many where many charms have not run for long: a place is remembered, so
        that each call goes on behind them.
        """
        rows = self._database.rows(_OLD, (*self._pruned_to, before, limit, keep))
        gone = [(run_key,) for run_key, _, is_kept in rows if not is_kept]
        if gone:
            self._database.executemany("DELETE FROM runs WHERE run_key = ?", gone)
        is_over = len(rows) < limit
        self._pruned_to = _BEGINNING if is_over else (rows[-1][1], rows[-1][0])
        return Pruned(len(gone), is_over)

    def bring_near(self, now: float, limit: int) -> int:
        """Let up to `limit` runs that finished after `now` have finished now; gives the count."""
        cursor = self._database.execute(
            "UPDATE runs SET finished_at = ? WHERE run_key IN"
            " (SELECT run_key FROM runs WHERE finished_at > ? LIMIT ?)",
            (now, now, limit),
        )
        return cursor.rowcount

"""What the service remembers of each charm's runs, and when it is due."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import compress
from operator import ne
from typing import Any

from msgspec.structs import astuple

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.model import CharmHealth, DisabledBy, RunRecord
from bg_charm_service.storage.records import (
    NO_ENDS,
    FailureStreak,
    PollEnd,
    ScheduledCharm,
    ScheduleEntry,
)
from bg_charm_service.storage.sql.database import Database
from bg_charm_service.storage.sql.keys import KEYS, json_keys
from bg_charm_service.storage.sql.remembered import Remembered
from bg_charm_service.storage.sql.store.runs import Runs

_NAMES = CharmHealth.__struct_fields__
_COLUMNS = ", ".join(_NAMES)
_ENTRY = "due_at, interval_seconds, disabled_by IS NULL"
_DISABLED_BY, _ERROR_CAUSE = _NAMES.index("disabled_by"), _NAMES.index("last_error_cause")

_OF_KEYS = f"FROM {KEYS} CROSS JOIN health ON charm_key = wanted"
_SET_DUE = "UPDATE health SET due_at = ? WHERE charm_key = ?"

#: What goes with the end of a poll that had no row, and with a run that is recorded.
_END, _RING = ("last_poll", "due_at"), ("ring",)

_NO_RINGS: dict[int, bytes] = {}

#: For each column, whether it changed.
_Changed = tuple[bool, ...]


@lru_cache(maxsize=256)
def _update(changed: _Changed, more: tuple[str, ...] = ()) -> str:
    # SQLite writes the index entries of every column that is named here, changed or not.
    columns = ", ".join(f"{name} = ?" for name in [*compress(_NAMES, changed), *more])
    return f"UPDATE health SET {columns} WHERE charm_key = ?"


def _health(row: Any) -> CharmHealth:
    if row[_DISABLED_BY] is None and row[_ERROR_CAUSE] is None:
        return CharmHealth(*row)
    values = list(row)
    if values[_DISABLED_BY] is not None:
        values[_DISABLED_BY] = DisabledBy(values[_DISABLED_BY])
    if values[_ERROR_CAUSE] is not None:
        values[_ERROR_CAUSE] = FailureCause(values[_ERROR_CAUSE])
    return CharmHealth(*values)


def _entry(
    charm_key: int, due_at: float | None, interval_seconds: float | None, is_enabled: int
) -> ScheduleEntry:
    return ScheduleEntry(charm_key, due_at, interval_seconds, bool(is_enabled))


class HealthRecords:
    """The table `health`."""

    def __init__(self, database: Database, runs: Runs) -> None:
        self._database = database
        self._runs = runs
        self._changes = database.sole_writer.changes
        self._polls = database.sole_writer.plain_polls
        self._known: Remembered[CharmHealth] = Remembered(self._changes, database.on_undo)

    def create(self, charm_key: int) -> None:
        """Start a charm's record afresh; only the number of its last run goes on."""
        self._changes.mark(charm_key)
        self._database.execute(
            "INSERT OR REPLACE INTO health (charm_key, runs_recorded, last_poll, ring) VALUES (?1,"
            " coalesce((SELECT runs_recorded FROM health WHERE charm_key = ?1), 0),"
            " coalesce((SELECT last_poll FROM health WHERE charm_key = ?1), 0),"
            " (SELECT ring FROM health WHERE charm_key = ?1))",
            (charm_key,),
        )

    def get(self, charm_key: int) -> CharmHealth:
        """A charm's record; an empty one when it has none."""
        row = self._database.row(f"SELECT {_COLUMNS} FROM health WHERE charm_key = ?", (charm_key,))
        return _health(row) if row else CharmHealth()

    def get_many(self, charm_keys: Sequence[int]) -> dict[int, CharmHealth]:
        """The records of several charms, by key; empty ones for those that have none."""
        found = self._known.find(charm_keys)
        if len(found) == len(charm_keys):
            return found
        missing = [key for key in charm_keys if key not in found]
        for row in self._database.rows(
            f"SELECT {_COLUMNS}, charm_key {_OF_KEYS}", (json_keys(missing),)
        ):
            found[row[-1]] = health = _health(row[:-1])
            self._known.keep(row[-1], health)
        if len(found) < len(charm_keys):
            return {key: found.get(key) or CharmHealth() for key in charm_keys}
        return found

    def put(
        self, charm_key: int, health: CharmHealth, *, before: CharmHealth | None = None
    ) -> None:
        """Replace a charm's record; `before` is what it is now, where the caller has read it."""
        self._changes.mark(charm_key)
        self.put_all([(charm_key, before or self.get(charm_key), health)])

    def put_all(
        self,
        changes: Sequence[tuple[int, CharmHealth, CharmHealth]],
        ends: Mapping[int, PollEnd] = NO_ENDS,
        runs: Sequence[tuple[int, RunRecord]] = (),
        *,
        keep: int = 1,
    ) -> None:
        """Replace records, each given by its key, as it is and as it is to be; leaves no marks.

        Only what differs is written. For what plain runs leave behind: `ends` is what the queue
        gave for their polls, and `runs` are recorded with them, one of each charm, as by
        `Runs.record_all`.
        """
        rings = self._runs.pack(runs, keep) if runs else _NO_RINGS
        alike: defaultdict[tuple[_Changed, tuple[str, ...]], list[tuple[object, ...]]] = (
            defaultdict(list)
        )
        for charm_key, before, after in changes:
            values = astuple(after)
            changed = tuple(map(ne, astuple(before), values))
            more: tuple[str, ...] = ()
            row: tuple[object, ...] = tuple(compress(values, changed))
            if (end := ends.get(charm_key)) is not None:
                more, row = _END, row + end
            if (ring := rings.get(charm_key)) is not None:
                more, row = more + _RING, (*row, ring)
            alike[changed, more].append((*row, charm_key))
            self._known.follow(charm_key, before, after)
        for (changed, more), rows in alike.items():
            if more or any(changed):
                self._database.executemany(_update(changed, more), rows)

    def set_due(self, charm_key: int, due_at: float | None) -> None:
        """Say when a charm is due next; None when it is not scheduled."""
        self._database.execute(_SET_DUE, (due_at, charm_key))

    def set_due_all(self, rows: Sequence[tuple[float | None, int]]) -> None:
        """Say when charms are due next, each time before its charm's key.

        Where a due time stands for a poll, that comes with its end.
        """
        is_owed = self._polls.is_owed
        self._database.executemany(_SET_DUE, [row for row in rows if not is_owed(row[1])])

    def set_interval(self, charm_key: int, interval_seconds: float | None) -> None:
        """Give a charm its own polling interval; None for the service's."""
        self._changes.mark(charm_key)
        self._database.execute(
            "UPDATE health SET interval_seconds = ? WHERE charm_key = ?",
            (interval_seconds, charm_key),
        )

    def entry(self, charm_key: int) -> ScheduleEntry:
        """When a charm is due."""
        row = self._database.row(f"SELECT {_ENTRY} FROM health WHERE charm_key = ?", (charm_key,))
        return _entry(charm_key, *row) if row else ScheduleEntry(charm_key, None, None)

    def entries(self, charm_keys: Sequence[int]) -> dict[int, ScheduleEntry]:
        """When each of several charms is due, by key."""
        rows = self._database.rows(
            f"SELECT charm_key, {_ENTRY} {_OF_KEYS}", (json_keys(charm_keys),)
        )
        found = {row[0]: _entry(*row) for row in rows}
        if len(found) < len(charm_keys):
            return {key: found.get(key) or ScheduleEntry(key, None, None) for key in charm_keys}
        return found

    def skip_all(self, rows: Sequence[tuple[float | None, int]]) -> None:
        """Count a poll of charms that fell due while another was live; due times as `set_due_all`.

        Leaves no marks: the run that is out leaves this number alone when it is settled.
        """
        self._known.forget([charm_key for _, charm_key in rows])
        self._database.executemany(
            "UPDATE health SET skipped_polls = skipped_polls + 1 WHERE charm_key = ?",
            [(charm_key,) for _, charm_key in rows],
        )
        self.set_due_all(rows)

    def bring_near(self, now: float) -> None:
        """Let failures have disabled no charm after `now`; leaves no marks."""
        self._known.forget_all()
        self._database.execute(
            "UPDATE health SET disabled_at = ? WHERE disabled_by = 'failures' AND disabled_at > ?",
            (now, now),
        )

    def disabled_before(self, moment: float, limit: int) -> list[int]:
        """Charms that failures disabled before a moment."""
        rows = self._database.rows(
            "SELECT charm_key FROM health JOIN charms USING (charm_key)"
            " WHERE disabled_by = 'failures' AND disabled_at < ? AND removed_at IS NULL"
            " ORDER BY disabled_at LIMIT ?",
            (moment, limit),
        )
        return [row[0] for row in rows]

    def scheduled(self) -> list[ScheduledCharm]:
        """Every registered charm, in no order."""
        # The index has all that is needed of the charms, and one text serves a whole space.
        spaces = dict(self._database.rows("SELECT space_key, did FROM spaces"))
        rows = self._database.rows(
            "SELECT c.charm_key, c.space_key, h.due_at, h.interval_seconds, h.disabled_by,"
            " h.consecutive_failures FROM charms AS c INDEXED BY charms_by_cause"
            " CROSS JOIN registrations USING (charm_key) CROSS JOIN health AS h USING (charm_key)"
            " WHERE c.removed_at IS NULL"
        )
        return [ScheduledCharm(key, spaces[space_key], *entry) for key, space_key, *entry in rows]

    def most_failing(self, limit: int) -> list[FailureStreak]:
        """The charms with the most failures in a row."""
        rows = self._database.rows(
            "SELECT charm_key, consecutive_failures, last_error, last_error_cause FROM health"
            " INDEXED BY health_by_failures JOIN charms USING (charm_key)"
            " WHERE consecutive_failures > 0 AND removed_at IS NULL"
            " ORDER BY consecutive_failures DESC LIMIT ?",
            (limit,),
        )
        return [FailureStreak(*row) for row in rows]

"""What the service remembers of each charm's runs, and when it is due."""

from __future__ import annotations

from typing import Any

import msgspec

from bg_charm_service.database import Database
from bg_charm_service.errors import FailureCause
from bg_charm_service.model import CharmHealth, DisabledBy
from bg_charm_service.store.change_marks import ChangeMarks

_NAMES = tuple(field.name for field in msgspec.structs.fields(CharmHealth))
_COLUMNS = ", ".join(_NAMES)
_UPDATE = f"UPDATE health SET {', '.join(f'{name} = ?' for name in _NAMES)} WHERE charm_key = ?"
_DISABLED_BY, _ERROR_CAUSE = _NAMES.index("disabled_by"), _NAMES.index("last_error_cause")


class ScheduleEntry(msgspec.Struct, frozen=True):
    """When a charm is due, and its own interval; None for the service's."""

    charm_key: int
    due_at: float | None
    interval_seconds: float | None
    is_enabled: bool = True


def _health(row: Any) -> CharmHealth:
    values = list(row)
    if values[_DISABLED_BY] is not None:
        values[_DISABLED_BY] = DisabledBy(values[_DISABLED_BY])
    if values[_ERROR_CAUSE] is not None:
        values[_ERROR_CAUSE] = FailureCause(values[_ERROR_CAUSE])
    return CharmHealth(*values)


class HealthRecords:
    """The table `health`."""

    def __init__(self, database: Database, changes: ChangeMarks) -> None:
        self._database = database
        self._changes = changes

    def create(self, charm_key: int) -> None:
        """Start a charm's record afresh; only the number of its last run goes on."""
        self._changes.mark(charm_key)
        self._database.execute(
            "INSERT OR REPLACE INTO health (charm_key, runs_recorded) VALUES (?1, coalesce("
            "(SELECT runs_recorded FROM health WHERE charm_key = ?1), 0))",
            (charm_key,),
        )

    def get(self, charm_key: int) -> CharmHealth:
        """A charm's record; an empty one when it has none."""
        row = self._database.row(f"SELECT {_COLUMNS} FROM health WHERE charm_key = ?", (charm_key,))
        return _health(row) if row else CharmHealth()

    def put(self, charm_key: int, health: CharmHealth) -> None:
        """Replace a charm's record."""
        self._changes.mark(charm_key)
        values = [getattr(health, name) for name in _NAMES]
        self._database.execute(_UPDATE, (*values, charm_key))

    def set_due(self, charm_key: int, due_at: float | None) -> None:
        """Say when a charm is due next; None when it is not scheduled."""
        self._database.execute(
            "UPDATE health SET due_at = ? WHERE charm_key = ?", (due_at, charm_key)
        )

    def set_interval(self, charm_key: int, interval_seconds: float | None) -> None:
        """Give a charm its own polling interval; None for the service's."""
        self._changes.mark(charm_key)
        self._database.execute(
            "UPDATE health SET interval_seconds = ? WHERE charm_key = ?",
            (interval_seconds, charm_key),
        )

    def entry(self, charm_key: int) -> ScheduleEntry:
        """When a charm is due."""
        row = self._database.row(
            "SELECT due_at, interval_seconds, disabled_by IS NULL FROM health WHERE charm_key = ?",
            (charm_key,),
        )
        return ScheduleEntry(charm_key, *(row or (None, None)))

    def count_skipped(self, charm_key: int) -> None:
        """Count a poll that fell due while another was live."""
        self._changes.mark(charm_key)
        self._database.execute(
            "UPDATE health SET skipped_polls = skipped_polls + 1 WHERE charm_key = ?", (charm_key,)
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

    def scheduled(self) -> list[tuple[int, str, float | None, float | None, str | None, int]]:
        """For each registered charm: key, space, due, interval, disabled by, failures in a row."""
        return self._database.rows(
            "SELECT r.charm_key, c.space, h.due_at, h.interval_seconds, h.disabled_by,"
            " h.consecutive_failures FROM registrations AS r JOIN charms AS c USING (charm_key)"
            " JOIN health AS h USING (charm_key) WHERE c.removed_at IS NULL"
        )

    def most_failing(self, limit: int) -> list[tuple[int, int, str, str | None]]:
        """Charms with the most failures in a row: key, count, last error, its cause."""
        return self._database.rows(
            "SELECT charm_key, consecutive_failures, last_error, last_error_cause FROM health"
            " INDEXED BY health_failing JOIN charms USING (charm_key)"
            " WHERE consecutive_failures > 0 AND removed_at IS NULL"
            " ORDER BY consecutive_failures DESC LIMIT ?",
            (limit,),
        )

"""What charms want to be reminded of: an event each, and when it is sent.

Not part of the queue before its time comes: there it would wait in front of what comes later.
"""

from __future__ import annotations

from collections.abc import Sequence

from bg_charm_service.storage.records import Reminder
from bg_charm_service.storage.sql.database import Database

_COLUMNS = "reminder_id, charm_key, name, stream, event, remind_at, created_at"


class Reminders:
    """The table `reminders`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        #: No reminder comes before this; None without any. Known without a look at the disk.
        self._earliest: float | None = self._read_earliest()

    def put(
        self,
        charm_key: int,
        *,
        name: str | None,
        stream: str,
        event: bytes,
        remind_at: float,
        now: float,
    ) -> Reminder:
        """Add a reminder; one of the same name is replaced, and one without a name is not."""
        cursor = self._database.execute(
            "INSERT OR REPLACE INTO reminders"
            " (charm_key, name, stream, event, remind_at, created_at) VALUES (?, ?, ?, ?, ?, ?)",
            (charm_key, name, stream, event, remind_at, now),
        )
        assert cursor.lastrowid is not None
        self._database.after_commit(lambda: self._note(remind_at))
        return Reminder(cursor.lastrowid, charm_key, name, stream, event, remind_at, now)

    def drop(self, charm_key: int, name: str) -> bool:
        """Drop the reminder that is shown under a name; says whether there was one."""
        if name.startswith("#"):
            number = name[1:]
            if not (number.isascii() and number.isdecimal() and len(number) < 19):
                return False
            dropped = self._database.execute(
                "DELETE FROM reminders WHERE charm_key = ? AND reminder_id = ? AND name IS NULL",
                (charm_key, int(number)),
            )
        else:
            dropped = self._database.execute(
                "DELETE FROM reminders WHERE charm_key = ? AND name = ?", (charm_key, name)
            )
        return dropped.rowcount > 0

    def drop_stream(self, charm_key: int, stream: str) -> int:
        """Drop the reminders of a charm that go to a stream; gives how many these were."""
        return self._database.execute(
            "DELETE FROM reminders WHERE charm_key = ? AND stream = ?", (charm_key, stream)
        ).rowcount

    def of(self, charm_key: int) -> list[Reminder]:
        """The reminders of a charm, the next one first."""
        rows = self._database.rows(
            f"SELECT {_COLUMNS} FROM reminders WHERE charm_key = ? ORDER BY remind_at, reminder_id",
            (charm_key,),
        )
        return [Reminder(*row) for row in rows]

    def size(self, charm_key: int) -> tuple[int, int]:
        """How many reminders a charm has, and how many bytes their events take."""
        count, size_bytes = self._database.row(
            "SELECT count(*), coalesce(sum(length(event)), 0) FROM reminders WHERE charm_key = ?",
            (charm_key,),
        )
        return int(count), int(size_bytes)

    def next_at(self) -> float | None:
        """When the next reminder of all is due, or a moment before; None without any."""
        return self._earliest

    def due(self, now: float, limit: int) -> list[Reminder]:
        """Up to so many reminders whose time has come, the oldest first."""
        rows = self._database.rows(
            f"SELECT {_COLUMNS} FROM reminders WHERE remind_at <= ?"
            " ORDER BY remind_at, reminder_id LIMIT ?",
            (now, limit),
        )
        return [Reminder(*row) for row in rows]

    def take(self, reminders: Sequence[Reminder]) -> None:
        """Drop reminders whose events are sent in the same transaction."""
        self._database.executemany(
            "DELETE FROM reminders WHERE reminder_id = ?", [(one.reminder_id,) for one in reminders]
        )
        left = self._read_earliest()

        def note() -> None:
            self._earliest = left

        self._database.after_commit(note)

    def _read_earliest(self) -> float | None:
        (earliest,) = self._database.row("SELECT min(remind_at) FROM reminders")
        return None if earliest is None else float(earliest)

    def _note(self, remind_at: float) -> None:
        self._earliest = remind_at if self._earliest is None else min(self._earliest, remind_at)

"""What the operator says of when a charm runs, against what its class says.

Kept in memory as a whole, since every poll asks for it and few are set; what a transaction changes
shows once it is on disk.
"""

from __future__ import annotations

from functools import cached_property

import msgspec

from bg_charm_service.domain.schedules.words import NO_WORDS, ScheduleWords
from bg_charm_service.storage.sql.database import Database


class Schedules:
    """The table `charm_schedules`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @cached_property
    def _set(self) -> dict[int, ScheduleWords]:
        rows = self._database.rows("SELECT charm_key, words FROM charm_schedules")
        return {key: msgspec.json.decode(words, type=ScheduleWords) for key, words in rows}

    def of_charm(self, charm_key: int) -> ScheduleWords:
        """What is said of a charm."""
        return self._set.get(charm_key, NO_WORDS)

    def put(self, charm_key: int, words: ScheduleWords) -> None:
        """Say it anew, all of it."""
        known = self._set
        self._database.execute("DELETE FROM charm_schedules WHERE charm_key = ?", (charm_key,))
        if words != NO_WORDS:
            self._database.execute(
                "INSERT INTO charm_schedules VALUES (?, ?)", (charm_key, msgspec.json.encode(words))
            )

        def note() -> None:
            known.pop(charm_key, None)
            if words != NO_WORDS:
                known[charm_key] = words

        self._database.after_commit(note)

"""Until when the state of charms counts as fresh, for those that say how often it should change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bg_charm_service.storage.sql.database import Database
from bg_charm_service.storage.sql.keys import KEYS, json_keys


class Freshness:
    """The table `freshness`; the field is empty where any of them counts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, charm_key: int, stale_at: Mapping[str, float]) -> None:
        """Say when each field that is expected to change is stale, instead of what was said."""
        self._database.execute("DELETE FROM freshness WHERE charm_key = ?", (charm_key,))
        self.renew([(charm_key, field, moment) for field, moment in stale_at.items()])

    def renew(self, rows: Sequence[tuple[int, str, float]]) -> None:
        """Say of fields that changed when they are stale: charm's key, field, moment."""
        self._database.executemany("INSERT OR REPLACE INTO freshness VALUES (?, ?, ?)", rows)

    def of(self, charm_key: int) -> dict[str, float]:
        """When each field of a charm that is expected to change is stale."""
        return dict(
            self._database.rows(
                "SELECT field, stale_at FROM freshness WHERE charm_key = ?", (charm_key,)
            )
        )

    def first(self, charm_keys: Sequence[int]) -> dict[int, float]:
        """When the first field of each of several charms is stale; none for those without."""
        rows = self._database.rows(
            "SELECT wanted, (SELECT min(stale_at) FROM freshness WHERE charm_key = wanted)"
            f" FROM {KEYS}",
            (json_keys(charm_keys),),
        )
        return {charm_key: first for charm_key, first in rows if first is not None}

    def count_stale(self, now: float) -> int:
        """How many charms have a field that is stale."""
        (count,) = self._database.row(
            "SELECT count(DISTINCT charm_key) FROM freshness WHERE stale_at < ?", (now,)
        )
        return int(count)

    def stale(self, now: float, limit: int) -> dict[int, float]:
        """Up to so many charms that have a field that is stale, and since when the first one is."""
        rows = self._database.rows(
            "SELECT charm_key, stale_at FROM freshness WHERE stale_at < ?"
            " ORDER BY stale_at LIMIT ?",
            (now, limit),
        )
        found: dict[int, float] = {}
        for charm_key, stale_at in rows:
            found.setdefault(charm_key, stale_at)
        return found

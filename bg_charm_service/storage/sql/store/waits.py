"""What charms wait for: a row for each that does, none for the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bg_charm_service.domain.outcomes.run_endings import EndingKind, Waiting
from bg_charm_service.storage.records import WaitingCharm
from bg_charm_service.storage.sql.database import Database
from bg_charm_service.storage.sql.keys import KEYS, json_keys

_COLUMNS = "kind, until, since, tries, host, why, url"
_CHARM = f"charm_key, space_key, {_COLUMNS}"


def _charm(row: Any) -> WaitingCharm:
    charm_key, space_key, kind, *rest = row
    return WaitingCharm(charm_key, space_key, Waiting(EndingKind(kind), *rest))


class Waits:
    """The table `waits`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[WaitingCharm]:
        """Every charm that waits, in no order."""
        return [_charm(row) for row in self._database.rows(f"SELECT {_CHARM} FROM waits")]

    def get(self, charm_key: int) -> Waiting | None:
        """What a charm waits for."""
        row = self._database.row(f"SELECT {_CHARM} FROM waits WHERE charm_key = ?", (charm_key,))
        return _charm(row).waiting if row else None

    def put(self, charm_key: int, space_key: int, waiting: Waiting) -> None:
        """Say what a charm waits for, instead of what was said before."""
        self._database.execute(
            f"INSERT OR REPLACE INTO waits ({_CHARM}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                charm_key,
                space_key,
                waiting.kind.value,
                waiting.until,
                waiting.since,
                waiting.tries,
                waiting.host,
                waiting.why,
                waiting.url,
            ),
        )

    def drop(self, charm_key: int) -> None:
        """Let a charm wait for nothing."""
        self._database.execute("DELETE FROM waits WHERE charm_key = ?", (charm_key,))

    def later(self, charm_keys: Sequence[int], moment: float) -> dict[int, float]:
        """Until when those of some charms wait that do so beyond a moment, by key."""
        rows = self._database.rows(
            f"SELECT charm_key, until FROM {KEYS} CROSS JOIN waits ON charm_key = wanted"
            " WHERE until > ?",
            (json_keys(charm_keys), moment),
        )
        return dict(rows)

    def at_host(self, space_key: int, host: str, after: float, limit: int) -> list[WaitingCharm]:
        """Charms of a space that wait for a host beyond a moment, those first that come first."""
        rows = self._database.rows(
            f"SELECT {_CHARM} FROM waits INDEXED BY waits_by_host"
            " WHERE space_key = ? AND host = ? AND kind = 'down' AND until > ?"
            " ORDER BY until LIMIT ?",
            (space_key, host, after, limit),
        )
        return [_charm(row) for row in rows]

    def bring_near(self, latest: float, *, named: float) -> None:
        """Let nobody be waited for beyond `latest`; a time that a charm named, beyond `named`."""
        for kinds, moment in (("'wait', 'down'", latest), ("'again'", named)):
            self._database.execute(
                f"UPDATE waits SET until = ?1 WHERE kind IN ({kinds}) AND until > ?1",
                (moment,),
            )

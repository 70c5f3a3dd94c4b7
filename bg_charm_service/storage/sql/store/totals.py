"""Service totals: counters that only grow, never computed from rows.

Deltas collect in memory and are written by `flush`, once a transaction, however many runs
settle in it.
"""

from __future__ import annotations

from collections import Counter

from bg_charm_service.storage.sql.database import Database


class Totals:
    """The table `totals`, read once at start and mirrored in memory."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._values: Counter[str] = Counter()
        for name, value in database.rows("SELECT name, value FROM totals"):
            self._values[name] = value
        self._deltas: Counter[str] = Counter()

    def add(self, name: str, amount: float = 1) -> None:
        """Count something; it is durable with the next flush that commits."""
        self._deltas[name] += amount  # type: ignore[assignment]

    def mark(self) -> Counter[str]:
        """Remember what is counted and not flushed, for `undo`."""
        return self._deltas.copy()

    def undo(self, mark: Counter[str]) -> None:
        """Go back to a mark: what was counted since did not happen."""
        self._deltas = mark

    def discard(self) -> None:
        """Forget what was counted since the last flush: its transaction was rolled back."""
        self._deltas.clear()

    def flush(self) -> None:
        """Write what was counted; inside the transaction that it belongs to."""
        if not self._deltas:
            return
        deltas, self._deltas = self._deltas, Counter()
        self._database.executemany(
            "INSERT INTO totals VALUES (?1, ?2)"
            " ON CONFLICT (name) DO UPDATE SET value = totals.value + ?2",
            list(deltas.items()),
        )
        self._database.after_commit(lambda: self._values.update(deltas))

    def get(self, name: str) -> int:
        """The value of a counter."""
        return int(self._values[name] + self._deltas[name])

    def with_prefix(self, prefix: str) -> dict[str, int]:
        """The committed counters whose names begin so, the prefix cut off."""
        return {
            name.removeprefix(prefix): int(value)
            for name, value in self._values.items()
            if name.startswith(prefix)
        }

"""Limits that the operator set for a space or for one charm.

Kept in memory as a whole, since every run asks for them and few are set; what a transaction
changes shows once it is on disk.
"""

from __future__ import annotations

from functools import cached_property

import msgspec

from bg_charm_service.domain.limits import NO_CHANGES, LimitChanges
from bg_charm_service.storage.sql.database import Database


class _Overrides:
    """One table of them."""

    def __init__(self, database: Database, table: str, key: str) -> None:
        self._database = database
        self._table = table
        self._key = key

    @cached_property
    def _set(self) -> dict[int, LimitChanges]:
        rows = self._database.rows(f"SELECT {self._key}, changes FROM {self._table}")
        return {key: msgspec.json.decode(changes, type=LimitChanges) for key, changes in rows}

    def get(self, key: int) -> LimitChanges:
        return self._set.get(key, NO_CHANGES)

    def put(self, key: int, changes: LimitChanges) -> None:
        known = self._set
        self._database.execute(f"DELETE FROM {self._table} WHERE {self._key} = ?", (key,))
        if changes != NO_CHANGES:
            self._database.execute(
                f"INSERT INTO {self._table} VALUES (?, ?)",
                (key, msgspec.json.encode(changes.given())),
            )
        self._database.after_commit(lambda: known.update({key: changes}))


class LimitOverrides:
    """The tables `space_limits` and `charm_limits`."""

    def __init__(self, database: Database) -> None:
        self._spaces = _Overrides(database, "space_limits", "space_key")
        self._charms = _Overrides(database, "charm_limits", "charm_key")

    def of_space(self, space_key: int) -> LimitChanges:
        """What is set for a space."""
        return self._spaces.get(space_key)

    def of_charm(self, charm_key: int) -> LimitChanges:
        """What is set for a charm itself."""
        return self._charms.get(charm_key)

    def put_space(self, space_key: int, changes: LimitChanges) -> None:
        """Set the limits of a space, all of them."""
        self._spaces.put(space_key, changes)

    def put_charm(self, charm_key: int, changes: LimitChanges) -> None:
        """Set the limits of a charm itself, all of them."""
        self._charms.put(charm_key, changes)

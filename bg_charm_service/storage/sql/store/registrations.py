"""Registrations: the entries that make the service poll a charm. One row a charm."""

from __future__ import annotations

from collections.abc import Sequence
from sys import intern

from bg_charm_service.domain.model import CharmRef, Registration
from bg_charm_service.storage.sql.database import Database
from bg_charm_service.storage.sql.keys import KEYS, json_keys


class Registrations:
    """The table `registrations`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, charm_key: int, ref: CharmRef) -> Registration | None:
        """The registration of a charm, if it has one."""
        row = self._database.row(
            "SELECT integration, created_at, updated_at FROM registrations WHERE charm_key = ?",
            (charm_key,),
        )
        return Registration(ref, *row) if row else None

    def times(self, charm_keys: Sequence[int]) -> dict[int, float]:
        """When those of several charms that are registered were, by key."""
        rows = self._database.rows(
            f"SELECT charm_key, created_at FROM {KEYS} CROSS JOIN registrations"
            " ON charm_key = wanted",
            (json_keys(charm_keys),),
        )
        return dict(rows)

    def put(self, charm_key: int, integration: str, now: float) -> bool:
        """Register a charm, or again under another label; says whether it is new."""
        is_new = (
            self._database.row("SELECT 1 FROM registrations WHERE charm_key = ?", (charm_key,))
            is None
        )
        self._database.execute(
            "INSERT INTO registrations VALUES (?1, ?2, ?3, ?3)"
            " ON CONFLICT (charm_key) DO UPDATE SET integration = ?2, updated_at = ?3",
            (charm_key, integration, now),
        )
        return is_new

    def drop(self, charm_key: int) -> bool:
        """Delete a registration; says whether there was one."""
        cursor = self._database.execute(
            "DELETE FROM registrations WHERE charm_key = ?", (charm_key,)
        )
        return cursor.rowcount > 0

    def labels(self) -> dict[int, str]:
        """The integration label of each registered charm, by its key."""
        rows = self._database.rows("SELECT charm_key, integration FROM registrations")
        # There are few labels, of very many charms.
        return {charm_key: intern(label) for charm_key, label in rows}

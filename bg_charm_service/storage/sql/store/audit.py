"""The audit log: who changed what. Entries are appended in the transaction of their change.

Nothing here changes an entry, and the schema refuses it too; the oldest go when there are more
than the limit.
"""

from __future__ import annotations

from bg_charm_service.storage.records import KEPT_AUDIT_ENTRIES, AuditEntry
from bg_charm_service.storage.sql.database import Database


class Audit:
    """The table `audit`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(
        self,
        *,
        at: float,
        caller: str,
        action: str,
        space: str = "",
        charm_id: str = "",
        detail: str = "",
    ) -> None:
        """Add an entry, inside the transaction of the change."""
        cursor = self._database.execute(
            "INSERT INTO audit (at, caller, action, space, charm_id, detail)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (at, caller, action, space, charm_id, detail),
        )
        assert cursor.lastrowid is not None
        self._database.execute(
            "DELETE FROM audit WHERE entry_id <= ?", (cursor.lastrowid - KEPT_AUDIT_ENTRIES,)
        )

    def newest(self, before: int | None, limit: int) -> list[AuditEntry]:
        """Entries older than one, or the newest of all; the newest first."""
        rows = self._database.rows(
            "SELECT entry_id, at, caller, action, space, charm_id, detail FROM audit"
            " WHERE entry_id < ? ORDER BY entry_id DESC LIMIT ?",
            (2**62 if before is None else before, limit),
        )
        return [AuditEntry(*row) for row in rows]

"""Sessions of browsers, by the hash of their cookie; and nonces of signatures that were taken."""

from __future__ import annotations

from bg_charm_service.storage.records import SessionRecord
from bg_charm_service.storage.sql.database import Database


class Sessions:
    """The table `sessions`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, hashed: bytes, token_id: int | None, *, expires_at: float, now: float) -> None:
        """Begin a session; those that are over are dropped."""
        self._database.execute("DELETE FROM sessions WHERE expires_at <= ?", (now,))
        self._database.execute(
            "INSERT INTO sessions VALUES (?, ?, ?, ?)", (hashed, token_id, now, expires_at)
        )

    def find(self, hashed: bytes, now: float) -> SessionRecord | None:
        """Look up a session that is not over."""
        row = self._database.row(
            "SELECT token_id, created_at, expires_at FROM sessions"
            " WHERE hash = ? AND expires_at > ?",
            (hashed, now),
        )
        return SessionRecord(*row) if row else None

    def drop(self, hashed: bytes) -> bool:
        """End a session; says whether there was one."""
        return self._database.execute("DELETE FROM sessions WHERE hash = ?", (hashed,)).rowcount > 0

    def all(self, now: float) -> list[tuple[bytes, SessionRecord]]:
        """The sessions that are not over, with their hashes, the newest first."""
        rows = self._database.rows(
            "SELECT hash, token_id, created_at, expires_at FROM sessions"
            " WHERE expires_at > ? ORDER BY created_at DESC, hash",
            (now,),
        )
        return [(row[0], SessionRecord(*row[1:])) for row in rows]


class Nonces:
    """The table `nonces`: durable, because a replay may come after a restart."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, did: str, nonce: str, *, expires_at: float, now: float) -> bool:
        """Take a nonce of a signer; says whether it was unused."""
        self._database.execute("DELETE FROM nonces WHERE expires_at <= ?", (now,))
        cursor = self._database.execute(
            "INSERT OR IGNORE INTO nonces VALUES (?, ?, ?)", (did, nonce, expires_at)
        )
        return cursor.rowcount > 0

"""Tokens: names and rights of those who come over the network. Only their hashes are stored."""

from __future__ import annotations

from typing import Any

from bg_charm_service.storage.records import TokenRecord
from bg_charm_service.storage.sql.database import Database

#: The time of the last use is written at most this often, in seconds: not at each request.
_USE_SECONDS = 60.0

_COLUMNS = (
    "token_id, name, space, is_read_only, made_by, created_at, expires_at, last_used_at, revoked_at"
)


class Tokens:
    """The table `tokens`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        hashed: bytes,
        *,
        name: str,
        space: str | None,
        read_only: bool,
        made_by: str,
        expires_at: float | None,
        now: float,
    ) -> TokenRecord:
        """Add a token under a name that no live one has."""
        cursor = self._database.execute(
            "INSERT INTO tokens (name, hash, space, is_read_only, made_by, created_at, expires_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (name, hashed, space, read_only, made_by, now, expires_at),
        )
        assert cursor.lastrowid is not None
        return TokenRecord(
            cursor.lastrowid, name, space, read_only, made_by, now, expires_at, 0.0, None
        )

    def find(self, hashed: bytes) -> TokenRecord | None:
        """Look a token up by the hash of its text, also one that is valid no more."""
        return self._one("hash = ?", hashed)

    def get(self, token_id: int) -> TokenRecord | None:
        """Look a token up by its number."""
        return self._one("token_id = ?", token_id)

    def named(self, name: str) -> TokenRecord | None:
        """Look up the token of a name that was not revoked; it may have expired."""
        return self._one("name = ? AND revoked_at IS NULL", name)

    def all(self) -> list[TokenRecord]:
        """Every token that was ever made, the oldest first."""
        rows = self._database.rows(f"SELECT {_COLUMNS} FROM tokens ORDER BY token_id")
        return [_record(row) for row in rows]

    def revoke(self, token_id: int, now: float) -> None:
        """Let a token be valid no more."""
        self._database.execute(
            "UPDATE tokens SET revoked_at = ? WHERE token_id = ? AND revoked_at IS NULL",
            (now, token_id),
        )

    def note_use(self, token: TokenRecord, now: float) -> None:
        """Remember that a token was used."""
        if not 0 <= now - token.last_used_at < _USE_SECONDS:
            self._database.execute(
                "UPDATE tokens SET last_used_at = ? WHERE token_id = ?", (now, token.token_id)
            )

    def _one(self, condition: str, value: object) -> TokenRecord | None:
        row = self._database.row(f"SELECT {_COLUMNS} FROM tokens WHERE {condition}", (value,))
        return _record(row) if row else None


def _record(row: tuple[Any, ...]) -> TokenRecord:
    token_id, name, space, is_read_only, *rest = row
    return TokenRecord(token_id, name, space, bool(is_read_only), *rest)

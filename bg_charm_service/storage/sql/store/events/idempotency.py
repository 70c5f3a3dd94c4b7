"""Which events came with a key of their sender's, for a day: the same key is the same job.

Of keys only hashes are kept, so many of a charm at most: with each new one go some of those that
are too old, and one that is too many.
"""

from __future__ import annotations

from bg_charm_service.storage.records import KEPT_KEY_SECONDS, MOST_KEYS_OF_A_CHARM, SentBefore
from bg_charm_service.storage.sql.database import Database

# More than one goes with each that comes, so that what is too old is gone some day. The oldest are
# those with the smallest numbers.
_DROP_OLD = """DELETE FROM idempotency_keys WHERE key_number IN (
    SELECT key_number FROM (SELECT key_number, created_at FROM idempotency_keys
        ORDER BY key_number LIMIT 10) AS oldest WHERE created_at <= ?)"""
_DROP_TOO_MANY = """DELETE FROM idempotency_keys WHERE key_number = (
    SELECT key_number FROM idempotency_keys INDEXED BY idempotency_keys_of_charm
    WHERE charm_key = ? ORDER BY key_number DESC LIMIT 1 OFFSET ?)"""


class IdempotencyKeys:
    """The table `idempotency_keys`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, charm_key: int, key_hash: bytes, now: float) -> SentBefore | None:
        """What was sent to a charm with a key, within the last day."""
        row = self._database.row(
            "SELECT job_id, request_hash FROM idempotency_keys"
            " WHERE charm_key = ? AND key_hash = ? AND created_at > ?",
            (charm_key, key_hash, now - KEPT_KEY_SECONDS),
        )
        return SentBefore(*row) if row is not None else None

    def put(
        self, charm_key: int, key_hash: bytes, request_hash: bytes, job_id: int, now: float
    ) -> None:
        """Note the job of an event that came with a key."""
        self._database.execute(
            "INSERT OR REPLACE INTO idempotency_keys"
            " (charm_key, key_hash, request_hash, job_id, created_at) VALUES (?, ?, ?, ?, ?)",
            (charm_key, key_hash, request_hash, job_id, now),
        )
        self._database.execute(_DROP_OLD, (now - KEPT_KEY_SECONDS,))
        self._database.execute(_DROP_TOO_MANY, (charm_key, MOST_KEYS_OF_A_CHARM))

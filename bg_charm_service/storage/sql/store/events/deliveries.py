"""The ids of what senders delivered, for a day: what comes again is known, unless it was given up.

Only hashes of them, so many of an address at most: with each new one go some of those that are too
old, and one that is too many.
"""

from __future__ import annotations

from bg_charm_service.storage.records import (
    KEPT_DELIVERY_SECONDS,
    MOST_DELIVERIES_OF_A_HOOK,
    Delivery,
)
from bg_charm_service.storage.sql.database import Database

# More than one goes with each that comes, so that what is too old is gone some day. The oldest are
# those with the smallest numbers.
_DROP_OLD = """DELETE FROM deliveries WHERE delivery_number IN (
    SELECT delivery_number FROM (SELECT delivery_number, received_at FROM deliveries
        ORDER BY delivery_number LIMIT 10) AS oldest WHERE received_at <= ?)"""
_DROP_TOO_MANY = """DELETE FROM deliveries WHERE delivery_number = (
    SELECT delivery_number FROM deliveries INDEXED BY deliveries_of_hook
    WHERE hook_key = ? ORDER BY delivery_number DESC LIMIT 1 OFFSET ?)"""


class Deliveries:
    """The table `deliveries`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, hook_key: int, id_hash: bytes, now: float) -> Delivery | None:
        """What came to an address with an id, within the last day."""
        row = self._database.row(
            "SELECT job_id, is_dead FROM deliveries"
            " WHERE hook_key = ? AND delivery_hash = ? AND received_at > ?",
            (hook_key, id_hash, now - KEPT_DELIVERY_SECONDS),
        )
        return Delivery(row[0], bool(row[1])) if row is not None else None

    def put(self, hook_key: int, id_hash: bytes, job_id: int, now: float) -> None:
        """Note the job that a delivery became, instead of what it was before."""
        self._database.execute(
            "INSERT OR REPLACE INTO deliveries (hook_key, delivery_hash, job_id, received_at)"
            " VALUES (?, ?, ?, ?)",
            (hook_key, id_hash, job_id, now),
        )
        self._database.execute(_DROP_OLD, (now - KEPT_DELIVERY_SECONDS,))
        self._database.execute(_DROP_TOO_MANY, (hook_key, MOST_DELIVERIES_OF_A_HOOK))

    def note_dead(self, job_id: int) -> None:
        """Note that the event of a delivery was given up: it may be delivered again."""
        self._database.execute("UPDATE deliveries SET is_dead = 1 WHERE job_id = ?", (job_id,))

    def note_requeued(self, job_id: int, new_job_id: int) -> None:
        """Note that the event of a delivery that was given up is tried again, as another job."""
        self._database.execute(
            "UPDATE deliveries SET job_id = ?, is_dead = 0 WHERE job_id = ?", (new_job_id, job_id)
        )

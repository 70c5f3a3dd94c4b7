"""The locks of packages, and which charm has which.

Who has one is kept in memory as a whole, since every run asks and few charms have one; what a
transaction changes shows once it is on disk. The locks themselves are read when they are needed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from bg_charm_service.storage.records import LockRecord
from bg_charm_service.storage.sql.database import Database

_NOBODY: Mapping[int, str] = {}


class Packages:
    """The tables `package_locks` and `charm_packages`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Read now: who asks later may not be able to wait for a disk.
        self._by_charm: dict[int, str] = {}
        self._by_space: dict[int, dict[int, str]] = {}
        self._sizes: dict[str, int] = dict(
            database.rows("SELECT lock_hash, size_bytes FROM package_locks")
        )
        for row in database.rows("SELECT charm_key, space_key, lock_hash FROM charm_packages"):
            self._note(*row)

    @property
    def are_any(self) -> bool:
        """Whether any charm has a lock."""
        return bool(self._by_charm)

    def of_charm(self, charm_key: int) -> str:
        """The hash of a charm's lock; empty for none."""
        return self._by_charm.get(charm_key, "")

    def of_space(self, space_key: int) -> Mapping[int, str]:
        """The hashes of the locks of a space, by charm."""
        return self._by_space.get(space_key, _NOBODY)

    def used(self) -> dict[str, set[int]]:
        """The locks that charms have, with the spaces of those."""
        found: dict[str, set[int]] = {}
        for space_key, charms in self._by_space.items():
            for lock_hash in charms.values():
                found.setdefault(lock_hash, set()).add(space_key)
        return found

    def used_bytes(self, *, without: Collection[str] = ()) -> int:
        """What the locks take that charms have, but for some of them."""
        return sum(self._sizes.get(lock, 0) for lock in self.used().keys() - without)

    def get(self, lock_hash: str) -> LockRecord | None:
        """Look a lock up."""
        row = self._database.row(
            "SELECT lock, size_bytes FROM package_locks WHERE lock_hash = ?", (lock_hash,)
        )
        return LockRecord(*row) if row else None

    def sizes(self, space_key: int, *, without: int) -> dict[str, int]:
        """What each lock takes that charms of a space have, but for one of them; in bytes."""
        rows = self._database.rows(
            "SELECT DISTINCT lock_hash, size_bytes FROM charm_packages JOIN package_locks"
            " USING (lock_hash) WHERE space_key = ? AND charm_key <> ?",
            (space_key, without),
        )
        return dict(rows)

    def keep(self, lock_hash: str, lock: bytes, size_bytes: int, now: float) -> None:
        """Keep a lock; one that is there stays as it is."""
        self._database.execute(
            "INSERT OR IGNORE INTO package_locks VALUES (?, ?, ?, ?)",
            (lock_hash, lock, size_bytes, now),
        )
        self._database.after_commit(lambda: self._note_size(lock_hash, size_bytes))

    def put(self, charm_key: int, space_key: int, lock_hash: str) -> None:
        """Give a charm a lock that is kept, or none by an empty hash."""
        self._database.execute("DELETE FROM charm_packages WHERE charm_key = ?", (charm_key,))
        if lock_hash:
            self._database.execute(
                "INSERT INTO charm_packages VALUES (?, ?, ?)", (charm_key, space_key, lock_hash)
            )
        self._database.after_commit(lambda: self._note(charm_key, space_key, lock_hash))

    def drop_unused(self) -> int:
        """Forget the locks that no charm has; gives how many."""
        return self._database.execute(
            "DELETE FROM package_locks WHERE NOT EXISTS (SELECT 1 FROM charm_packages"
            " WHERE charm_packages.lock_hash = package_locks.lock_hash)"
        ).rowcount

    def _note_size(self, lock_hash: str, size_bytes: int) -> None:
        self._sizes.setdefault(lock_hash, size_bytes)

    def _note(self, charm_key: int, space_key: int, lock_hash: str) -> None:
        if lock_hash:
            self._by_charm[charm_key] = lock_hash
            self._by_space.setdefault(space_key, {})[charm_key] = lock_hash
            return
        self._by_charm.pop(charm_key, None)
        charms = self._by_space.get(space_key, {})
        charms.pop(charm_key, None)
        if not charms:
            self._by_space.pop(space_key, None)

"""Encryption of secret fields at rest: the data key, sealed to each identity that may open it.

The data key is random and made with the store. It is held in this process's memory once
unlocked; workers only ever see the plain values that their charm declares.
"""

from __future__ import annotations

from bg_charm_service.domain.errors import AuthorizationError, Conflict
from bg_charm_service.domain.identity import Identity
from bg_charm_service.storage.secret_encryption import DataKey
from bg_charm_service.storage.sql.database import Database


class Secrets:
    """The table `data_keys` and what it protects."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._key: DataKey | None = None

    def exist(self) -> bool:
        """Whether the store has its data key already; a new one has none."""
        return self._database.row("SELECT 1 FROM data_keys LIMIT 1") is not None

    def create(self, did: str) -> None:
        """Make the data key of a new store, sealed to its first owner; raises Conflict later."""
        if self.exist():
            # A second key would make every secret there is unreadable.
            raise Conflict("This store has a data key already.")
        self._key = DataKey.generate()
        self.grant(did)

    def unlock(self, identity: Identity) -> None:
        """Open the data key with an identity; raises AuthorizationError when it was not granted."""
        row = self._database.row(
            "SELECT sealed_key FROM data_keys WHERE did = ?", (identity.did(),)
        )
        if row is None:
            raise AuthorizationError(f"{identity.did()} was not granted this store's data key.")
        self._key = DataKey.unseal(row[0], identity)

    def grant(self, did: str) -> None:
        """Seal the data key to one more identity."""
        self._database.execute(
            "INSERT OR REPLACE INTO data_keys VALUES (?, ?)", (did, self._unlocked().seal_to(did))
        )

    def hand_over(self, old: str, new: str) -> None:
        """Seal the data key to one identity in the place of another; raises InvalidInput."""
        self.grant(new)
        self._database.execute("DELETE FROM data_keys WHERE did = ?", (old,))

    def encrypt(self, value: bytes, place: str) -> bytes:
        """Encrypt a value, bound to the cell it is stored in."""
        return self._unlocked().encrypt(value, place.encode())

    def decrypt(self, value: bytes, place: str) -> bytes:
        """Decrypt a value that was encrypted for that cell."""
        return self._unlocked().decrypt(value, place.encode())

    def _unlocked(self) -> DataKey:
        if self._key is None:
            raise AuthorizationError(
                "The data key is locked: the store was not opened as an owner."
            )
        return self._key

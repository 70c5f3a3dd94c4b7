"""The addresses of streams: found by their hashes, and encrypted for whoever owns them."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from bg_charm_service.domain.events.hooks import hash_of
from bg_charm_service.storage.records import CharmRecord, HookRecord
from bg_charm_service.storage.sql.database import Database
from bg_charm_service.storage.sql.store.data_keys import Secrets

_COLUMNS = "hook_key, charm_key, stream, made_at, leased_until"


class Hooks:
    """The table `hooks`."""

    def __init__(self, database: Database, secrets: Secrets) -> None:
        self._database = database
        self._secrets = secrets

    def put(self, charm: CharmRecord, stream: str, address: str, now: float) -> None:
        """Give a stream an address, instead of the one before."""
        sealed = self._secrets.encrypt(address.encode(), _place(charm, stream))
        # The key stays: what was delivered to the address before counts as delivered.
        self._database.execute(
            "INSERT INTO hooks (charm_key, stream, address_hash, sealed, made_at)"
            " VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (charm_key, stream) DO UPDATE SET"
            " address_hash = ?3, sealed = ?4, made_at = ?5, leased_until = 0",
            (charm.charm_key, stream, hash_of(address), sealed, now),
        )

    def of(self, charm: CharmRecord) -> list[HookRecord]:
        """The hooks of a charm with their addresses."""
        rows = self._database.rows(
            f"SELECT {_COLUMNS}, sealed FROM hooks WHERE charm_key = ? ORDER BY stream",
            (charm.charm_key,),
        )
        found = []
        for *columns, sealed in rows:
            opened = self._secrets.decrypt(sealed, _place(charm, columns[2]))
            found.append(replace(HookRecord(*columns), address=opened.decode()))
        return found

    def find(self, address_hash: bytes) -> HookRecord | None:
        """The hook of an address, without the address."""
        row = self._database.row(
            f"SELECT {_COLUMNS} FROM hooks WHERE address_hash = ?", (address_hash,)
        )
        return HookRecord(*row) if row is not None else None

    def drop(self, charm_key: int, stream: str) -> None:
        """Forget the address of a stream."""
        self._database.execute(
            "DELETE FROM hooks WHERE charm_key = ? AND stream = ?", (charm_key, stream)
        )

    def lease(self, hook_key: int, until: float) -> None:
        """Note how long a hub sends to an address."""
        self._database.execute(
            "UPDATE hooks SET leased_until = ? WHERE hook_key = ?", (until, hook_key)
        )

    def poke(self, charm_key: int, stream: str, *, is_poked: bool) -> None:
        """Note that a charm is to be polled for what came to an address, or that it will be."""
        self._database.execute(
            "UPDATE hooks SET is_poked = ? WHERE charm_key = ? AND stream = ?",
            (is_poked, charm_key, stream),
        )

    def poked(self) -> list[tuple[int, str]]:
        """The charms that are to be polled for what came, with their streams."""
        rows = self._database.rows(
            "SELECT charm_key, stream FROM hooks INDEXED BY hooks_poked WHERE is_poked = 1"
        )
        return [(charm_key, stream) for charm_key, stream in rows]


def _place(charm: CharmRecord, stream: str) -> str:
    """Name where an address belongs, as no cell and no event is named."""
    return msgspec.json.encode([charm.ref.space, charm.ref.charm_id, "hook", stream]).decode()

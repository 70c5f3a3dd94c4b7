"""Sign-ins at providers, and the clients that the operator has registered there.

The tokens of a sign-in are a cell, encrypted as any secret; here is what has to be known of it
without opening that. Clients are encrypted as a whole.
"""

from __future__ import annotations

from typing import Any

import msgspec

from bg_charm_service.domain.oauth import OAuthClient, SignInKey
from bg_charm_service.storage.records import SignInRecord, StoredClient
from bg_charm_service.storage.sql.database import Database
from bg_charm_service.storage.sql.store.data_keys import Secrets

_COLUMNS = "charm_key, field, provider, expires_at, obtained_at, refresh_hash, asked_at, problem"


def _record(row: Any) -> SignInRecord:
    charm_key, field, *rest = row
    return SignInRecord(SignInKey(charm_key, field), *rest)


class SignIns:
    """The tables `sign_ins` and `oauth_clients`."""

    def __init__(self, database: Database, secrets: Secrets) -> None:
        self._database = database
        self._secrets = secrets

    def get(self, key: SignInKey) -> SignInRecord | None:
        """What is known of a sign-in; None where nobody has signed in."""
        row = self._database.row(
            f"SELECT {_COLUMNS} FROM sign_ins WHERE charm_key = ? AND field = ?",
            (key.charm_key, key.field),
        )
        return _record(row) if row else None

    def all(self) -> list[SignInRecord]:
        """Every sign-in."""
        rows = self._database.rows(f"SELECT {_COLUMNS} FROM sign_ins ORDER BY charm_key, field")
        return [_record(row) for row in rows]

    def put(self, record: SignInRecord) -> None:
        """Say what is known of a sign-in, instead of what was said before."""
        self._database.execute(
            f"INSERT OR REPLACE INTO sign_ins ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                record.key.charm_key,
                record.key.field,
                record.provider,
                record.expires_at,
                record.obtained_at,
                record.refresh_hash,
                record.asked_at,
                record.problem,
            ),
        )

    def drop(self, key: SignInKey) -> bool:
        """Forget a sign-in; says whether there was one."""
        return bool(
            self._database.execute(
                "DELETE FROM sign_ins WHERE charm_key = ? AND field = ?",
                (key.charm_key, key.field),
            ).rowcount
        )

    def client(self, provider: str) -> StoredClient | None:
        """The client at a provider."""
        row = self._database.row(
            "SELECT description, sealed FROM oauth_clients WHERE provider = ?", (provider,)
        )
        if row is None:
            return None
        description, sealed = row
        opened = self._secrets.decrypt(sealed, _place(provider))
        return StoredClient(
            provider, bytes(description), msgspec.json.decode(opened, type=OAuthClient)
        )

    def clients(self) -> list[str]:
        """The providers at which there is a client."""
        rows = self._database.rows("SELECT provider FROM oauth_clients ORDER BY provider")
        return [provider for (provider,) in rows]

    def put_client(self, client: StoredClient, now: float) -> None:
        """Keep the client at a provider, instead of the one before."""
        sealed = self._secrets.encrypt(msgspec.json.encode(client.client), _place(client.provider))
        self._database.execute(
            "INSERT OR REPLACE INTO oauth_clients VALUES (?, ?, ?, ?)",
            (client.provider, client.description, sealed, now),
        )

    def drop_client(self, provider: str) -> bool:
        """Forget the client at a provider; says whether there was one."""
        return bool(
            self._database.execute(
                "DELETE FROM oauth_clients WHERE provider = ?", (provider,)
            ).rowcount
        )


def _place(provider: str) -> str:
    """Name where a client is kept, as no cell is named."""
    return f"oauth client {provider}"

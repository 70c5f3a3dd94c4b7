"""Spaces and their owners, and the documents (plain cells) of integrations in a space.

A space's own DID is never an owner: the private key of a named space can be computed by
anyone from its name.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import groupby
from operator import itemgetter

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.storage.records import OwnedSpace, Space
from bg_charm_service.storage.sql.database import Database
from bg_charm_service.storage.sql.keys import KEYS, json_keys

#: More than there are.
_ALL = 2**62


class Spaces:
    """The tables `spaces`, `space_owners` and `documents`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, did: str) -> Space | None:
        """Look a space up by its DID."""
        row = self._database.row(
            "SELECT space_key, did, name, created_at FROM spaces WHERE did = ?", (did,)
        )
        return Space(*row) if row else None

    def get(self, space_key: int) -> Space | None:
        """Look a space up by its key."""
        row = self._database.row(
            "SELECT space_key, did, name, created_at FROM spaces WHERE space_key = ?", (space_key,)
        )
        return Space(*row) if row else None

    def ensure(self, did: str, *, name: str, owner: str, now: float) -> Space:
        """Give the space of a DID, created and owned by `owner` when it is new."""
        found = self.find(did)
        if found is not None:
            if name and not found.name:
                self._database.execute("UPDATE spaces SET name = ? WHERE did = ?", (name, did))
            return found
        cursor = self._database.execute(
            "INSERT INTO spaces (did, name, created_at) VALUES (?, ?, ?)", (did, name, now)
        )
        assert cursor.lastrowid is not None
        space = Space(cursor.lastrowid, did, name, now)
        self.grant(space.space_key, owner, granted_by=owner, now=now)
        return space

    def names(self, space_keys: Collection[int]) -> dict[int, str]:
        """The names of several spaces, by key."""
        rows = self._database.rows(
            f"SELECT space_key, name FROM {KEYS} CROSS JOIN spaces ON space_key = wanted",
            (json_keys(sorted(space_keys)),),
        )
        return dict(rows)

    def page(self, after: int = 0, limit: int | None = None) -> list[OwnedSpace]:
        """Spaces with their owners, the creator first, in order of creation from behind a key."""
        rows = self._database.rows(
            "SELECT s.space_key, s.did, s.name, s.created_at, o.did, o.granted_by <> o.did,"
            " o.granted_at FROM (SELECT * FROM spaces WHERE space_key > ? ORDER BY space_key"
            " LIMIT ?) AS s CROSS JOIN space_owners AS o USING (space_key)",
            (after, _ALL if limit is None else limit),
        )
        rows.sort(key=itemgetter(0, 5, 6, 4))
        return [
            OwnedSpace(Space(*space), [row[4] for row in found])
            for space, found in groupby(rows, key=itemgetter(0, 1, 2, 3))
        ]

    def grant(self, space_key: int, did: str, *, granted_by: str, now: float) -> None:
        """Make an identity an owner; granting twice changes nothing."""
        self._check_no_space(did)
        self._database.execute(
            "INSERT OR IGNORE INTO space_owners VALUES (?, ?, ?, ?)",
            (space_key, did, granted_by, now),
        )

    def hand_over(self, old: str, new: str) -> None:
        """Make one identity the owner of all that another owns, which owns nothing then."""
        self._check_no_space(new)
        # Where it was an owner already, by whatever grant, it stays one, and takes over its place.
        self._database.execute(
            "INSERT OR REPLACE INTO space_owners SELECT space_key, ?2,"
            " CASE granted_by WHEN ?1 THEN ?2 ELSE granted_by END, granted_at"
            " FROM space_owners WHERE did = ?1",
            (old, new),
        )
        self._database.execute("DELETE FROM space_owners WHERE did = ?", (old,))

    def _check_no_space(self, did: str) -> None:
        if self._database.row("SELECT 1 FROM spaces WHERE did = ?", (did,)) is not None:
            raise InvalidInput(
                f"{did} is the DID of a space, and owns nothing: anyone who knows the space's name "
                "can compute its key."
            )

    def owners(self, space_key: int) -> list[str]:
        """The DIDs of a space's owners, the creator first."""
        rows = self._database.rows(
            "SELECT did FROM space_owners WHERE space_key = ?"
            " ORDER BY granted_by <> did, granted_at, did",
            (space_key,),
        )
        return [row[0] for row in rows]

    def is_owner(self, space_key: int, did: str) -> bool:
        """Whether an identity may act on a space."""
        return did in self.owners(space_key)

    def owned_by(self, did: str) -> frozenset[str]:
        """The DIDs of the spaces that an identity owns."""
        rows = self._database.rows(
            "SELECT spaces.did FROM space_owners JOIN spaces USING (space_key)"
            " WHERE space_owners.did = ?",
            (did,),
        )
        return frozenset(row[0] for row in rows)

    def document(self, space: str, cell_id: str) -> bytes | None:
        """The JSON of a plain cell; None when it was never written."""
        row = self._database.row(
            "SELECT value FROM documents WHERE space = ? AND cell_id = ?", (space, cell_id)
        )
        return row[0] if row else None

    def write_document(self, space: str, cell_id: str, value: bytes, now: float) -> None:
        """Write the JSON of a plain cell."""
        self._database.execute(
            "INSERT INTO documents VALUES (?1, ?2, ?3, ?4)"
            " ON CONFLICT (space, cell_id) DO UPDATE SET value = ?3, updated_at = ?4",
            (space, cell_id, value, now),
        )

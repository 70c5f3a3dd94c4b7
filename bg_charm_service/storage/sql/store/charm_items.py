"""The collections of charms: a row for each key, and one for each collection with its totals.

A collection has a row once something was written to it. One that is dropped loses its charm at
once, and its items a part at a time, by the cleanup. What all of them take is remembered.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bg_charm_service.domain.items import (
    ITEM_OVERHEAD_BYTES,
    PAGE_BYTES,
    ItemPage,
    SeenRange,
    StoredItem,
    item_bytes,
)
from bg_charm_service.storage.records import CollectionRecord
from bg_charm_service.storage.sql.database import Database
from bg_charm_service.storage.sql.keys import WORDS

#: So many keys are looked up by one statement.
_TOGETHER = 1000

#: So much is deleted at once of what was dropped: freed pages are overwritten.
_DELETED_BYTES = 2 * 1024 * 1024

# A version is never used twice: a collection that was dropped and made anew has another key.
_BASE_BITS = 32
_VERSION = f"(collection_key << {_BASE_BITS}) + version"

_WANTED = f"FROM {WORDS} CROSS JOIN items ON items.collection_key = ?2 AND items.key = word"

_BEHIND = """FROM items WHERE collection_key = ?1 AND key > ?2 AND (?3 = '' OR key <= ?3)
    ORDER BY key LIMIT ?4"""


class CharmItems:
    """The tables `collections` and `items`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._total = database.sole_writer.items_total
        (size_bytes,) = database.row("SELECT coalesce(sum(size_bytes), 0) FROM collections")
        self._total.size_bytes = int(size_bytes)

    def of(self, charm_key: int) -> dict[str, CollectionRecord]:
        """The collections of a charm that were written to, by field."""
        rows = self._database.rows(
            f"SELECT field, {_VERSION}, count, size_bytes FROM collections"
            " WHERE charm_key = ? ORDER BY field",
            (charm_key,),
        )
        return {field: CollectionRecord(*facts) for field, *facts in rows}

    def get(self, charm_key: int, field: str) -> CollectionRecord:
        """One collection; one that was never written to is empty, at version 0."""
        row = self._database.row(
            f"SELECT {_VERSION}, count, size_bytes FROM collections"
            " WHERE charm_key = ? AND field = ?",
            (charm_key, field),
        )
        return CollectionRecord(*row) if row else CollectionRecord()

    def find(
        self, charm_key: int, field: str, keys: Sequence[str], *, has_values: bool
    ) -> list[StoredItem]:
        """Those of the keys that there are, with their versions."""
        collection_key = self._key(charm_key, field)
        if collection_key is None:
            return []
        base = collection_key << _BASE_BITS
        value = "items.value" if has_values else "NULL"
        found = []
        for part in _parts(keys):
            found += self._database.rows(
                f"SELECT items.key, version, {value} {_WANTED}",
                (json.dumps(part), collection_key),
            )
        return [StoredItem(key, base + version, stored) for key, version, stored in found]

    def page(
        self, charm_key: int, field: str, after: str, limit: int, *, has_values: bool
    ) -> ItemPage:
        """Up to `limit` items from behind a key, fewer where they are large, one at least."""
        row = self._database.row(
            "SELECT collection_key, version FROM collections WHERE charm_key = ? AND field = ?",
            (charm_key, field),
        )
        if row is None:
            return ItemPage((), 0, is_end=True)
        collection_key, newest = row
        base = collection_key << _BASE_BITS
        bounds = (collection_key, after, "", limit + 1)
        if not has_values:
            rows = self._database.rows(f"SELECT key, version {_BEHIND}", bounds)
        else:
            sizes = self._database.rows(f"SELECT key, length(value) {_BEHIND}", bounds)
            fits = _fitting(sizes[:limit], PAGE_BYTES)
            bounds = (collection_key, after, "", fits)
            rows = self._database.rows(f"SELECT key, version, value {_BEHIND}", bounds)
            limit = fits
            rows += sizes[fits : fits + 1]
        items = tuple(StoredItem(row[0], base + row[1], *row[2:]) for row in rows[:limit])
        return ItemPage(items, base + newest, is_end=len(rows) <= limit)

    def holds(self, charm_key: int, field: str, seen: SeenRange) -> bool:
        """Whether a range is as it was seen: no key more, none less, and none written since."""
        collection_key = self._key(charm_key, field)
        if collection_key is None:
            return seen.count == 0
        count, newest = self._database.row(
            f"SELECT count(*), max(version) FROM (SELECT version {_BEHIND}) AS few",
            (collection_key, seen.after, seen.upto, seen.count + 1),
        )
        base = collection_key << _BASE_BITS
        return count == seen.count and (not count or base + newest <= seen.version)

    def write(
        self, charm_key: int, field: str, writes: Mapping[str, bytes | None]
    ) -> CollectionRecord:
        """Write items of a charm that there is, and remove those whose value is None.

        The values are JSON that was checked. Gives the collection as it is then.
        """
        collection_key = self._ensure(charm_key, field)
        (version,) = self._database.row(
            "UPDATE collections SET version = version + 1 WHERE collection_key = ?"
            " RETURNING version",
            (collection_key,),
        )
        before = self._sizes(collection_key, list(writes))
        added = [key for key, value in writes.items() if value is not None and key not in before]
        changed = [key for key, value in writes.items() if value is not None and key in before]
        removed = [key for key, value in writes.items() if value is None and key in before]
        self._database.executemany(
            "INSERT INTO items (collection_key, key, version, value) VALUES (?, ?, ?, ?)",
            ((collection_key, key, version, writes[key]) for key in added),
        )
        self._database.executemany(
            "UPDATE items SET version = ?, value = ? WHERE collection_key = ? AND key = ?",
            ((version, writes[key], collection_key, key) for key in changed),
        )
        self._database.executemany(
            "DELETE FROM items WHERE collection_key = ? AND key = ?",
            ((collection_key, key) for key in removed),
        )
        grown = sum(item_bytes(key, writes[key]) for key in (*added, *changed))
        grown -= sum(before[key] for key in (*changed, *removed))
        self._add_to_totals(collection_key, len(added) - len(removed), grown)
        return self.get(charm_key, field)

    def drop(self, charm_key: int, field: str) -> None:
        """Take a collection from its charm; the cleanup deletes what was in it."""
        self._database.execute(
            "UPDATE collections SET charm_key = NULL WHERE charm_key = ? AND field = ?",
            (charm_key, field),
        )

    def delete_dropped(self, limit: int) -> int:
        """Delete up to `limit` items of what was dropped; 0 once nothing of it is left."""
        row = self._database.row(
            "SELECT collection_key, size_bytes FROM collections WHERE charm_key IS NULL LIMIT 1"
        )
        if row is None:
            return 0
        collection_key, left_bytes = row
        items = self._database.rows(
            "SELECT key, length(CAST(key AS BLOB)) + length(value) FROM items"
            " WHERE collection_key = ? LIMIT ?",
            (collection_key, limit),
        )
        gone = items[: _fitting(items, _DELETED_BYTES)]
        self._database.executemany(
            "DELETE FROM items WHERE collection_key = ? AND key = ?",
            ((collection_key, key) for key, _ in gone),
        )
        if len(items) < limit and len(gone) == len(items):
            self._database.execute(
                "DELETE FROM collections WHERE collection_key = ?", (collection_key,)
            )
            self._count(-left_bytes)
        else:
            size_bytes = sum(size for _, size in gone) + len(gone) * ITEM_OVERHEAD_BYTES
            self._add_to_totals(collection_key, -len(gone), -size_bytes)
        return max(1, len(gone))

    @property
    def total_bytes(self) -> int:
        """What all collections count together, those with them that are not deleted yet."""
        return self._total.size_bytes

    def _key(self, charm_key: int, field: str) -> int | None:
        row = self._database.row(
            "SELECT collection_key FROM collections WHERE charm_key = ? AND field = ?",
            (charm_key, field),
        )
        return int(row[0]) if row else None

    def _ensure(self, charm_key: int, field: str) -> int:
        key = self._key(charm_key, field)
        if key is None:
            self._database.execute(
                "INSERT INTO collections (charm_key, field) VALUES (?, ?)", (charm_key, field)
            )
            key = self._key(charm_key, field)
            assert key is not None
        return key

    def _sizes(self, collection_key: int, keys: Sequence[str]) -> dict[str, int]:
        """What each of the keys that there are counts now."""
        sizes = {}
        for part in _parts(keys):
            rows = self._database.rows(
                f"SELECT items.key, length(CAST(items.key AS BLOB)) + length(items.value)"
                f" {_WANTED}",
                (json.dumps(part), collection_key),
            )
            sizes.update({key: size + ITEM_OVERHEAD_BYTES for key, size in rows})
        return sizes

    def _add_to_totals(self, collection_key: int, count: int, size_bytes: int) -> None:
        self._database.execute(
            "UPDATE collections SET count = count + ?, size_bytes = size_bytes + ?"
            " WHERE collection_key = ?",
            (count, size_bytes, collection_key),
        )
        self._count(size_bytes)

    def _count(self, size_bytes: int) -> None:
        """Remember what all of them take; it goes back with the transaction."""
        self._total.add(size_bytes)
        self._database.on_rollback(lambda: self._total.add(-size_bytes))


def _parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), _TOGETHER):
        yield keys[start : start + _TOGETHER]


def _fitting(sizes: Iterable[tuple[Any, int]], most_bytes: int) -> int:
    """How many items are no larger than this together, each given with its size; one at least."""
    count, total = 0, 0
    for _, size_bytes in sizes:
        total += size_bytes
        if total > most_bytes and count:
            break
        count += 1
    return count

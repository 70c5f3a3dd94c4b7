"""Checks of collections: their totals are those of their items, and none is of a removed charm."""

from __future__ import annotations

from collections.abc import Iterator

from bg_charm_service.domain.items import ITEM_OVERHEAD_BYTES
from bg_charm_service.storage.records import Severity, Trouble
from bg_charm_service.storage.sql.checks.findings import SLICE_ROWS, Scope, charm_names, sliced

_COLLECTIONS = """SELECT collection_key, charm_key, version, count, size_bytes,
    charm_key IS NOT NULL AND NOT EXISTS (SELECT 1 FROM charms
        WHERE charms.charm_key = collections.charm_key AND removed_at IS NULL)
    FROM collections WHERE collection_key > :after ORDER BY collection_key LIMIT :rows"""

_ITEMS = """SELECT key, length(CAST(key AS BLOB)) + length(value) FROM items
    WHERE collection_key = ? AND key > ? ORDER BY key LIMIT ?"""

_TOTALS = f"""UPDATE collections SET (count, size_bytes) =
    (SELECT count(*), coalesce(sum(length(CAST(key AS BLOB)) + length(value)), 0)
        + count(*) * {ITEM_OVERHEAD_BYTES} FROM items WHERE items.collection_key = ?1)
    WHERE collection_key = ?1"""  # noqa: S608 - a number of our own


def collections(scope: Scope) -> Iterator[Trouble | None]:
    """Each collection counts what it has, and belongs to a charm that there is."""
    left: list[int] = []
    wrong: list[int] = []
    for rows in sliced(scope, _COLLECTIONS, 0):
        for collection_key, charm_key, version, count, size_bytes, is_left in rows:
            if is_left:
                left.append(charm_key)
            for found in _counted(scope, collection_key):
                if found is None:
                    yield None
                elif found != (count, size_bytes) and _stands_still(scope, collection_key, version):
                    wrong.append(collection_key)
        yield None
    if wrong:
        text = "with totals that are not those of their items"
        yield Trouble("items", Severity.ERROR, text, "Collections", tuple(wrong), mend=_count)
    if left:
        text = "that do not exist any more, and have rows in collections"
        names = charm_names(scope, left)
        yield Trouble("leftovers", Severity.WARNING, text, "Charms", tuple(left), names, mend=_drop)


def _counted(scope: Scope, collection_key: int) -> Iterator[tuple[int, int] | None]:
    """Count the items of a collection and their sizes: None after each slice, and then both."""
    count, size_bytes, after = 0, 0, ""
    while True:
        rows = scope.database.rows(_ITEMS, (collection_key, after, SLICE_ROWS))
        count += len(rows)
        size_bytes += sum(size for _, size in rows) + len(rows) * ITEM_OVERHEAD_BYTES
        if len(rows) < SLICE_ROWS:
            yield count, size_bytes
            return
        after = rows[-1][0]
        yield None


def _stands_still(scope: Scope, collection_key: int, version: int) -> bool:
    """Whether nobody has written a collection since: else there was nothing to compare."""
    row = scope.database.row(
        "SELECT version FROM collections WHERE collection_key = ? AND charm_key IS NOT NULL",
        (collection_key,),
    )
    return row is not None and row[0] == version


def _count(scope: Scope, collection_key: int) -> None:
    wanted = "SELECT size_bytes FROM collections WHERE collection_key = ?"
    (before,) = scope.database.row(wanted, (collection_key,))
    scope.database.execute(_TOTALS, (collection_key,))
    (after,) = scope.database.row(wanted, (collection_key,))
    total = scope.database.sole_writer.items_total
    total.add(after - before)
    scope.database.on_rollback(lambda: total.add(before - after))


def _drop(scope: Scope, charm_key: int) -> None:
    scope.database.execute(
        "UPDATE collections SET charm_key = NULL WHERE charm_key = ?1 AND NOT EXISTS"
        " (SELECT 1 FROM charms WHERE charm_key = ?1 AND removed_at IS NULL)",
        (charm_key,),
    )

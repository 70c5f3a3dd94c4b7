"""Commands that look into collections: a page at a time, all of it or what a text finds."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from bg_charm_service.domain.errors import NotFound
from bg_charm_service.domain.items import MOST_TOGETHER, ItemPage, StoredItem
from bg_charm_service.domain.model import CharmRef, FieldKind
from bg_charm_service.service.commands.context import CommandContext
from bg_charm_service.storage.records import CharmRecord, CollectionRecord

#: A search looks at so many pages before it answers with what it has found, and goes on from there.
_PAGES_LOOKED_AT = 4


class Collected(NamedTuple):
    """Items of a collection, behind which key it goes on (None at the end), and its totals."""

    items: tuple[StoredItem, ...]
    next: str | None
    totals: CollectionRecord

    def as_json(self) -> bytes:
        """Write it as the API gives it."""
        return msgspec.json.encode(
            {
                "items": [
                    {"key": item.key, "value": msgspec.Raw(item.value or b"null")}
                    for item in self.items
                ],
                "next": self.next,
                "count": self.totals.count,
                "bytes": self.totals.size_bytes,
            }
        )


class ItemCommands:
    """What people see of collections."""

    def __init__(self, context: CommandContext) -> None:
        self._context = context
        self._store = context.store

    def page(
        self, ref: CharmRef, field: str, *, after: str = "", limit: int = 100, text: str = ""
    ) -> Collected:
        """Items from behind a key, in the order of their keys; with a text those that have it.

        A text is looked for in keys and in values, in part of the collection at a time: so a page
        may be empty, and others follow it.
        """
        charm, name = self._collection(ref, field)
        totals = self._store.items.get(charm.charm_key, name)
        found: list[StoredItem] = []
        for _ in range(_PAGES_LOOKED_AT):
            page = self._page(charm, name, after, MOST_TOGETHER if text else limit - len(found))
            for item in page.items:
                after = item.key
                if _has_text(item, text):
                    found.append(item)
                if len(found) == limit:
                    is_last = page.is_end and item is page.items[-1]
                    return Collected(tuple(found), None if is_last else after, totals)
            if page.is_end:
                return Collected(tuple(found), None, totals)
        return Collected(tuple(found), after, totals)

    def item(self, ref: CharmRef, field: str, key: str) -> bytes:
        """One item's JSON; raises NotFound."""
        charm, name = self._collection(ref, field)
        for item in self._store.items.find(charm.charm_key, name, [key], has_values=True):
            return item.value or b"null"
        raise NotFound(f"{charm.name}.{name} has no item {key!r:.100}.")

    def _page(self, charm: CharmRecord, field: str, after: str, limit: int) -> ItemPage:
        return self._store.items.page(charm.charm_key, field, after, limit, has_values=True)

    def _collection(self, ref: CharmRef, name: str) -> tuple[CharmRecord, str]:
        """Find a collection, or the one that a field links to; raises NotFound."""
        charm = self._context.charm(ref)
        field = charm.schema.field(name)
        if field is not None and field.kind is FieldKind.ITEMS:
            return charm, name
        for link in self._store.links.of(charm.charm_key):
            target = self._store.charms.get(link.target_key)
            if link.field != name or target is None or target.removed_at is not None:
                continue
            there = target.schema.field(link.path[0]) if len(link.path) == 1 else None
            if there is not None and there.kind is FieldKind.ITEMS:
                return target, there.name
        names = [one.name for one in charm.schema.fields if one.kind.is_of_items]
        raise NotFound(
            f"{charm.name} has no collection {name}; it has {', '.join(names) or 'none'}."
        )


def _has_text(item: StoredItem, text: str) -> bool:
    if not text:
        return True
    wanted = text.casefold()
    value = (item.value or b"").decode(errors="replace")
    return wanted in item.key.casefold() or wanted in value.casefold()

"""Commands that look into collections: a page at a time, all of it or what a text finds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from bg_charm_service.domain.errors import InvalidInput, NotFound
from bg_charm_service.domain.items import MOST_TOGETHER, ItemPage, StoredItem
from bg_charm_service.domain.model import CharmRef, FieldKind
from bg_charm_service.service.commands.context import CommandContext
from bg_charm_service.storage.records import CharmRecord, CollectionRecord

#: A search looks at so many pages before it answers with what it has found, and goes on from there.
_PAGES_LOOKED_AT = 4

#: A search looks at no more members than this.
MOST_FILTERS: Final = 20

#: All items.
NO_FILTERS: Final[Mapping[str, str]] = {}

_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}")


class Collected(NamedTuple):
    """Items of a collection, behind which key it goes on (None at the end), and its totals."""

    items: tuple[StoredItem, ...]
    next: str | None
    totals: CollectionRecord
    #: The members of an item that a table shows, with their titles, as its type names them.
    columns: tuple[tuple[str, str], ...] = ()

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
        self,
        ref: CharmRef,
        field: str,
        *,
        after: str = "",
        limit: int = 100,
        text: str = "",
        where: Mapping[str, str] = NO_FILTERS,
    ) -> Collected:
        """Items from behind a key, in the order of their keys; those that a search finds.

        A text is looked for in keys and in values, and those of `where` each in one member of a
        value; large and small letters are the same. That is done in part of the collection at a
        time: so a page may be empty, and others follow it.
        """
        charm, name = self._collection(ref, field)
        totals = self._store.items.get(charm.charm_key, name)
        columns = charm.schema.columns.get(name, ())
        wanted = {member: words.casefold() for member, words in where.items() if words}
        is_search = bool(text or wanted)
        found: list[StoredItem] = []
        for _ in range(_PAGES_LOOKED_AT):
            limit_of_part = MOST_TOGETHER if is_search else limit - len(found)
            page = self._page(charm, name, after, limit_of_part)
            for item in page.items:
                after = item.key
                if _has_text(item, text) and _has_members(item, wanted):
                    found.append(item)
                if len(found) == limit:
                    is_last = page.is_end and item is page.items[-1]
                    return Collected(tuple(found), None if is_last else after, totals, columns)
            if page.is_end:
                return Collected(tuple(found), None, totals, columns)
        return Collected(tuple(found), after, totals, columns)

    def tables(self, ref: CharmRef) -> list[str]:
        """The collections of a charm whose types name columns: those made to be looked at."""
        return list(self._context.charm(ref).schema.columns)

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


def read_filters(texts: Sequence[str]) -> dict[str, str]:
    """Read filters of the form `member:text`; raises InvalidInput."""
    filters = {}
    for one in texts:
        member, colon, words = one.partition(":")
        if not (member and colon):
            raise InvalidInput(f"where: {one!r:.100} is not of the form MEMBER:TEXT.")
        filters[member] = words
    return filters


def _has_members(item: StoredItem, wanted: Mapping[str, str]) -> bool:
    if not wanted:
        return True
    value = msgspec.json.decode(item.value or b"null")
    if not isinstance(value, dict):
        return False
    return all(words in member_text(value.get(name)).casefold() for name, words in wanted.items())


def member_text(value: Any) -> str:
    """Give a member of an item as a table shows it, which is what a filter looks at.

    Times are as they are stored, with a blank between day and time.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value[:10] + " " + value[11:] if _TIME.match(value) else value
    if isinstance(value, list) and all(isinstance(one, str | int | float) for one in value):
        return ", ".join(map(str, value))
    return msgspec.json.encode(value).decode()


def _has_text(item: StoredItem, text: str) -> bool:
    if not text:
        return True
    wanted = text.casefold()
    value = (item.value or b"").decode(errors="replace")
    return wanted in item.key.casefold() or wanted in value.casefold()

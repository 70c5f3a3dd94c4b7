"""Collections on behalf of runs: what they look into, whether it has moved, what they write.

A run sees a collection as it is when it asks, and what it saw has to hold when it is settled: then
the run is as good as made at that moment. While nobody else has written the collection that costs
nothing; else each key and each range is looked at. Called by the loop for questions, outside of a
transaction, and by the completer and its effects, inside theirs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from bg_charm_service.domain.errors import InvalidInput, StateTooLarge
from bg_charm_service.domain.items import (
    MOST_TOUCHED,
    TouchedItems,
    check_item_size,
    check_key,
    run_items_limit,
    written_bytes,
)
from bg_charm_service.domain.json_values import check_json
from bg_charm_service.domain.limits import Limits
from bg_charm_service.domain.model import FieldKind
from bg_charm_service.domain.quantities import size_text
from bg_charm_service.storage.contract import Store
from bg_charm_service.storage.records import CharmRecord, CollectionRecord, Link
from bg_charm_service.supervisor.in_flight import InFlight
from bg_charm_service.workers.protocol.messages import FoundItems, WantItems

#: Ranges with more keys than this in all are not looked at again: the run is stale.
_MOST_LOOKED_AT: Final = MOST_TOUCHED


class ItemQuotas(msgspec.Struct, frozen=True):
    """How much collections may hold, in bytes: those of one charm, and of all charms together."""

    charm_bytes: int = 256 * 1024 * 1024
    total_bytes: int = 4 * 1024 * 1024 * 1024


class _Place(NamedTuple):
    """A collection: whose it is, and its field there."""

    charm: CharmRecord
    field: str


class RunItems:
    """Reads, checks and writes collections."""

    def __init__(self, store: Store, quotas: ItemQuotas) -> None:
        self._store = store
        self._quotas = quotas

    def records(self, charm: CharmRecord, links: Mapping[str, Link]) -> dict[str, CollectionRecord]:
        """The collections that a run of a charm may touch, as they are now, by its field."""
        records = {}
        own: dict[str, CollectionRecord] | None = None
        for field in charm.schema.fields:
            if field.kind is FieldKind.ITEMS:
                own = self._store.items.of(charm.charm_key) if own is None else own
                records[field.name] = own.get(field.name, CollectionRecord())
            elif field.kind is FieldKind.ITEMS_CELL and field.name in links:
                link = links[field.name]
                records[field.name] = self._store.items.get(link.target_key, link.path[0])
        return records

    def answer(self, run: InFlight, wanted: WantItems) -> FoundItems:
        """Answer a question of a run under way; raises StorageError."""
        items = self._store.items
        try:
            place = self._place(run, wanted.field)
        except InvalidInput as error:
            return FoundItems(wanted.run_id, problem=str(error))
        key, field = place.charm.charm_key, place.field
        if wanted.keys:
            found = items.find(key, field, wanted.keys, has_values=wanted.has_values)
            return FoundItems(wanted.run_id, tuple(found))
        if wanted.limit:
            page = items.page(key, field, wanted.after, wanted.limit, has_values=wanted.has_values)
            return FoundItems(wanted.run_id, page.items, page.version, is_end=page.is_end)
        return FoundItems(wanted.run_id, count=items.get(key, field).count)

    def have_moved(self, run: InFlight, touched: Sequence[TouchedItems]) -> bool:
        """Whether anything of what a run saw or wrote was changed by somebody else."""
        for name, parts in _by_field(touched).items():
            if name not in run.collections:
                continue
            try:
                place = self._place(run, name)
            except InvalidInput:
                # It was removed, or is no collection any more: whoever writes to it says so.
                continue
            if self._has_moved(place, run.collections[name].version, parts):
                return True
        return False

    def check(self, run: InFlight, touched: Sequence[TouchedItems], limits: Limits) -> None:
        """Raise InvalidInput, or StateTooLarge, for what a run may not write."""
        size_bytes = 0
        for part in touched:
            if part.writes and part.field not in run.collections:
                raise InvalidInput(f"{part.field!r:.100} is no collection that a run can write.")
            size_bytes += written_bytes(part.writes)
            for key, value in part.writes.items():
                check_key(key)
                if value is not None:
                    check_item_size(part.field, key, value)
                    try:
                        check_json(value)
                    except ValueError as error:
                        text = f"What it left for {part.field}[{key!r:.100}]: {error}."
                        raise InvalidInput(text) from None
        most_bytes = run_items_limit(limits.state_bytes)
        if size_bytes > most_bytes:
            raise StateTooLarge(
                f"It wrote {size_bytes:,} bytes of items, and may write {size_text(most_bytes)}."
            )

    def write(self, run: InFlight, touched: Sequence[TouchedItems]) -> None:
        """Write what was checked; raises InvalidInput, with some of it written."""
        for name, parts in _by_field(touched).items():
            writes = {key: value for part in parts for key, value in part.writes.items()}
            if not writes:
                continue
            place = self._place(run, name, is_to_write=True)
            declared = place.charm.schema.field(place.field)
            # A field that an update took away meanwhile has no place any more.
            if declared is not None and declared.kind is FieldKind.ITEMS:
                self.put(place.charm, place.field, writes)

    def put(self, charm: CharmRecord, field: str, writes: Mapping[str, bytes | None]) -> None:
        """Write items of a charm, within the quotas; raises StateTooLarge, with them written."""
        items = self._store.items
        before, total_before = items.get(charm.charm_key, field), items.total_bytes
        after = items.write(charm.charm_key, field, writes)
        if after.size_bytes <= before.size_bytes:
            return
        own = sum(each.size_bytes for each in items.of(charm.charm_key).values())
        if own > self._quotas.charm_bytes:
            raise StateTooLarge(
                f"Its collections would be {own:,} bytes, and those of one charm may be "
                f"{size_text(self._quotas.charm_bytes)} (--items-size)."
            )
        if items.total_bytes > max(self._quotas.total_bytes, total_before):
            raise StateTooLarge(
                f"All collections would be {items.total_bytes:,} bytes, and may be "
                f"{size_text(self._quotas.total_bytes)} together (--items-total)."
            )

    def _has_moved(self, place: _Place, version: int, parts: Sequence[TouchedItems]) -> bool:
        items, key, field = self._store.items, place.charm.charm_key, place.field
        now = items.get(key, field)
        if now.version == version:
            return False
        if any(count != now.count for part in parts for count in part.counts):
            return True
        seen = {name: was for part in parts for name, was in part.seen.items()}
        written = [name for part in parts for name in part.writes if name not in seen]
        found = items.find(key, field, [*seen, *written], has_values=False)
        versions = {item.key: item.version for item in found}
        if any(versions.get(name, 0) != was for name, was in seen.items()):
            return True
        if any(versions.get(name, 0) > version for name in written):
            return True
        ranges = [one for part in parts for one in part.ranges]
        if sum(one.count for one in ranges) > _MOST_LOOKED_AT:
            return any(one.version != now.version for one in ranges)
        return not all(items.holds(key, field, one) for one in ranges)

    def _place(self, run: InFlight, name: str, *, is_to_write: bool = False) -> _Place:
        """Find the collection behind a field of a run; raises InvalidInput."""
        field = run.charm.schema.field(name)
        if field is None or not field.kind.is_of_items:
            raise InvalidInput(f"{name!r:.100} is no collection.")
        if field.kind is FieldKind.ITEMS:
            return _Place(self._store.charms.get(run.claim.charm_key) or run.charm, name)
        link = run.links.get(name)
        target = self._store.charms.get(link.target_key) if link is not None else None
        if link is None or target is None or target.removed_at is not None:
            raise InvalidInput(f"Field {name!r} links to a charm that does not exist.")
        there = target.schema.field(link.path[0]) if len(link.path) == 1 else None
        if there is None or there.kind is not FieldKind.ITEMS:
            raise InvalidInput(f"Field {name!r} links to no collection: {target.ref} has changed.")
        if is_to_write and not (link.is_writable or target.space_key == run.claim.space_key):
            raise InvalidInput(f"Field {name!r} is a link that may only be read.")
        return _Place(target, there.name)


def _by_field(touched: Iterable[TouchedItems]) -> dict[str, list[TouchedItems]]:
    parts: dict[str, list[TouchedItems]] = defaultdict(list)
    for part in touched:
        parts[part.field].append(part)
    return parts

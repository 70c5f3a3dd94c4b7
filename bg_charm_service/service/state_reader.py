"""A charm's state as people and integrations see it: secrets redacted, links named.

Reads only. Used by the commands, and by the scanner for integrations that check charms.
"""

from __future__ import annotations

import msgspec

from bg_charm_service.domain.model import CharmRef, FieldKind
from bg_charm_service.storage.contract import Store
from bg_charm_service.storage.records import CharmRecord, CollectionRecord


class StateReader:
    """Reads states from the store, each as one JSON object."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def redacted_state(self, charm: CharmRecord) -> bytes:
        """Give the state of a charm that is at hand."""
        state = self._store.cells.state(charm)
        for link in self._store.links.of(charm.charm_key):
            target = self._store.charms.get(link.target_key)
            if target is not None:
                address = "/".join([str(target.ref), *link.path])
                state[link.field] = msgspec.Raw(msgspec.json.encode({"$link": address}))
        collections = [f.name for f in charm.schema.fields if f.kind is FieldKind.ITEMS]
        if collections:
            # Of these there may be very many: they are shown by themselves, in pages.
            there = self._store.items.of(charm.charm_key)
            for name in collections:
                totals = there.get(name, CollectionRecord())
                shown = {"$items": totals.count, "bytes": totals.size_bytes}
                state[name] = msgspec.Raw(msgspec.json.encode(shown))
        return msgspec.json.encode(state)

    def find_redacted_state(self, ref: CharmRef) -> bytes | None:
        """Give the state of a charm by its address; None when there is no such charm."""
        charm = self._store.charms.find(ref)
        return self.redacted_state(charm) if charm is not None else None

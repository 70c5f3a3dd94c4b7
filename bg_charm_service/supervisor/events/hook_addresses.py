"""Which streams have an address outside, and where the service takes what comes to it.

A charm gets its addresses with its source, keeps them with every other source that has the hook,
and loses them with it. Called inside transactions, by the commands that add and update; runs are
told.
"""

from __future__ import annotations

from collections.abc import Callable

from bg_charm_service.domain.events.hooks import (
    ADDRESS_BYTES,
    HOOK_PATH,
    GivenHook,
    new_address,
)
from bg_charm_service.storage.contract import Store
from bg_charm_service.storage.records import CharmRecord


class HookAddresses:
    """Gives out addresses."""

    def __init__(self, store: Store, random_bytes: Callable[[int], bytes], url: str = "") -> None:
        self._store = store
        self._random_bytes = random_bytes
        #: What the outside calls the listener, without a path; empty where there is none.
        self.base_url = url

    @property
    def are_taken(self) -> bool:
        """Whether the service takes what comes from outside."""
        return bool(self.base_url)

    def give(self, charm: CharmRecord, now: float) -> None:
        """Give each hook of a charm its address, and take away those of hooks that are gone."""
        has = {one.stream for one in self._store.hooks.of(charm)}
        wanted = charm.schema.hooks.keys()
        for stream in sorted(has - wanted):
            self._store.hooks.drop(charm.charm_key, stream)
        for stream in sorted(wanted - has):
            self.renew(charm, stream, now)

    def renew(self, charm: CharmRecord, stream: str, now: float) -> None:
        """Give a hook another address: the one before leads nowhere any more."""
        address = new_address(self._random_bytes(ADDRESS_BYTES))
        self._store.hooks.put(charm, stream, address, now)

    def of_run(self, charm: CharmRecord) -> dict[str, GivenHook]:
        """What a run is told of its charm's hooks, by stream; nothing where none are taken."""
        if not self.base_url or not charm.schema.hooks:
            return {}
        return {
            one.stream: GivenHook(self.url_of(one.address), one.leased_until)
            for one in self._store.hooks.of(charm)
        }

    def url_of(self, address: str) -> str:
        """Where senders reach an address; only the path of it where none are taken."""
        return f"{self.base_url}{HOOK_PATH}{address}"

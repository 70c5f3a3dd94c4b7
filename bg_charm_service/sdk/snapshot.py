"""What a run starts from: the stored values of one charm at one moment, and its links.

Values are bytes of JSON and stay so until the charm touches them. The worker brings its own
Snapshot; MemorySnapshot serves charms that are made by hand, in tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from bg_charm_service.domain.items import RUN_ITEMS_BYTES
from bg_charm_service.sdk.run_items import ItemSource, MemoryItems


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """One link of a charm: where it leads is the supervisor's business."""

    writable: bool = True


class Snapshot(Protocol):
    """The values that a run may read."""

    def load(self, field: str) -> bytes:
        """Give a field's JSON, or that of the value it links to; may block to fetch it.

        Raises KeyError when nothing is stored under that name: the default then counts.
        """

    def links(self) -> Mapping[str, LinkInfo]:
        """Give the links that are set, by field."""

    def items(self, field: str) -> ItemSource:
        """Give what a collection is read from, the charm's own or one that it links to."""

    @property
    def most_item_bytes(self) -> int:
        """How much the run may write of items."""

    async def renew(self, field: str, seen: str) -> bytes:
        """Have the token of a sign-in renewed; gives what the run may see of it then.

        `seen` is the fingerprint of the token that was refused. Raises SignInNeeded, ProviderDown.
        """
        ...


@dataclass(frozen=True, slots=True)
class MemorySnapshot:
    """A snapshot that holds everything already."""

    values: Mapping[str, bytes] = field(default_factory=dict)
    link_infos: Mapping[str, LinkInfo] = field(default_factory=dict)
    stored_items: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    most_item_bytes: int = RUN_ITEMS_BYTES

    def load(self, field: str) -> bytes:
        return self.values[field]

    def links(self) -> Mapping[str, LinkInfo]:
        return self.link_infos

    def items(self, field: str) -> ItemSource:
        return MemoryItems(self.stored_items.get(field, {}))

    async def renew(self, field: str, seen: str) -> bytes:
        return self.values[field]

"""Which charms the service polls, and why: registered, or listed by an integration.

A charm that several sources name is polled once. In memory; registrations are durable, lists
come anew with every scan. Used by the supervisor, the commands and the status.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from bg_charm_service.domain.model import CharmHealth
from bg_charm_service.storage.contract import Store


class PolledCharms:
    """The charms that are polled unless they are disabled."""

    def __init__(self, store: Store) -> None:
        self._labels: dict[int, str] = store.registrations.labels()
        self._listed: dict[str, frozenset[int]] = {}
        #: Counts are asked for more often than they change.
        self._counts: Counter[str] | None = None
        self._size: int | None = None
        rows = store.health.scheduled()
        self.disabled: set[int] = {row.charm_key for row in rows if row.disabled_by is not None}
        self.failing: set[int] = {row.charm_key for row in rows if row.consecutive_failures > 0}

    def register(self, charm_key: int, label: str) -> None:
        """Note a registration; the last label wins."""
        self._labels[charm_key] = label
        self._recount()

    def unregister(self, charm_key: int) -> None:
        """Note the end of a registration."""
        self._labels.pop(charm_key, None)
        self._recount()
        self._tidy(charm_key)

    def replace_list(self, integration_id: str, charm_keys: Iterable[int]) -> set[int]:
        """Note what an integration lists now; gives the charms that nobody names any more."""
        before = self.listed(integration_id)
        self._listed[integration_id] = frozenset(charm_keys)
        self._recount()
        gone = {key for key in before - self._listed[integration_id] if key not in self}
        for charm_key in gone:
            self._tidy(charm_key)
        return gone

    def forget(self, charm_key: int) -> None:
        """Drop a charm that was removed from everywhere."""
        self._labels.pop(charm_key, None)
        for integration_id, keys in self._listed.items():
            if charm_key in keys:
                self._listed[integration_id] = keys - {charm_key}
        self._recount()
        self._tidy(charm_key)

    def note_health(self, charm_key: int, health: CharmHealth) -> None:
        """Note how a charm is doing once that is on disk."""
        if not (health.consecutive_failures or health.disabled_by or self.failing or self.disabled):
            return
        _keep(self.failing, charm_key, belongs=health.consecutive_failures > 0)
        _keep(self.disabled, charm_key, belongs=not health.is_enabled)

    def listed(self, integration_id: str) -> frozenset[int]:
        """What an integration lists."""
        return self._listed.get(integration_id, frozenset())

    def listed_by(self, charm_key: int) -> tuple[str, ...]:
        """The integrations that list a charm."""
        return tuple(name for name, keys in sorted(self._listed.items()) if charm_key in keys)

    def listed_only(self, integration_id: str) -> set[int]:
        """The charms that are counted under an integration because it lists them."""
        return {key for key in self.listed(integration_id) if self.label(key) == integration_id}

    def label(self, charm_key: int) -> str | None:
        """The integration that a charm's runs are counted under."""
        label = self._labels.get(charm_key)
        return label or next(iter(self.listed_by(charm_key)), None)

    def counts(self) -> Counter[str]:
        """How many charms each integration has."""
        if self._counts is None:
            self._counts = Counter(self._labels.values())
            for name, keys in self._listed.items():
                self._counts[name] += len(keys - self._labels.keys())
        return self._counts

    def __contains__(self, charm_key: object) -> bool:
        return charm_key in self._labels or any(charm_key in k for k in self._listed.values())

    def __len__(self) -> int:
        if self._size is None:
            self._size = len(self._labels.keys() | frozenset().union(*self._listed.values()))
        return self._size

    def _recount(self) -> None:
        self._counts = self._size = None

    def _tidy(self, charm_key: int) -> None:
        if charm_key not in self:
            self.disabled.discard(charm_key)
            self.failing.discard(charm_key)


def _keep(keys: set[int], key: int, *, belongs: bool) -> None:
    if belongs:
        keys.add(key)
    else:
        keys.discard(key)

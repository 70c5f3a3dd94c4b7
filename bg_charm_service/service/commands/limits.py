"""Commands about limits: those that count for a charm or a space, and what the operator sets.

Only the operator may set any, also for spaces of others: an owner of a space cannot give it more.
"""

from __future__ import annotations

from collections.abc import Mapping

from bg_charm_service.domain.errors import NotFound
from bg_charm_service.domain.limit_names import change_limits, write_given
from bg_charm_service.domain.limit_views import LimitsView
from bg_charm_service.domain.limits import LimitChanges
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.service.commands.base import Desk
from bg_charm_service.storage.records import Space


class LimitCommands(Desk):
    """What shows and sets limits."""

    def charm_limits(self, ref: CharmRef) -> LimitsView:
        """The limits of a charm's runs, and who set each."""
        return self.office.limits.shown_for_charm(self.charm(ref))

    def space_limits(self, name_or_did: str) -> LimitsView:
        """The limits of a space's charms, and who set each."""
        return self.office.limits.shown_for_space(self._known_space(name_or_did).space_key)

    def set_charm_limits(self, ref: CharmRef, given: Mapping[str, object]) -> LimitsView:
        """Set limits of a charm by name, None to take one back; others stay."""
        charm = self.charm(ref)
        changes = change_limits(self.store.limits.of_charm(charm.charm_key), given)
        with self.change("set limits", ref, detail=write_given(given)):
            self.store.limits.put_charm(charm.charm_key, changes)
            self.tell(ref, "limits")
        return self.charm_limits(ref)

    def set_space_limits(self, name_or_did: str, given: Mapping[str, object]) -> LimitsView:
        """Set limits of a space by name, None to take one back; others stay."""
        space = self._known_space(name_or_did)
        changes = change_limits(self.store.limits.of_space(space.space_key), given)
        with self.change("set limits", space=space.did, detail=write_given(given)):
            self.store.limits.put_space(space.space_key, changes)
        return self.space_limits(space.did)

    def reset_charm_limits(self, ref: CharmRef) -> LimitsView:
        """Take back all limits that were set for a charm itself."""
        charm = self.charm(ref)
        with self.change("reset limits", ref):
            self.store.limits.put_charm(charm.charm_key, LimitChanges())
            self.tell(ref, "limits")
        return self.charm_limits(ref)

    def reset_space_limits(self, name_or_did: str) -> LimitsView:
        """Take back all limits that were set for a space; those of its charms stay."""
        space = self._known_space(name_or_did)
        with self.change("reset limits", space=space.did):
            self.store.limits.put_space(space.space_key, LimitChanges())
        return self.space_limits(space.did)

    def _known_space(self, name_or_did: str) -> Space:
        space = self.space(name_or_did)
        if space is None:
            raise NotFound(f"There is no space {name_or_did}. See `bg-charm-service space list`.")
        return space

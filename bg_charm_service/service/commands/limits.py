"""Commands about limits: those that count for a charm or a space, and what the operator sets.

Only the operator may set any, also for spaces of others: an owner of a space cannot give it more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from bg_charm_service.domain.identity import space_did
from bg_charm_service.domain.limits import NO_CHANGES, LimitChanges, change_limits, write_given
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.domain.views import LimitsView
from bg_charm_service.service.commands.context import CommandContext
from bg_charm_service.supervisor.limit_resolver import LimitResolver


class LimitCommands:
    """What shows and sets limits."""

    def __init__(self, context: CommandContext, limits: LimitResolver) -> None:
        self._context = context
        self._store = context.store
        self._limits = limits

    def of_charm(self, ref: CharmRef) -> LimitsView:
        """The limits of a charm's runs, and who set each."""
        return self._limits.shown_for_charm(self._context.charm(ref))

    def of_space(self, name_or_did: str) -> LimitsView:
        """The limits of a space's charms, and who set each; also of a space that is not there."""
        space = self._context.space(name_or_did)
        shown = self._limits.shown_for_space(space.space_key if space is not None else None)
        if space is not None:
            return shown
        note = f"There is no space {name_or_did} yet: these would count for its first charm."
        return replace(shown, notes=(note,))

    def state_bytes(self, ref: CharmRef | None) -> int:
        """How large the state of a charm may be; without one that is there, of one to be added."""
        charm = self._store.charms.find(ref) if ref is not None else None
        limits = self._limits.of(charm) if charm is not None else self._limits.allowed()
        return limits.state_bytes

    def set_for_charm(self, ref: CharmRef, given: Mapping[str, object]) -> LimitsView:
        """Set limits of a charm by name, None to take one back; others stay."""
        charm = self._context.charm(ref)
        changes = change_limits(self._store.limits.of_charm(charm.charm_key), given)
        with self._context.change("set limits", ref, detail=write_given(given)):
            self._store.limits.put_charm(charm.charm_key, changes)
            self._context.tell(ref, "limits")
        return self.of_charm(ref)

    def set_for_space(self, name_or_did: str, given: Mapping[str, object]) -> LimitsView:
        """Set limits of a space by name, None to take one back; others stay.

        A space that is not there yet is made, so that its first charm has them.
        """
        known = self._context.space(name_or_did)
        before = self._store.limits.of_space(known.space_key) if known is not None else NO_CHANGES
        changes = change_limits(before, given)
        did = space_did(name_or_did)
        with self._context.change("set limits", space=did, detail=write_given(given)):
            space = known or self._context.ensure_owned(name_or_did)
            self._store.limits.put_space(space.space_key, changes)
        shown = self.of_space(did)
        if known is not None:
            return shown
        note = f"The space {name_or_did} is new: it was made, without any charm."
        return replace(shown, notes=(note,))

    def reset_for_charm(self, ref: CharmRef) -> LimitsView:
        """Take back all limits that were set for a charm itself."""
        charm = self._context.charm(ref)
        with self._context.change("reset limits", ref):
            self._store.limits.put_charm(charm.charm_key, LimitChanges())
            self._context.tell(ref, "limits")
        return self.of_charm(ref)

    def reset_for_space(self, name_or_did: str) -> LimitsView:
        """Take back all limits that were set for a space; those of its charms stay."""
        space = self._context.known_space(name_or_did)
        with self._context.change("reset limits", space=space.did):
            self._store.limits.put_space(space.space_key, LimitChanges())
        return self.of_space(space.did)

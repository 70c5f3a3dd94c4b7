"""Commands about hooks: their addresses are shown to who may change their charm, and renewed."""

from __future__ import annotations

from bg_charm_service.domain.errors import NotFound
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.domain.views import HookView
from bg_charm_service.service.commands.context import CommandContext
from bg_charm_service.storage.records import CharmRecord, HookRecord
from bg_charm_service.supervisor.events.hook_addresses import HookAddresses


class HookCommands:
    """What people do with addresses."""

    def __init__(self, context: CommandContext, addresses: HookAddresses) -> None:
        self._context = context
        self._store = context.store
        self._addresses = addresses

    def of(self, ref: CharmRef) -> list[HookView]:
        """The hooks of a charm, with their addresses."""
        charm = self._context.owned_charm(ref)
        return [self._view(charm, one) for one in self._store.hooks.of(charm)]

    def shown(self, ref: CharmRef) -> list[HookView]:
        """The hooks of a charm; none where it is in a space that the operator does not own."""
        charm = self._context.charm(ref)
        return self.of(ref) if charm.schema.hooks and self._context.owns(charm) else []

    def rotate(self, ref: CharmRef, stream: str) -> HookView:
        """Give a hook another address; the one before leads nowhere from then on.

        Raises NotFound for a stream without a hook.
        """
        charm = self._context.owned_charm(ref)
        if stream not in charm.schema.hooks:
            there = ", ".join(charm.schema.hooks) or "none"
            raise NotFound(f"{charm.name} has no hook {stream:.100}; it has {there}.")
        with self._context.change("rotate hook", ref, detail=stream):
            self._addresses.renew(charm, stream, self._context.parts.clock.now())
            self._context.tell(ref, "hook")
        return next(one for one in self.of(ref) if one.stream == stream)

    def _view(self, charm: CharmRecord, record: HookRecord) -> HookView:
        schema = charm.schema.hooks[record.stream]
        return HookView(
            stream=record.stream,
            url=self._addresses.url_of(record.address),
            sign=schema.sign,
            secret_field=schema.secret,
            is_poke=schema.is_poke,
            is_taken=self._addresses.are_taken,
            made_at=record.made_at,
            leased_until=record.leased_until,
        )

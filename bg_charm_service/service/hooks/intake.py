"""Takes what senders outside deliver: it is on disk before anybody is told so.

Verifying a sender is the listener's; here it is found out whose an address is, and what came is put
into the queue once for each id, in one transaction. Called by the listener.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bg_charm_service.domain.errors import (
    AuthorizationError,
    Conflict,
    InvalidInput,
    ServiceStopping,
)
from bg_charm_service.domain.events.hooks import HookSchema, hash_of
from bg_charm_service.service.hooks.pokes import Pokes
from bg_charm_service.storage.records import CharmRecord, HookRecord
from bg_charm_service.supervisor.events.seals import EventSeals
from bg_charm_service.supervisor.loop import Supervisor

#: A charm with so many events waiting gets no more from outside.
MOST_WAITING = 1000

#: A sender may sign with one of so many secrets.
_MOST_SECRETS = 5

#: A hub is taken at its word for so long at most, in seconds.
LONGEST_LEASE_SECONDS = 366 * 86400.0


class FullError(Exception):
    """A charm has as many events waiting, or given up, as it may."""


class OpenHook(msgspec.Struct, frozen=True):
    """An address with what is behind it; `secrets` are what its sender may have signed with."""

    record: HookRecord
    charm: CharmRecord
    schema: HookSchema
    secrets: tuple[str, ...] = ()


class HookIntake:
    """Puts deliveries into the queue."""

    def __init__(self, supervisor: Supervisor, pokes: Pokes) -> None:
        self._supervisor = supervisor
        self._parts = supervisor.parts
        self._store = supervisor.parts.store
        self._queue = supervisor.parts.queue
        self._seals = EventSeals(supervisor.parts.store)
        self._pokes = pokes

    @property
    def clock_now(self) -> float:
        """The time of the wall clock, in seconds since the epoch."""
        return self._parts.clock.now()

    @property
    def clock_steady(self) -> float:
        """The time of the steady clock, in seconds."""
        return self._parts.clock.steady()

    def check_open(self) -> None:
        """Raise ServiceStopping while the service drains, StorageFull while the disk is full."""
        self._supervisor.storage_health.check_room()
        if self._supervisor.is_draining or self._supervisor.ended_by is not None:
            raise ServiceStopping("The service is stopping and takes no new work.")

    def at(self, address: str) -> OpenHook | None:
        """Find what is behind an address; None where nothing is."""
        record = self._store.hooks.find(hash_of(address))
        charm = self._store.charms.get(record.charm_key) if record is not None else None
        if record is None or charm is None or charm.removed_at is not None:
            return None
        schema = charm.schema.hooks.get(record.stream)
        return OpenHook(record, charm, schema) if schema is not None else None

    def with_secrets(self, hook: OpenHook) -> OpenHook:
        """Give a hook with the secrets that its charm has now: none where none can be read."""
        return msgspec.structs.replace(hook, secrets=tuple(self._secrets(hook)))

    def is_full(self, hook: OpenHook) -> bool:
        """Whether the charm of a hook has as many events waiting as it may."""
        return not hook.schema.is_poke and self._queue.has_waiting(
            hook.charm.charm_key, MOST_WAITING
        )

    def was_asked_for(self, hook: OpenHook, topic: str) -> bool:
        """Whether a charm has asked a hub for a topic: whether its field has it now."""
        try:
            cell = self._store.cells.read(hook.charm, hook.schema.topic)
        except (InvalidInput, AuthorizationError):
            return False
        value = msgspec.json.decode(cell.value) if cell is not None and cell.value else None
        wanted = value if isinstance(value, list) else [value]
        return bool(topic) and topic in wanted

    def lease(self, hook: OpenHook, seconds: float) -> None:
        """Note that a hub sends to a hook for so long from now on."""
        until = self._parts.clock.now() + min(max(seconds, 0.0), LONGEST_LEASE_SECONDS)
        with self._parts.database.transaction():
            self._store.hooks.lease(hook.record.hook_key, until)

    def take(self, hook: OpenHook, delivery_id: str, event: bytes) -> int:
        """Put an event into the queue, unless its id came before; gives its job.

        It is on disk then. One whose event was given up takes the place of that. Raises FullError,
        and StorageError where nothing was written.
        """
        with self._parts.database.transaction():
            job_id = self._put(hook, delivery_id, event)
        self._supervisor.wake()
        return job_id

    def poke(self, hook: OpenHook) -> None:
        """Have the charm of a hook polled once more; that is on disk then."""
        self._pokes.poke(hook.charm, hook.record.stream)

    def _put(self, hook: OpenHook, delivery_id: str, event: bytes) -> int:
        charm, hook_key = hook.charm, hook.record.hook_key
        steady = self._parts.clock.steady()
        id_hash = hash_of(delivery_id)
        if delivery_id:
            known = self._store.deliveries.find(hook_key, id_hash, steady)
            if known is not None and not known.is_dead:
                return known.job_id
            if known is not None:
                self._queue.drop_dead_letter(known.job_id)
        if self.is_full(hook):
            raise FullError
        try:
            job_id = self._queue.put_send(
                charm.space_key,
                charm.charm_key,
                charm.ref,
                hook.record.stream,
                self._seals.kept(charm, hook.record.stream, event),
                run_at=steady,
                now=self._parts.clock.now(),
                is_held=not self._store.health.get(charm.charm_key).is_enabled,
                not_before=self._parts.waiting.not_before(charm.charm_key),
            )
        except Conflict:
            raise FullError from None
        if delivery_id:
            self._store.deliveries.put(hook_key, id_hash, job_id, steady)
        return job_id

    def _secrets(self, hook: OpenHook) -> Sequence[str]:
        try:
            cell = self._store.cells.read(hook.charm, hook.schema.secret)
        except (InvalidInput, AuthorizationError):
            return ()
        value = msgspec.json.decode(cell.value) if cell is not None and cell.value else None
        # Several where one is being replaced by another.
        found = value if isinstance(value, list) else [value]
        return [one for one in found if isinstance(one, str) and one][:_MOST_SECRETS]

"""What every group of commands needs: how to find a charm, who asks, how a change is written down.

Handed to each group of commands by its constructor. Knows nothing of what a single command does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from bg_charm_service.domain.errors import (
    AuthorizationError,
    InvalidInput,
    NotFound,
    ServiceStopping,
)
from bg_charm_service.domain.identity import space_did
from bg_charm_service.domain.merkle import is_merkle_id
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.service.charm_names import find_named
from bg_charm_service.service.event_feed import CharmChange, EventFeed, PauseChange
from bg_charm_service.storage.records import CharmRecord, Space
from bg_charm_service.supervisor.loop import Supervisor

#: On whose behalf the commands of this task are carried out, as the audit log names it.
ACTOR: ContextVar[str] = ContextVar("actor", default="service")


class CommandContext:
    """Finds what commands are about, checks who may, and writes down what is changed."""

    def __init__(self, supervisor: Supervisor, events: EventFeed, operator: str) -> None:
        self.supervisor = supervisor
        self.parts = supervisor.parts
        self.store = supervisor.parts.store
        self._operator = operator
        self._events = events

    @property
    def operator(self) -> str:
        """The DID that the commands act as."""
        return self._operator

    def act_as(self, did: str) -> None:
        """Act as another identity, once it is on disk that it owns what the last one did."""
        self._operator = did

    def charm(self, ref: CharmRef) -> CharmRecord:
        """Find a charm; raises NotFound."""
        charm = self.store.charms.find(ref)
        if charm is None:
            raise NotFound(
                f"There is no charm {ref}. See `bg-charm-service charm list`, or add it with "
                "`bg-charm-service charm add FILE --space SPACE`."
            )
        return charm

    def owned_charm(self, ref: CharmRef) -> CharmRecord:
        """Find a charm that the operator may act on; raises NotFound, AuthorizationError."""
        charm = self.charm(ref)
        self.check_owner(charm.space_key, ref.space)
        return charm

    def owns(self, charm: CharmRecord) -> bool:
        """Whether the operator may act on a charm."""
        return self.store.spaces.is_owner(charm.space_key, self.operator)

    def resolve(self, space: str, text: str) -> CharmRef:
        """Read a charm's address, whose second half may be the cause that it was added for."""
        if not is_merkle_id(text):
            charm = find_named(self.store, CharmRef(space_did(space), text))
            if charm is not None:
                return charm.ref
            raise InvalidInput(
                f"Invalid charm ID: {text}. Must be a valid merkle ID, or the cause of a charm in "
                "that space: `bg-charm-service charm list` shows both."
            )
        return CharmRef.parse(f"{space_did(space)}/{text}")

    def space(self, name_or_did: str) -> Space | None:
        """Find a space by name or DID."""
        return self.store.spaces.find(space_did(name_or_did))

    def known_space(self, name_or_did: str) -> Space:
        """Find a space by name or DID; raises NotFound."""
        space = self.space(name_or_did)
        if space is None:
            raise NotFound(f"There is no space {name_or_did}. See `bg-charm-service space list`.")
        return space

    def ensure_owned(self, name_or_did: str) -> Space:
        """Find or make a space that the operator owns; inside a transaction."""
        did = space_did(name_or_did)
        name = "" if did == name_or_did else name_or_did
        now = self.parts.clock.now()
        space = self.store.spaces.ensure(did, name=name, owner=self.operator, now=now)
        self.check_owner(space.space_key, space.name or space.did)
        return space

    def check_owner(self, space_key: int, shown: str) -> None:
        """Raise AuthorizationError unless the operator owns a space."""
        if not self.store.spaces.is_owner(space_key, self.operator):
            owner = self.store.spaces.owners(space_key)[0]
            raise AuthorizationError(
                f"{self.operator} does not own the space {shown}: {owner} does, who can "
                f"share it with `bg-charm-service space grant {shown} {self.operator}`."
            )

    @contextmanager
    def change(
        self, action: str, ref: CharmRef | None = None, *, space: str = "", detail: str = ""
    ) -> Iterator[None]:
        """Do inside what changes something: one transaction, with its entry in the audit log."""
        with self.parts.database.transaction():
            self.record(action, ref, space=space, detail=detail)
            yield

    def record(
        self, action: str, ref: CharmRef | None = None, *, space: str = "", detail: str = ""
    ) -> None:
        """Write down who changes something, inside the transaction that does it."""
        self.store.audit.append(
            at=self.parts.clock.now(),
            caller=self.actor(),
            action=action,
            space=ref.space if ref is not None else space,
            charm_id=ref.charm_id if ref is not None else "",
            detail=detail,
        )

    def actor(self) -> str:
        """On whose behalf this is done."""
        return ACTOR.get()

    def check_open(self) -> None:
        """Raise ServiceStopping while the service drains, StorageFull while the disk is full."""
        self.supervisor.storage_health.check_room()
        if self.supervisor.is_draining:
            raise ServiceStopping("The service is stopping and takes no new work.")

    def tell(self, ref: CharmRef, change: str) -> None:
        """Tell those who follow the events of a charm's change, once it is on disk."""
        data = CharmChange(change)
        self.parts.database.after_commit(lambda: self._events.publish("charm", ref, data))

    def tell_all(self, change: str, space: str = "") -> None:
        """Tell those who follow the events of what concerns a whole space, or all of them."""
        data = PauseChange(change, space)
        self.parts.database.after_commit(lambda: self._events.publish("pause", None, data))

    def end_streams(self, credential: str) -> None:
        """End what follows by a credential, once it is on disk that it is good no more."""
        self.parts.database.after_commit(lambda: self._events.followers.end(credential))

"""What every command needs: the parts of the service, who asks, and how to find a charm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import msgspec

from bg_charm_service.domain.errors import (
    AuthorizationError,
    InvalidInput,
    NotFound,
    ServiceStopping,
)
from bg_charm_service.domain.identity import space_did
from bg_charm_service.domain.merkle import is_merkle_id
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.scanning.scanner import Scanner
from bg_charm_service.service.event_feed import Events
from bg_charm_service.service.maintenance.backups import Backups
from bg_charm_service.service.maintenance.cycle import Upkeep
from bg_charm_service.service.maintenance.health_checks import HealthChecks
from bg_charm_service.service.status.board import StatusBoard
from bg_charm_service.storage.records import CharmRecord, Space
from bg_charm_service.supervisor.limit_resolver import LimitResolver
from bg_charm_service.supervisor.loop import Parts, Supervisor
from bg_charm_service.supervisor.polled_charms import PolledCharms

#: On whose behalf the commands of this task are carried out, as the audit log names it.
ACTOR: ContextVar[str] = ContextVar("actor", default="service")


@dataclass(frozen=True, slots=True)
class Office:
    """The service as the commands see it; `operator` is the DID that they act as."""

    operator: str
    supervisor: Supervisor
    parts: Parts
    polled_charms: PolledCharms
    upkeep: Upkeep
    scanner: Scanner
    backups: Backups
    health_checks: HealthChecks
    board: StatusBoard
    events: Events
    limits: LimitResolver
    interval_seconds: float
    admin_source: str


class Desk:
    """Base of the commands."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.parts = office.parts
        self.store = office.parts.store

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

    def resolve(self, space: str, text: str) -> CharmRef:
        """Read a charm's address, whose second half may be the cause that it was added for."""
        if not is_merkle_id(text):
            found = self.space(space)
            charm = self.store.charms.find_by_cause(found.space_key, text) if found else None
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

    def ensure_owned(self, name_or_did: str) -> Space:
        """Find or make a space that the operator owns; inside a transaction."""
        did = space_did(name_or_did)
        name = "" if did == name_or_did else name_or_did
        now = self.parts.clock.now()
        space = self.store.spaces.ensure(did, name=name, owner=self.office.operator, now=now)
        self.check_owner(space.space_key, space.name or space.did)
        return space

    def check_owner(self, space_key: int, shown: str) -> None:
        """Raise AuthorizationError unless the operator owns a space."""
        if not self.store.spaces.is_owner(space_key, self.office.operator):
            owner = self.store.spaces.owners(space_key)[0]
            raise AuthorizationError(
                f"{self.office.operator} does not own the space {shown}: {owner} does, who can "
                f"share it with `bg-charm-service space grant {shown} {self.office.operator}`."
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
        """Raise ServiceStopping while the service drains."""
        if self.office.supervisor.is_draining:
            raise ServiceStopping("The service is stopping and takes no new work.")

    def tell(self, ref: CharmRef, change: str) -> None:
        """Tell those who follow the events of a charm's change, once it is on disk."""
        self.parts.database.after_commit(
            lambda: self.office.events.publish("charm", ref, change=change)
        )

    def shown_state(self, charm: CharmRecord) -> bytes:
        """A charm's state as people and integrations see it: secrets redacted, links named."""
        state = self.store.cells.state(charm)
        for link in self.store.links.of(charm.charm_key):
            target = self.store.charms.get(link.target_key)
            if target is not None:
                shown = "/".join([str(target.ref), *link.path])
                state[link.field] = msgspec.Raw(msgspec.json.encode({"$link": shown}))
        return msgspec.json.encode(state)

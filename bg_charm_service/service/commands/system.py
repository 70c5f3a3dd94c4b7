"""Commands about the service as a whole: spaces, integrations, the admin charm."""

from __future__ import annotations

from bg_charm_service.domain.errors import AuthorizationError, InvalidInput, NotFound
from bg_charm_service.domain.identity import SYSTEM_SPACE_NAME, is_did, space_did
from bg_charm_service.domain.views import IntegrationView, NewCharm, SpaceView
from bg_charm_service.service.commands.charms import CharmCommands


class SystemCommands(CharmCommands):
    """What concerns no single charm."""

    def spaces(self, after: str = "", limit: int = -1) -> list[SpaceView]:
        """Every space with its owners, or so many of them from behind the one with a DID."""
        last = self.store.spaces.find(after) if after else None
        found = self.store.spaces.page(last.space_key if last is not None else 0, limit)
        return [
            SpaceView(space.did, space.name, tuple(owners), space.created_at)
            for space, owners in found
        ]

    def grant_space(self, name_or_did: str, did: str) -> None:
        """Make an identity an owner of a space; only an owner may."""
        space = self.space(name_or_did)
        if space is None:
            raise NotFound(f"There is no space {name_or_did}. See `bg-charm-service space list`.")
        if not is_did(did):
            raise InvalidInput(f"Not a DID: {did}. `bg-charm-service identity did` prints one.")
        if did == space.did:
            raise InvalidInput(
                "A space's own DID cannot own it: anyone can compute its key from its name."
            )
        self.check_owner(space.space_key, space.name or space.did)
        with self.change("grant space", space=space.did, detail=did):
            self.store.spaces.grant(
                space.space_key,
                did,
                granted_by=self.office.operator,
                now=self.parts.clock.now(),
            )

    async def integrations(self) -> list[IntegrationView]:
        """Every integration that was found, and how its last scan went."""
        catalogue = await self.office.scanner.describe()
        status = {one.integration: one for one in self.office.board.snapshot().integrations}
        shown = []
        for info in catalogue.integrations:
            state = self.office.upkeep.scans.get(info.id)
            counted = status.get(info.id)
            stored: bytes | None = b"{}"
            if info.space is not None and info.cell is not None:
                stored = self.store.spaces.document(info.space, info.cell)
            shown.append(
                IntegrationView(
                    integration_id=info.id,
                    name=info.name,
                    active=state is not None,
                    initialised=stored is not None,
                    cell_id=info.cell or "",
                    charms=counted.charms if counted else 0,
                    executions=counted.executions if counted else 0,
                    success_rate=counted.success_rate if counted else None,
                    last_scan_at=state.last_scan_at if state else 0.0,
                    last_scan_error=state.last_error if state else "",
                )
            )
        return shown

    async def initialize(self, integration_id: str) -> str:
        """Initialise an integration's cell, unless it has charms already; gives what was done."""
        writes = await self.office.scanner.initialize(integration_id)
        written = 0
        with self.parts.database.transaction():
            for write in writes:
                if self.store.spaces.document(write.space, write.cell_id) == write.expected:
                    now = self.parts.clock.now()
                    self.store.spaces.write_document(write.space, write.cell_id, write.value, now)
                    written += 1
            if written:
                self.record("initialize integration", detail=integration_id)
        if written:
            return f"Initialized integration {integration_id}"
        return f"Integration {integration_id} was initialized already; nothing changed"

    async def add_admin_charm(self, grant: str | None) -> str:
        """Add the admin charm to the system space, and share the space with an identity."""
        system = self.space(SYSTEM_SPACE_NAME)
        if system is None or not self.store.spaces.is_owner(system.space_key, self.office.operator):
            raise AuthorizationError(f"{self.office.operator} does not own the system space.")
        if grant is not None:
            self.grant_space(SYSTEM_SPACE_NAME, grant)
            with self.change("grant secrets", space=system.did, detail=grant):
                self.store.secrets.grant(grant)
        added = await self.add_charm(
            NewCharm(
                source=self.office.admin_source,
                file_name="admin.py",
                space=SYSTEM_SPACE_NAME,
                class_name=None,
                values={},
                links={},
                writable_links={},
                cause="admin",
                register=False,
                integration="",
            )
        )
        did = space_did(SYSTEM_SPACE_NAME)
        done = "Added" if added.created else "There already is"
        granted = f"; {grant} may act on the system space now" if grant else ""
        return f"{done} the admin charm {did}/{added.charm_id}{granted}"

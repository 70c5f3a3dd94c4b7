"""Commands about the service as a whole: spaces, integrations, the admin charm, backups, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from bg_charm_service.domain.errors import AuthorizationError, InvalidInput
from bg_charm_service.domain.identity import SYSTEM_SPACE_NAME, is_did, space_did
from bg_charm_service.domain.views import IntegrationView, NewCharm, SpaceView
from bg_charm_service.scanning.scanner import Scanner
from bg_charm_service.service.commands.charms import CharmCommands
from bg_charm_service.service.commands.context import CommandContext
from bg_charm_service.service.maintenance.backups import BackupFile, backups_in, check_shared
from bg_charm_service.service.maintenance.cycle import Maintenance
from bg_charm_service.service.maintenance.health_checks import Report
from bg_charm_service.service.status.board import StatusBoard


class SystemCommands:
    """What concerns no single charm."""

    def __init__(
        self,
        context: CommandContext,
        charms: CharmCommands,
        scanner: Scanner,
        maintenance: Maintenance,
        board: StatusBoard,
        admin_source: str,
    ) -> None:
        self._context = context
        self._supervisor = context.supervisor
        self._parts = context.parts
        self._store = context.store
        self._charms = charms
        self._scanner = scanner
        self._maintenance = maintenance
        self._board = board
        self._admin_source = admin_source

    def spaces(self, after: str = "", limit: int | None = None) -> list[SpaceView]:
        """Every space with its owners, or so many of them from behind the one with a DID."""
        last = self._store.spaces.find(after) if after else None
        found = self._store.spaces.page(last.space_key if last is not None else 0, limit)
        paused_at = {one.space_key: one.paused_at for one in self._store.pauses.of_spaces()}
        return [
            SpaceView(
                space.did,
                space.name,
                tuple(owners),
                space.created_at,
                paused_at.get(space.space_key, 0.0),
            )
            for space, owners in found
        ]

    def grant_space(self, name_or_did: str, did: str) -> None:
        """Make an identity an owner of a space; only an owner may."""
        space = self._context.known_space(name_or_did)
        if not is_did(did):
            raise InvalidInput(f"Not a DID: {did}. `bg-charm-service identity did` prints one.")
        if did == space.did:
            raise InvalidInput(
                "A space's own DID cannot own it: anyone can compute its key from its name."
            )
        self._context.check_owner(space.space_key, space.name or space.did)
        with self._context.change("grant space", space=space.did, detail=did):
            self._store.spaces.grant(
                space.space_key,
                did,
                granted_by=self._context.operator,
                now=self._parts.clock.now(),
            )

    async def integrations(self) -> list[IntegrationView]:
        """Every integration that was found, and how its last scan went."""
        catalogue = await self._scanner.describe()
        status = {one.integration: one for one in self._board.snapshot().integrations}
        shown = []
        for info in catalogue.integrations:
            state = self._maintenance.scans.states.get(info.id)
            counted = status.get(info.id)
            stored: bytes | None = b"{}"
            if info.space is not None and info.cell is not None:
                stored = self._store.spaces.document(info.space, info.cell)
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
        writes = await self._scanner.initialize(integration_id)
        written = 0
        with self._parts.database.transaction():
            for write in writes:
                if self._store.spaces.document(write.space, write.cell_id) == write.expected:
                    now = self._parts.clock.now()
                    self._store.spaces.write_document(write.space, write.cell_id, write.value, now)
                    written += 1
            if written:
                self._context.record("initialize integration", detail=integration_id)
        if written:
            return f"Initialized integration {integration_id}"
        return f"Integration {integration_id} was initialized already; nothing changed"

    async def add_admin_charm(self, grant: str | None) -> str:
        """Add the admin charm to the system space, and share the space with an identity."""
        system = self._context.space(SYSTEM_SPACE_NAME)
        if system is None or not self._store.spaces.is_owner(
            system.space_key, self._context.operator
        ):
            raise AuthorizationError(f"{self._context.operator} does not own the system space.")
        if grant is not None:
            self.grant_space(SYSTEM_SPACE_NAME, grant)
            with self._context.change("grant secrets", space=system.did, detail=grant):
                self._store.secrets.grant(grant)
        added = await self._charms.add(
            NewCharm(
                source=self._admin_source,
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

    async def backup(self, target: str, folder: tuple[int, int] | None = None) -> BackupFile:
        """Make a verified backup in a file; raises Conflict, BackupError.

        Raises NotShared when the file's folder has another device and inode than these, or is
        not one that this process may write to.
        """
        path = Path(target)
        if not path.is_absolute() or not path.name or "\0" in target:
            raise InvalidInput(f"{target!r} is no absolute path of a file.")
        if folder is not None:
            check_shared(path.parent, folder)
        made = await self._maintenance.backups.make(path)
        self._note_backup(target)
        return made

    async def backup_content(self) -> BinaryIO:
        """Make a verified backup that has no name, and give it open; raises BackupError."""
        made = await self._maintenance.backups.make_nameless()
        self._note_backup("sent to a command")
        return made

    def _note_backup(self, detail: str) -> None:
        # The backup is there, whether that can be written down or not: it may be for that reason
        # that somebody makes one.
        with (
            self._supervisor.storage_health.noting(),
            self._context.change("backup", detail=detail),
        ):
            pass

    async def examine(self) -> Report:
        """Check all that must always hold, and read the newest backup from end to end."""
        return await self._maintenance.health_checks.examine_all(repair=False)

    async def repair(self) -> Report:
        """Check the same, and mend what is safe to mend."""
        with self._context.change("doctor repair"):
            pass
        report = await self._maintenance.health_checks.examine_all(repair=True)
        self._supervisor.wake()
        return report

    def backups(self) -> list[BackupFile]:
        """The backups in the backup directory, the newest first."""
        return backups_in(self._maintenance.backups.directory)

"""Commands that keep the data safe: backups, and the doctor."""

from __future__ import annotations

from pathlib import Path

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.service.commands.base import Desk
from bg_charm_service.service.maintenance.backup_files import BackupFile, backups_in
from bg_charm_service.service.maintenance.health_checks import Report


class BackupCommands(Desk):
    """What looks after the data directory."""

    async def backup(self, target: str) -> BackupFile:
        """Make a verified backup in a file; raises Conflict, BackupError."""
        path = Path(target)
        if not path.is_absolute() or not path.name or "\0" in target:
            raise InvalidInput(f"{target!r} is no absolute path of a file.")
        made = await self.office.backups.make(path)
        with self.change("backup", detail=target):
            pass
        return made

    async def examine(self) -> Report:
        """Check all that must always hold, and read the newest backup from end to end."""
        return await self.office.health_checks.examine_all(repair=False)

    async def repair(self) -> Report:
        """Check the same, and mend what is safe to mend."""
        with self.change("doctor repair"):
            pass
        report = await self.office.health_checks.examine_all(repair=True)
        self.office.supervisor.wake()
        return report

    def backups(self) -> list[BackupFile]:
        """The backups in the backup directory, the newest first."""
        return backups_in(self.office.backups.directory)

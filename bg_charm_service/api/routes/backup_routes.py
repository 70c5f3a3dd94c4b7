"""Routes that keep the data safe: backups, and the doctor."""

from __future__ import annotations

from bg_charm_service.api.auth.authorization import Governing, Local
from bg_charm_service.api.dependencies import Service, make_router
from bg_charm_service.api.requests import BackupBody
from bg_charm_service.service.maintenance.backups import BackupFile
from bg_charm_service.service.maintenance.health_checks import Report

router = make_router("keeping")


@router.get("/api/backups")
async def list_backups(service: Service, caller: Governing) -> list[BackupFile]:
    """List the backups in the backup directory, the newest first."""
    return service.system.backups()


@router.get("/api/doctor")
async def examine(service: Service, caller: Governing) -> Report:
    """Check what must always hold of the data, and read the newest backup from end to end."""
    return await service.system.examine()


@router.post("/api/doctor")
async def repair(service: Service, caller: Governing) -> Report:
    """Check the same, and mend what is safe to mend."""
    return await service.system.repair()


@router.post("/api/backups")
async def make_backup(service: Service, caller: Local, body: BackupBody) -> BackupFile:
    """Make a backup of everything in a file of this machine, and verify it."""
    return await service.system.backup(body.path)

"""Routes that keep the data safe: backups, and the doctor."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import BinaryIO

from fastapi.responses import StreamingResponse

from bg_charm_service.api.auth.authorization import Governing, Local
from bg_charm_service.api.dependencies import Service, make_router
from bg_charm_service.api.requests import BackupBody
from bg_charm_service.service.maintenance.backups import BackupFile
from bg_charm_service.service.maintenance.health_checks import Report

router = make_router("keeping")

#: A backup is read and sent in pieces of this size, in bytes.
_PIECE_BYTES = 1024 * 1024


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
    folder = (body.folder[0], body.folder[1]) if body.folder is not None else None
    return await service.system.backup(body.path, folder)


@router.post(
    "/api/backups/content",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {
                "application/vnd.sqlite3": {"schema": {"type": "string", "format": "binary"}}
            },
            "description": "The backup, a database file",
        }
    },
)
async def send_backup(service: Service, caller: Local) -> StreamingResponse:
    """Make a backup of everything, verify it, and send it: keeping it is up to the caller."""
    made = await service.system.backup_content()
    return StreamingResponse(
        _pieces(made),
        media_type="application/vnd.sqlite3",
        headers={"content-length": str(os.fstat(made.fileno()).st_size)},
    )


async def _pieces(made: BinaryIO) -> AsyncIterator[bytes]:
    with made:
        while piece := await asyncio.to_thread(made.read, _PIECE_BYTES):
            yield piece

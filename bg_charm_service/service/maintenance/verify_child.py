"""Has a file checked by a child process, so that reading hundreds of megabytes holds up nobody.

The child gets a path and nothing else: no descriptor, no secret of the environment. Called by
backups and by the doctor.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

from bg_charm_service.domain.errors import BackupError
from bg_charm_service.storage.engines import FILE_CHECKER
from bg_charm_service.workers.protocol.processes import end_group
from bg_charm_service.workers.protocol.python_child import (
    child_options,
    python_command,
    scrubbed_environment,
)


async def check_file(path: Path) -> list[str]:
    """Give what is damaged in a database file; raises BackupError when nobody could look."""
    try:
        child = await asyncio.create_subprocess_exec(
            *python_command(FILE_CHECKER, os.fspath(path)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            **child_options(scrubbed_environment(os.environ)),
        )
    except OSError as error:
        raise BackupError(f"No process to check {path} with: {error.strerror}.") from None
    try:
        told, _ = await child.communicate()
    except asyncio.CancelledError:
        end_group(child.pid)
        await child.wait()
        raise
    if child.returncode:
        raise BackupError(f"The process that checked {path} ended with {child.returncode}.")
    found: list[str] | str = json.loads(told)
    if isinstance(found, str):
        raise BackupError(found)
    return found

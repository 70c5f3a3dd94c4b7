"""Has a file checked by a child process, so that reading hundreds of megabytes holds up nobody.

The child gets a path and nothing else: no descriptor, no secret of the environment. Called by
backups and by the doctor.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from bg_charm_service.domain.errors import BackupError
from bg_charm_service.storage.engines import FILE_CHECKER
from bg_charm_service.workers.pool.zygote_client import scrubbed_environment
from bg_charm_service.workers.protocol.processes import end_group

_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    f"from {FILE_CHECKER} import main; main(sys.argv[2])"
)


async def check_file(path: Path) -> list[str]:
    """Give what is damaged in a database file; raises BackupError when nobody could look."""
    import_path = json.dumps([entry for entry in sys.path if entry])
    try:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-c", _BOOT, import_path, os.fspath(path)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            env=scrubbed_environment(os.environ),
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
    problems: list[str] = json.loads(told)
    return problems

"""A process of ours that is sent on one errand: told by a pipe, heard to its end, and gone.

What it is told goes by a pipe, so that nothing secret stands where other processes can look. Called
by whoever asks a provider or sends a notice; what no answer means is theirs to say.
"""

from __future__ import annotations

import asyncio
import os

from bg_charm_service.workers.protocol.processes import end_group
from bg_charm_service.workers.protocol.python_child import (
    child_options,
    python_command,
    scrubbed_environment,
)


class NotStartedError(Exception):
    """There is no process, so nothing was done; its text is the system's reason."""


async def run_errand(module: str, errand: bytes, seconds: float) -> tuple[bytes, int | None]:
    """Have `main` of a module read an errand; gives what it wrote, and its exit status.

    Raises NotStartedError, and TimeoutError after so many seconds; the process and its children are
    ended then.
    """
    options = child_options(scrubbed_environment(os.environ))
    options["stdin"] = asyncio.subprocess.PIPE
    try:
        child = await asyncio.create_subprocess_exec(
            *python_command(module),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            **options,
        )
    except OSError as error:
        raise NotStartedError(error.strerror) from error
    try:
        async with asyncio.timeout(seconds):
            said, _ = await child.communicate(errand)
    finally:
        if child.returncode is None:
            end_group(child.pid)
            await child.wait()
    return said, child.returncode

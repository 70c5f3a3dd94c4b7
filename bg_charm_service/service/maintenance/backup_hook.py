"""The operator's command that carries backups away: run with the file's path as its last argument.

No shell reads it, and it gets no secret of the service's environment. What it prints is told only
when it fails. Called by backups.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from bg_charm_service.domain.errors import BackupError
from bg_charm_service.domain.redaction import mask
from bg_charm_service.domain.text_limits import HOOK_OUTPUT_CHARACTERS
from bg_charm_service.workers.protocol.processes import end_group
from bg_charm_service.workers.protocol.python_child import operator_environment

#: A command that takes longer is killed, with all that it started, in seconds.
HOOK_SECONDS = 3600.0

_READ_BYTES = 65536


class HookFailed(BackupError):
    """The command ended with an error; `output` is the end of what it printed."""

    def __init__(self, text: str, output: str) -> None:
        super().__init__(text)
        self.output = output


async def run_hook(command: tuple[str, ...], file: Path) -> None:
    """Run the command for one backup and wait for its end; raises BackupError when it fails."""
    try:
        child = await asyncio.create_subprocess_exec(
            *command,
            os.fspath(file),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            # The token is for commands to another service; no backup needs it.
            env=operator_environment(os.environ, "BG_CHARM_TOKEN"),
        )
    except OSError as error:
        raise BackupError(f"{command[0]} cannot be run: {error.strerror}.") from None
    assert child.stdout is not None
    try:
        async with asyncio.timeout(HOOK_SECONDS):
            printed = await _end_of(child.stdout)
            code = await child.wait()
    except TimeoutError:
        raise BackupError(f"{command[0]} took over {HOOK_SECONDS:g} s and was stopped.") from None
    finally:
        # Also what it left running in its group.
        end_group(child.pid)
        await child.wait()
    if code:
        raise HookFailed(f"{command[0]} ended with {code}.", printed)


async def _end_of(stream: asyncio.StreamReader) -> str:
    """Read all there is, and keep the end of it."""
    kept = b""
    while piece := await stream.read(_READ_BYTES):
        kept = (kept + piece)[-HOOK_OUTPUT_CHARACTERS * 4 :]
    # Masked first: where the text is cut, what shows a value to be secret may be cut off.
    return mask(kept.decode(errors="replace").strip())[-HOOK_OUTPUT_CHARACTERS:]

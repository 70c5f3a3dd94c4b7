"""The service's side of asking a provider: a process for each question, with an end.

What it is asked goes to it by a pipe, so that nothing secret stands where other processes can look.
Once a question may have gone out, no answer is an answer that nobody knows. Used by the service.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from bg_charm_service.sign_in.messages import AnswerKind, Deed, ProviderAnswer, Task
from bg_charm_service.workers.protocol.processes import end_group
from bg_charm_service.workers.protocol.python_child import (
    child_options,
    python_command,
    scrubbed_environment,
)

_PROCESS: Final = "bg_charm_service.sign_in.provider_process"


class AsksProviders(Protocol):
    """Asks providers; simulations and tests bring their own."""

    async def ask(self, deed: Deed) -> ProviderAnswer:
        """Ask once; never raises for what a provider does."""


@dataclass(frozen=True, slots=True)
class ProviderClient:
    """Asks providers by processes of their own, behind walls where those can be had."""

    timeout_seconds: float
    has_walls: bool
    missing_walls: tuple[str, ...] = ()

    async def ask(self, deed: Deed) -> ProviderAnswer:
        """Ask once, within the time that a refresh may take; never raises for what comes of it."""
        task = Task(deed, os.getpid(), self.timeout_seconds, self.has_walls, self.missing_walls)
        options = child_options(scrubbed_environment(os.environ))
        options["stdin"] = asyncio.subprocess.PIPE
        try:
            child = await asyncio.create_subprocess_exec(
                *python_command(_PROCESS),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                **options,
            )
        except OSError as error:
            why = f"no process to ask the provider in: {error.strerror}"
            return ProviderAnswer(AnswerKind.FAULT, why=why)
        try:
            async with asyncio.timeout(self.timeout_seconds):
                said, _ = await child.communicate(msgspec.msgpack.encode(task))
        except TimeoutError:
            why = f"gave no answer within {self.timeout_seconds:g} s"
            return _unknown(deed, why)
        finally:
            if child.returncode is None:
                end_group(child.pid)
                await child.wait()
        try:
            return msgspec.msgpack.decode(said, type=ProviderAnswer)
        except msgspec.DecodeError:
            return _unknown(deed, f"was asked by a process that ended with {child.returncode}")


def _unknown(deed: Deed, why: str) -> ProviderAnswer:
    """The answer of a question of which nobody knows whether it was heard."""
    host = "" if not hasattr(deed, "provider") else deed.provider.token_host
    return ProviderAnswer(AnswerKind.DOWN, why=f"{host} {why}".strip(), host=host)

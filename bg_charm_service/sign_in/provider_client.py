"""The service's side of asking a provider: a process for each question, with an end.

What it is asked goes to it by a pipe, so that nothing secret stands where other processes can look.
Once a question may have gone out, no answer is an answer that nobody knows. Used by the service.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from bg_charm_service.sign_in.messages import AnswerKind, Deed, ProviderAnswer, Task
from bg_charm_service.workers.protocol.errand_child import NotStartedError, run_errand

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
        message = msgspec.msgpack.encode(task)
        try:
            said, status = await run_errand(_PROCESS, message, self.timeout_seconds)
        except NotStartedError as error:
            why = f"no process to ask the provider in: {error}"
            return ProviderAnswer(AnswerKind.FAULT, why=why)
        except TimeoutError:
            why = f"gave no answer within {self.timeout_seconds:g} s"
            return _unknown(deed, why)
        try:
            return msgspec.msgpack.decode(said, type=ProviderAnswer)
        except msgspec.DecodeError:
            return _unknown(deed, f"was asked by a process that ended with {status}")


def _unknown(deed: Deed, why: str) -> ProviderAnswer:
    """The answer of a question of which nobody knows whether it was heard."""
    host = "" if not hasattr(deed, "provider") else deed.provider.token_host
    return ProviderAnswer(AnswerKind.DOWN, why=f"{host} {why}".strip(), host=host)

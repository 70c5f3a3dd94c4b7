"""The service's side of sending a notice: a process for each, with an end.

What it is to send goes to it by a pipe, so that nothing secret stands where other processes can
look. Once something may have gone out, no answer means that nobody knows. Used by the service.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec
import psutil

from bg_charm_service.domain.notice_urls import ports_of
from bg_charm_service.notices.messages import Check, Deed, Errand, Report, ReportKind
from bg_charm_service.workers.protocol.errand_child import NotStartedError, run_errand

_PROCESS: Final = "bg_charm_service.notices.notice_process"

#: So much longer than sending may take its process has, in seconds: it has to start.
_START_SECONDS: Final = 5.0


class SendsNotices(Protocol):
    """Sends notices; simulations and tests bring their own."""

    #: Ports that lead to this service, to which nothing is ever sent.
    closed_ports: frozenset[int]
    #: Whether targets may be on this machine.
    may_be_local: bool
    #: How long sending may take.
    timeout_seconds: float

    async def do(self, deed: Deed) -> Report:
        """Do something once; never raises for what comes of it."""


@dataclass(slots=True)
class NoticeClient:
    """Sends by processes of their own, behind walls where those can be had."""

    timeout_seconds: float
    has_walls: bool
    missing_walls: tuple[str, ...] = ()
    may_be_local: bool = False
    closed_ports: frozenset[int] = field(default_factory=frozenset)

    async def do(self, deed: Deed) -> Report:
        """Do it once, within the time that sending may take; never raises for what comes of it."""
        errand = Errand(
            deed,
            os.getpid(),
            self.timeout_seconds,
            self.has_walls,
            self.missing_walls,
            ports_of(deed.url) - self.closed_ports,
            _own_addresses(),
            self.may_be_local,
        )
        seconds = self.timeout_seconds + _START_SECONDS
        try:
            said, status = await run_errand(_PROCESS, msgspec.msgpack.encode(errand), seconds)
        except NotStartedError as error:
            return Report(ReportKind.FAULT, f"There is no process to send it: {error}.")
        except TimeoutError:
            return _unknown(deed, f"There was no answer within {self.timeout_seconds:g} s.")
        try:
            return msgspec.msgpack.decode(said, type=Report)
        except msgspec.DecodeError:
            return _unknown(deed, f"The process that sent it ended with {status}.")


def _unknown(deed: Deed, why: str) -> Report:
    return Report(ReportKind.FAULT if isinstance(deed, Check) else ReportKind.UNKNOWN, why)


def _own_addresses() -> frozenset[str]:
    found = psutil.net_if_addrs().values()
    return frozenset(one.address.partition("%")[0] for some in found for one in some)

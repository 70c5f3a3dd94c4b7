"""Asks an address once a minute while the service is well, so that its silence tells somebody.

What listens there is somebody else's: a monitor that sounds an alarm when nobody asks. The request
is made by a process of its own behind walls. Run by the service.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from loguru import logger

from bg_charm_service.domain.clock import Clock
from bg_charm_service.notices.messages import Beat, ReportKind
from bg_charm_service.notices.notice_client import SendsNotices


class Heartbeat:
    """One address that is asked."""

    def __init__(
        self,
        url: str,
        sender: SendsNotices,
        is_well: Callable[[], bool],
        clock: Clock,
        interval_seconds: float,
    ) -> None:
        self._url = url
        self._sender = sender
        self._is_well = is_well
        self._clock = clock
        self._interval_seconds = interval_seconds
        #: When it answered last, in seconds since the epoch; 0 for never in this life.
        self.answered_at = 0.0
        #: Why it did not the last time; empty where it did.
        self.problem = ""
        #: How it went since the start: answered, failed, and skipped while the service was unwell.
        self.results: Counter[str] = Counter()

    @property
    def is_wanted(self) -> bool:
        """Whether there is an address to ask."""
        return bool(self._url)

    async def run(self) -> None:
        """Ask until cancelled; does nothing without an address."""
        if not self._url:
            await asyncio.Event().wait()
        while True:
            began = self._clock.steady()
            await self.beat()
            rest = began + self._interval_seconds - self._clock.steady()
            await asyncio.sleep(max(0.0, rest))

    async def beat(self) -> None:
        """Ask once, unless the service is not well."""
        if not self._is_well():
            self.results["skipped"] += 1
            return
        report = await self._sender.do(Beat(self._url))
        if report.kind is ReportKind.DONE:
            self.results["answered"] += 1
            self.answered_at = self._clock.now()
            if self.problem:
                logger.bind(event="heartbeat_back").info("The heartbeat's address answers again")
            self.problem = ""
            return
        self.results["failed"] += 1
        if not self.problem:
            logger.bind(event="heartbeat_failed").warning(
                "The heartbeat's address does not answer, and is asked again: {}", report.why
            )
        self.problem = report.why

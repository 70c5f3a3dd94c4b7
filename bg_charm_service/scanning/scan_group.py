"""The scan processes of one service: started, asked within a limit of time, and ended together.

A process whose answer nobody waits for any more is killed, so that an answer that comes late is
never taken for the next one. Must not know what an answer means. Called by `scans`.
"""

from __future__ import annotations

import asyncio
from typing import TypeVar

from bg_charm_service.domain.errors import FrameError, ServiceStopping
from bg_charm_service.scanning.child import ReadCellCallback, ScanChild, ScanError
from bg_charm_service.scanning.protocol import Request

Expected = TypeVar("Expected")


class ScanGroup:
    """Owns every scan process, from its start until nothing of it is left."""

    def __init__(self, read_cell: ReadCellCallback) -> None:
        self._read_cell = read_cell
        self._children: set[ScanChild] = set()
        self._endings: set[asyncio.Task[None]] = set()
        self._stopped = False

    async def start(self, label: str) -> ScanChild:
        """Start a process; raises ServiceStopping after `stop`."""
        self._refuse_if_stopped()
        child = await ScanChild.start(label, self._read_cell)
        self._children.add(child)
        try:
            self._refuse_if_stopped()
        except ServiceStopping:
            self.end(child)
            raise
        return child

    async def ask(self, child: ScanChild, request: Request, expected: type[Expected]) -> Expected:
        """Ask a process; raises ScanError, after which it lives on only if its code raised."""
        try:
            return await child.ask(request, expected)
        except ScanError:
            if not child.is_alive:
                self.end(child)
            raise
        except FrameError as error:
            self.end(child)
            raise ScanError(f"its process does not answer as agreed: {error}") from None
        except BaseException:
            self.end(child)
            raise

    def end(self, child: ScanChild) -> None:
        """Kill a process and what it started; its end is awaited by `stop`."""
        child.kill()
        if child in self._children:
            self._children.remove(child)
            ending = asyncio.get_running_loop().create_task(child.wait_closed())
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)

    async def stop(self) -> None:
        """Kill all processes and wait for their end; may be called twice."""
        self._stopped = True
        for child in list(self._children):
            self.end(child)
        while self._endings:
            await asyncio.wait(self._endings)

    def _refuse_if_stopped(self) -> None:
        if self._stopped:
            raise ServiceStopping("The service is stopping.")

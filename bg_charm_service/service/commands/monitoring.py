"""Commands of monitors: does the loop advance, can it do its work, what has it counted.

What they tell holds no text of a charm, nor of a library that a charm uses. They change nothing,
but that the question whether the database can be written is answered by a write.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING

from bg_charm_service.domain.errors import LoopStandsStill, NotReady
from bg_charm_service.service.charm_packages import CharmPackages
from bg_charm_service.service.metrics.hook_counts import HookCounts
from bg_charm_service.service.metrics.span_counts import SpanCounts
from bg_charm_service.service.notices.telling import Telling
from bg_charm_service.service.status.board import StatusBoard
from bg_charm_service.service.status.readiness import Readiness
from bg_charm_service.supervisor.loop import Supervisor
from bg_charm_service.workers.pool.pool import Pool

if TYPE_CHECKING:
    from bg_charm_service.service.metrics.collector import Exposition

#: Imported when somebody scrapes: it takes a few hundredths of a second, and 2 MB.
_COLLECTOR = "bg_charm_service.service.metrics.collector"

#: So long the loop may take for its next turn before it counts as standing still, in seconds.
_TURN_SECONDS = 5.0


class MonitoringCommands:
    """What monitors ask."""

    def __init__(
        self,
        supervisor: Supervisor,
        pool: Pool,
        board: StatusBoard,
        packages: CharmPackages,
        telling: Telling,
    ) -> None:
        self._telling = telling
        self._supervisor = supervisor
        self._pool = pool
        self._board = board
        self._packages = packages
        self._readiness = Readiness(supervisor, pool)
        self._exposition: Exposition | None = None
        #: What became of the spans of runs; whoever exports them counts here.
        self.spans = SpanCounts()
        #: How senders outside were answered; the listener of hooks counts here.
        self.hooks = HookCounts()

    async def check_alive(self) -> None:
        """Wait for the loop's next turn; raises LoopStandsStill when it does not come."""
        if not await self._supervisor.takes_turn(_TURN_SECONDS):
            raise LoopStandsStill(
                f"The loop that runs charms has taken no turn for {_TURN_SECONDS:g} s."
            )

    def check_ready(self) -> None:
        """Raise NotReady, with the reasons, while the service cannot do its work."""
        obstacles = self._readiness.obstacles(is_probing=True)
        if obstacles:
            raise NotReady(f"Not ready: {'; '.join(obstacles)}.")

    async def prepare(self) -> None:
        """Load what metrics are written with, for the first time; the loop goes on meanwhile."""
        if self._exposition is None:
            await asyncio.to_thread(importlib.import_module, _COLLECTOR)

    def metrics(self, accept: str) -> tuple[bytes, str]:
        """Give all metrics and their media type, in the format that `Accept` asks for."""
        if self._exposition is None:
            from bg_charm_service.service.metrics.collector import Exposition, ServiceCollector

            parts, pool, board = self._supervisor.parts, self._pool, self._board
            collector = ServiceCollector(
                parts,
                pool,
                board,
                self._readiness,
                self.spans,
                self.hooks,
                self._packages,
                self._telling,
            )
            self._exposition = Exposition(collector)
        return self._exposition.write(accept)

"""Those who wait for the end of a job's next attempt, and the jobs that are run for them.

In memory; a waiter is let go when its job is settled, dropped, or when the service ends.
Kept by the supervisor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from bg_charm_service.domain.outcomes.policy import Step
from bg_charm_service.supervisor.completer import Settled


class JobWaiters:
    """Futures by job id."""

    def __init__(self) -> None:
        self._futures: dict[int, list[asyncio.Future[Settled | None]]] = {}
        self._is_closed = False
        #: Jobs that a person waits for, with their spaces, until they are settled or dropped. Where
        #: nothing is polled, only these are run.
        self.wanted: dict[int, int] = {}

    def wait_for(self, job_id: int) -> asyncio.Future[Settled | None]:
        """A future of what becomes of a job's next attempt; None when there will be none."""
        future: asyncio.Future[Settled | None] = asyncio.get_running_loop().create_future()
        if self._is_closed:
            future.set_result(None)
        else:
            self._futures.setdefault(job_id, []).append(future)
        return future

    def tell(self, settled: Sequence[Settled]) -> None:
        """Give settlements that are on disk to those who wait for them; a re-run is no end."""
        if not (self._futures or self.wanted):
            return
        for one in settled:
            if one.decision.step is not Step.RERUN:
                self._resolve(one.run.claim.job.job_id, one)

    def let_go_dropped(self, is_live: Callable[[int], bool]) -> None:
        """Let those go whose job was taken out of the queue: their charm was disabled, say."""
        for job_id in {*self._futures, *self.wanted}:
            if not is_live(job_id):
                self._resolve(job_id, None)

    def close(self) -> None:
        """Let everybody go, and whoever comes later."""
        self._is_closed = True
        for job_id in list(self._futures):
            self._resolve(job_id, None)

    def _resolve(self, job_id: int, settled: Settled | None) -> None:
        self.wanted.pop(job_id, None)
        for future in self._futures.pop(job_id, []):
            if not future.done():
                future.set_result(settled)

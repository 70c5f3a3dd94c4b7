"""When the loop of the service takes its next step: as soon as something may have changed.

Waits for news, due times and looks at the workers, and a moment more for answers that share a
commit, unless somebody asks for something. Used by the supervisor.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from bg_charm_service.domain.clock import Clock
from bg_charm_service.storage.contract import JobQueue
from bg_charm_service.supervisor.dispatcher import Dispatcher
from bg_charm_service.supervisor.planning.poll_planner import PollPlanner
from bg_charm_service.supervisor.reminders import ReminderSchedule
from bg_charm_service.workers.pool.contract import WorkerPool

#: While nobody waits for them, commits are so far apart, in seconds: many answers share one.
GROUP_SECONDS = 0.004

#: Turns of the loop before a step: in the first a request is read that came during the last step,
#: in the second it is answered. Otherwise it would wait for the next step too.
_TURNS_OF_OTHERS = 3


class Pace:
    """Lets the loop rest between two steps."""

    def __init__(
        self,
        clock: Clock,
        planner: PollPlanner,
        reminders: ReminderSchedule,
        queue: JobQueue,
        pool: WorkerPool,
        dispatcher: Dispatcher,
        *,
        wake: asyncio.Event,
        watch_seconds: float,
    ) -> None:
        self._clock = clock
        self._planner = planner
        self._reminders = reminders
        self._queue = queue
        self._pool = pool
        self._dispatcher = dispatcher
        self._wake = wake
        #: Set while somebody outside waits for the next step.
        self._is_wanted = asyncio.Event()
        #: How often workers are looked after while they run, start or are missing.
        self._watch_seconds = watch_seconds
        #: The longest rest: the watchdog is fed by the steps, and after the machine slept, while
        #: timers stood still, the clock is looked at within that time.
        self.longest_seconds = 5.0
        #: When the newest rest was to end at the latest, by the steady clock.
        self.rests_until = 0.0
        #: Until then, answers are collected before they are settled.
        self._collect_until = 0.0

    def stir(self) -> None:
        """Let the next step come: there is news."""
        self._wake.set()

    def hurry(self) -> None:
        """Let the next step come at once: somebody outside waits for it."""
        self._is_wanted.set()
        self._wake.set()

    def note_commit(self, now: float) -> None:
        """Note that a step has something to commit."""
        self._collect_until = now + GROUP_SECONDS

    async def rest(self, *, retry_at: float | None, latest_at: float, is_polling: bool) -> None:
        """Wait for news, the next due time or look at the workers, until `latest_at` at most.

        Where `retry_at` is given nothing else is waited for.
        """
        now = self._clock.steady()
        until = min(now + self.longest_seconds, latest_at)
        if retry_at is not None:
            until = retry_at
        elif is_polling:
            waiting = (
                self._queue.next_run_at(),
                self._planner.next_due,
                self._reminders.next_due,
            )
            until = min([until, *(moment for moment in waiting if moment is not None)])
        if self._pool.wants_ticks:
            until = min(until, now + self._watch_seconds)
        self.rests_until = until
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until - now)):
                await self._wake.wait()
        if self._may_collect:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._collect_until - self._clock.steady()):
                    await self._is_wanted.wait()
        for _ in range(_TURNS_OF_OTHERS):
            await asyncio.sleep(0)
        self._wake.clear()
        self._is_wanted.clear()

    @property
    def _may_collect(self) -> bool:
        """Whether to wait a moment for more answers: many share a commit, and nobody idles."""
        runs, now = self._dispatcher.runs, self._clock.steady()
        if now >= self._collect_until or not runs.are_at_work:
            return False
        if not self._pool.free_workers().count:
            return True
        return runs.have_company and not self._dispatcher.wants_to_claim(now)

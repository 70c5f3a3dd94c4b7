"""A look that is costly, shared by all who ask while it is not under way: its time is bounded.

After each look there is a pause of some times its length, so that nobody can keep the loop busy
by asking often; whoever asks meanwhile is answered by the next one. Used for what only files of
the kernel's tell.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Generic, TypeVar

Wanted = TypeVar("Wanted", bound=Hashable)
Found = TypeVar("Found")


class SharedLook(Generic[Wanted, Found]):
    """Answers questions in batches; `look` finds what it can of several things at once."""

    def __init__(
        self, look: Callable[[Iterable[Wanted]], Mapping[Wanted, Found]], *, pause_times: float
    ) -> None:
        self._look = look
        self._pause_times = pause_times
        self._waiting: dict[Wanted, asyncio.Future[Found | None]] = {}
        self._not_before = 0.0
        self._is_due = False

    async def ask(self, wanted: Wanted) -> Found | None:
        """Give what the next look finds of it; None for nothing."""
        loop = asyncio.get_running_loop()
        answer = self._waiting.get(wanted)
        if answer is None:
            answer = self._waiting[wanted] = loop.create_future()
        if not self._is_due:
            self._is_due = True
            loop.call_at(self._not_before, self._answer_all)
        # Others may wait for the same.
        return await asyncio.shield(answer)

    def _answer_all(self) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        waiting, self._waiting = self._waiting, {}
        self._is_due = False
        try:
            found = self._look(waiting)
        finally:
            ended = loop.time()
            self._not_before = ended + self._pause_times * (ended - begun)
        for wanted, answer in waiting.items():
            if not answer.done():
                answer.set_result(found.get(wanted))

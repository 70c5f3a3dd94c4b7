"""Everything that tells people, put together: watch, delivery, heartbeat, and the given targets.

Made by `bootstrap`; run by the daemon beside the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from loguru import logger
from msgspec.structs import replace

from bg_charm_service.domain.notice_urls import GivenTarget, masked_target, scheme_of
from bg_charm_service.domain.notices import SAME_THING_SECONDS, Target, read_kinds
from bg_charm_service.notices.notice_client import SendsNotices
from bg_charm_service.service.notices.delivery import NoticeDelivery
from bg_charm_service.service.notices.heartbeat import Heartbeat
from bg_charm_service.service.notices.watch import LOOK_SECONDS, NoticeWatch
from bg_charm_service.service.status.views import Problem
from bg_charm_service.supervisor.loop import Supervisor
from bg_charm_service.supervisor.notices import NoticeBook

#: So long after a fault of ours it is tried to go on, in seconds.
_AFTER_FAULT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class NoticeRules:
    """What the operator says about telling people; durations in seconds."""

    targets: tuple[GivenTarget, ...] = field(default=(), repr=False)
    #: The address that is asked while the service is well; empty for none.
    heartbeat: str = field(default="", repr=False)
    heartbeat_seconds: float = 60.0
    #: Whether targets and heartbeat may be on this machine.
    may_be_local: bool = False
    #: So long what happens is gathered before it is sent together.
    gather_seconds: float = 10.0
    #: How long sending may take.
    timeout_seconds: float = 30.0
    #: The same thing is told so often at most.
    again_seconds: float = SAME_THING_SECONDS


class Telling:
    """What tells people."""

    def __init__(
        self,
        supervisor: Supervisor,
        book: NoticeBook,
        sender: SendsNotices,
        problems: Callable[[], list[Problem]],
        random: Callable[[], float],
        rules: NoticeRules,
        *,
        delivery: type[NoticeDelivery] = NoticeDelivery,
        watch: type[NoticeWatch] = NoticeWatch,
    ) -> None:
        parts, health = supervisor.parts, supervisor.storage_health
        self.book = book
        book.again_seconds = rules.again_seconds
        self.sender = sender
        self._supervisor = supervisor
        self._problems = problems
        self.delivery = delivery(
            parts.storage, parts.clock, random, book, sender, health, rules.gather_seconds
        )
        #: How often it is looked around, in seconds.
        self.look_seconds = LOOK_SECONDS
        self.watch = watch(parts, book, problems, health)
        self.heartbeat = Heartbeat(
            rules.heartbeat, sender, self._is_well, parts.clock, rules.heartbeat_seconds
        )

    async def run(self) -> None:
        """Tell until cancelled."""
        await asyncio.gather(
            self._going_on(self.delivery.run),
            self._going_on(self._watch),
            self._going_on(self.heartbeat.run),
        )

    async def _going_on(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do it again after a fault of ours: charms run on, also where nobody can be told."""
        while True:
            try:
                await work()
            except Exception:
                logger.bind(event="notice_fault").exception("People could not be told")
            await asyncio.sleep(_AFTER_FAULT_SECONDS)

    async def _watch(self) -> None:
        while True:
            self.watch.look()
            await asyncio.sleep(self.look_seconds)

    def _is_well(self) -> bool:
        return not self._supervisor.is_draining and not self._problems()

    async def stop(self) -> None:
        """Let what is being sent end, for a little while; stopping twice is fine."""
        await self.delivery.stop()

    def take_given(self, given: tuple[GivenTarget, ...], space_key: Callable[[str], int]) -> None:
        """Have the targets of the settings, and no others that they once had.

        One keeps its place by its address. Raises InvalidInput, and leaves all as it was.
        """
        if not given and not any(one.is_given for one in self.book.targets):
            return
        parts = self._supervisor.parts
        targets = parts.store.notice_targets
        with parts.database.transaction():
            before = {targets.url(one.target_id): one for one in targets.all() if one.is_given}
            for one in before.values():
                # Names may change places: nobody has one of ours meanwhile.
                targets.change(replace(one, name=f"#{one.target_id}"))
            kept = {one.url for one in given}
            for url, target in before.items():
                if url not in kept:
                    targets.drop(target.target_id)
            taken = {one.name for one in targets.all()}
            for number, wish in enumerate(given, 1):
                key = space_key(wish.space) if wish.space else 0
                name = wish.name or f"{scheme_of(wish.url)}-{number}"
                while name in taken:
                    name += "+"
                taken.add(name)
                target = Target(
                    0,
                    name,
                    masked_target(wish.url),
                    key,
                    read_kinds(wish.kinds, is_of_space=bool(key)),
                    wish.down_after_seconds,
                    is_given=True,
                    created_at=parts.clock.now(),
                )
                known = before.pop(wish.url, None)
                if known is None:
                    targets.add(target, wish.url)
                else:
                    targets.change(replace(target, target_id=known.target_id))
            self.book.reload()

"""Commands that pause and resume: a charm, a space, everything.

While something is paused its schedule goes on without it: no poll is made, counted or made up for.
Events wait in their place, and only runs that a person asks for are made. What that means for
single jobs is the queue's and the dispatcher's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from loguru import logger

from bg_charm_service.domain.errors import Conflict
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.service.commands.context import CommandContext
from bg_charm_service.storage.records import Pause

#: Waiting polls that one transaction takes out: it is one step of the loop.
_PORTION = 500

#: Spaces whose keys are read at a time.
_SPACES = 500


@dataclass(frozen=True, slots=True)
class _Place:
    """What is paused or resumed; zeros stand for all."""

    shown: str
    space_key: int = 0
    charm_key: int = 0
    ref: CharmRef | None = None
    space: str = ""


class PauseCommands:
    """What keeps charms from running for a while."""

    def __init__(self, context: CommandContext) -> None:
        self._context = context
        self._supervisor = context.supervisor
        self._parts = context.parts
        self._store = context.store

    async def pause_charm(self, ref: CharmRef) -> None:
        """Let a charm not run until it is resumed; pausing again changes nothing."""
        await self._pause(self._charm(ref))

    async def pause_space(self, name_or_did: str) -> None:
        """Let no charm of a space run until it is resumed."""
        await self._pause(self._space(name_or_did))

    async def pause_all(self) -> None:
        """Let no charm run until everything is resumed."""
        await self._pause(_Place("Everything"))

    async def resume_charm(self, ref: CharmRef) -> None:
        """Let a charm run again; raises Conflict when it is not paused by itself."""
        await self._resume(self._charm(ref))

    async def resume_space(self, name_or_did: str) -> None:
        """Let the charms of a space run again, but for those that are paused by themselves."""
        await self._resume(self._space(name_or_did))

    async def resume_all(self) -> None:
        """Let charms run again; spaces and charms that are paused by themselves stay so."""
        await self._resume(_Place("Everything"))

    def _charm(self, ref: CharmRef) -> _Place:
        charm = self._context.owned_charm(ref)
        return _Place(str(charm.ref), charm.space_key, charm.charm_key, charm.ref)

    def _space(self, name_or_did: str) -> _Place:
        space = self._context.known_space(name_or_did)
        shown = space.name or space.did
        self._context.check_owner(space.space_key, shown)
        return _Place(f"The space {shown}", space.space_key, space=space.did)

    async def _pause(self, place: _Place) -> None:
        if self._store.pauses.at(place.space_key, place.charm_key) is not None:
            return
        now, actor = self._parts.clock.now(), self._context.actor()
        with self._context.change("pause", place.ref, space=place.space):
            self._store.pauses.put(Pause(place.space_key, place.charm_key, now, actor))
            self._tell(place, "paused")
        logger.bind(event="paused").error("{} was paused by {}", place.shown, actor)
        # Nothing of it is claimed from here on. What waits is dropped again when it is resumed:
        # here it is for those who look at the queue meanwhile.
        for space_key in self._space_keys(place):
            while self._store.pauses.at(place.space_key, place.charm_key) is not None:
                with self._parts.database.transaction():
                    dropped = self._drop_polls(place, space_key)
                await asyncio.sleep(0)
                if dropped < _PORTION:
                    break

    async def _resume(self, place: _Place) -> None:
        self._check_paused(place)
        space_keys = self._space_keys(place)
        for space_key in space_keys:
            dropped = _PORTION
            while dropped == _PORTION:
                with self._parts.database.transaction():
                    dropped = self._drop_polls(place, space_key)
                await asyncio.sleep(0)
        self._check_paused(place)
        with self._context.change("resume", place.ref, space=place.space):
            if place.space_key:
                # What came back in between, from a run that was under way.
                self._drop_polls(place, place.space_key)
                self._parts.queue.look_again(place.space_key)
            else:
                self._parts.queue.look_everywhere()
            self._store.pauses.drop(place.space_key, place.charm_key)
            self._tell(place, "resumed")
        logger.bind(event="resumed").info(
            "{} was resumed by {}", place.shown, self._context.actor()
        )
        self._supervisor.note_resumed()
        self._supervisor.wake()

    def _check_paused(self, place: _Place) -> None:
        """Raise Conflict for what is not paused by itself, and say what keeps it from running."""
        pauses = self._store.pauses
        if pauses.at(place.space_key, place.charm_key) is not None:
            return
        over = pauses.over(place.space_key, place.charm_key) if place.space_key else None
        if over is None:
            raise Conflict(f"{place.shown} is not paused.")
        if not over.space_key:
            raise Conflict(
                f"{place.shown} is not paused by itself, but everything is: "
                "`bg-charm-service resume --all`."
            )
        assert place.ref is not None
        raise Conflict(
            f"{place.shown} is not paused by itself, but its space is: "
            f"`bg-charm-service resume {place.ref.space}`."
        )

    def _drop_polls(self, place: _Place, space_key: int) -> int:
        """Take waiting polls out, some at a time: they are not made up for."""
        if place.charm_key:
            self._parts.queue.drop_waiting_poll(place.charm_key)
            return 0
        return self._parts.queue.drop_some_polls(space_key, _PORTION)

    def _space_keys(self, place: _Place) -> Sequence[int]:
        if place.space_key:
            return [place.space_key]
        keys: list[int] = []
        while found := self._store.spaces.page(keys[-1] if keys else 0, _SPACES):
            keys += [one.space.space_key for one in found]
        return keys

    def _tell(self, place: _Place, change: str) -> None:
        if place.ref is not None:
            self._context.tell(place.ref, change)
        else:
            self._context.tell_all(change, space=place.space)

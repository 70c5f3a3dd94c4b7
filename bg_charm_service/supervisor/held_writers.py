"""Gives a run that is stale again and again its turn: who writes what it reads is held back.

A charm whose value moved under each of its last runs gets through: nothing else that may write to
it, or to what it has links to, is begun until one of its runs has come to another end. What is
under way ends as ever, and a run by hand is made. In memory: whoever is stale after a start is held
for anew. Between the dispatcher and what else keeps charms from running.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from loguru import logger

from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.model import CharmHealth
from bg_charm_service.storage.contract import JobQueue, Store
from bg_charm_service.storage.records import Pause, Pausing
from bg_charm_service.supervisor.dispatcher import Holds
from bg_charm_service.supervisor.in_flight import InFlight

#: After so many stale runs in a row its writers are held back.
PATIENCE: Final = 5

#: They are held for no longer than so many of its time limits, and so many seconds: it may be
#: paused meanwhile, or disabled, or get no worker.
_TIMES: Final = 3
_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class _Turn:
    """The turn of one charm: who is held back for it, each with its space, and until when."""

    writers: dict[int, int]
    until: float


class HeldWriters:
    """Which charms are held back now, beside those that other things keep from running."""

    def __init__(self, holds: Holds, store: Store, queue: JobQueue, clock: Clock) -> None:
        self._holds = holds
        self._store = store
        self._queue = queue
        self._clock = clock
        self._turns: dict[int, _Turn] = {}

    @property
    def are_any(self) -> bool:
        """Whether anything may be kept from running."""
        if self._turns:
            self._end_old_turns()
        return bool(self._turns) or self._holds.are_any

    def within(self, space_key: int) -> Pausing:
        """What of a space is kept from running."""
        pausing = self._holds.within(space_key)
        if not self._turns or pausing.is_whole:
            return pausing
        now = self._clock.steady()
        held = {
            charm_key
            for turn in self._turns.values()
            if turn.until > now
            for charm_key, place in turn.writers.items()
            if place == space_key
        }
        return Pausing(charm_keys=pausing.charm_keys | held) if held else pausing

    def over(self, space_key: int, charm_key: int) -> Pause | None:
        """What keeps a charm from running."""
        paused = self._holds.over(space_key, charm_key)
        if paused is not None or charm_key not in self.within(space_key).charm_keys:
            return paused
        return Pause(space_key, charm_key, 0.0, "")

    @property
    def has_turns(self) -> bool:
        """Whether anybody is held back."""
        return bool(self._turns)

    def writers_for(self, run: InFlight, health: CharmHealth) -> dict[int, int]:
        """Who is to be held back for a charm whose run was stale, each with its space.

        Nobody, while that has not gone on for long, or somebody else has a turn that it is held
        back for: of two that write to each other one goes first.
        """
        charm_key = run.claim.charm_key
        if health.stale_streak < PATIENCE or charm_key in self._turns:
            return {}
        if any(charm_key in turn.writers for turn in self._turns.values()):
            return {}
        links = self._store.links
        places = {charm_key, *(link.target_key for link in links.of(charm_key))}
        keys = places | {key for place in places for key in links.writers_of(place)}
        # Whoever has a turn is not held back: it may be one that those of this turn wait for.
        found = (self._store.charms.get(key) for key in keys - {charm_key} - self._turns.keys())
        return {one.charm_key: one.space_key for one in found if one is not None}

    def begin(self, run: InFlight, writers: dict[int, int], timeout_seconds: float) -> None:
        """Hold them back from now on; once it is on disk that the run was stale."""
        until = self._clock.steady() + _TIMES * timeout_seconds + _SECONDS
        self._turns[run.claim.charm_key] = _Turn(writers, until)
        logger.bind(event="writers_held", job=run.claim.job.job_id).warning(
            "Runs of {} were stale {} times in a row; what may write what it reads waits until it "
            "is through. Charms that wait: {}",
            run.charm.ref,
            PATIENCE,
            len(writers),
        )

    def end(self, charm_key: int) -> None:
        """Let them run again, as a run of that charm has come to another end."""
        turn = self._turns.pop(charm_key, None)
        for space_key in set(turn.writers.values()) if turn is not None else ():
            self._queue.look_again(space_key)

    def _end_old_turns(self) -> None:
        now = self._clock.steady()
        for charm_key in [key for key, turn in self._turns.items() if turn.until <= now]:
            self.end(charm_key)

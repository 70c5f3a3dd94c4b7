"""Keeps suspects from running until the service has lived without them: `domain.suspicion` at work.

Remembers the lives of the service that ended in death, and how long this one has lasted; after a
good end there is nothing to remember, and nothing is written. Used by the loop and the dispatcher.
"""

from __future__ import annotations

import math
from dataclasses import replace

from loguru import logger

from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.outcomes.suspicion import (
    Life,
    LifeKind,
    died_from_outside,
    is_over_it,
    next_life,
    seconds_until_note,
)
from bg_charm_service.storage.contract import Storage


class SuspectTrial:
    """Whether suspects, and whether any charms, may run now."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._lives = storage.store.lives
        self._queue = storage.queue
        self._database = storage.database
        self._clock = clock
        self._born = clock.steady()
        self._deaths: list[Life] = []
        self._life = Life(LifeKind.ORDINARY, 0.0, 0.0)
        self._is_passed = True
        self._next_note = math.inf

    def begin(self) -> None:
        """Begin this life, once the jobs of the last one were recovered; inside a transaction.

        Where that died without any suspect at work, nobody is one any more.
        """
        self._deaths = self._lives.all()
        self._born = self._clock.steady()
        if died_from_outside(self._deaths):
            self._queue.forget_deliveries()
            logger.bind(event="suspects_cleared").warning(
                "The service also ended while no suspect ran: something outside ends it. "
                "No charm pays for it"
            )
        has_suspects = self._queue.has_suspect(math.inf)
        self._life = next_life(self._deaths, has_suspects=has_suspects)
        self._is_passed = not self._life.is_trial
        self._lives.begin(self._life)
        if self._deaths:
            self._next_note = self._born + seconds_until_note(self._life)
        if self._life.is_trial:
            logger.bind(event="suspects_wait").warning(
                "The service ended several times while the same jobs were under way. It runs {} "
                "for {:.0f} s first; if it ends then too, the cause lies outside",
                self._life.kind.value,
                self._life.target_seconds,
            )

    def may_run_suspects(self) -> bool:
        """Whether a suspect may run, alone."""
        return self._is_passed

    def may_run_charms(self) -> bool:
        """Whether any charm may run."""
        return self._is_passed or self._life.kind is not LifeKind.WITHOUT_CHARMS

    @property
    def target_seconds(self) -> float:
        """For how long this life began without suspects, or is to; 0 when it began with them."""
        return self._life.target_seconds

    @property
    def next_note(self) -> float:
        """When `note` has something to write, by the steady clock; endless when it never has."""
        return self._next_note

    def note(self, now: float) -> None:
        """Write how long this life has lasted, when it is time to; inside a transaction."""
        if now < self._next_note:
            return
        lived_seconds = now - self._born
        self._lives.note(lived_seconds)
        has_passed = not self._is_passed and lived_seconds >= self._life.target_seconds
        has_suspects = self._queue.has_suspect(math.inf)
        is_history = is_over_it(self._deaths, lived_seconds, has_suspects=has_suspects)
        if is_history:
            self._lives.forget()
            self._lives.begin(Life(LifeKind.ORDINARY, 0.0, lived_seconds))
        self._database.after_commit(
            lambda: self._have_noted(now, has_passed=has_passed, is_history=is_history)
        )

    def pass_over(self, seconds: float) -> None:
        """Let so much of this life not count: the machine slept, or the service was stopped."""
        self._born += seconds

    def end_well(self) -> None:
        """Forget all deaths: this life ends in good order; inside a transaction."""
        self._lives.forget()

    def _have_noted(self, now: float, *, has_passed: bool, is_history: bool) -> None:
        lived = replace(self._life, lived_seconds=now - self._born)
        self._next_note = math.inf if is_history else now + seconds_until_note(lived)
        if is_history:
            self._deaths = []
        if has_passed:
            self._is_passed = True
            # Where only suspects wait nobody looked any more.
            self._queue.recount()
            logger.bind(event="suspects_tried").info(
                "The service lives without the suspects; now they run, one by one"
            )

"""Switches charms on again, by whomever: a person, time, a registration, or a sign-in.

The one place that undoes what disabled a charm: its record, the events that were held, its next
poll, what it waited for. Called by the completer, the commands and the maintenance cycle, inside
their transactions.
"""

from __future__ import annotations

from collections.abc import Iterable

from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.model import SIGNED_IN_STATUS, CharmHealth
from bg_charm_service.domain.outcomes.policy import enabled_again
from bg_charm_service.storage.contract import Storage
from bg_charm_service.storage.records import CharmRecord
from bg_charm_service.supervisor.planning.poll_planner import PollPlanner
from bg_charm_service.supervisor.planning.polled_charms import PolledCharms
from bg_charm_service.supervisor.waiting_charms import WaitingCharms


class CharmSwitch:
    """Lets charms run that did not."""

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        planner: PollPlanner,
        polled_charms: PolledCharms,
        waiting: WaitingCharms,
    ) -> None:
        self._database = storage.database
        self._store = storage.store
        self._queue = storage.queue
        self._clock = clock
        self._planner = planner
        self._polled_charms = polled_charms
        self._waiting = waiting

    def enable(self, charm: CharmRecord, status: str, *, is_polled: bool) -> None:
        """Let a charm run again: its failures start from 0; polled from now on where it is."""
        before = self._store.health.get(charm.charm_key)
        self.put(charm, before, enabled_again(before, status), is_polled=is_polled)

    def put(
        self, charm: CharmRecord, before: CharmHealth, health: CharmHealth, *, is_polled: bool
    ) -> None:
        """Let a charm run with what is known of it from here on, which says it is enabled."""
        self._store.health.put(charm.charm_key, health, before=before)
        missed_since = before.disabled_at if not before.is_enabled else None
        self.release(charm, health, is_polled=is_polled, missed_since=missed_since)

    def release(
        self,
        charm: CharmRecord,
        health: CharmHealth,
        *,
        is_polled: bool,
        missed_since: float | None,
    ) -> None:
        """Let run what was held for a charm, whose record says already that it is enabled.

        It was not polled since `missed_since`, by the wall clock; None where it was.
        """
        key = charm.charm_key
        self._waiting.forget(charm.ref, key, charm.space_key)
        # Events are kept for it also where nobody polls it any more.
        self._queue.unhold(charm.space_key, key, self._clock.steady())
        if is_polled:
            self._planner.begin(key, charm.ref.space, missed_since=missed_since)
        self._database.after_commit(lambda: self._polled_charms.note_health(key, health))

    def sign_in(self, charm_key: int, fields: Iterable[str]) -> None:
        """Let those run again that waited for a sign-in, which a change of these fields may be."""
        for key in self._waiting.signed_in_by(charm_key, fields):
            charm = self._store.charms.get(key)
            if charm is not None and charm.removed_at is None:
                is_polled = key in self._polled_charms
                self.enable(charm, SIGNED_IN_STATUS, is_polled=is_polled)

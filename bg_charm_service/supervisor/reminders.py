"""Reminders: what one may be, and that it becomes an event once its time has come.

Times of reminders are those of the wall clock: what is to come at eight comes at eight, whatever
was set meanwhile. What is asked for is checked here, whoever asks: a run's effects, a command.
The loop sends what is due, inside its transaction.
"""

from __future__ import annotations

import math

from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.errors import InvalidInput, StateTooLarge
from bg_charm_service.domain.model import Remind
from bg_charm_service.domain.quantities import size_text
from bg_charm_service.storage.contract import Storage, Store
from bg_charm_service.storage.records import CharmRecord, Reminder
from bg_charm_service.supervisor.events.seals import EventSeals
from bg_charm_service.supervisor.waiting_charms import WaitingCharms

#: So many reminders are sent in one step, so that one step stays short.
_BATCH = 250

#: A charm has no more reminders waiting than this.
MOST_REMINDERS = 1000

#: A reminder comes after this long at most, in seconds.
LONGEST_SECONDS = 366 * 86400.0

_MOST_NAME_CHARACTERS = 200


class ReminderSchedule:
    """When the next reminder is due, and what it does then."""

    def __init__(self, storage: Storage, clock: Clock, waiting: WaitingCharms) -> None:
        self._store = storage.store
        self._queue = storage.queue
        self._clock = clock
        self._waiting = waiting

    @property
    def next_due(self) -> float | None:
        """When the next one is due by the steady clock, as far as one can tell now."""
        next_at = self._store.reminders.next_at()
        return None if next_at is None else self._clock.steady() + next_at - self._clock.now()

    def is_due(self) -> bool:
        """Whether the time of one may have come."""
        next_at = self._store.reminders.next_at()
        return next_at is not None and next_at <= self._clock.now()

    def send_due(self) -> None:
        """Turn what is due into events, behind those that wait; inside a transaction."""
        now = self._clock.now()
        due = self._store.reminders.due(now, _BATCH)
        charms = self._store.charms.get_many([one.charm_key for one in due])
        for one in due:
            charm = charms.get(one.charm_key)
            if charm is None or charm.removed_at is not None:
                continue
            self._queue.put_send(
                charm.space_key,
                charm.charm_key,
                charm.ref,
                one.stream,
                one.event,
                run_at=self._clock.steady(),
                now=now,
                is_held=not self._store.health.get(charm.charm_key).is_enabled,
                not_before=self._waiting.not_before(charm.charm_key),
                is_accepted=True,
            )
        self._store.reminders.take(due)


class Reminding:
    """Changes the reminders of one charm, inside a transaction; raises InvalidInput."""

    def __init__(self, store: Store, charm: CharmRecord, now: float, most_bytes: int) -> None:
        self._reminders = store.reminders
        self._charm = charm
        self._now = now
        self._most_bytes = most_bytes
        self._seals = EventSeals(store)

    def put(self, remind: Remind) -> Reminder:
        """Add a reminder, instead of the one of its name; its event is JSON. See `check_room`."""
        charm = self._charm
        if remind.stream not in charm.schema.streams:
            there = ", ".join(charm.schema.streams)
            raise InvalidInput(
                f"{charm.name} has no stream {remind.stream!r:.100}; it has {there}."
            )
        name = remind.name
        if len(name) > _MOST_NAME_CHARACTERS or not name.isprintable() or name.startswith("#"):
            raise InvalidInput(f"{name!r:.100} is no name of a reminder.")
        at = self._now + remind.after if remind.at is None else remind.at
        if not math.isfinite(at) or at > self._now + LONGEST_SECONDS:
            raise InvalidInput("A reminder comes within 366 days.")
        return self._reminders.put(
            charm.charm_key,
            name=name or None,
            stream=remind.stream,
            event=self._seals.kept(charm, remind.stream, remind.event),
            # What is past comes now: one before the epoch says no more than that.
            remind_at=max(0.0, at),
            now=self._now,
        )

    def forget(self, name: str) -> bool:
        """Take the reminder of a name back, where there is one."""
        return self._reminders.drop(self._charm.charm_key, name)

    def check_room(self) -> None:
        """Raise InvalidInput for more reminders than a charm may have, or too large ones."""
        count, size_bytes = self._reminders.size(self._charm.charm_key)
        if count > MOST_REMINDERS:
            raise InvalidInput(
                f"It would have {count:,} reminders waiting, and may have {MOST_REMINDERS:,}: take "
                "some back first, or give them names, so that a new one replaces the old."
            )
        if size_bytes > self._most_bytes:
            raise StateTooLarge(
                f"The events of its reminders would be {size_bytes:,} bytes, and may be "
                f"{size_text(self._most_bytes)}."
            )

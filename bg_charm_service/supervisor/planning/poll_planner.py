"""Plans polls: which charms are due, each put into the queue at most once.

The due times are remembered (`DueTimes` of the storage contract, over the steady clock); they are
durable in the health records, written in the transaction that queues the poll. Called by the
supervisor.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial

from msgspec.structs import replace

from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.model import POLL_EVENT, CharmRef
from bg_charm_service.domain.schedules.poll_schedule import (
    CATCH_UP_SECONDS,
    due_after_first,
    due_after_poll,
    due_after_restart,
    next_due,
    phase_seconds,
)
from bg_charm_service.domain.schedules.schedule import Schedule
from bg_charm_service.domain.schedules.words import Missed
from bg_charm_service.storage.contract import Storage
from bg_charm_service.storage.records import CharmRecord, NewJob, ScheduleEntry
from bg_charm_service.supervisor.planning.schedule_resolver import ScheduleResolver
from bg_charm_service.supervisor.planning.timetable import (
    Timetable,
    Turn,
    first_time,
    time_to_begin,
)

#: So many polls are planned in one step, so that one step stays short.
PLAN_BATCH = 500

#: The length of a run while none is known, in seconds.
_FIRST_GUESS_SECONDS = 0.005

#: What a class may ask for at the most, where nobody says otherwise, in seconds.
MIN_INTERVAL_SECONDS = 10.0

#: Of very many charms whose runs nobody knows, a few run for so long before the others, in seconds.
_LEARNING_SECONDS = 2.0


class PollPlanner:
    """The due times of all charms that are polled."""

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        *,
        interval_seconds: float,
        max_concurrent: int,
        min_interval_seconds: float = MIN_INTERVAL_SECONDS,
    ) -> None:
        self._database = storage.database
        self._store = storage.store
        self._queue = storage.queue
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._max_concurrent = max_concurrent
        #: Which schedule counts for a charm.
        self.schedules = ScheduleResolver(
            storage.store.schedules, interval_seconds, min_interval_seconds
        )
        self._timetable = Timetable(clock)
        self._due_times = storage.database.sole_writer.due_times
        #: What `plan` took out of them in the transaction that is open.
        self._taken: list[tuple[float, int]] = []
        self._in_space: Counter[str] = Counter()
        self._spaces: dict[int, str] = {}
        #: New and re-enabled charms: their next poll is half an interval away at least.
        self._first: set[int] = set()
        #: Whether a charm got a due time of its own in the transaction that is open, or since.
        self._has_moved = False
        #: What charms wait for that got one, by the steady clock: it counts more than a schedule.
        self._moved: dict[int, float] = {}
        #: Those that wait until it is known how long a run takes, and how many these were at first.
        self._held: set[int] = set()
        self._held_at_first = 0

    def load(self) -> None:
        """Take up the schedule that an earlier life of the service left behind."""
        entries = [
            (one.space, ScheduleEntry(one.charm_key, one.due_at, one.interval_seconds))
            for one in self._store.health.scheduled()
            if one.disabled_by is None
        ]
        self._hold_back(entries)
        self._take_up([each for each in entries if each[1].charm_key not in self._held])

    def poll_now(self, charm_key: int, space: str) -> None:
        """Make a charm due at once, and then at its phase; inside a transaction."""
        now = self._clock.steady()
        self._set_due(charm_key, now)

        def place() -> None:
            self._let_go([charm_key])
            self._timetable.forget(charm_key)
            self._first.add(charm_key)
            self._place(charm_key, space, now)

        self._database.after_commit(place)

    def begin(self, charm_key: int, space: str, *, missed_since: float | None = None) -> None:
        """Schedule a charm that is new, or was not polled for a while; inside a transaction.

        One with an interval is due at once, unless it skips what it has missed. One with times of
        its own is due at the next of them, or at once where one has passed since `missed_since`, by
        the wall clock, and counts.
        """
        self.begin_by(self._schedule_of(charm_key), charm_key, space, missed_since=missed_since)

    def begin_by(
        self,
        schedule: Schedule | None,
        charm_key: int,
        space: str,
        *,
        missed_since: float | None = None,
    ) -> None:
        """Do so by a schedule that counts once this transaction is on disk."""
        if schedule is None or not schedule.cron:
            if schedule and schedule.missed is Missed.SKIP and missed_since is not None:
                self._go_on(
                    schedule, charm_key, self._store.charms.get_many([charm_key])[charm_key].ref
                )
            else:
                self.poll_now(charm_key, space)
            return
        time = time_to_begin(schedule, self._clock.now(), missed_since)
        self._set_due(charm_key, time)

        def place() -> None:
            self._let_go([charm_key])
            self._first.discard(charm_key)
            self._place(charm_key, space, self._timetable.place(charm_key, schedule, time))

        self._database.after_commit(place)

    def _go_on(self, schedule: Schedule | None, charm_key: int, ref: CharmRef) -> None:
        """Let a charm be due at its next place in its interval; inside a transaction."""
        every = schedule.every_seconds if schedule else self._own_interval(charm_key)
        phase = phase_seconds(ref, every, self._in_space[ref.space] * self._run_seconds())
        due = next_due(self._clock.steady(), phase, every)
        self._set_due(charm_key, due)
        self._database.after_commit(lambda: self._place(charm_key, ref.space, due))

    def ensure(self, charms: Iterable[tuple[int, str]]) -> None:
        """Schedule charms, given by key and space, that are not scheduled; in a transaction.

        New ones are due now. Those that an earlier life of the service polled go on as after any
        restart: many missed polls are spread.
        """
        known: list[tuple[str, ScheduleEntry]] = []
        for charm_key, space in charms:
            entry = self._store.health.entry(charm_key)
            if charm_key in self._due_times:
                continue
            if entry.due_at is not None:
                known.append((space, entry))
                continue
            now = self._clock.steady()
            until = self._store.waits.later([charm_key], now).get(charm_key)
            if until is None:
                self.begin(charm_key, space)
            else:
                # It has waited since before it was polled no more.
                stored = self._stored_due(self._schedule_of(charm_key), until)
                self._set_due(charm_key, stored)
                known.append((space, replace(entry, due_at=stored)))
        self._database.after_commit(lambda: self._take_up(known))

    def drop(self, charm_key: int) -> None:
        """Poll a charm no more; inside a transaction."""
        self._set_due(charm_key, None)
        self._database.after_commit(lambda: self._forget(charm_key))

    def move(self, charm_key: int, due: float) -> None:
        """Poll a charm next at a moment of its own, if it is polled; inside a transaction.

        By the steady clock, whatever schedule it has. The moment stands in its row of `waits` too,
        until it is polled or waits for nothing.
        """
        if charm_key in self._due_times:
            self.move_by(self._schedule_of(charm_key), charm_key, due)

    def move_by(self, schedule: Schedule | None, charm_key: int, due: float) -> None:
        """Do so by a schedule that counts once this transaction is on disk."""
        self._has_moved = True
        self._set_due(charm_key, self._stored_due(schedule, due))

        def place() -> None:
            self._timetable.forget(charm_key)
            self._moved[charm_key] = due
            self._due_times.place(charm_key, due)

        self._database.after_commit(place)

    def resume(self, ref: CharmRef, charm_key: int, was: float) -> None:
        """Poll a charm next in its place again that was moved to a moment; in a transaction."""
        if self._due_times.at(charm_key) != was:
            return
        self._database.after_commit(partial(self._forget_moved, [(was, charm_key)]))
        schedule = self._schedule_of(charm_key)
        if schedule is not None and schedule.cron:
            self.begin_by(schedule, charm_key, ref.space)
        else:
            self._go_on(schedule, charm_key, ref)

    def interval_seconds(self, charm_key: int) -> float:
        """How often a charm is polled; how long it is to the next of its times, if it has some."""
        schedule = self._schedule_of(charm_key)
        if schedule is None:
            return self._own_interval(charm_key)
        if schedule.cron:
            now = self._clock.now()
            return first_time(schedule, now) - now
        return schedule.every_seconds

    def _own_interval(self, charm_key: int) -> float:
        return self._store.health.entry(charm_key).interval_seconds or self._interval_seconds

    def _stored_due(self, schedule: Schedule | None, due: float) -> float:
        """How a moment of the steady clock is kept: times of cron are by the wall clock."""
        return due + self._timetable.ahead() if schedule is not None and schedule.cron else due

    def _set_due(self, charm_key: int, due_at: float | None) -> None:
        """Store when a charm is due, whatever polls of it are live; inside a transaction."""
        self._queue.write_out(charm_key)
        self._store.health.set_due(charm_key, due_at)

    def is_polled(self, charm_key: int) -> bool:
        """Whether a charm is scheduled."""
        return charm_key in self._due_times

    def due_at(self, charm_key: int) -> float | None:
        """When a charm is looked at next, by the steady clock."""
        return self._due_times.at(charm_key)

    def next_poll_at(self, charm: CharmRecord, entry: ScheduleEntry) -> float | None:
        """When a charm is polled next, by the wall clock; None while it is not."""
        due = self._due_times.at(charm.charm_key)
        if due is None:
            return None
        ahead = self._timetable.ahead()
        schedule = self.schedules.of(charm, entry.interval_seconds)
        if schedule is None or entry.due_at is None:
            return due + ahead
        if not schedule.cron:
            return max(due, entry.due_at) + ahead
        time = self._timetable.time_of(charm.charm_key)
        if time is None and entry.due_at > self._clock.now() and charm.charm_key not in self._moved:
            # As an earlier life of the service left it: the two clocks are never quite the same.
            time = entry.due_at
        return max(due + ahead, entry.due_at) if time is None else time

    @property
    def next_due(self) -> float | None:
        """When the next charm is due; None when none is scheduled."""
        return self._due_times.next_due

    def is_due(self, now: float) -> bool:
        """Whether a charm is due."""
        for charm_key, due_at in self._timetable.moved():
            self._due_times.place(charm_key, due_at)
        due = self.next_due
        return due is not None and due <= now

    def plan(self, now: float) -> int:
        """Queue a poll for each charm that is due, up to a batch; inside a transaction.

        Gives how many were due. When the transaction fails, `restore` makes them due again.
        """
        self._taken = taken = self._due_times.take(now, PLAN_BATCH)
        if not taken:
            return 0
        self._timetable.begin()
        try:
            self._plan_all(taken, now)
        except BaseException:
            self.restore()
            raise
        count = len(taken)
        self._database.after_commit(taken.clear)
        return count

    def restore(self) -> None:
        """Put entries back whose polls were not queued after all: the transaction failed."""
        if self._taken:
            self._timetable.restore()
        self._due_times.restore(self._taken)
        self._taken = []

    def _plan_all(self, taken: Sequence[tuple[float, int]], now: float) -> None:
        keys = [charm_key for _, charm_key in taken]
        charms, entries = self._store.charms.get_many(keys), self._store.health.entries(keys)
        live = self._queue.live_polls(keys)
        pauses = self._store.pauses
        # A run that was settled a moment ago, in this transaction, may have moved its charm. What
        # lies before that moves nobody: that time came, and the charm was paused, say.
        before = math.nextafter(now, 0.0)
        moved = self._store.waits.later(keys, before) if self._has_moved else {}
        self._has_moved = False
        run_seconds = self._run_seconds()
        is_flood = self._held_at_first * run_seconds > CATCH_UP_SECONDS * self._max_concurrent
        polls: list[NewJob] = []
        planned: list[tuple[float | None, int]] = []
        skipped: list[tuple[float | None, int]] = []
        brought_near: list[tuple[float | None, int]] = []
        ahead = self._timetable.ahead()
        for due, charm_key in taken:
            charm, entry = charms.get(charm_key), entries.get(charm_key)
            if charm is None or charm.removed_at is not None or charm.updater is None or not entry:
                self._forget(charm_key)
                continue
            if not entry.is_enabled:
                # A run that was settled a moment ago, in this transaction, has disabled it.
                continue
            if moved.get(charm_key, due) != due:
                self._place(charm_key, charm.ref.space, moved[charm_key])
                continue
            schedule = self.schedules.of(charm, entry.interval_seconds)
            scheduled_at: float | None
            if schedule is None:
                interval = entry.interval_seconds or self._interval_seconds
                later = self._later(charm.ref, charm_key, interval, due, now, run_seconds)
                stored, scheduled_at = later, due + ahead
            else:
                if charm_key in live:
                    # Its stored due time may still be that of its poll.
                    self._queue.write_out(charm_key)
                    entry = entry if schedule.cron else replace(entry, due_at=due)
                turn = self._turn(charm, entry, schedule, due, now, run_seconds)
                later, stored, scheduled_at = turn.later, turn.stored, turn.scheduled_at
                if not turn.is_polled:
                    self._place(charm_key, charm.ref.space, later)
                    planned.append((stored, charm_key))
                    continue
            self._place(charm_key, charm.ref.space, later)
            if charm_key in self._held and is_flood:
                # Not now, but in its place among the others.
                continue
            if pauses.are_any and pauses.over(charm.space_key, charm_key) is not None:
                # Not now, and not made up for: the schedule goes on without it.
                planned.append((stored, charm_key))
                continue
            if charm_key in live:
                skipped.append((stored, charm_key))
            else:
                if entry.due_at is None or entry.due_at > due:
                    # Brought near by a start: what is stored is to stand for the poll.
                    brought_near.append((due, charm_key))
                polls.append(
                    NewJob(
                        charm.space_key,
                        charm_key,
                        charm.ref,
                        charm.updater,
                        POLL_EVENT,
                        run_at=due,
                        scheduled_at=scheduled_at,
                        next_due=stored,
                        is_plain=schedule is None or not schedule.cron,
                    )
                )
        if self._held:
            self._database.after_commit(lambda: self._let_go(keys))
        if self._moved:
            self._database.after_commit(partial(self._forget_moved, tuple(taken)))
        if brought_near:
            self._store.health.set_due_all(brought_near)
        self._queue.put_polls(polls, now=self._clock.now())
        self._store.health.set_due_all(planned)
        if skipped:
            self._store.health.skip_all(skipped)
            self._store.totals.add("skipped_polls", len(skipped))

    def _turn(
        self,
        charm: CharmRecord,
        entry: ScheduleEntry,
        schedule: Schedule,
        due: float,
        now: float,
        run_seconds: float,
    ) -> Turn:
        """What a charm with a schedule gets that was taken as due."""
        key = charm.charm_key
        if schedule.cron:
            # One that has waited is polled now, although it is none of its times.
            waited = due + self._timetable.ahead() if self._moved.get(key) == due else None
            return self._timetable.turn_of_cron(key, schedule, entry.due_at, waited)
        later = self._later(charm.ref, key, schedule.every_seconds, due, now, run_seconds)
        return self._timetable.turn_of_interval(schedule, entry.due_at, due, now, later)

    def _schedule_of(self, charm_key: int) -> Schedule | None:
        charm = self._store.charms.get_many([charm_key]).get(charm_key)
        if charm is None:
            return None
        return self.schedules.of(charm, self._store.health.entry(charm_key).interval_seconds)

    def _later(
        self,
        ref: CharmRef,
        charm_key: int,
        interval: float,
        due: float,
        now: float,
        run_seconds: float,
    ) -> float:
        """When a charm with an interval is due next that is polled now."""
        phase = phase_seconds(ref, interval, self._in_space[ref.space] * run_seconds)
        if charm_key in self._first:
            self._database.after_commit(lambda: self._first.discard(charm_key))
            return due_after_first(now, phase, interval)
        return due_after_poll(due, now, phase, interval)

    def _run_seconds(self) -> float:
        executions = self._store.totals.get("executions")
        if not executions:
            return _LEARNING_SECONDS if self._held else _FIRST_GUESS_SECONDS
        return max(0.0005, self._store.totals.get("total_ms") / executions / 1000)

    def _hold_back(self, entries: Sequence[tuple[str, ScheduleEntry]]) -> None:
        """Where no run of any charm is known, let some show first how long theirs take.

        All at once, slow charms would be late for longer than an interval; where quick ones go
        together, slow ones are to be spread.
        """
        now = self._clock.steady()
        overdue = [each for each in entries if (each[1].due_at or now) <= now]
        if len(overdue) <= PLAN_BATCH or self._store.totals.get("executions"):
            return
        shown = overdue[:: len(overdue) // self._max_concurrent + 1]
        self._held = {entry.charm_key for _, entry in overdue}
        self._held -= {entry.charm_key for _, entry in shown}
        self._held_at_first = len(self._held)
        for space, entry in overdue:
            if entry.charm_key in self._held:
                self._place(entry.charm_key, space, now + _LEARNING_SECONDS)

    def _let_go(self, charm_keys: Sequence[int]) -> None:
        """Hold these back no more."""
        self._held.difference_update(charm_keys)
        if not self._held:
            # One that was emptied stays as large as it was.
            self._held = set()

    def _take_up(self, entries: Sequence[tuple[str, ScheduleEntry]]) -> None:
        """Place charms that an earlier life left behind, each with its space."""
        now = self._clock.steady()
        starts_per_second = self._max_concurrent / self._run_seconds()
        dues = [now if entry.due_at is None else entry.due_at for _, entry in entries]
        own = [entry.interval_seconds for _, entry in entries]
        moved = due_after_restart(dues, now, self._interval_seconds, starts_per_second, own)
        # What a charm waits for lies where its last run has put it, however far away.
        waits = self._store.waits.later([entry.charm_key for _, entry in entries], now)
        for (space, entry), due in zip(entries, moved, strict=True):
            self._place(entry.charm_key, space, waits.get(entry.charm_key, due))
        self._moved.update(waits)

    def _place(self, charm_key: int, space: str, due: float) -> None:
        if charm_key not in self._spaces:
            self._spaces[charm_key] = space
            self._in_space[space] += 1
        self._due_times.place(charm_key, due)

    def _forget_moved(self, taken: Sequence[tuple[float, int]]) -> None:
        """Forget the moments that these charms waited for, which have come."""
        for due, charm_key in taken:
            if self._moved.get(charm_key) == due:
                del self._moved[charm_key]

    def _forget(self, charm_key: int) -> None:
        self._due_times.forget(charm_key)
        self._moved.pop(charm_key, None)
        self._timetable.forget(charm_key)
        self._let_go([charm_key])
        space = self._spaces.pop(charm_key, None)
        if space is not None:
            self._in_space[space] -= 1

"""Plans polls: which charms are due, each put into the queue at most once.

The due times are remembered (`DueTimes` of the storage contract, over the steady clock); they are
durable in the health records, written in the transaction that queues the poll. Called by the
supervisor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.model import POLL_EVENT, CharmRef
from bg_charm_service.domain.poll_schedule import (
    CATCH_UP_SECONDS,
    due_after_first,
    due_after_poll,
    due_after_restart,
    phase_seconds,
)
from bg_charm_service.storage.contract import Storage
from bg_charm_service.storage.records import NewJob, ScheduleEntry

#: So many polls are planned in one step, so that one step stays short.
PLAN_BATCH = 500

#: The length of a run while none is known, in seconds.
_FIRST_GUESS_SECONDS = 0.005

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
    ) -> None:
        self._database = storage.database
        self._store = storage.store
        self._queue = storage.queue
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._max_concurrent = max_concurrent
        self._due_times = storage.database.sole_writer.due_times
        #: What `plan` took out of them in the transaction that is open.
        self._taken: list[tuple[float, int]] = []
        self._in_space: Counter[str] = Counter()
        self._spaces: dict[int, str] = {}
        #: New and re-enabled charms: their next poll is half an interval away at least.
        self._first: set[int] = set()
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
        self._store.health.set_due(charm_key, now)

        def place() -> None:
            self._let_go([charm_key])
            self._first.add(charm_key)
            self._place(charm_key, space, now)

        self._database.after_commit(place)

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
            if entry.due_at is None:
                self.poll_now(charm_key, space)
            else:
                known.append((space, entry))
        self._database.after_commit(lambda: self._take_up(known))

    def drop(self, charm_key: int) -> None:
        """Poll a charm no more; inside a transaction."""
        self._store.health.set_due(charm_key, None)
        self._database.after_commit(lambda: self._forget(charm_key))

    def is_polled(self, charm_key: int) -> bool:
        """Whether a charm is scheduled."""
        return charm_key in self._due_times

    def due_at(self, charm_key: int) -> float | None:
        """When a charm is due next, by the steady clock."""
        return self._due_times.at(charm_key)

    @property
    def next_due(self) -> float | None:
        """When the next charm is due; None when none is scheduled."""
        return self._due_times.next_due

    def is_due(self, now: float) -> bool:
        """Whether a charm is due."""
        due = self.next_due
        return due is not None and due <= now

    def plan(self, now: float) -> int:
        """Queue a poll for each charm that is due, up to a batch; inside a transaction.

        Gives how many were due. When the transaction fails, `restore` makes them due again.
        """
        self._taken = taken = self._due_times.take(now, PLAN_BATCH)
        if not taken:
            return 0
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
        self._due_times.restore(self._taken)
        self._taken = []

    def _plan_all(self, taken: Sequence[tuple[float, int]], now: float) -> None:
        keys = [charm_key for _, charm_key in taken]
        charms, entries = self._store.charms.get_many(keys), self._store.health.entries(keys)
        live = self._queue.live_polls(keys)
        run_seconds = self._run_seconds()
        is_flood = self._held_at_first * run_seconds > CATCH_UP_SECONDS * self._max_concurrent
        polls: list[NewJob] = []
        planned: list[tuple[float | None, int]] = []
        skipped: list[tuple[float | None, int]] = []
        for due, charm_key in taken:
            charm, entry = charms.get(charm_key), entries.get(charm_key)
            if charm is None or charm.removed_at is not None or charm.updater is None or not entry:
                self._forget(charm_key)
                continue
            if not entry.is_enabled:
                # A run that was settled a moment ago, in this transaction, has disabled it.
                continue
            later = self._later(charm.ref, charm_key, entry, due, now, run_seconds)
            self._place(charm_key, charm.ref.space, later)
            if charm_key in self._held and is_flood:
                # Not now, but in its place among the others.
                continue
            if charm_key in live:
                skipped.append((later, charm_key))
            else:
                polls.append(
                    NewJob(
                        charm.space_key, charm_key, charm.ref, charm.updater, POLL_EVENT, run_at=due
                    )
                )
                planned.append((later, charm_key))
        if self._held:
            self._database.after_commit(lambda: self._let_go(keys))
        self._queue.put_polls(polls, now=self._clock.now())
        self._store.health.set_due_all(planned)
        if skipped:
            self._store.health.skip_all(skipped)
            self._store.totals.add("skipped_polls", len(skipped))

    def _later(
        self,
        ref: CharmRef,
        charm_key: int,
        entry: ScheduleEntry,
        due: float,
        now: float,
        run_seconds: float,
    ) -> float:
        """When a charm is due next that is polled now."""
        interval = entry.interval_seconds or self._interval_seconds
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
        for (space, entry), due in zip(entries, moved, strict=True):
            self._place(entry.charm_key, space, due)

    def _place(self, charm_key: int, space: str, due: float) -> None:
        if charm_key not in self._spaces:
            self._spaces[charm_key] = space
            self._in_space[space] += 1
        self._due_times.place(charm_key, due)

    def _forget(self, charm_key: int) -> None:
        self._due_times.forget(charm_key)
        self._let_go([charm_key])
        space = self._spaces.pop(charm_key, None)
        if space is not None:
            self._in_space[space] -= 1

"""What becomes of a poll whose charm has a schedule: now, later, or left out.

Times of cron are by the wall clock, all else is planned by the steady one: what lies between the
two is kept here, and followed when the wall clock is set. Decides and remembers, writes nothing.
Used by the poll planner, in its transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.schedules.schedule import (
    MISSED_AFTER_SECONDS,
    Schedule,
    end_of_quiet,
    next_time,
    out_of_quiet,
    time_after,
)
from bg_charm_service.domain.schedules.words import Missed

#: The wall clock was set when it moved by more than this against the steady one, in seconds.
_SET_SECONDS = 1.0

#: Set back by more than this, it was wrong before: times are worked out anew, in seconds. By less,
#: what has run does not run again, as with cron.
_WRONG_SECONDS = 3 * 3600.0


class Turn(NamedTuple):
    """What a charm that was taken as due gets.

    `later` is when it is due next by the steady clock, and `stored` how that is kept; without
    `is_polled` it gets no poll now.
    """

    is_polled: bool
    later: float
    stored: float
    scheduled_at: float | None = None


class Timetable:
    """The next times of charms with a schedule by cron."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        #: The next time of each, by the wall clock, and the schedule that it comes from.
        self._times: dict[int, tuple[float, Schedule]] = {}
        #: What `_times` had before the transaction that is open.
        self._before: dict[int, tuple[float, Schedule] | None] = {}
        #: What the wall clock was ahead of the steady one when those were placed.
        self._ahead = 0.0

    def ahead(self) -> float:
        """What the wall clock is ahead of the steady one, in seconds."""
        return self._clock.now() - self._clock.steady()

    def time_of(self, charm_key: int) -> float | None:
        """The next time of a charm, by the wall clock; None where none is known."""
        known = self._times.get(charm_key)
        return None if known is None else known[0]

    def place(self, charm_key: int, schedule: Schedule, time: float) -> float:
        """Note a charm's next time; gives when that is by the steady clock."""
        if not self._times:
            self._ahead = self.ahead()
        self._before.setdefault(charm_key, self._times.get(charm_key))
        self._times[charm_key] = (time, schedule)
        return time - self._ahead

    def forget(self, charm_key: int) -> None:
        """Forget a charm's time: it is polled no more, or has an interval now."""
        self._times.pop(charm_key, None)

    def begin(self) -> None:
        """Remember from here on what `restore` brings back."""
        self._before = {}

    def restore(self) -> None:
        """Undo what was noted since `begin`: the transaction failed."""
        for charm_key, known in self._before.items():
            if known is None:
                self.forget(charm_key)
            else:
                self._times[charm_key] = known
        self._before = {}

    def moved(self) -> Iterator[tuple[int, float]]:
        """Follow the wall clock: gives each charm with when it is due now, where it was set."""
        if not self._times:
            return
        ahead = self.ahead()
        moved_seconds = ahead - self._ahead
        if abs(moved_seconds) < _SET_SECONDS:
            return
        self._ahead = ahead
        now = self._clock.now()
        for charm_key, (known, schedule) in self._times.items():
            time = known
            if moved_seconds < -_WRONG_SECONDS:
                time = min(known, first_time(schedule, now))
                self._times[charm_key] = (time, schedule)
            yield charm_key, time - ahead

    def turn_of_cron(
        self,
        charm_key: int,
        schedule: Schedule,
        stored: float | None,
        waited: float | None = None,
    ) -> Turn:
        """Say what a charm with times of its own gets, which was taken as due.

        `stored` is its next time as it was kept; after a restart it may have been taken too early.
        `waited` is the moment that it was to wait for, if it was: that counts as one of its times.
        """
        now = self._clock.now()
        time = self.time_of(charm_key) if waited is None else waited
        if time is None:
            # An earlier life of the service left it behind; it cannot be further than the next.
            after = first_time(schedule, now)
            time = after if stored is None else min(stored, after)
        if time > now + _SET_SECONDS:
            return self._not_now(charm_key, schedule, time)
        is_late = now - time > MISSED_AFTER_SECONDS
        if is_late and schedule.missed is Missed.SKIP:
            return self._not_now(charm_key, schedule, first_time(schedule, now))
        quiet_until = end_of_quiet(schedule, now if is_late else time)
        if quiet_until is not None:
            return self._not_now(charm_key, schedule, quiet_until)
        later = out_of_quiet(schedule, time_after(schedule, time, now))
        return Turn(True, self.place(charm_key, schedule, later), later, time)

    def turn_of_interval(
        self, schedule: Schedule, stored: float | None, due: float, now: float, later: float
    ) -> Turn:
        """Say what a charm with an interval gets, which was taken as due at `due`.

        `stored` is when it was due as that was kept, `later` its next place in its interval; all
        of them, and `now`, by the steady clock.
        """
        ahead = self.ahead()
        later = out_of_quiet(schedule, later + ahead) - ahead
        since = due if stored is None else stored
        if since > now:
            # After a restart it was taken too early: it is not due before that.
            soon = min(since, now + schedule.every_seconds)
            return Turn(False, soon, soon)
        is_late = now - since > MISSED_AFTER_SECONDS
        if is_late and schedule.missed is Missed.SKIP:
            return Turn(False, later, later)
        quiet_until = end_of_quiet(schedule, (now if is_late else due) + ahead)
        # One that has come is over: by rounding, and by a clock that is set a little all the time,
        # the end of quiet hours may lie just within them when it is read back.
        if quiet_until is not None and quiet_until > now + ahead:
            return Turn(False, quiet_until - ahead, quiet_until - ahead)
        return Turn(True, later, later, due + ahead)

    def _not_now(self, charm_key: int, schedule: Schedule, time: float) -> Turn:
        return Turn(False, self.place(charm_key, schedule, time), time)


def first_time(schedule: Schedule, after: float) -> float:
    """Give the first time of a schedule by cron later than `after` that is not in quiet hours."""
    return out_of_quiet(schedule, next_time(schedule, int(after // 1)))


def time_to_begin(schedule: Schedule, now: float, missed_since: float | None) -> float:
    """Give the first time of a charm that is polled from now on, by its schedule by cron.

    Where it was not since a moment, a time that passed is made up for, unless missed ones are
    skipped.
    """
    if missed_since is not None and schedule.missed is Missed.ONCE:
        return first_time(schedule, min(missed_since, now))
    return first_time(schedule, now)

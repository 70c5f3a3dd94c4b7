"""Times and durations as iCalendar writes them (RFC 5545, 3.3.4 to 3.3.6, 3.3.9 and 3.3.14).

A time is kept as its wall clock and its zone, since rules count on the wall clock; instants are
told by `instant`. Read by the modules beside this one.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

_TIME: Final = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)?(Z)?)?", re.ASCII)
_DURATION: Final = re.compile(
    r"([+-])?P(?:(\d{1,7})W)?(?:(\d{1,7})D)?"
    r"(?:T(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9})S)?)?",
    re.ASCII,
)
_OFFSET: Final = re.compile(r"([+-])(\d\d)(\d\d)(\d\d)?", re.ASCII)

_DAY_SECONDS: Final = 86_400


class Unreadable(ValueError):
    """A value, or a whole event, that cannot be read; its text says which and why."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A time on a wall clock; `zone` is None where it floats, and for a day, a midnight."""

    local: datetime
    zone: tzinfo | None = None
    is_day: bool = False

    def instant(self, floats: tzinfo) -> datetime:
        """Give it in UTC; `floats` is where a day and a time without a zone are.

        A time that is there twice is the first one, one that is left out counts with the offset
        before the gap (3.3.5).
        """
        return self.local.replace(tzinfo=self.zone or floats, fold=0).astimezone(UTC)

    def at(self, local: datetime) -> Moment:
        """Give another time of the same kind and zone."""
        return replace(self, local=local)

    def in_zone_of(self, other: Moment, floats: tzinfo) -> Moment:
        """Give the same time on the wall clock, and as the kind, of another."""
        if other.is_day:
            return other.at(datetime.combine(self.local.date(), time()))
        if self.is_day:
            # A day where a time belongs: that of the other, on this day.
            return other.at(datetime.combine(self.local.date(), other.local.time()))
        if self.zone is other.zone:
            return self
        there = self.instant(floats).astimezone(other.zone or floats)
        return other.at(there.replace(tzinfo=None, fold=0))


@dataclass(frozen=True, slots=True)
class Duration:
    """Days of the calendar, and seconds that pass: a day has 23 to 25 hours, PT24H has 24."""

    days: int = 0
    seconds: int = 0

    def after(self, start: Moment, floats: tzinfo) -> datetime:
        """Give the instant at which something ends that begins at `start`."""
        if start.is_day:
            days = self.days + math.ceil(self.seconds / _DAY_SECONDS)
            return start.at(start.local + timedelta(days)).instant(floats)
        later = start.at(start.local + timedelta(self.days)) if self.days else start
        return later.instant(floats) + timedelta(seconds=self.seconds)

    @property
    def longest(self) -> timedelta:
        """The most that can pass."""
        return timedelta(self.days + 1, max(0, self.seconds))


def read_moment(value: str, zone: tzinfo | None) -> Moment:
    """Read a date, or a date with a time; `zone` is that of its TZID."""
    found = _TIME.fullmatch(value.strip())
    if found is None:
        raise Unreadable(f"{value[:40]!r} is no time")
    year, month, day, hour, minute, second, utc = found.groups()
    try:
        if hour is None:
            return Moment(
                datetime.combine(date(int(year), int(month), int(day)), time()), None, True
            )
        # A leap second is read as the one before it (3.3.12).
        seconds = min(int(second or 0), 59) if int(second or 0) <= 60 else 61
        local = datetime(int(year), int(month), int(day), int(hour), int(minute), seconds)
        if not 2 <= local.year <= 9990:
            raise ValueError
    except ValueError:
        raise Unreadable(f"{value[:40]!r} is no time that there is") from None
    return Moment(local, UTC if utc else zone)


def read_duration(value: str) -> Duration:
    """Read a duration, such as P1DT2H."""
    found = _DURATION.fullmatch(value.strip())
    if found is None or not any(found.groups()[1:]):
        raise Unreadable(f"{value[:40]!r} is no duration")
    sign, *rest = found.groups()
    weeks, days, hours, minutes, seconds = (int(one or 0) for one in rest)
    factor = -1 if sign == "-" else 1
    total_seconds = hours * 3600 + minutes * 60 + seconds
    if weeks * 7 + days + total_seconds // _DAY_SECONDS > 100_000:
        raise Unreadable(f"{value[:40]!r} is longer than anything")
    return Duration(factor * (weeks * 7 + days), factor * total_seconds)


def read_offset(value: str) -> timedelta:
    """Read a difference from UTC, such as +0130."""
    found = _OFFSET.fullmatch(value.strip())
    if found is None:
        raise Unreadable(f"{value[:40]!r} is no offset from UTC")
    sign, hours, minutes, seconds = found.groups()
    offset = timedelta(hours=int(hours), minutes=int(minutes), seconds=int(seconds or 0))
    if offset >= timedelta(days=1):
        raise Unreadable(f"{value[:40]!r} is no offset from UTC")
    return -offset if sign == "-" else offset

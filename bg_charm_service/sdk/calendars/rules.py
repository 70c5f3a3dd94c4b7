"""The times of a rule (RFC 5545, 3.3.10; RFC 7529), by python-dateutil.

What dateutil has otherwise than the standard is put right before it is asked: a week's number
means the weekday of the start, a start that the rule does not name is the first one all the same,
and a rule that never comes is not looked for until the year 9999. Read by `reader` and `zones`.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import prod
from typing import Any, Final

from bg_charm_service.sdk.calendars.values import Unreadable

#: So many times of one rule are looked at. Of an hour each they are eleven years.
_MOST_STEPS: Final = 100_000

#: After 400 years dates have their weekdays again.
_CYCLE_YEARS: Final = 400
_CYCLE: Final = timedelta(146_097)

#: dateutil looks for what never comes up to this year, so it is asked in one shortly before.
_LAST_YEAR: Final = 9990

_FREQUENCIES: Final = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY")
_WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")

#: Units of a fixed length on the wall clock.
_UNITS: Final = {
    "WEEKLY": timedelta(7),
    "DAILY": timedelta(1),
    "HOURLY": timedelta(hours=1),
    "MINUTELY": timedelta(minutes=1),
    "SECONDLY": timedelta(seconds=1),
}

#: Parts of numbers: the least and the most, and whether they may count from the end.
_NUMBERS: Final = {
    "BYMONTH": (1, 12, False),
    "BYMONTHDAY": (1, 31, True),
    "BYYEARDAY": (1, 366, True),
    "BYWEEKNO": (1, 53, True),
    "BYSETPOS": (1, 366, True),
    "BYHOUR": (0, 23, False),
    "BYMINUTE": (0, 59, False),
    "BYSECOND": (0, 60, False),
}
_DAY_PARTS: Final = frozenset({"BYMONTHDAY", "BYYEARDAY", "BYWEEKNO", "BYDAY"})


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as it is written: parts of numbers by name; `until` is read by who knows the zone."""

    frequency: str
    interval: int
    count: int | None
    until: str
    numbers: dict[str, tuple[int, ...]]
    #: Each with its place in month or year, 0 for every one.
    weekdays: tuple[tuple[int, int], ...]
    week_start: int
    #: What becomes of a day that a month lacks: OMIT, BACKWARD or FORWARD.
    skip: str

    def times(self, start: datetime, first: datetime, last: datetime) -> Iterator[datetime]:
        """Give its times in order, from before `first` on at the latest, up to `last`.

        All are on one wall clock. `start` is always the first of them. Raises Unreadable for
        more than can be looked at.
        """
        yield start
        # The start counts, though the rule may not name it (3.8.5.3).
        left = None if self.count is None else self.count - 1
        for step, when in enumerate(self._found(start, first, last)):
            if left is not None and left <= 0:
                return
            if step >= _MOST_STEPS:
                raise Unreadable(f"its rule has more than {_MOST_STEPS:,} times")
            if when != start:
                left = None if left is None else left - 1
                yield when

    def _found(self, start: datetime, first: datetime, last: datetime) -> Iterator[datetime]:
        if last < start:
            return iter(())
        if self.skip != "OMIT" and self._has_days_to_skip(start):
            return self._skipping(start, last)
        numbers = self._completed(start)
        if numbers is None:
            return iter(())
        begin = start if self.count is not None else self._forward(start, first, numbers)
        shift = _CYCLE * max(0, (_LAST_YEAR - last.year) // _CYCLE_YEARS)
        rule = self._of_dateutil(begin + shift, last + shift, numbers)
        return (when - shift for when in rule if when - shift >= start)

    def _completed(self, start: datetime) -> dict[str, Any] | None:
        """The parts, and what the start says in place of those that are missing (3.3.10).

        None for a rule that has no time.
        """
        numbers: dict[str, Any] = {
            name.lower(): [min(one, 59) if name == "BYSECOND" else one for one in values]
            for name, values in self.numbers.items()
        }
        names = {*self.numbers, *(["BYDAY"] if self.weekdays else [])}
        if "BYWEEKNO" in names and "BYDAY" not in names:
            numbers["byday"] = ((start.weekday(), 0),)
        elif self.frequency in ("YEARLY", "MONTHLY") and not names & _DAY_PARTS:
            numbers["bymonthday"] = [start.day]
            if self.frequency == "YEARLY" and "BYMONTH" not in names:
                numbers["bymonth"] = [start.month]
        if "bysetpos" in numbers and self.frequency in ("HOURLY", "MINUTELY", "SECONDLY"):
            # One that no set is large enough for is looked for very long.
            smaller = {"HOURLY": ("byminute", "bysecond"), "MINUTELY": ("bysecond",)}
            most = prod(
                len(set(numbers.get(name, (0,)))) for name in smaller.get(self.frequency, ())
            )
            numbers["bysetpos"] = [one for one in numbers["bysetpos"] if abs(one) <= most]
            if not numbers["bysetpos"]:
                return None
        return numbers

    def _forward(self, start: datetime, first: datetime, numbers: dict[str, Any]) -> datetime:
        """A start nearer to what is asked for, from which the rule has the same times."""
        unit = _UNITS.get(self.frequency)
        if unit is not None:
            steps = (first - start) // (unit * self.interval) - 1
            return start + unit * self.interval * steps if steps > 0 else start
        if self.frequency == "MONTHLY":
            months = (first.year - start.year) * 12 + first.month - start.month
            steps = months // self.interval - 1
            if steps <= 0:
                return start
            month = start.month - 1 + steps * self.interval
            return start.replace(year=start.year + month // 12, month=month % 12 + 1, day=1)
        steps = (first.year - start.year) // self.interval - 1
        if steps <= 0:
            return start
        return start.replace(year=start.year + steps * self.interval, month=1, day=1)

    def _of_dateutil(self, start: datetime, last: datetime, numbers: dict[str, Any]) -> Any:
        from dateutil import rrule

        weekdays = numbers.pop("byday", self.weekdays)
        if weekdays:
            numbers["byweekday"] = [rrule.weekday(day, place or None) for day, place in weekdays]
        try:
            return rrule.rrule(
                _FREQUENCIES.index(self.frequency),
                dtstart=start,
                interval=self.interval,
                wkst=self.week_start,
                until=last,
                **numbers,
            )
        except ValueError:
            # It says so of hours that an interval never meets.
            return ()

    def _has_days_to_skip(self, start: datetime) -> bool:
        """Whether it names days that some months lack."""
        if self.frequency not in ("YEARLY", "MONTHLY"):
            days = self.numbers.get("BYMONTHDAY", ())
        elif self.weekdays or self.numbers.keys() & {"BYYEARDAY", "BYWEEKNO"}:
            days = (*self.numbers.get("BYMONTHDAY", ()), *self.numbers.get("BYYEARDAY", ()))
        else:
            days = self.numbers.get("BYMONTHDAY", (start.day,))
        return any(abs(day) > 28 for day in days)

    def _skipping(self, start: datetime, last: datetime) -> Iterator[datetime]:
        """The times of a rule by month and day, with what RFC 7529 has in place of lacking days."""
        names = self.numbers.keys() - {"BYMONTH", "BYMONTHDAY"}
        days = sorted(self.numbers.get("BYMONTHDAY", (start.day,)))
        is_plain = not names and not self.weekdays and days[0] > 0
        if not is_plain or self.frequency not in ("YEARLY", "MONTHLY"):
            raise Unreadable(f"its rule has SKIP={self.skip} with parts that are not read with it")
        before = None
        for year, month in self._months(start, last):
            there = calendar.monthrange(year, month)[1]
            found = {_skipped(start, year, month, day, there, self.skip) for day in days}
            for when in sorted(found):
                if start <= when <= last and when != before:
                    yield when
                before = when

    def _months(self, start: datetime, last: datetime) -> Iterator[tuple[int, int]]:
        """Each year and month that it is about."""
        months = self.numbers.get("BYMONTH")
        if self.frequency == "YEARLY":
            # Without a month all of them, where days of months are named.
            all_months = tuple(range(1, 13)) if "BYMONTHDAY" in self.numbers else (start.month,)
            for year in range(start.year, last.year + 1, self.interval):
                yield from ((year, month) for month in sorted(set(months or all_months)))
            return
        first = start.year * 12 + start.month - 1
        for number in range(first, last.year * 12 + last.month, self.interval):
            if months is None or number % 12 + 1 in months:
                yield number // 12, number % 12 + 1


def _skipped(start: datetime, year: int, month: int, day: int, there: int, skip: str) -> datetime:
    if day <= there:
        return start.replace(year=year, month=month, day=day)
    last = start.replace(year=year, month=month, day=there)
    return last if skip == "BACKWARD" else last + timedelta(1)


def read_rule(text: str) -> Rule:
    """Read a rule; raises Unreadable."""
    parts: dict[str, str] = {}
    for part in filter(None, text.strip().upper().split(";")):
        name, equals, value = part.partition("=")
        if not equals or name.strip() in parts:
            raise Unreadable(f"its rule has {part[:40]!r}")
        parts[name.strip()] = value.strip()
    _check_calendar(parts)
    frequency = parts.pop("FREQ", "")
    if frequency not in _FREQUENCIES:
        raise Unreadable(f"its rule has FREQ={frequency[:40]}")
    count, until = parts.pop("COUNT", None), parts.pop("UNTIL", "")
    rule = Rule(
        frequency=frequency,
        interval=_number(parts.pop("INTERVAL", "1"), "INTERVAL", 1, 100_000),
        count=None if count is None else _number(count, "COUNT", 1, 10**9),
        until=until,
        numbers={name: _numbers(parts.pop(name), name) for name in _NUMBERS if name in parts},
        weekdays=_weekdays(parts.pop("BYDAY", ""), frequency),
        week_start=_weekday(parts.pop("WKST", "MO")),
        skip=parts.pop("SKIP", "OMIT"),
    )
    if unknown := [name for name in parts if not name.startswith("X-")]:
        raise Unreadable(f"its rule has {unknown[0][:40]}, which is not known")
    return rule


def _check_calendar(parts: dict[str, str]) -> None:
    """What RFC 7529 adds."""
    scale = parts.pop("RSCALE", "GREGORIAN")
    if scale != "GREGORIAN":
        raise Unreadable(f"its rule counts in the calendar {scale[:40]}, which is not known here")
    if parts.get("SKIP", "OMIT") not in ("OMIT", "BACKWARD", "FORWARD"):
        raise Unreadable(f"its rule has SKIP={parts['SKIP'][:40]}")


def _number(text: str, name: str, least: int, most: int) -> int:
    if not (text.isascii() and text.lstrip("+-").isdigit() and len(text) < 12):
        raise Unreadable(f"its rule has {name}={text[:40]}")
    number = int(text)
    if not least <= number <= most:
        raise Unreadable(f"its rule has {name}={text[:40]}")
    return number


def _numbers(text: str, name: str) -> tuple[int, ...]:
    least, most, is_signed = _NUMBERS[name]
    found = tuple(
        _number(one.strip(), name, -most if is_signed else least, most) for one in text.split(",")
    )
    if is_signed and 0 in found:
        raise Unreadable(f"its rule has {name}=0")
    return found


def _weekdays(text: str, frequency: str) -> tuple[tuple[int, int], ...]:
    found = []
    for one in filter(None, text.split(",")):
        place = one.strip()[:-2]
        number = _number(place, "BYDAY", -53, 53) if place else 0
        if place and number == 0:
            raise Unreadable(f"its rule has BYDAY={one[:40]}")
        # Only months and years have a second Monday.
        found.append(
            (_weekday(one.strip()[-2:]), number if frequency in ("YEARLY", "MONTHLY") else 0)
        )
    return tuple(found)


def _weekday(text: str) -> int:
    if text not in _WEEKDAYS:
        raise Unreadable(f"its rule has the weekday {text[:40]!r}")
    return _WEEKDAYS.index(text)

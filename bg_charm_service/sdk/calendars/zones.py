"""The zones of one calendar: those that it defines itself, and those of the world (IANA).

A name that the world knows is the world's zone, also where the calendar defines it: what
calendars bring along is often one year's rule. Any other is what this calendar says it is, and
nothing of it is kept for the next one. Read by `reader`.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from bg_charm_service.sdk.calendars.content_lines import Component
from bg_charm_service.sdk.calendars.rules import read_rule
from bg_charm_service.sdk.calendars.values import Unreadable, read_moment, read_offset

#: How names of the world stand in others: /freeassociation.sourceforge.net/Europe/Berlin.
_LAST_PARTS: Final = re.compile(r"[^/]+(?:/[^/]+){0,2}$")

#: Changes of a zone are worked out up to a year, and from there on when somebody asks.
_YEARS_AT_ONCE: Final = 30

_ZERO: Final = timedelta()


class Zones:
    """The zones that one calendar may name."""

    def __init__(self, calendar: Component) -> None:
        self._own = {one.value("TZID"): one for one in calendar.parts if one.name == "VTIMEZONE"}
        self._found: dict[str, tzinfo] = {}

    def find(self, name: str) -> tzinfo:
        """Give a zone by its TZID; raises Unreadable for one that nobody defines."""
        zone = self._found.get(name)
        if zone is None:
            zone = self._found[name] = self._look_up(name)
        return zone

    def _look_up(self, name: str) -> tzinfo:
        zone = world_zone(name)
        if zone is None and name in self._own:
            return _own_zone(_definition(self._own[name]))
        if zone is None and "/" in name:
            # Unique names of programs end with one of the world.
            match = _LAST_PARTS.search(name)
            parts = (match[0] if match else "").split("/")
            found = (world_zone("/".join(parts[place:])) for place in range(len(parts)))
            zone = next(filter(None, found), None)
        if zone is None:
            raise Unreadable(f"its zone {name[:60]!r} is not defined")
        return zone


def world_zone(name: str) -> tzinfo | None:
    """Give a zone of the world by its name; None where there is none of that name."""
    if name in ("UTC", "Etc/UTC", "GMT", "Etc/GMT", "Z"):
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        # ValueError for what is no name, OSError for a folder of zones.
        return None


@dataclass(frozen=True, slots=True)
class _Observance:
    """From when on, by which rule and on which days an offset begins to hold."""

    start: str
    offset_from: str
    offset_to: str
    rules: tuple[str, ...]
    days: tuple[str, ...]
    name: str


def _definition(component: Component) -> tuple[_Observance, ...]:
    return tuple(
        _Observance(
            start=part.value("DTSTART"),
            offset_from=part.value("TZOFFSETFROM"),
            offset_to=part.value("TZOFFSETTO"),
            rules=tuple(one.value for one in part.all("RRULE")),
            days=tuple(day for one in part.all("RDATE") for day in one.value.split(",")),
            name=part.text("TZNAME"),
        )
        for part in component.parts
        if part.name in ("STANDARD", "DAYLIGHT")
    )


@lru_cache(maxsize=64)
def _own_zone(definition: tuple[_Observance, ...]) -> tzinfo:
    """Make a zone, by all that it says: so two of one name are two."""
    if not definition:
        raise Unreadable("its zone says no offset")
    return DefinedZone(definition)


class DefinedZone(tzinfo):
    """A zone as a calendar defines it (RFC 5545, 3.6.5)."""

    def __init__(self, definition: Iterable[_Observance]) -> None:
        self._observances = tuple(definition)
        self._until_year = 0
        #: For each change: from which wall clock on it holds, when it comes, and what holds then.
        self._walls: list[datetime] = []
        self._instants: list[datetime] = []
        self._offsets: list[timedelta] = []
        self._names: list[str] = []
        self._before = _ZERO
        self._reach(1970)

    def utcoffset(self, when: datetime | None) -> timedelta | None:
        """Give the offset; in a gap that before it, and of two times alike the first's."""
        return None if when is None else self._at(when)[0]

    def dst(self, when: datetime | None) -> timedelta | None:
        """Nobody says how much of an offset is summer time."""
        return None if when is None else _ZERO

    def tzname(self, when: datetime | None) -> str | None:
        """Give the name that holds, such as CEST."""
        return None if when is None else self._at(when)[1] or None

    def fromutc(self, when: datetime) -> datetime:
        """Give the wall clock at an instant."""
        instant = when.replace(tzinfo=None)
        self._reach(instant.year)
        place = bisect_right(self._instants, instant)
        local = instant + (self._offsets[place - 1] if place else self._before)
        found = local.replace(tzinfo=self)
        if found.utcoffset() == local - instant:
            return found
        # The second of two times alike.
        return found.replace(fold=1)

    def _at(self, when: datetime) -> tuple[timedelta, str]:
        local = when.replace(tzinfo=None, fold=0)
        self._reach(local.year)
        place = bisect_right(self._walls, local)
        if when.fold and place < len(self._walls):
            before = self._offsets[place - 1] if place else self._before
            # The next change has happened already where this time comes a second time.
            if local >= self._instants[place] + min(before, self._offsets[place]):
                place += 1
        if not place:
            return self._before, ""
        return self._offsets[place - 1], self._names[place - 1]

    def _reach(self, year: int) -> None:
        """Work out the changes up to a year, and some more."""
        if year <= self._until_year:
            return
        self._until_year = min(9990, year + _YEARS_AT_ONCE)
        last = datetime(self._until_year, 12, 31)
        changes = sorted(
            (change for one in self._observances for change in _changes(one, last)),
            key=lambda change: change[0],
        )
        # Before all of them: what the first one changed.
        earliest = min(self._observances, key=lambda one: read_moment(one.start, None).local)
        self._before = read_offset(earliest.offset_from)
        self._instants = [change[0] for change in changes]
        self._offsets = [change[2] for change in changes]
        self._names = [change[3] for change in changes]
        self._walls = [change[0] + max(change[1], change[2]) for change in changes]


def _changes(
    one: _Observance, last: datetime
) -> Iterable[tuple[datetime, timedelta, timedelta, str]]:
    """The instants at which an observance begins, the offsets before and after, and its name."""
    offset_from, offset_to = read_offset(one.offset_from), read_offset(one.offset_to)
    start = read_moment(one.start, None).local
    days = {start, *(read_moment(day, None).local for day in one.days)}
    for text in one.rules:
        rule = read_rule(text)
        until = last
        if rule.until:
            end = read_moment(rule.until, None)
            until = min(last, end.local + offset_from if end.zone is UTC else end.local)
        days.update(rule.times(start, start, until))
    return ((day - offset_from, offset_from, offset_to, one.name) for day in sorted(days))

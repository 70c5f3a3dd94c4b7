"""The events of a calendar in a window of time: series, their exceptions, days and zones.

What cannot be read is named, and everything else is there. Imported by authors; python-dateutil
is loaded when there is a rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from hashlib import sha256
from typing import Final
from zoneinfo import ZoneInfo

from bg_charm_service.sdk.calendars.content_lines import Component, Property, read_calendars
from bg_charm_service.sdk.calendars.rules import Rule, read_rule
from bg_charm_service.sdk.calendars.values import (
    Duration,
    Moment,
    Unreadable,
    read_duration,
    read_moment,
)
from bg_charm_service.sdk.calendars.zones import Zones, world_zone

#: So many times of one event are given for a window.
MOST_TIMES: Final = 10_000

#: Lines without which an event is another one.
_NEEDED: Final = (
    "DTSTART",
    "DTEND",
    "DURATION",
    "RRULE",
    "RDATE",
    "EXDATE",
    "EXRULE",
    "RECURRENCE",
)

#: Wall clocks differ by so much from UTC, at most.
_ZONE_SPAN: Final = timedelta(days=1)

_MOMENT: Final = timedelta(0)


@dataclass(frozen=True, slots=True)
class CalendarEvent:
    """One event, or one time of a series.

    `start` and `end` are days where `all_day` is true, and the end is the day after the last;
    else times in the event's zone, whose name is `zone` ("" for one that means the same wall clock
    everywhere). `recurrence_id` names the time of a series by when it was to be at first, in UTC;
    empty for an event that is none. `status` is CONFIRMED, TENTATIVE or CANCELLED.
    """

    uid: str
    recurrence_id: str
    start: datetime | date
    end: datetime | date
    all_day: bool
    zone: str
    summary: str
    description: str
    location: str
    status: str
    #: Whether the time counts as taken (TRANSP).
    busy: bool
    organizer: str
    url: str

    @property
    def key(self) -> str:
        """A name for this one among those of a calendar."""
        return f"{self.uid}/{self.recurrence_id}" if self.recurrence_id else self.uid


@dataclass(frozen=True, slots=True)
class UnreadableEvent:
    """An event that was skipped, by what could be read of it, and why."""

    uid: str
    recurrence_id: str
    summary: str
    reason: str

    def __str__(self) -> str:
        named = self.summary or self.uid or "an event without a name"
        return f"{named}: {self.reason}"


@dataclass(frozen=True, slots=True)
class CalendarReading:
    """What a calendar has in a window: in the order of their starts; and what was skipped."""

    events: list[CalendarEvent] = field(default_factory=list)
    unreadable: list[UnreadableEvent] = field(default_factory=list)
    #: As the calendar calls itself, and its zone; empty where it does not say.
    name: str = ""
    zone: str = ""


def calendar_events(
    text: str | bytes, start: datetime, end: datetime, *, zone: str = ""
) -> CalendarReading:
    """Give the events of a calendar that take place between two times.

    `zone` is where days and times without a zone are; without it the calendar's own, or UTC.
    Raises ValueError for a text that is no calendar or is cut off, and for a window or a zone
    that is none.
    """
    if start.tzinfo is None or end.tzinfo is None or end < start:
        raise ValueError("the window is from one time with a zone to a later one")
    if zone and world_zone(zone) is None:
        raise ValueError(f"there is no zone {zone!r:.60}")
    window = (start.astimezone(UTC), end.astimezone(UTC))
    reading = CalendarReading()
    found: list[tuple[datetime, CalendarEvent]] = []
    name = own_zone = ""
    for calendar in read_calendars(text):
        one = _Calendar(calendar, zone, window)
        found += one.events()
        reading.unreadable.extend(one.unreadable)
        name = name or calendar.text("NAME") or calendar.text("X-WR-CALNAME")
        own_zone = own_zone or calendar.value("X-WR-TIMEZONE")
    found.sort(key=lambda pair: (pair[0], pair[1].uid, pair[1].recurrence_id))
    return CalendarReading([event for _, event in found], reading.unreadable, name, own_zone)


@dataclass(slots=True)
class _Entry:
    """One VEVENT, with what it says of its time."""

    component: Component
    uid: str
    start: Moment
    #: How long it lasts: exactly, by DTEND, or by DURATION.
    span: timedelta | Duration
    #: Which time of a series it is in place of.
    instead_of: Moment | None = None
    is_for_all_after: bool = False

    def end(self, start: Moment, floats: tzinfo) -> datetime:
        """Give the instant at which it ends when it starts at a time."""
        if isinstance(self.span, Duration):
            return self.span.after(start, floats)
        if start.is_day:
            return start.at(start.local + self.span).instant(floats)
        return start.instant(floats) + self.span

    @property
    def longest(self) -> timedelta:
        """The most that it can last."""
        return self.span.longest if isinstance(self.span, Duration) else self.span

    @property
    def version(self) -> tuple[int, str]:
        """Which of two of one name is newer."""
        sequence = self.component.value("SEQUENCE")
        number = int(sequence[:9]) if sequence[:9].isascii() and sequence[:9].isdigit() else 0
        return number, self.component.value("DTSTAMP")


class _Calendar:
    """One VCALENDAR, with zones of its own."""

    def __init__(self, calendar: Component, zone: str, window: tuple[datetime, datetime]) -> None:
        self._calendar = calendar
        self._zones = Zones(calendar)
        named = zone or calendar.value("X-WR-TIMEZONE")
        self._floats: tzinfo = UTC
        if named:
            # It is a word of some programs, not of the standard.
            with suppress(Unreadable):
                self._floats = self._zones.find(named)
        self._window = window
        self._is_cancelled = calendar.value("METHOD").upper() == "CANCEL"
        self.unreadable: list[UnreadableEvent] = []

    def events(self) -> list[tuple[datetime, CalendarEvent]]:
        """Give the events, each with the instant of its start."""
        series: dict[str, list[_Entry]] = {}
        #: Times of a series of which is known only that they are otherwise than it says.
        hidden: dict[str, set[str]] = {}
        for component in self._calendar.parts:
            if component.name != "VEVENT":
                continue
            uid = component.value("UID") or _made_up(component)
            try:
                series.setdefault(uid, []).append(self._entry(component, uid))
            except Unreadable as error:
                self._skip(component, uid, str(error))
                if (when := self._instead_of(component)) is not None:
                    hidden.setdefault(uid, set()).add(self._id(when))
        found: list[tuple[datetime, CalendarEvent]] = []
        for uid, entries in series.items():
            found += self._of_series(entries, hidden.get(uid, set()))
        return found

    def _of_series(
        self, entries: list[_Entry], hidden: set[str]
    ) -> list[tuple[datetime, CalendarEvent]]:
        """The events of one UID."""
        masters = [one for one in entries if one.instead_of is None]
        newest = max((one.version for one in masters), default=(0, ""))
        # Some programs give one UID to all that they write at once: they are told by their starts.
        masters = list(
            {self._id(one.start): one for one in masters if one.version == newest}.values()
        )
        others: dict[str, _Entry] = {}
        for one in sorted(entries, key=lambda entry: entry.version):
            if one.instead_of is not None:
                when = one.instead_of
                if masters:
                    when = when.in_zone_of(masters[0].start, self._floats)
                others[self._id(when)] = one
        found: list[tuple[datetime, CalendarEvent]] = []
        for master in masters:
            try:
                found += self._times_of(master, others, hidden, is_only=len(masters) == 1)
            except Unreadable as error:
                self._skip(master.component, master.uid, str(error))
        for recurrence_id, one in others.items():
            found += self._placed(one, one.start, recurrence_id)
        return found

    def _times_of(
        self, master: _Entry, others: dict[str, _Entry], hidden: set[str], *, is_only: bool
    ) -> list[tuple[datetime, CalendarEvent]]:
        """An event, or the times of a series but for those that others stand for."""
        component = master.component
        if not any(component.first(name) for name in ("RRULE", "RDATE")):
            name = self._id(master.start)
            if name in others or name in hidden:
                return []
            return list(self._placed(master, master.start, "" if is_only else name))
        later = sorted(
            (one for one in others.values() if one.is_for_all_after),
            key=lambda one: self._at(_instead(one)),
        )
        left_out = self._left_out(master)
        times = self._times(master, later)
        found: list[tuple[datetime, CalendarEvent]] = []
        for moment, span in times:
            recurrence_id = self._id(moment)
            if recurrence_id in others or recurrence_id in hidden:
                continue
            if recurrence_id in left_out or moment.local.date() in left_out:
                continue
            entry, start = master, moment
            for change in later:
                if self._at(_instead(change)) <= self._at(moment):
                    entry, start = change, _moved(change, moment, self._floats)
            lasting = entry if span is None else _lasting(entry, span)
            found += self._placed(lasting, start, recurrence_id)
            if len(found) > MOST_TIMES:
                raise Unreadable(f"it has more than {MOST_TIMES:,} times in the window")
        return found

    def _times(
        self, master: _Entry, later: list[_Entry]
    ) -> Iterator[tuple[Moment, timedelta | Duration | None]]:
        """When a series takes place, each with how long where that is said of it alone."""
        start, component = master.start, master.component
        # How far a change of all later times may move them.
        moves = [abs(self._at(one.start) - self._at(_instead(one))) for one in later]
        slack = _ZONE_SPAN + max([_MOMENT, *moves])
        longest = max(one.longest for one in (master, *later))
        first = _naive(self._window[0], longest + slack)
        last = _naive(self._window[1], -slack)
        seen: set[datetime] = set()
        excluded = self._of_rules(component, "EXRULE", start, first, last)
        for moment, span in self._listed(component, start):
            if moment.local not in seen and moment.local not in excluded:
                seen.add(moment.local)
                yield moment, span
        ruled = self._of_rules(component, "RRULE", start, first, last)
        if not component.first("RRULE"):
            ruled.add(start.local)
        instants: set[datetime] = set()
        for local in sorted(ruled - seen - excluded):
            moment = start.at(local)
            # Two times of the wall clock are one where a gap is between them.
            instant = self._at(moment)
            if instant not in instants:
                instants.add(instant)
                yield moment, None

    def _of_rules(
        self, component: Component, name: str, start: Moment, first: datetime, last: datetime
    ) -> set[datetime]:
        found: set[datetime] = set()
        for one in component.all(name):
            rule = read_rule(one.value)
            is_within = self._ends(rule, start)
            for local in rule.times(start.local, first, last):
                if not is_within(local):
                    break
                found.add(local)
        return found

    def _ends(self, rule: Rule, start: Moment) -> Callable[[datetime], bool]:
        """Whether a time of a rule is not after its UNTIL."""
        if not rule.until:
            return lambda _: True
        until = read_moment(rule.until, None)
        if until.is_day:
            # It includes that day, also where it should have said a time (3.3.10).
            return lambda local: local.date() <= until.local.date()
        if start.is_day:
            day = until.instant(self._floats).astimezone(self._floats).date()
            return lambda local: local.date() <= day
        # In local time it is that of the event.
        end = self._at(until if until.zone is not None else start.at(until.local))
        return lambda local: self._at(start.at(local)) <= end

    def _listed(
        self, component: Component, start: Moment
    ) -> Iterator[tuple[Moment, timedelta | Duration | None]]:
        """The times of RDATE, and how long those last that say so."""
        for one in component.all("RDATE"):
            for value in filter(None, one.value.split(",")):
                begin, slash, end = value.partition("/")
                moment = self._moment(one, begin)
                span: timedelta | Duration | None = None
                if slash and end.lstrip("+-").startswith("P"):
                    span = read_duration(end)
                elif slash:
                    span = self._at(self._moment(one, end)) - self._at(moment)
                yield moment.in_zone_of(start, self._floats), span

    def _left_out(self, master: _Entry) -> set[str | date]:
        """The times that EXDATE takes out, by their names; and days, with all that is on them."""
        found: set[str | date] = set()
        for one in master.component.all("EXDATE"):
            for value in filter(None, one.value.split(",")):
                moment = self._moment(one, value)
                if moment.is_day:
                    found.add(moment.local.date())
                else:
                    found.add(self._id(moment.in_zone_of(master.start, self._floats)))
        return found

    def _entry(self, component: Component, uid: str) -> _Entry:
        """Read what a VEVENT says of its time; raises Unreadable."""
        for line in component.unreadable:
            if line.upper().startswith(_NEEDED):
                raise Unreadable(f"its line {line[:60]!r} cannot be read")
        begin = component.first("DTSTART")
        if begin is None:
            raise Unreadable("it has no start (DTSTART)")
        start = self._moment(begin)
        entry = _Entry(component, uid, start, self._span(component, start))
        entry.instead_of = self._instead_of(component, must=True)
        if entry.instead_of is not None:
            named = component.first("RECURRENCE-ID")
            entry.is_for_all_after = (
                named is not None and named.parameters.get("RANGE", "").upper() == "THISANDFUTURE"
            )
        return entry

    def _span(self, component: Component, start: Moment) -> timedelta | Duration:
        finish = component.first("DTEND")
        if finish is not None:
            end = self._moment(finish)
            if start.is_day:
                # One that ends where it begins is of programs that mean that day.
                days = (end.local.date() - start.local.date()).days
                if days < 0:
                    raise Unreadable("it ends before it begins")
                return timedelta(max(1, days))
            lasts = self._at(end) - self._at(start)
            if lasts < _MOMENT:
                raise Unreadable("it ends before it begins")
            return lasts
        if (lasting := component.value("DURATION")) != "":
            duration = read_duration(lasting)
            if duration.days < 0 or duration.seconds < 0:
                raise Unreadable("it ends before it begins")
            return duration
        return timedelta(1) if start.is_day else _MOMENT

    def _instead_of(self, component: Component, *, must: bool = False) -> Moment | None:
        named = component.first("RECURRENCE-ID")
        if named is None:
            return None
        try:
            return self._moment(named)
        except Unreadable:
            if must:
                raise
            return None

    def _moment(self, one: Property, value: str | None = None) -> Moment:
        """Read a time in the zone that its line names; raises Unreadable."""
        text = (one.value if value is None else value).strip()
        name = one.parameters.get("TZID", "")
        try:
            # A day and a time in UTC need none.
            needs = name and "T" in text.upper() and not text.endswith(("Z", "z"))
            return read_moment(text.upper(), self._zones.find(name) if needs else None)
        except Unreadable as error:
            raise Unreadable(f"{one.name}: {error}") from None

    def _at(self, moment: Moment) -> datetime:
        return moment.instant(self._floats)

    def _id(self, moment: Moment) -> str:
        """The name of a time of a series: the day, or the time in UTC, or that on any clock."""
        if moment.is_day:
            return f"{moment.local:%Y%m%d}"
        if moment.zone is None:
            return f"{moment.local:%Y%m%dT%H%M%S}"
        return f"{self._at(moment):%Y%m%dT%H%M%SZ}"

    def _placed(
        self, entry: _Entry, start: Moment, recurrence_id: str
    ) -> Iterator[tuple[datetime, CalendarEvent]]:
        """The event at a time, if that is in the window."""
        try:
            begin, end = self._at(start), entry.end(start, self._floats)
        except OverflowError:
            return
        is_in = begin < self._window[1] and (end > self._window[0] or begin >= self._window[0])
        if is_in:
            yield begin, self._event(entry, start, end, recurrence_id)

    def _event(
        self, entry: _Entry, start: Moment, end: datetime, recurrence_id: str
    ) -> CalendarEvent:
        component = entry.component
        status = component.value("STATUS").upper()
        zone = start.zone or self._floats
        begins: datetime | date = self._at(start).astimezone(zone)
        ends: datetime | date = end.astimezone(zone)
        if start.is_day:
            begins, ends = start.local.date(), end.astimezone(zone).date()
        return CalendarEvent(
            uid=entry.uid,
            recurrence_id=recurrence_id,
            start=begins,
            end=ends,
            all_day=start.is_day,
            zone=_zone_name(start.zone, component),
            summary=component.text("SUMMARY"),
            description=component.text("DESCRIPTION"),
            location=component.text("LOCATION"),
            status="CANCELLED" if self._is_cancelled else status or "CONFIRMED",
            busy=component.value("TRANSP").upper() != "TRANSPARENT",
            organizer=_address(component.first("ORGANIZER")),
            url=component.value("URL"),
        )

    def _skip(self, component: Component, uid: str, reason: str) -> None:
        recurrence_id = component.value("RECURRENCE-ID")
        self.unreadable.append(
            UnreadableEvent(uid, recurrence_id, component.text("SUMMARY")[:200], reason)
        )


def _instead(one: _Entry) -> Moment:
    assert one.instead_of is not None
    return one.instead_of


def _moved(change: _Entry, moment: Moment, floats: tzinfo) -> Moment:
    """Where a change of all later times has moved one of them: by as much on the wall clock."""
    there = _instead(change).in_zone_of(change.start, floats)
    return change.start.at(
        moment.in_zone_of(change.start, floats).local + (change.start.local - there.local)
    )


def _lasting(entry: _Entry, span: timedelta | Duration) -> _Entry:
    return _Entry(entry.component, entry.uid, entry.start, span)


def _naive(instant: datetime, earlier: timedelta) -> datetime:
    """A wall clock's time that is certainly before, or after, an instant."""
    try:
        return instant.replace(tzinfo=None) - earlier
    except OverflowError:
        return datetime.min if earlier > _MOMENT else datetime.max


def _zone_name(zone: tzinfo | None, component: Component) -> str:
    if zone is None:
        return ""
    if zone is UTC:
        return "UTC"
    if isinstance(zone, ZoneInfo):
        return zone.key
    begin = component.first("DTSTART")
    return "" if begin is None else begin.parameters.get("TZID", "")


def _address(one: Property | None) -> str:
    """Who: a name and an address, as mails have them."""
    if one is None:
        return ""
    address = one.value.strip()
    if address.lower().startswith("mailto:"):
        address = address[len("mailto:") :]
    name = one.parameters.get("CN", "")
    return f"{name} <{address}>" if name and name != address else address


def _made_up(component: Component) -> str:
    """A name for an event that has none: from all that it says."""
    lines: Iterable[str] = (f"{one.name}:{one.value}" for one in component.properties)
    return sha256("\n".join(lines).encode("utf-8", "replace")).hexdigest()[:32]

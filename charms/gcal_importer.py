"""The events of a Google account's calendars, by Google's own API.

bg-charm-service auth client google
bg-charm-service charm add --from gcal_importer
bg-charm-service auth login google --space gcal

It reads, and changes nothing. Where the service takes events from outside, Google tells it of
changes at once.
"""

import logging
import re
import secrets
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from typing import Any
from zoneinfo import ZoneInfo

import httpx2
from pydantic import BaseModel, Field

from bg_charm_service import (
    CalendarEvent,
    Charm,
    HttpClient,
    Items,
    OAuth,
    ProviderDown,
    Secret,
    SignInNeeded,
    Wait,
    calendar_events,
    hook,
    html_text,
)

#: What lets it read calendars, each more than the one before it.
READING = {
    "https://www.googleapis.com/auth/calendar.readonly",
    "https://www.googleapis.com/auth/calendar",
}

#: So many events come with one page of a list.
PAGE = 100

#: A run begins nothing more when it has so little left: in seconds, in bytes, and in keys.
ENOUGH_SECONDS = 5.0
ENOUGH_BYTES = 100_000
ENOUGH_KEYS = 2000

#: What one series may have in the window, all its times together, in bytes; and what is kept of it.
LARGEST_SERIES = 2_000_000
LARGEST_SOURCE = 900_000

#: Longer texts of events are cut, in characters.
LONGEST_DESCRIPTION = 1000
LONGEST_TEXT = 500

#: So many items are let go at a time.
PORTION = 500

#: For so long Google is asked to tell of changes, in seconds, and asked again so long before the
#: end; after a refusal the next day.
TOLD_SECONDS = 7 * 86400
RENEWED_SECONDS = 86400

#: Lines of a series that say when it takes place.
RULES = ("RRULE", "EXRULE", "RDATE", "EXDATE")

#: Google's editor writes descriptions as HTML.
HTML = re.compile(r"</?(?:a|b|br|div|html-blob|i|li|ol|p|span|u|ul)\b[^<>]*>", re.IGNORECASE)


class Event(BaseModel):
    """One event, or one time of a series.

    `start` and `end` are days such as 2026-03-01, the end being the day after the last, or times
    with their offset from UTC. `status` is CONFIRMED or TENTATIVE; `answer` is what the owner of
    the account has answered: accepted, declined, tentative, needsAction, or nothing.
    """

    start: str = Field(title="Start")
    end: str = Field(title="End")
    summary: str = Field(title="Title")
    location: str = Field(title="Place")
    calendar: str = Field(title="Calendar")
    all_day: bool
    zone: str
    description: str
    status: str
    busy: bool
    answer: str
    organizer: str
    url: str
    uid: str
    recurrence_id: str


class Part(BaseModel):
    """What Google says of an event, of a series, or of one time of a series: what is used of it."""

    round: int  # the list of all events that it was in last
    start: dict[str, str] = Field(default_factory=dict)
    end: dict[str, str] = Field(default_factory=dict)
    original: dict[str, str] = Field(default_factory=dict)  # which time of its series it is
    rules: list[str] = Field(default_factory=list)
    is_cancelled: bool = False
    status: str = ""
    summary: str = ""
    location: str = ""
    description: str = ""
    is_free: bool = False
    answer: str = ""
    organizer: str = ""
    url: str = ""
    uid: str = ""


class Series(BaseModel):
    """An event, or a series with what is otherwise at some of its times: its parts by their ids.

    `keys` are those of its times in `events`.
    """

    calendar: str
    id: str
    parts: dict[str, Part]
    keys: list[str] = Field(default_factory=list)


class Followed(BaseModel):
    """A calendar that is followed: `token` is where its changes go on, `page` the next page."""

    id: str
    name: str
    zone: str = "UTC"
    token: str = ""
    page: str = ""
    round: int = 0  # how many lists of all events were begun
    is_listing: bool = False
    is_listed: bool = False  # for the first time
    swept: str | None = None  # what no list has any more was let go up to here; None for all
    channel: str = ""  # by which Google tells of changes, and what it calls the calendar there
    resource: str = ""
    told_until: float = 0.0  # until when, in seconds since the epoch


class GcalImporter(Charm):
    """Keeps events of calendars, each time of a series by itself: a month ago to a year ahead."""

    integration = "gcal"
    every = "5m"

    # Type checkers take its texts for types.
    auth: OAuth["google", "https://www.googleapis.com/auth/calendar.readonly"]  # type: ignore[name-defined, type-arg, valid-type]  # noqa: F722, F821
    only: list[str] = Field(
        default_factory=list, title="Calendars", description="by name, one a line; none for all"
    )
    days_back: int = Field(default=30, ge=0, le=3660)
    days_ahead: int = Field(default=365, ge=1, le=3660)
    base: str = "https://www.googleapis.com/calendar/v3/"
    progress: str = ""
    events: Items[Event]  # by their start, so that the first keys are the earliest
    skipped: Items[str]  # what could not be read, and why
    calendars: list[Followed] = Field(default_factory=list)

    sources: Items[Series]
    read_from: str = ""  # the account that all of this is about
    window: str = ""
    window_from: date = date.max
    worked_out: str | None = None  # up to this series, for another window; None for all
    may_have_strays: bool = False  # events of calendars that are followed no more
    goes_on: bool = False
    told_to: str = ""  # a hash of the address at which Google tells of changes
    channel_secret: Secret[str] = ""

    @hook(
        sign="token",
        secret="channel_secret",  # noqa: S106 - a field
        header="X-Goog-Channel-Token",
        poke=True,
    )
    async def calendar_updater(self, event: dict[str, Any]) -> None:
        if self.auth.scopes and not READING.intersection(self.auth.scopes):
            raise SignInNeeded(
                "Google was not allowed to let it read calendars: sign in again, and tick the box "
                "for calendars on Google's page"
            )
        self._has_begun, self._is_done, self._has_moved = False, True, False
        account = f"{self.auth.user.get('email', '')} {self.base}"
        if self.read_from != account and self._has_forgotten_all():
            self.read_from = account
        if self.read_from == account:
            async with self.http(base_url=self.base, auth=self.auth) as http:
                try:
                    await self._follow(http)
                    if self._is_done:
                        await self._ask_to_be_told(http)
                except (ProviderDown, SignInNeeded, Wait):
                    # What is done is stored; the next run meets what was the matter.
                    if not self._has_moved:
                        raise
                    self._is_done = False
                except httpx2.HTTPStatusError as error:
                    raise ValueError(refusal_of(error.response)) from None
        self.goes_on = not self._is_done
        self.progress = self._progress()
        if not self._is_done:
            self.again(after=0)

    async def _follow(self, http: HttpClient) -> None:
        start, end = self._window()
        if self.window != f"{start:%Y-%m-%d} {end:%Y-%m-%d}":
            if start.date() < self.window_from:
                # What was over by then was not kept.
                for calendar in self.calendars:
                    self._begin_anew(calendar)
            self.window, self.window_from = f"{start:%Y-%m-%d} {end:%Y-%m-%d}", start.date()
            self.worked_out = ""
        if not self.goes_on:
            await self._find_calendars(http)
        self._drop_strays()
        self._work_out()
        for calendar in self.calendars:
            if self._is_done:
                await self._read_changes(http, calendar)
        for calendar in self.calendars:
            self._sweep(calendar)

    # Which calendars.

    async def _find_calendars(self, http: HttpClient) -> None:
        found: dict[str, tuple[str, str]] = {}
        async for page in http.pages("users/me/calendarList", "nextPageToken", maxResults=250):
            for one in page.get("items") or ():
                if not one.get("deleted"):
                    name = one.get("summaryOverride") or one.get("summary") or one["id"]
                    found[one["id"]] = (name, one.get("timeZone") or "UTC")
        known = {name for name, _ in found.values()} | found.keys()
        if missing := set(self.only) - known:
            names = ", ".join(sorted(name for name, _ in found.values())) or "none"
            raise ValueError(f"There is no calendar {min(missing)!r}; there are: {names}")
        before = {one.id: one for one in self.calendars}
        after = []
        for one, (name, zone) in found.items():
            if not self.only or not {one, name}.isdisjoint(self.only):
                calendar = before.pop(one, None) or Followed(id=one, name=name, zone=zone)
                if (calendar.name, calendar.zone) != (name, zone):
                    # Its name stands in all its events, and days are days of its zone.
                    calendar.name, calendar.zone, self.worked_out = name, zone, ""
                after.append(calendar)
        self.may_have_strays = self.may_have_strays or bool(before)
        self.calendars = after

    def _drop_strays(self) -> None:
        """Let go events of calendars that are followed no more, and what was wrong with these."""
        if not self.may_have_strays:
            return
        mine = {mark_of(one.id) for one in self.calendars}
        for name in self._names():
            if name.partition(" ")[0] not in mine and not self._is_dropped(name):
                self._is_done = False
                return
        gone = [one for one in self.skipped.first(PORTION) if one.partition(" ")[0] not in mine]
        self.skipped.remove(gone)
        self.may_have_strays = False

    # What has changed.

    async def _read_changes(self, http: HttpClient, calendar: Followed) -> None:
        """Take in what Google tells of a calendar, page by page, until it has told all."""
        place = mark_of(calendar.id)
        if not calendar.token and not calendar.is_listing:
            self._begin_anew(calendar)
        while True:
            answer = await http.get(
                f"calendars/{quoted(calendar.id)}/events",
                params={
                    "maxResults": PAGE,
                    **({"syncToken": calendar.token} if calendar.token else {}),
                    **({"pageToken": calendar.page} if calendar.page else {}),
                },
            )
            if answer.status_code == httpx2.codes.GONE and (calendar.token or calendar.page):
                # Google knows no changes of before any more: all is listed, and compared.
                self._begin_anew(calendar)
                continue
            if answer.status_code == httpx2.codes.BAD_REQUEST and calendar.page:
                # The way to the next page is known no more: from the first one again.
                calendar.page = ""
                if not calendar.token:
                    self._begin_anew(calendar)
                continue
            if answer.is_error:
                # Nothing of the others depends on it.
                self._skip(place, f"{calendar.name}: {refusal_of(answer)}")
                return
            page = answer.json()
            if not isinstance(page, dict):
                raise ProviderDown("what came is no answer of Google's", host=answer.url.host)
            calendar.zone = page.get("timeZone") or calendar.zone
            if not self._is_taken_in(calendar, page.get("items") or ()):
                # The next run gets the same page, and goes on in it.
                self._is_done = False
                return
            self._has_moved = self._has_begun = True
            calendar.page = page.get("nextPageToken") or ""
            if not calendar.page:
                break
            if not self._has_room(keys=PAGE * 2):
                self._is_done = False
                return
        if calendar.is_listing:
            # It has listed all: what it has not listed is gone.
            calendar.swept, calendar.is_listing, calendar.is_listed = "", False, True
        # It moves in the transaction that stores what it stands for.
        calendar.token = page.get("nextSyncToken") or ""
        if place in self.skipped:
            del self.skipped[place]

    def _begin_anew(self, calendar: Followed) -> None:
        calendar.token = calendar.page = ""
        calendar.swept, calendar.is_listing = None, True
        calendar.round += 1

    def _is_taken_in(self, calendar: Followed, items: Any) -> bool:
        """Take in what Google says of events; False where this run has no room for all of it."""
        together: dict[str, list[dict[str, Any]]] = {}
        for one in items:
            together.setdefault(one.get("recurringEventId") or one["id"], []).append(one)
        for series_id, news in together.items():
            name = name_of(calendar.id, series_id)
            series = self.sources.get(name)
            parts = dict(series.parts) if series is not None else {}
            for one in news:
                if one["id"] == series_id and one.get("status") == "cancelled":
                    # The whole of it.
                    parts = {}
                else:
                    parts[one["id"]] = part_of(one, calendar.round)
            parts = self._still_needed(parts)
            if parts == (series.parts if series is not None else {}):
                if not self._has_room():
                    return False
            elif not self._put(calendar, name, series_id, parts):
                return False
        return True

    def _sweep(self, calendar: Followed) -> None:
        """Let go what the last list of all events did not have."""
        if calendar.swept is None or not self._is_done:
            return
        mark = mark_of(calendar.id)
        for name in self._names(calendar.swept):
            if not name.startswith(f"{mark} "):
                continue
            series = self.sources.get(name)
            self._has_begun = True
            if series is None:
                continue
            parts = {key: one for key, one in series.parts.items() if one.round >= calendar.round}
            if series.id not in parts and all(one.is_cancelled for one in parts.values()):
                parts = {}
            if parts != series.parts and not self._put(calendar, name, series.id, parts):
                self._is_done = False
                return
            calendar.swept = name
            if not self._has_room():
                self._is_done = False
                return
        calendar.swept = None

    # Being told.

    async def _ask_to_be_told(self, http: HttpClient) -> None:
        """Have Google poke this charm when a calendar changes, where it can be reached for that.

        The secret is stored by one run, and told by the next: Google sends a message at once.
        Whatever comes of it, the calendars are polled as before.
        """
        address = self.hook_url("calendar_updater") or ""
        if not address.startswith("https://"):
            return
        if not self.channel_secret:
            self.channel_secret = secrets.token_urlsafe(32)
            self.again(after=0)
            return
        now, told_to = datetime.now(UTC).timestamp(), sha256(address.encode()).hexdigest()
        for calendar in self.calendars:
            if self.told_to == told_to and calendar.told_until - now > RENEWED_SECONDS:
                continue
            try:
                await self._open_channel(http, calendar, address, now)
            except (ProviderDown, SignInNeeded, Wait, httpx2.HTTPError, ValueError) as error:
                # 401 is also what Google says of an address whose domain it has not verified.
                calendar.told_until = now + 2 * RENEWED_SECONDS
                text = "Google does not tell of changes of %s (%s); it is polled all the same"
                logging.getLogger("gcal").warning(text, calendar.name, error)
        self.told_to = told_to

    async def _open_channel(
        self, http: HttpClient, calendar: Followed, address: str, now: float
    ) -> None:
        channel = str(uuid.uuid4())
        answer = await http.post(
            f"calendars/{quoted(calendar.id)}/events/watch",
            json={
                "id": channel,
                "type": "web_hook",
                "address": address,
                "token": self.channel_secret,
                "params": {"ttl": str(TOLD_SECONDS)},
            },
        )
        if answer.is_error:
            raise ValueError(refusal_of(answer))
        told = answer.json()
        before = {"id": calendar.channel, "resourceId": calendar.resource}
        calendar.channel, calendar.resource = channel, str(told.get("resourceId") or "")
        calendar.told_until = int(told.get("expiration") or 1000 * (now + TOLD_SECONDS)) / 1000
        if all(before.values()):
            # It would end by itself: nothing depends on the answer.
            await http.post("channels/stop", json=before)

    # What is kept.

    def _work_out(self) -> None:
        """Work out anew what the series that are here have in the window of today."""
        if self.worked_out is None:
            return
        by_mark = {mark_of(one.id): one for one in self.calendars}
        for name in self._names(self.worked_out):
            calendar = by_mark.get(name.partition(" ")[0])
            series = self.sources.get(name) if calendar is not None else None
            self._has_begun = True
            if calendar is not None and series is not None:
                if not self._put(calendar, name, series.id, series.parts):
                    self._is_done = False
                    return
                self._has_moved = True
            self.worked_out = name
            if not self._has_room():
                self._is_done = False
                return
        self.worked_out = None

    def _put(self, calendar: Followed, name: str, series_id: str, parts: dict[str, Part]) -> bool:
        """Keep a series and its times; False where this run has no room for them."""
        series = self.sources.get(name)
        old_keys = set(series.keys) if series is not None else set()
        parts = self._still_needed(parts)
        events, why = self._times(calendar, name, series_id, parts)
        sizes = {key: len(one.model_dump_json().encode()) for key, one in events.items()}
        if sum(sizes.values()) > LARGEST_SERIES:
            why = f"it has {len(events)} times in the window, which are too large together"
            events = {}
        gone = old_keys - events.keys()
        # Those that may be the same are looked at, and not written again.
        size = sum(sizes.values()) + 150 * (len(events) + len(gone)) + LARGEST_SOURCE // 10
        if not self._may_begin(size, len(events) + 2 * len(old_keys)):
            return False
        self.events.remove(gone)
        for key, one in events.items():
            if key not in old_keys or self.events.get(key) != one:
                self.events[key] = one
        if why:
            title = next((one.summary for one in parts.values() if one.summary), series_id)
            self._skip(name, f"{title}: {why}")
        elif name in self.skipped:
            del self.skipped[name]
        if not parts:
            self.sources.remove([name])
            return True
        kept = Series(calendar=calendar.id, id=series_id, parts=parts, keys=sorted(events))
        if kept != series:
            self.sources[name] = kept
        return True

    def _times(
        self, calendar: Followed, name: str, series_id: str, parts: dict[str, Part]
    ) -> tuple[dict[str, Event], str]:
        """The times of a series in the window, by their keys, and what could not be read of it."""
        if not parts:
            return {}, ""
        listed = list(parts.values())
        start, end = self._window()
        try:
            text = calendar_text(series_id, parts, calendar.zone)
            if len(Series(calendar="", id="", parts=parts).model_dump_json()) > LARGEST_SOURCE:
                return {}, "too many of its times are otherwise than it says"
            reading = calendar_events(text, start, end, zone=calendar.zone)
        except ValueError as error:
            return {}, str(error)
        why = "; ".join(one.reason for one in reading.unreadable)
        found = {
            # Each says which part it is.
            key_of(name, one): event_of(calendar.name, one, listed[int(one.url)])
            for one in reading.events
        }
        return found, why

    def _still_needed(self, parts: dict[str, Part]) -> dict[str, Part]:
        """Leave out what is over: the window moves on, and never back without a new list."""
        # Zones differ by a day at most.
        over = self._window()[0] - timedelta(days=2)
        return {
            key: one
            for key, one in parts.items()
            if one.rules or (latest := latest_of(one)) is None or latest >= over
        }

    def _is_dropped(self, name: str) -> bool:
        """Forget a series and its times; False where it is more than this run can do."""
        series = self.sources.get(name)
        keys = series.keys if series is not None else []
        if not self._may_begin(150 * len(keys), 2 * len(keys)):
            return False
        self.events.remove(keys)
        self.sources.remove([name])
        self.skipped.remove([name])
        self._has_moved = True
        return True

    def _skip(self, name: str, why: str) -> None:
        if self.skipped.get(name) != why[:1000]:
            self.skipped[name] = why[:1000]

    def _names(self, after: str = "") -> Iterator[str]:
        """The names of all series behind one, as they are now."""
        names = self.sources.first(len(self.sources))
        return (name for name in names if name > after)

    def _may_begin(self, size: int = 0, keys: int = 0) -> bool:
        """Whether the run has time and room for something, which is counted as begun."""
        may = self._has_room(size, keys)
        self._has_begun = True
        return may

    def _has_room(self, size: int = 0, keys: int = 0) -> bool:
        """Whether there are time and room for something; for the first thing of a run, always."""
        return not self._has_begun or self.context.has_room(
            size + ENOUGH_BYTES, keys + ENOUGH_KEYS, seconds=ENOUGH_SECONDS
        )

    def _window(self) -> tuple[datetime, datetime]:
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return today - timedelta(self.days_back), today + timedelta(self.days_ahead)

    def _has_forgotten_all(self) -> bool:
        """Forget everything that was read; False where it is more than this run can do."""
        self.calendars, self.window, self.window_from = [], "", date.max
        self.worked_out, self.may_have_strays, self.goes_on = None, False, False
        for items in (self.events, self.skipped, self.sources):
            while keys := items.first(PORTION):
                if not self._may_begin(600 * len(keys), 2 * len(keys)):
                    self._is_done = False
                    return False
                items.remove(keys)
        return True

    def _progress(self) -> str:
        count, calendars = len(self.events), len(self.calendars)
        text = f"{count:,} event{'' if count == 1 else 's'}"
        listed = sum(one.is_listed for one in self.calendars)
        if listed < calendars or not self.read_from:
            return f"{text} so far, {listed} of {calendars} calendars"
        text += f" of {calendars} calendar{'' if calendars == 1 else 's'}"
        skipped = len(self.skipped)
        return f"{text}, {skipped:,} cannot be read" if skipped else text


def part_of(one: dict[str, Any], round: int) -> Part:
    """Give what is used of an event as Google gives it."""

    def text(name: str, limit: int = LONGEST_TEXT) -> str:
        found = one.get(name)
        return found[:limit] if isinstance(found, str) else ""

    def when(name: str) -> dict[str, str]:
        found = one.get(name)
        found = found if isinstance(found, dict) else {}
        return {
            key: str(found[key])[:100] for key in ("date", "dateTime", "timeZone") if key in found
        }

    description = text("description", 10 * LONGEST_DESCRIPTION)
    if HTML.search(description):
        description = html_text(description)
    organizer = one.get("organizer") or {}
    mine: dict[str, Any] = next((who for who in one.get("attendees") or () if who.get("self")), {})
    return Part(
        round=round,
        start=when("start"),
        end=when("end"),
        original=when("originalStartTime"),
        rules=[str(rule) for rule in one.get("recurrence") or ()],
        is_cancelled=one.get("status") == "cancelled",
        status=text("status").upper(),
        summary=text("summary"),
        location=text("location"),
        description=description[:LONGEST_DESCRIPTION],
        is_free=one.get("transparency") == "transparent",
        answer=str(mine.get("responseStatus") or "")[:50],
        organizer=str(organizer.get("displayName") or organizer.get("email") or "")[:LONGEST_TEXT],
        url=text("htmlLink"),
        uid=text("iCalUID"),
    )


def calendar_text(series_id: str, parts: dict[str, Part], zone: str) -> str:
    """Write a series as iCalendar, as far as it says when: the URL of each event is its number.

    Raises ValueError for a time that cannot be read.
    """
    series = parts.get(series_id)
    lines = ["BEGIN:VCALENDAR"]
    # What is cancelled stands for nothing by itself.
    left_out = [one for key, one in parts.items() if key != series_id and one.is_cancelled]
    for number, (key, one) in enumerate(parts.items()):
        if one.is_cancelled:
            continue
        lines += ["BEGIN:VEVENT", "UID:1", f"URL:{number}"]
        lines.append(f"DTSTART{time_of(one.start, zone, is_series=bool(one.rules))}")
        if one.end:
            lines.append(f"DTEND{instant_of(one.end, zone)}")
        if key != series_id and one.original:
            lines.append(f"RECURRENCE-ID{instant_of(one.original, zone)}")
        if one is series:
            lines += [
                rule for rule in one.rules if rule.upper().startswith(RULES) and rule.isprintable()
            ]
            lines += [f"EXDATE{instant_of(cut.original, zone)}" for cut in left_out if cut.original]
        lines.append("END:VEVENT")
    return "\n".join([*lines, "END:VCALENDAR", ""])


def time_of(when: dict[str, str], zone: str, *, is_series: bool) -> str:
    """Write a time on the wall clock of its zone; `dateTime` may have the offset of another one."""
    if "date" in when:
        return instant_of(when, zone)
    name = when.get("timeZone") or zone
    try:
        place = zone_of(name)
    except ValueError:
        if is_series:
            raise
        return instant_of(when, zone)
    local = moment_of(when, zone).astimezone(place)
    if local.fold and not is_series:
        # The second of two times that look alike.
        return instant_of(when, zone)
    return f";TZID={name}:{local:%Y%m%dT%H%M%S}"


def instant_of(when: dict[str, str], zone: str) -> str:
    """Write a day, or a time in UTC."""
    if "date" in when:
        return f";VALUE=DATE:{date.fromisoformat(when['date']):%Y%m%d}"
    return f":{moment_of(when, zone).astimezone(UTC):%Y%m%dT%H%M%SZ}"


def moment_of(when: dict[str, str], zone: str) -> datetime:
    """Read a time; raises ValueError."""
    if "dateTime" not in when:
        raise ValueError("it has no time")
    found = datetime.fromisoformat(when["dateTime"])
    return found if found.tzinfo else found.replace(tzinfo=zone_of(when.get("timeZone") or zone))


def zone_of(name: str) -> ZoneInfo:
    """Find a zone; raises ValueError."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"its zone {name!r:.60} is not known") from None


def latest_of(part: Part) -> datetime | None:
    """When a part is over at the latest: both what it stands for, and what stands there instead."""
    found = []
    for when in (part.start, part.end, part.original):
        try:
            if "date" in when:
                found.append(datetime.fromisoformat(when["date"]).replace(tzinfo=UTC))
            elif when:
                found.append(moment_of(when, "UTC"))
        except ValueError:
            return None
    return max(found, default=None)


def event_of(calendar: str, event: CalendarEvent, part: Part) -> Event:
    """Give an event as it is kept."""
    return Event(
        calendar=calendar,
        summary=part.summary,
        start=event.start.isoformat(),
        end=event.end.isoformat(),
        all_day=event.all_day,
        zone=event.zone,
        location=part.location,
        description=part.description,
        status=part.status or "CONFIRMED",
        busy=not part.is_free and part.answer != "declined",
        answer=part.answer,
        organizer=part.organizer,
        url=part.url,
        uid=part.uid,
        recurrence_id=event.recurrence_id,
    )


def key_of(name: str, event: CalendarEvent) -> str:
    """Name an event: by its start, so that keys are in order, and then by what it is."""
    start = event.start
    if isinstance(start, datetime):
        when = f"{start.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    else:
        when = start.isoformat()
    return f"{when} {digest_of(f'{name} {event.key}')}"


def name_of(calendar_id: str, series_id: str) -> str:
    """Name a series: by its calendar, and then by itself."""
    return f"{mark_of(calendar_id)} {digest_of(series_id)}"


def mark_of(calendar_id: str) -> str:
    """Give a short name for a calendar."""
    return digest_of(calendar_id)


def digest_of(text: str) -> str:
    """Give a short name for a long one."""
    return sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def quoted(calendar_id: str) -> str:
    """Put an id into a path: that of holidays has a `#` in it."""
    from urllib.parse import quote

    return quote(calendar_id, safe="")


def refusal_of(answer: httpx2.Response) -> str:
    """Say what Google refuses, in its own words as far as it has some."""
    try:
        said = str(answer.json()["error"]["message"])
    except (ValueError, LookupError, TypeError):
        said = "it does not say why"
    return f"Google refuses with {answer.status_code}: {said[:300]}"

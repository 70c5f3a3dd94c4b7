"""An importer of calendars: an account over CalDAV, or one address of iCalendar (.ics).

bg-charm-service charm add --from calendar_importer
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from html import unescape
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import httpx2
from pydantic import BaseModel, Field

from bg_charm_service import (
    CalDav,
    CalendarEvent,
    CalendarReading,
    Charm,
    DavChanges,
    DavItem,
    HttpClient,
    Items,
    ProviderDown,
    Secret,
    SignInNeeded,
    Stop,
    Wait,
    calendar_events,
    calendars_at,
)

#: So many items of a calendar are asked for at a time.
PORTION = 50

#: How long a server may take to answer, in seconds.
PATIENCE_SECONDS = 25.0

#: A server that has not answered by then is asked again after this, in seconds: some read all
#: items before they answer for the first time, and read on though nobody waits for it.
COLD_SECONDS = 90
COLD = "has not answered in time: some servers read all items first; it is asked again"

#: So many are asked for one by one when changes are looked for: of more, all are read.
MOST_ASKED = 100

#: So many items are noted as to be fetched, or forgotten, in a run.
MOST_NOTED = 6000

#: A run begins nothing more when it has so little left: in seconds, in bytes, and in keys.
ENOUGH_SECONDS = 5.0
ENOUGH_BYTES = 100_000
ENOUGH_KEYS = 2000

#: What one item of a calendar may have in the window, all its events together, in bytes.
LARGEST_ITEM = 2_000_000

#: An item with a longer text is asked for again where another would be read again, in characters.
LONGEST_KEPT = 100_000

#: Longer texts of events are cut, in characters.
LONGEST_DESCRIPTION = 1000
LONGEST_TEXT = 500

#: The longest name that an item of a collection can have, in bytes.
LONGEST_NAME = 500

#: Why an item was skipped that may be had later.
NOT_GIVEN = "its server could not give it"

#: So much of a web page is looked through for calendars, in characters.
LONGEST_PAGE = 500_000

#: What a calendar at one address may have, in bytes.
MOST_BYTES = 64 * 1024 * 1024


class Event(BaseModel):
    """One event, or one time of a series.

    `start` and `end` are days such as 2026-03-01, the end being the day after the last, or times
    with their offset from UTC. `status` is CONFIRMED, TENTATIVE or CANCELLED.
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
    organizer: str
    url: str
    uid: str
    recurrence_id: str


class Source(BaseModel):
    """One item of a calendar as its server has it, and the keys of its events."""

    text: str
    keys: list[str]


class Followed(BaseModel):
    """A calendar that is followed: `token` is where its changes go on.

    `point` is the token that is to be it, once all that was there then is noted.
    """

    url: str
    name: str
    token: str = ""
    point: str = ""


class CalendarImporter(Charm):
    """Keeps events of calendars, each time of a series by itself: a month ago to a year ahead."""

    integration = "calendar"

    url: str = Field(
        pattern=r"^(https?|webcal)://",
        title="Address",
        description="that of a CalDAV account, as https://caldav.fastmail.com, or of an .ics file",
    )
    user: str = Field(default="", title="User", description="nothing for a public file")
    password: Secret[str] = Field(
        default="", title="Password", description="an app password at Fastmail and iCloud"
    )
    only: list[str] = Field(default_factory=list)  # names of calendars; without any, all
    time_zone: str = ""  # where days and times without a zone are
    days_back: int = Field(default=30, ge=0, le=3660)
    days_ahead: int = Field(default=365, ge=1, le=3660)

    #: By their start, so that the first keys are the earliest.
    events: Items[Event]
    skipped: Items[str]  # what could not be read, and why
    calendars: list[Followed] = Field(default_factory=list)
    left: int = 0  # items that are known and not here yet

    kind: str = ""  # caldav or file
    read_from: str = ""  # what the fields below are about
    window: str = ""
    etag: str = ""  # of a file
    etags: Items[str]
    sources: Items[Source]
    wanted: Items[str]  # items to fetch
    may_have_strays: bool = False  # items of calendars that are followed no more
    worked_out: str | None = None  # up to this item, for another window; None for all

    async def bg_updater(self, event: dict[str, Any]) -> None:
        self._has_begun, self._is_done = False, True
        asked = f"{self.url} {self.user} {sorted(self.only)}"
        if self.read_from != asked and self._has_forgotten_all():
            self.read_from = asked
        if self.read_from == asked:
            url = self.url.replace("webcal://", "https://", 1)
            auth = (self.user, self.password) if self.user else None
            async with self._client(auth) as http:
                try:
                    await self._look(http, url)
                except SignInNeeded:
                    raise SignInNeeded(self._refusal()) from None
                except ProviderDown as down:
                    if not isinstance(down.__cause__, httpx2.ReadTimeout):
                        raise
                    raise Wait(COLD_SECONDS, f"{self.url} {COLD}") from None
                except httpx2.HTTPStatusError as error:
                    if error.response.status_code != 401:
                        raise
                    raise SignInNeeded(self._refusal()) from None
        if not self._is_done:
            # What is done is stored, and the next run goes on.
            self.again(after=0)

    def _refusal(self) -> str:
        if not self.user:
            return f"{self.url} asks who you are: set user and password"
        return (
            f"{self.url} refused user {self.user} and the password: set the ones that are right; "
            "Fastmail, iCloud and Google want an app password"
        )

    def _client(self, auth: tuple[str, str] | None) -> HttpClient:
        # Some servers read all items before they answer for the first time.
        return self.http(auth=auth, most_bytes=MOST_BYTES, timeout=PATIENCE_SECONDS)

    async def _look(self, http: HttpClient, url: str) -> None:
        if url != self.url or urlsplit(url).path.endswith(".ics"):
            self.kind = "file"
        if self.kind != "file":
            await self._follow(http, url)
        if self.kind == "file":
            await self._read_file(http, url)

    # An account.

    async def _follow(self, http: HttpClient, url: str) -> None:
        if self.window != self._window_name() or not self.calendars:
            if not await self._find_calendars(http, url):
                return
            # What its server could not give is asked for once a day.
            for skips in self.skipped.pages(MOST_NOTED):
                self._note([name for name, why in skips.items() if why.endswith(NOT_GIVEN)])
                break
            self.window, self.worked_out = self._window_name(), ""
        if not self.wanted and self._has_dropped_strays():
            await self._look_for_changes(http, url)
        else:
            # The next run looks, when what is known is here.
            self._is_done = False
        self._work_out()
        await self._fetch(http)
        self.left = len(self.wanted)

    async def _find_calendars(self, http: HttpClient, url: str) -> bool:
        """Find what to follow; False where there is no CalDAV, but maybe a file."""
        try:
            found = await calendars_at(http, url)
        except LookupError:
            if self.kind == "caldav":
                raise
            self.kind = "file"
            return False
        self.kind = "caldav"
        if missing := set(self.only) - {one.name for one in found}:
            names = ", ".join(sorted(one.name for one in found)) or "none"
            raise ValueError(f"{self.url}: no calendar {min(missing)!r}; there are: {names}")
        if not found:
            raise ValueError(f"{self.url}: there is no calendar with events for {self.user!r}")
        before = {one.url: one for one in self.calendars}
        self.calendars = [
            before.get(one.url, Followed(url=one.url, name="")).model_copy(
                update={"name": one.name}
            )
            for one in found
            if not self.only or one.name in self.only
        ]
        self.may_have_strays = True
        return True

    def _has_dropped_strays(self) -> bool:
        """Forget items of calendars that are followed no more; False where that is not all yet."""
        if self.may_have_strays:
            paths = tuple(path_of(one.url) for one in self.calendars)
            pages = self.etags.pages(1000)
            strays = [name for page in pages for name in page if not name.startswith(paths)]
            self.may_have_strays = not self._are_dropped(strays)
        return not self.may_have_strays

    async def _look_for_changes(self, http: HttpClient, url: str) -> None:
        try:
            await self._ask_for_changes(http)
        except httpx2.HTTPStatusError as error:
            if error.response.status_code not in (404, 410):
                raise
            # It was deleted: the others are still there.
            await self._find_calendars(http, url)
            if self._has_dropped_strays():
                await self._ask_for_changes(http)

    async def _ask_for_changes(self, http: HttpClient) -> None:
        for calendar in self.calendars:
            known = Known(self.etags, path_of(calendar.url))
            server = CalDav(http, calendar.url)
            if not calendar.token and not calendar.point:
                calendar.point = await server.point()
                if calendar.point and self.context.seconds_left < PATIENCE_SECONDS:
                    # To list all takes as long again: the next run begins with that.
                    self._is_done = False
                    return
            if calendar.token:
                changes = await server.changes(calendar.token, known)
            else:
                changes = await self._compared(server, calendar, known)
            new = sorted(name for name in changes.changed if self._can_be_named(name))
            if self._are_dropped(sorted(changes.removed)) and self._note(new):
                # It moves in the transaction that stores what is to be fetched.
                calendar.token, calendar.point = changes.token, ""

    async def _compared(self, server: CalDav, calendar: Followed, known: "Known") -> DavChanges:
        """Compare all that a calendar has with what is here; changes go on from its point."""
        there, here = await server.listing(), known.all()
        changed = {name: etag for name, etag in there.items() if here.get(name) != etag}
        return DavChanges(calendar.point, changed, frozenset(here.keys() - there.keys()))

    def _note(self, names: list[str]) -> bool:
        """Note what is to be fetched; False where it is more than a run can note."""
        room = max(0, MOST_NOTED - len(self.wanted))
        self.wanted.add(names[:room])
        self._has_begun = self._has_begun or bool(names)
        self._is_done = self._is_done and len(names) <= room
        return len(names) <= room

    async def _fetch(self, http: HttpClient) -> None:
        while self.wanted and self._has_room():
            names = self.wanted.first(PORTION)
            # What is here of them is asked for at once, and not for each by itself.
            self.sources.some(names)
            self.skipped.some(names)
            done: list[str] = [name for name in names if self._calendar_of(name) is None]
            for calendar in self.calendars:
                mine = [name for name in names if self._calendar_of(name) == calendar]
                items = await CalDav(http, calendar.url).fetch(mine) if mine else {}
                for name in mine:
                    if not self._is_taken_in(name, items.get(name)):
                        break
                    done.append(name)
            self.wanted.remove(done)
            if len(done) < len(names):
                break
        self._is_done = self._is_done and not self.wanted

    def _is_taken_in(self, name: str, item: DavItem | None) -> bool:
        """Keep an item, or that it is gone; False where this run has no room for it."""
        if item is None:
            return self._are_dropped([name])
        if not item.text:
            self.skipped[name] = f"{name}: {NOT_GIVEN}"
            return True
        if not self._put(name, item.text):
            return False
        self.etags[name] = item.etag
        return True

    def _work_out(self) -> None:
        """Work out anew what the items that are here have in the window of today."""
        if self.worked_out is None:
            return
        for page in self.etags.pages(1000):
            for name in page:
                if name <= self.worked_out:
                    continue
                source = self.sources.get(name)
                if source is None or not source.text:
                    is_well = self._note([name])
                else:
                    is_well = self._put(name, source.text)
                if not is_well:
                    self._is_done = False
                    return
                self.worked_out = name
        self.worked_out = None

    def _put(self, name: str, text: str) -> bool:
        """Keep an item and its events; False where this run has no room for them."""
        calendar = self._calendar_of(name)
        source = self.sources.get(name)
        old_keys = set(source.keys) if source is not None else set()
        why = ""
        try:
            reading = self._read(text)
            why = "; ".join(map(str, reading.unreadable))
        except ValueError as error:
            reading, why = CalendarReading(), f"{name}: it is {error}"
        title = calendar.name if calendar is not None else ""
        events = {key_of(name, one): event_of(title, one) for one in reading.events}
        sizes = {key: size_of(one) for key, one in events.items()}
        if sum(sizes.values()) > LARGEST_ITEM:
            why = f"{name}: it has {len(events)} times in the window, which are too large together"
            events = {}
        is_same = source is not None and source.text == text
        new = {key: one for key, one in events.items() if not (is_same and key in old_keys)}
        gone = old_keys - events.keys()
        size = sum(sizes[key] for key in new) + 150 * (len(new) + len(gone)) + 4 * LONGEST_KEPT
        if not self._may_begin(size, len(new) + len(gone)):
            return False
        self.events.remove(gone)
        for key, one in new.items():
            self.events[key] = one
        kept = Source(text=text if len(text) <= LONGEST_KEPT else "", keys=sorted(events))
        if kept != source:
            self.sources[name] = kept
        if why:
            self.skipped[name] = why[:1000]
        elif name in self.skipped:
            del self.skipped[name]
        return True

    def _are_dropped(self, names: list[str]) -> bool:
        """Forget items and their events; False where it is more than this run can do."""
        for place, name in enumerate(names):
            if place % PORTION == 0:
                self.sources.some(names[place : place + PORTION])
            source = self.sources.get(name)
            keys = source.keys if source is not None else []
            if not self._may_begin(150 * len(keys), len(keys)):
                self._is_done = False
                return False
            self.events.remove(keys)
            for items in (self.etags, self.sources, self.skipped):
                items.remove([name])
        return True

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

    def _calendar_of(self, name: str) -> Followed | None:
        """The calendar that an item is in: the innermost, where one holds another."""
        mine = [one for one in self.calendars if name.startswith(path_of(one.url))]
        return max(mine, key=lambda one: len(one.url), default=None)

    def _can_be_named(self, name: str) -> bool:
        if len(name.encode()) <= LONGEST_NAME:
            return True
        short = f"{name[:100]}… {digest_of(name)}"
        self.skipped[short] = f"{name[:100]}…: its name is longer than {LONGEST_NAME} bytes"
        return False

    # One address.

    async def _read_file(self, http: HttpClient, url: str) -> None:
        is_same = self.window == self._window_name()
        headers = {"Accept": "text/calendar, */*;q=0.1"}
        if is_same and self.etag:
            headers["If-None-Match"] = self.etag
        response = await http.get(url, headers=headers)
        if response.status_code == httpx2.codes.NOT_MODIFIED and is_same:
            return
        if response.status_code == httpx2.codes.GONE:
            raise Stop(f"{self.url} is gone for good")
        response.raise_for_status()
        try:
            reading = self._read(response.content)
        except ValueError as error:
            if response.content.lstrip()[:1] == b"<":
                raise ValueError(told_of_page(self.url, response)) from None
            raise ValueError(f"{self.url} is {error}") from None
        self.calendars = [Followed(url=url, name=reading.name)]
        events = {key_of("", one): event_of(reading.name, one) for one in reading.events}
        gone: list[str] = []
        for page in self.events.pages(500):
            gone += [key for key in page if key not in events]
            for key, known in page.items():
                if events.get(key) == known:
                    del events[key]
        for place in range(0, len(gone), PORTION):
            some = gone[place : place + PORTION]
            if not self._may_begin(150 * len(some), len(some)):
                self._is_done = False
                return
            self.events.remove(some)
        for key, one in sorted(events.items()):
            if not self._may_begin(len(one.model_dump_json().encode()) + 150):
                self._is_done = False
                return
            self.events[key] = one
        self._say_skipped(reading)
        self.etag = response.headers.get("etag", "")
        self.window = self._window_name()

    # Both.

    def _read(self, text: str | bytes) -> CalendarReading:
        start, end = self._window()
        return calendar_events(text, start, end, zone=self.time_zone)

    def _window(self) -> tuple[datetime, datetime]:
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return today - timedelta(self.days_back), today + timedelta(self.days_ahead)

    def _window_name(self) -> str:
        start, end = self._window()
        return f"{start:%Y-%m-%d} {end:%Y-%m-%d} {self.time_zone}"

    def _say_skipped(self, reading: CalendarReading) -> None:
        """Keep what could not be read of a file: the first thousand."""
        told = {
            digest_of(f"{one.uid} {one.recurrence_id} {one.reason}"): str(one)[:1000]
            for one in reading.unreadable[:1000]
        }
        for skips in self.skipped.pages(1000):
            self.skipped.remove([key for key in skips if key not in told])
        for key, why in told.items():
            self.skipped[key] = why

    def _has_forgotten_all(self) -> bool:
        """Forget everything that was read; False where it is more than this run can do."""
        self.kind = self.window = self.etag = ""
        self.calendars, self.left, self.worked_out = [], 0, None
        for items in (self.events, self.skipped, self.etags, self.sources, self.wanted):
            while keys := items.first(PORTION):
                if not self._may_begin(600 * len(keys), len(keys)):
                    self._is_done = False
                    return False
                items.remove(keys)
        return True


class Known(Mapping[str, str]):
    """The etags of one calendar, of which only what is asked for is read; or all, if that is much.

    To ask for one takes as long as to ask for a page, and a run may ask for so many only.
    """

    def __init__(self, etags: Items[str], path: str) -> None:
        self._etags = etags
        self._path = path
        self._asked = 0
        self._all: dict[str, str] | None = None

    def __getitem__(self, name: str) -> str:
        if len(name.encode()) > LONGEST_NAME:
            raise KeyError(name)
        self._asked += 1
        if self._all is None and self._asked > MOST_ASKED:
            self._all = self.all()
        return self._etags[name] if self._all is None else self._all[name]

    def __iter__(self) -> Iterator[str]:
        yield from self.all()

    def all(self) -> dict[str, str]:
        """Give all of them at once."""
        return {
            name: etag
            for page in self._etags.pages(1000)
            for name, etag in page.items()
            if name.startswith(self._path)
        }

    def __len__(self) -> int:
        return sum(1 for _ in self)


def path_of(url: str) -> str:
    """The path that the names of a calendar's items begin with."""
    return unquote(urlsplit(url).path).rstrip("/") + "/"


def told_of_page(url: str, response: httpx2.Response) -> str:
    """Say that a web page is no calendar, and which calendars it links to."""
    links = re.findall(r"""href\s*=\s*["']?([^"'\s>]+)""", response.text[:LONGEST_PAGE])
    found = [
        urljoin(str(response.url), link)
        for link in dict.fromkeys(map(unescape, links))
        if link.startswith("webcal:") or urlsplit(link).path.endswith(".ics")
    ]
    if not found:
        return (
            f"{url} is a web page, and no calendar: take the address that is named for CalDAV, or "
            "that of its .ics file"
        )
    return f"{url} is a web page, and no calendar; it links to these: {', '.join(found[:5])}"


def key_of(name: str, event: CalendarEvent) -> str:
    """Name an event: by its start, so that keys are in order, and then by what it is."""
    start = event.start
    if isinstance(start, datetime):
        when = f"{start.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    else:
        when = start.isoformat()
    return f"{when} {digest_of(f'{name} {event.key}')}"


def size_of(event: Event) -> int:
    """About what an event takes as it is kept, in bytes; not less."""
    texts = (event.summary, event.location, event.description, event.organizer, event.url)
    return 800 + 4 * (sum(map(len, texts)) + len(event.calendar) + 2 * len(event.uid))


def digest_of(text: str) -> str:
    """Give a short name for a long one."""
    return sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def event_of(calendar: str, event: CalendarEvent) -> Event:
    """Give an event as it is kept."""
    return Event(
        calendar=calendar,
        summary=event.summary[:LONGEST_TEXT],
        start=event.start.isoformat(),
        end=event.end.isoformat(),
        all_day=event.all_day,
        zone=event.zone,
        location=event.location[:LONGEST_TEXT],
        description=event.description[:LONGEST_DESCRIPTION],
        status=event.status,
        busy=event.busy,
        organizer=event.organizer[:LONGEST_TEXT],
        url=event.url[:LONGEST_TEXT],
        uid=event.uid[:LONGEST_TEXT],
        recurrence_id=event.recurrence_id,
    )

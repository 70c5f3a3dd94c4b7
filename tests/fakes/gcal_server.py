"""Google Calendar on loopback, as far as its importer asks it.

    with FakeCalendars() as google:
        google.put("work", start=..., end=...)
        google.base                     # what `base` of the importer is set to

Pages are in no order that helps: what is otherwise at one time of a series may come before it, and
lists go on behind the last one that was told. A token tells all that has changed since the list
began that it ended. `faults` are answers in the place of the real ones, by what is asked
(`calendarList`, or a calendar's id), `before` is called with it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any
from urllib.parse import unquote

from tests.fakes.http_server import Answer, FakeServer, Seen, json_answer
from tests.fakes.wire import google_error, sync_token_gone

BASE = "/calendar/v3/"

#: So many events are on a page at the most, whatever is asked for.
PAGE = 3


class FakeCalendars(FakeServer):
    """One account on a free port; its calendars have events as Google gives them."""

    def __init__(self) -> None:
        super().__init__()
        self.calendars: dict[str, dict[str, Any]] = {}
        self.events: dict[str, dict[str, dict[str, Any]]] = {}
        self.changed_at: dict[tuple[str, str], int] = {}
        self.now = 1
        #: Tokens of before are good no more.
        self.oldest = 0
        self.page_size = PAGE
        self.faults: dict[str, list[Answer]] = {}
        self.before: Callable[[str], None] = lambda asked: None
        #: Whom it tells of changes of which calendar, by the ids of channels; and who was refused.
        self.channels: dict[str, dict[str, Any]] = {}
        self.tells_nobody = False
        self.clock: Callable[[], float] = time.time
        self._made = 0
        self.add_calendar("me@example.org", "Me")

    @property
    def base(self) -> str:
        """Where its calendars are."""
        return f"{self.url}{BASE}"

    # What people do there.

    def add_calendar(self, one: str, name: str, zone: str = "Europe/Berlin") -> None:
        """A calendar is made."""
        self.calendars[one] = {"id": one, "summary": name, "timeZone": zone}
        self.events.setdefault(one, {})

    def put(self, one: str = "", calendar: str = "me@example.org", **members: Any) -> str:
        """An event comes, or is another one now; gives its id."""
        self._made += 1
        one = one or f"e{self._made}"
        event = {
            "id": one,
            "status": "confirmed",
            "summary": f"Event {one}",
            "iCalUID": f"{one}@google.com",
            "htmlLink": f"https://www.google.com/calendar/event?eid={one}",
            "organizer": {"email": "me@example.org", "self": True},
            **members,
        }
        self.events[calendar][one] = event
        self._note(calendar, one)
        return one

    def cancel(self, one: str, calendar: str = "me@example.org") -> None:
        """An event, a series or a time of one is taken out."""
        event = self.events[calendar][one]
        kept = ("id", "recurringEventId", "originalStartTime")
        self.events[calendar][one] = {
            **{name: event[name] for name in kept if name in event},
            "status": "cancelled",
        }
        self._note(calendar, one)
        for other in list(self.events[calendar].values()):
            if other.get("recurringEventId") == one and other["status"] != "cancelled":
                self.cancel(other["id"], calendar)

    def forget_tokens(self) -> None:
        """Tell nobody any more what has changed since before."""
        self.now += 1
        self.oldest = self.now

    def _note(self, calendar: str, one: str) -> None:
        self.now += 1
        self.changed_at[calendar, one] = self.now

    # What it is asked.

    def answer_to(self, seen: Seen) -> Answer:
        self.seen.append(seen)
        asked = unquote(seen.path.removeprefix(BASE))
        if seen.method == "POST":
            return self._change_channel(asked, json.loads(seen.body))
        is_list = asked == "users/me/calendarList"
        name = "calendarList" if is_list else asked.removeprefix("calendars/").rpartition("/")[0]
        self.before(name)
        faults = self.faults.get(name)
        if faults:
            return faults.pop(0)
        if is_list:
            return json_answer({"items": list(self.calendars.values())})
        if name not in self.calendars:
            return google_error(404, "notFound")
        return self._events(name, {key: values[0] for key, values in seen.query.items()})

    def _change_channel(self, asked: str, body: dict[str, Any]) -> Answer:
        if asked == "channels/stop":
            known = self.channels.get(body["id"])
            if known is None or known["resourceId"] != body["resourceId"]:
                return google_error(404, "channelNotFound")
            del self.channels[body["id"]]
            return Answer(204)
        calendar = asked.removeprefix("calendars/").removesuffix("/events/watch")
        if self.tells_nobody:
            return google_error(401, "webhookUrlUnauthorized")
        assert (body["id"] not in self.channels, body["type"]) == (True, "web_hook")
        resource = sha256(calendar.encode()).hexdigest()[:27]
        self.channels[body["id"]] = {**body, "calendar": calendar, "resourceId": resource}
        expiration = 1000 * (self.clock() + int(body["params"]["ttl"]))
        told = {"kind": "api#channel", "id": body["id"], "resourceId": resource}
        return json_answer({**told, "expiration": str(int(expiration))})

    def _events(self, calendar: str, query: dict[str, str]) -> Answer:
        # It is told in the order of digests: one of a series comes before or after it.
        since = int(query.get("syncToken", "0"))
        if since and since < self.oldest:
            return sync_token_gone()
        began, _, after = query.get("pageToken", f"{self.now}-").partition("-")
        if "pageToken" in query and int(began) < self.oldest:
            return google_error(400, "invalid")
        wanted = {
            sha256(one.encode()).hexdigest(): event
            for one, event in self.events[calendar].items()
            if (self.changed_at[calendar, one] > since if since else _is_there(event))
        }
        found = [(digest, wanted[digest]) for digest in sorted(wanted) if digest > after]
        size = min(self.page_size, int(query.get("maxResults", "250")))
        told: dict[str, Any] = {"timeZone": self.calendars[calendar]["timeZone"]}
        told["items"] = [event for _, event in found[:size]]
        if len(found) > size:
            told["nextPageToken"] = f"{began}-{found[size - 1][0]}"
        else:
            told["nextSyncToken"] = began
        return json_answer(told)


def _is_there(event: dict[str, Any]) -> bool:
    """Of what is cancelled a list of all has times of series only."""
    return event["status"] != "cancelled" or "recurringEventId" in event

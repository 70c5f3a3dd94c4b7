"""Gmail on loopback, as far as its importer asks it, with what emulators never do.

    with FakeGmail() as gmail:
        gmail.add("text", "INBOX", "UNREAD")
        gmail.base                      # what `base` of the importer is set to

Pages of lists are places in a list that shifts when a mail goes; pages of the history are of the
moment when the first was read. `faults` are answers in the place of the real ones, by what is asked
(`messages`, `messages/ID`, `history`, `labels`, `profile`), `before` is called with it.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.http_server import Answer, FakeServer, Seen, json_answer
from tests.fakes.wire import google_error, history_too_old

BASE = "/gmail/v1/users/me/"

#: When the first mail came, in ms since the epoch; each comes 7 ms after the one before.
FIRST_MS = 1_790_000_000_000

#: Labels of Gmail's own, and one that a person has made.
LABELS = {
    **{name: name for name in ("INBOX", "SPAM", "TRASH", "UNREAD", "STARRED")},
    "Label_1": "Work",
}

HIDDEN = {"SPAM", "TRASH"}


@dataclass
class FakeMail:
    """One mail."""

    id: str
    text: str
    ms: int
    labels: set[str] = field(default_factory=set)

    @property
    def shown(self) -> tuple[str, tuple[str, ...]]:
        """What an importer is to keep of it."""
        return self.text, tuple(sorted(self.labels))


class FakeGmail(FakeServer):
    """One account on a free port."""

    def __init__(self) -> None:
        super().__init__()
        self.mails: dict[str, FakeMail] = {}
        self.history: list[tuple[int, str, str, tuple[str, ...]]] = []
        self.now = 1000
        #: What was before is told no more.
        self.oldest = 0
        self.faults: dict[str, list[Answer]] = {}
        self.before: Callable[[str], None] = lambda asked: None
        self.has_profile = True
        #: The page tokens that are good no more are those of an older number.
        self.tokens_from = 0
        self._made = 0

    @property
    def base(self) -> str:
        """Where its messages are."""
        return f"{self.url}{BASE}"

    # What people do there.

    def add(self, text: str, *labels: str) -> str:
        """A mail comes; gives its id."""
        self._made += 1
        # Ids say nothing of when a mail came.
        one = f"{(self._made * 2654435761) % 2**32:016x}"
        self.mails[one] = FakeMail(one, text, FIRST_MS + 7 * self._made, set(labels))
        self._note("messagesAdded", one, labels)
        return one

    def delete(self, ids: Iterable[str]) -> None:
        """Mails go for good."""
        for one in list(ids):
            self._note("messagesDeleted", one, self.mails.pop(one).labels)

    def label(self, ids: Iterable[str], *, add: str = "", remove: str = "") -> None:
        """Mails get a label, or lose one."""
        for one in list(ids):
            labels = self.mails[one].labels
            if add and add not in labels:
                labels.add(add)
                self._note("labelsAdded", one, (add,))
            if remove in labels:
                labels.remove(remove)
                self._note("labelsRemoved", one, (remove,))

    def forget_history(self) -> None:
        """Tell no changes of before any more."""
        self.now += 1
        self.oldest = self.now

    def listed(self, *labels: str, query: str = "") -> list[FakeMail]:
        """What is there with all of these labels, the newest first."""
        found = [
            one
            for one in self.mails.values()
            if one.labels.issuperset(labels)
            and (not HIDDEN & one.labels or HIDDEN.intersection(labels))
            and query in one.text
        ]
        return sorted(found, key=lambda one: one.ms, reverse=True)

    def _note(self, kind: str, one: str, labels: Iterable[str]) -> None:
        self.now += 3
        self.history.append((self.now, kind, one, tuple(labels)))

    # What it is asked.

    def answer_to(self, seen: Seen) -> Answer:
        asked = seen.path.removeprefix(BASE)
        self.seen.append(seen)
        self.before(asked)
        faults = self.faults.get(asked)
        if faults:
            return faults.pop(0)
        query = {name: values[0] for name, values in seen.query.items()}
        kind, _, name = asked.partition("/")
        if kind == "messages":
            return self._message(name, query) if name else self._messages(seen, query)
        if kind == "history":
            return self._history(query)
        if kind == "labels":
            return self._label(name) if name else json_answer({"labels": _named(LABELS)})
        if kind == "profile" and self.has_profile:
            profile = {"emailAddress": "me@example.org", "messagesTotal": len(self.mails)}
            return json_answer({**profile, "historyId": str(self.now)})
        return google_error(404, "notFound")

    def _messages(self, seen: Seen, query: dict[str, str]) -> Answer:
        found = self.listed(*seen.query.get("labelIds", ()), query=query.get("q", ""))
        size = int(query.get("maxResults", "100"))
        number, _, place = query.get("pageToken", f"{self.tokens_from}-0").partition("-")
        if int(number) < self.tokens_from:
            return google_error(400, "invalidArgument")
        start = int(place)
        told: dict[str, Any] = {"resultSizeEstimate": min(len(found), 201)}
        if page := found[start : start + size]:
            told["messages"] = [{"id": one.id, "threadId": one.id} for one in page]
        if start + size < len(found):
            told["nextPageToken"] = f"{self.tokens_from}-{start + size}"
        return json_answer(told)

    def _message(self, one: str, query: dict[str, str]) -> Answer:
        mail = self.mails.get(one)
        if mail is None:
            return google_error(404, "notFound")
        told = {
            "id": one,
            "threadId": one,
            "labelIds": sorted(mail.labels, reverse=True),
            "internalDate": str(mail.ms),
            "historyId": str(self.now),
            "sizeEstimate": len(mail.text),
            "snippet": mail.text[:100],
        }
        form = query.get("format", "full")
        if form != "minimal":
            headers = {
                "From": "=?utf-8?q?Gr=C3=BC?= <you@example.org>",
                "Subject": f"Mail {mail.text[:50]}",
                "Date": "Mon, 30 Nov 2026 10:00:00 +0100",
                "Message-ID": f"<{one}@example.org>",
            }
            payload: dict[str, Any] = {
                "mimeType": "text/plain",
                "headers": [{"name": name, "value": text} for name, text in headers.items()],
                "body": {},
            }
            if form == "full":
                data = urlsafe_b64encode(mail.text.encode()).decode().rstrip("=")
                payload["body"] = {"size": len(mail.text), "data": data}
            told["payload"] = payload
        return json_answer(told)

    def _history(self, query: dict[str, str]) -> Answer:
        start = int(query["startHistoryId"])
        if start < self.oldest:
            return history_too_old()
        # Pages are of the moment when the first was read.
        number, place, upto = map(
            int, query.get("pageToken", f"{self.tokens_from}-0-{self.now}").split("-")
        )
        if number < self.tokens_from:
            return google_error(400, "invalidArgument")
        found = [one for one in self.history if start < one[0] <= upto]
        size = int(query.get("maxResults", "100"))
        told: dict[str, Any] = {"historyId": str(self.now)}
        if page := found[place : place + size]:
            told["history"] = [_record(*one) for one in page]
        if place + size < len(found):
            told["nextPageToken"] = f"{number}-{place + size}-{upto}"
        return json_answer(told)

    def _label(self, name: str) -> Answer:
        if name not in LABELS:
            return google_error(404, "notFound")
        total = len([one for one in self.mails.values() if name in one.labels])
        return json_answer({"id": name, "name": LABELS[name], "messagesTotal": total})


def _named(labels: dict[str, str]) -> list[dict[str, str]]:
    return [{"id": one, "name": name} for one, name in labels.items()]


def _record(moment: int, kind: str, one: str, labels: tuple[str, ...]) -> dict[str, Any]:
    message = {"id": one, "threadId": one}
    told: dict[str, Any] = {"message": message}
    if kind.startswith("labels"):
        told["labelIds"] = list(labels)
    return {"id": str(moment), "messages": [message], kind: [told]}

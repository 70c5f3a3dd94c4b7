"""The helpers for authors against real servers, which differ in all that they may.

Radicale, Xandikos, Dovecot and emulate (Google, Microsoft): `.ci/servers` installs them, and
`.ci/run` does that first; without them these tests skip. What these servers never do is played by
tests/fakes.
"""

from __future__ import annotations

import asyncio
import html
import imaplib
import re
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bg_charm_service import (
    CalDav,
    Charm,
    HttpClient,
    Imap,
    MailError,
    MailPoint,
    SignInNeeded,
    mail_text,
)
from tests.process.program import wait_until
from tests.process.running import Service
from tests.process.test_sign_ins import age
from tests.real_servers import (
    CLIENT,
    PASSWORD,
    USER,
    RealServer,
    dovecot,
    emulate,
    radicale,
    xandikos,
)

EVENT = """\
BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//tests//EN
BEGIN:VEVENT
UID:{name}
DTSTAMP:20260101T000000Z
DTSTART:20260101T100000Z
SUMMARY:{summary}
END:VEVENT
END:VCALENDAR
""".replace("\n", "\r\n")


class Some(Charm):
    """A charm that asks."""

    def bg_updater(self, event: dict[str, Any]) -> None:
        """Do nothing."""


def ask(deed: Callable[[HttpClient], Coroutine[Any, Any, Any]], **options: Any) -> Any:
    """Let a charm's client do something."""

    async def inner() -> Any:
        async with Some().http(**options) as http:
            return await deed(http)

    return asyncio.run(inner())


@pytest.mark.parametrize("server", [radicale, xandikos])
def test_a_calendar_is_followed(server: Any, tmp_path: Path) -> None:
    """What came, changed and went is told, at first, by a token, and by one that is dead."""
    with server(tmp_path) as running:
        ask(lambda http: follow(http, running), auth=("me", "any"))


async def follow(http: HttpClient, running: RealServer) -> None:
    """Write into a calendar, and look at what is told of it."""
    calendar = CalDav(http, running.url)

    async def put(name: str, summary: str) -> None:
        answer = await http.put(
            f"{running.url}{name}.ics",
            content=EVENT.format(name=name, summary=summary),
            headers={"Content-Type": "text/calendar"},
        )
        answer.raise_for_status()

    def named(names: Any) -> set[str]:
        return {name.rpartition("/")[2] for name in names}

    empty = await calendar.changes("", {})
    assert ({}, frozenset()) == (empty.changed, empty.removed)
    assert empty.token
    for name in ("a", "b", "c"):
        await put(name, "first")
    first = await calendar.changes(empty.token, {})
    assert {"a.ics", "b.ics", "c.ics"} == named(first.changed)
    items = await calendar.fetch(first.changed)
    assert first.changed == {name: item.etag for name, item in items.items()}
    assert all("SUMMARY:first" in item.text for item in items.values())

    await put("a", "second")
    (await http.delete(f"{running.url}b.ics")).raise_for_status()
    for token in (first.token, "http://example.org/a-token-that-nobody-knows", ""):
        later = await calendar.changes(token, first.changed)
        assert {"a.ics"} == named(later.changed)
        assert {"b.ics"} == named(later.removed)
        assert later.token not in ("", first.token)
    # One that never knew of it is not told that it is gone.
    assert frozenset() == (await calendar.changes(first.token, {})).removed
    assert {"a.ics", "c.ics"} == named(await calendar.listing())
    gone = await calendar.fetch(first.changed)
    assert {"a.ics", "c.ics"} == named(gone)


def test_a_mailbox_is_followed(tmp_path: Path) -> None:
    """By QRESYNC, and as one with less would have it; a wrong password is a sign-in."""
    with dovecot(tmp_path) as running:
        writer = imaplib.IMAP4("127.0.0.1", running.port)
        writer.login(USER, PASSWORD)
        for number in range(1, 6):
            append(writer, f"Grüße {number}")
        with opened(running) as imap:
            first = imap.changes("INBOX")
            mails = {uid: mail_text(mail) for uid, mail in imap.fetch(first.changed)}
        assert first.is_new
        assert {number: f"Grüße {number}" for number in range(1, 6)} == mails

        writer.select("INBOX")
        writer.uid("STORE", "2", "+FLAGS", "(\\Deleted)")
        writer.expunge()
        writer.uid("STORE", "3", "+FLAGS", "(\\Flagged)")
        append(writer, "new")
        writer.logout()
        with opened(running) as imap:
            for lacks in ("nothing", "_has_qresync", "_has_esearch"):
                vars(imap)[lacks] = False
                later = imap.changes("INBOX", first.point, mails)
                assert (frozenset({2}), False) == (later.removed, later.is_new), lacks
                assert {3, 6} == set(later.changed), lacks
                assert {"\\Flagged"} == later.changed[3]
            assert [(6, "new")] == [(uid, mail_text(mail)) for uid, mail in imap.fetch([6, 2])]
            other = MailPoint(first.point.uid_validity + 1, first.point.mod_seq)
            assert imap.changes("INBOX", other, mails).is_new
            with pytest.raises(MailError, match="Entwürfe"):
                imap.changes("Entwürfe")
        with pytest.raises(SignInNeeded, match="AUTHENTICATIONFAILED"), opened(running, "wrong ä"):
            pass


def append(writer: imaplib.IMAP4, text: str) -> None:
    """Put a mail into the inbox."""
    mail = f"Subject: x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n".encode()
    writer.append("INBOX", "", "", mail)


def opened(running: RealServer, password: str = PASSWORD) -> Imap:
    """A connection of an author's."""
    return Imap("127.0.0.1", USER, password, port=running.port, is_plain=True)


def test_messages_of_google_come_page_by_page(tmp_path: Path) -> None:
    """Its tokens are followed, its messages read, and one that is not there is None."""
    with emulate(tmp_path) as running:
        base_url = f"{running.url}/gmail/v1/users/me/"
        found = ask(read, base_url=base_url, auth="a token")
    assert [f"text {number}" for number in range(1, 6)] == found


async def read(http: HttpClient) -> list[str]:
    """Read all messages of somebody, in the order of their numbers."""
    texts = {}
    async for page in http.pages("messages", "nextPageToken", maxResults=2):
        for one in page["messages"]:
            message = await http.json("messages/{id}", id=one["id"], none_on=404)
            texts[one["id"]] = mail_text(message["payload"])
    assert await http.json("messages/{id}", id="nobodys", none_on=404) is None
    return [texts[name] for name in sorted(texts)]


SIGNED = """\
from typing import Any
from bg_charm_service import Charm, OAuth

class Signed(Charm):
    auth: OAuth["{provider}", "User.Read"]
    polls: int = 0
    email: str = ""

    async def bg_updater(self, event: dict[str, Any]) -> None:
        self.polls += 1
        self.email = self.auth.user.get("email", "")
"""


def choose_user(url: str) -> str:
    """Sign in as a person does who picks the one user of the page; gives where that leads."""
    page = httpx2.get(url).raise_for_status().text
    fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page))
    (action,) = set(re.findall(r'<form[^>]* action="([^"]+)"', page))
    form = {name: html.unescape(value) for name, value in fields.items()}
    answer = httpx2.post(httpx2.URL(url).join(action), data=form)
    return str(answer.headers["location"])


@pytest.mark.parametrize(
    ("provider", "issuer"),
    [
        # The tenant that all private accounts are of.
        ("microsoft", "{url}/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0"),
        ("google", "{url}"),
    ],
)
def test_signing_in_at_a_provider(tmp_path: Path, provider: str, issuer: str) -> None:
    """By its page, and renewed twice: Microsoft's takes a refresh token once."""
    with emulate(tmp_path, provider) as running, Service(tmp_path / "data") as service:
        client = {**CLIENT, "issuer": issuer.format(url=f"http://localhost:{running.port}")}
        service.request("PUT", f"/api/oauth-clients/{provider}", client)
        charm = service.add(SIGNED.format(provider=provider))
        path = f"/api/integrations/{provider}-oauth"
        begun = service.request("POST", f"{path}/login", {"space": "test"})
        service.request("POST", f"{path}/callback", {"address": choose_user(begun["url"])})
        wait_until(lambda: charm.get("polls") == 1)
        assert USER == charm.get("email")
        for _ in range(2):
            service.stop()
            age(service)
            service.start()
            assert "success" == charm.run()["status"]
        service.wait_for("token_renewed")

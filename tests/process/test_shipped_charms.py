"""Charms that ship are added by their name, by commands and by the page, and asked about."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.fakes.http_server import FakeServer, answer
from tests.process.program import COMMAND, Program, wait_until
from tests.process.reaching import Reached, reached
from tests.process.running import RunningCharm
from tests.process.terminal import typed
from tests.process.test_access import csrf_of

FEED = """<rss version="2.0"><channel><title>News</title>
<item><title>It rains</title><guid>1</guid><pubDate>Mon, 30 Nov 2026 08:00:00 GMT</pubDate></item>
</channel></rss>"""


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reached]:
    """A running service."""
    with reached(tmp_path_factory.mktemp("shipped")) as found:
        yield found


@pytest.fixture
def browser(door: Reached) -> Iterator[httpx2.Client]:
    """A signed-in browser."""
    with door.signed_in() as client:
        yield client


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The program on a directory that is not there yet."""
    return Program(tmp_path / "data")


def added(program: Program, ref: str) -> tuple[str, str]:
    """The label of a charm, and the ports that are open to it."""
    shown = program.value("charm", "show", ref)
    limits = {one["name"]: one["value"] for one in shown["limits"]["limits"]}
    return shown["charm"]["integration"], limits["network"]


def test_what_ships_is_listed_with_a_sentence_each(program: Program) -> None:
    """By a command of its own, and where nobody says which; nothing is made for it."""
    listed = program.output("charm", "add", "--from")
    (line,) = [one for one in listed.splitlines() if one.startswith("mail_importer ")]
    assert "The mails of one mailbox, over IMAP" in line
    (rss,) = [one for one in program.value("charm", "shipped") if one["name"] == "rss"]
    assert ("rss", ["url", "limit"]) == (
        rss["integration"],
        [one["name"] for one in rss["fields"]],
    )
    assert not program.data_dir.exists()


def test_one_is_added_by_its_name(program: Program) -> None:
    """With its fields from flags and standard input, its space, label and port from its file."""
    ref = program.output(
        *("charm", "add", "--from", "mail_importer", "--set", 'host="mail.example.org:1993"'),
        *("--set", 'user="me"', "--set-secret", "password"),
        given="the-password\n",
    )
    state = program.value("charm", "get", "mail/mail_importer")
    assert ("mail.example.org", 1993, {"$secret": True}) == (
        state["host"],
        state["port"],
        state["password"],
    )
    assert ("mail", "53,1993") == added(program, ref)


def test_what_is_missing_is_said_where_nobody_can_be_asked(program: Program) -> None:
    """One line, with the flags that give it; nothing is added."""
    error = program.error("charm", "add", "--from", "mail_importer", code=2)
    assert "mail_importer needs host, user, password" in error
    assert "--set user=JSON --set-secret password" in error
    assert "there are: " in program.error("charm", "add", "--from", "nix")
    assert "FILE, or --from NAME" in program.error("charm", "add", code=2)
    assert not program.data_dir.exists()


def test_a_person_is_asked(program: Program) -> None:
    """For what it needs and what is empty; a secret is not shown, an empty line is asked again."""
    code, seen = typed(
        [*COMMAND, f"--data-dir={program.data_dir}", "charm", "add", "--from", "calendar_importer"],
        ("Address, that of a CalDAV account", ""),
        ("This is needed.", "http://calendar.example:5232/"),
        ("User", "me"),
        ("Password", "the-password"),
    )
    assert 0 == code, seen
    assert "the-password" not in seen
    assert "charm items calendar/calendar_importer events" in seen
    state = program.value("charm", "get", "calendar/calendar_importer")
    assert ("http://calendar.example:5232/", "me") == (state["url"], state["user"])
    assert ("calendar", "53,80,443,5232") == added(program, "calendar/calendar_importer")


def test_the_page_adds_one_and_has_it_polled(door: Reached, browser: httpx2.Client) -> None:
    """The list leads to a form, the form to the charm's page; it runs at once."""
    listed = browser.get("/add").text
    assert "A reader of feeds: RSS, Atom and JSON Feed, podcasts too." in listed
    assert 'href="/add/rss"' in listed
    assert 'href="/add"' in browser.get("/").text
    form = browser.get("/add/rss").text
    assert 'name="field.url" value=""' in form
    assert 'name="field.limit" value="50"' in form
    with FakeServer() as server:
        server.on("/feed", answer(200, FEED))
        fields = {"field.url": f"{server.url}/feed", "field.limit": "3", "space": "news"}
        data = {**fields, "cause": "rain", "csrf": csrf_of(browser)}
        done = browser.post("/add/rss", data=data)
        assert 303 == done.status_code, done.text
        charm = RunningCharm(door.service, done.headers["location"].removeprefix("/charms/"))
        wait_until(lambda: charm.view()["successes"])
        again = browser.post("/add/rss", data=data)
    assert [("It rains", 3)] == [(one["title"], charm.get("limit")) for one in charm.get("items")]
    assert "rss" == charm.view()["integration"]
    assert (409, True) == (
        again.status_code,
        "The space news has rain already: choose another name." in again.text,
    )


def test_a_form_that_will_not_do_is_shown_again(door: Reached, browser: httpx2.Client) -> None:
    """With the reason and what was typed, but for secrets, which are in no page."""
    data = {
        "csrf": csrf_of(browser),
        "field.host": "mail.example.org",
        "field.user": "<me>",
        "field.password": "the-password",
        "field.port": "many",
        "space": "mail",
        "cause": "typed",
    }
    form = browser.get("/add/mail_importer").text
    assert '<input type="password" name="field.password"' in form
    refused = browser.post("/add/mail_importer", data=data)
    assert 400 == refused.status_code
    assert "Port: this is not a whole number." in refused.text
    assert 'value="&lt;me&gt;"' in refused.text
    assert "the-password" not in refused.text
    missing = browser.post("/add/mail_importer", data={**data, "field.port": "", "field.user": " "})
    assert (400, True) == (missing.status_code, "User: this is needed." in missing.text)
    assert 400 == browser.get("/charms/mail/typed").status_code
    for path in ("/add/admin", "/add/x.y"):
        assert 400 == browser.get(path).status_code


def test_who_may_add_one(door: Reached, browser: httpx2.Client) -> None:
    """Not a visitor, not a form without its token, and not into a space of others."""
    data = {"field.url": "http://localhost/feed", "space": "news", "cause": "refused"}
    with door.client() as visitor:
        assert (401, 401) == (
            visitor.get("/add").status_code,
            visitor.post("/add/rss", data=data).status_code,
        )
        assert 'href="/add"' not in visitor.get("/").text
    assert 403 == browser.post("/add/rss", data={**data, "csrf": "x"}).status_code
    with door.client() as client:
        client.post("/login", data={"token": door.token("of news", space="feeds")})
        assert 'name="space" value="did:key:' in client.get("/add/rss").text
        refused = client.post("/add/rss", data={**data, "csrf": csrf_of(client)})
        assert 403 == refused.status_code
        allowed = client.post(
            "/add/rss",
            data={
                **data,
                "csrf": csrf_of(client),
                "space": "feeds",
                "field.url": "http://localhost:1/",
            },
        )
        assert 303 == allowed.status_code, allowed.text
    assert 400 == browser.get("/charms/news/refused").status_code


REFUSED = """\
from bg_charm_service import Charm, Secret, SignInNeeded

class Refused(Charm):
    password: Secret[str] = "wrong"

    def bg_updater(self, event: dict) -> None:
        if self.password != "right":
            raise SignInNeeded("refused the password")
"""


def test_a_refused_password_is_set_where_it_is_said(door: Reached, browser: httpx2.Client) -> None:
    """As it is typed, without quotes; the charm runs again by itself."""
    charm = door.service.add(REFUSED, cause="refused")
    charm.register()
    wait_until(lambda: (charm.view()["waiting"] or {}).get("kind") == "sign_in")
    path = f"/charms/{charm.ref}"
    assert '<input type="password" name="text"' in browser.get(path).text
    data = {"csrf": csrf_of(browser), "name": "password", "text": "right"}
    assert 303 == browser.post(f"{path}/field", data=data).status_code
    wait_until(lambda: charm.view()["successes"])
    assert 'name="text"' not in browser.get(path).text

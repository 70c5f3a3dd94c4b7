"""The examples of the author's guide do what it says of them, each in a real service."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.fakes.http_server import NO_ANSWER, FakeServer, Seen, json_answer
from tests.fakes.http_server import answer as answered
from tests.fakes.imap_server import FakeImap
from tests.fakes.oauth_server import CLIENT_ID, CLIENT_SECRET, USER, OAuthServer
from tests.fakes.wire import multistatus, sync_token_gone
from tests.process.program import wait_until
from tests.process.running import RunningCharm, Service
from tests.providers import Provider, answer
from tests.unit.test_docs import examples

TOKEN = "a-token-that-nobody-sees-4711"

#: Where the guide's charms ask: a provider of the test's stands there.
PLACE = "https://api.example.org/{self.number}"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that polls nothing by itself but what is registered, once an hour."""
    folder = tmp_path_factory.mktemp("guide") / "data"
    with Service(folder, "--interval=3600", "--max-retries=0") as found:
        yield found


def example(name: str) -> str:
    """The charm of the guide that has a name."""
    (source,) = examples("docs/charms.md", f"class {name}(Charm)")
    return source


def found(**facts: object) -> Any:
    """A provider's answer."""
    return answer("200 OK", body=json.dumps(facts).encode())


SOON = (datetime.now(UTC) + timedelta(hours=2)).replace(microsecond=0)


@pytest.mark.parametrize(
    ("deed", "status", "word"),
    [
        (found(state="moving", place="Oslo"), "success", None),
        (answer("401 Unauthorized"), "sign_in", "sign_in"),
        (answer("429 Too Many", "Retry-After: 600"), "waiting", "wait"),
        (answer("500 Broken"), "down", "down"),
        (found(maintenance=True), "down", "down"),
        (found(closed_until=SOON.isoformat()), "waiting", "wait"),
        (answer("404 Not Found"), "failure", None),
    ],
)
def test_parcel_ends_as_its_provider_says(
    service: Service, deed: Any, status: str, word: str | None
) -> None:
    """Each row of the table, by one charm that says or raises it."""
    with Provider(deed) as provider:
        charm = parcel(service, provider)
        run = polled(charm)
        assert status == run["status"], run["error"]
        view = charm.view()
        assert word == (view["waiting"] and view["waiting"]["kind"])
        if word == "wait" and "closed" in view["waiting"]["why"]:
            assert SOON.timestamp() == pytest.approx(view["waiting"]["until"], abs=2)
        charm.remove()


def test_parcel_goes_on_until_it_has_arrived(service: Service) -> None:
    """`again` runs it next in turn, however long its interval is; `Stop` ends that."""
    with Provider(found(state="moving", place="Oslo", more=True)) as provider:
        charm = parcel(service, provider)
        charm.register()
        wait_until(lambda: len(charm.get("where")) > 2)
        provider.deed = found(state="delivered", place="the door", more=True)
        wait_until(lambda: charm.view()["disabled_by"] == "stopped")
    assert "the door" == charm.get("where")[-1]
    assert "Stopped: it was delivered" == charm.view()["status"]
    charm.remove()


def test_digest_is_told_later(service: Service) -> None:
    """A reminder by name, in twelve hours or at a moment; one replaces the other, or is dropped."""
    charm = service.add(example("Digest"))
    begun = time.time()
    assert "success" == charm.perform("add", text="tea")["status"]
    (reminder,) = charm.show()["reminders"]
    assert ("digest", "tell") == (reminder["name"], reminder["stream"])
    assert 12 * 3600 == pytest.approx(reminder["remind_at"] - begun, abs=60)
    charm.perform("hold", until=SOON.isoformat())
    (reminder,) = charm.show()["reminders"]
    assert SOON.timestamp() == reminder["remind_at"]
    charm.perform("drop")
    assert ([], []) == (charm.show()["reminders"], charm.get("items"))
    charm.perform("hold", until=datetime.now(UTC).isoformat())
    wait_until(lambda: charm.get("digests") == 1)


def test_a_person_sends_later(service: Service) -> None:
    """The command of the guide, and the one that takes it back."""
    charm = service.add(example("Digest"))
    service.cli("charm", "send", charm.ref, '{"text": "tea"}', "--stream", "add", "--after", "2h")
    (reminder,) = charm.show()["reminders"]
    assert 0 == service.cli("charm", "forget", charm.ref, reminder["name"]).returncode
    assert [] == charm.show()["reminders"]


def test_news_says_how_often_it_should_change(service: Service) -> None:
    """Shown with its charm, and moved on by what is new only."""
    charm = service.add(example("News"))
    (expected,) = charm.show()["expects"]
    assert ("headlines", 86400) == (expected["field"], expected["seconds"])
    charm.run()
    assert [expected] == charm.show()["expects"]
    charm.perform("bgUpdater", headlines=["Spring has come"])
    assert expected["stale_at"] < charm.show()["expects"][0]["stale_at"]


def test_report_runs_at_its_times(service: Service) -> None:
    """In words, five times, and not before the first of them."""
    charm = service.add(example("Report"), register=True)
    schedule = charm.show()["schedule"]
    assert ("weekdays at 08:00, Europe/Oslo", "class") == (schedule["words"], schedule["set_by"])
    assert ("once", 5) == (schedule["missed"], len(schedule["next_times"]))
    assert [] == charm.runs()
    assert (0, []) == (charm.run()["number"] - 1, charm.get("told"))


def test_mirror_copies_as_much_as_it_may(service: Service) -> None:
    """In the daytime every 15 minutes; what does not fit ends it."""
    with Provider(answer("200 OK", body=b"a page")) as provider:
        charm = service.add(example("Mirror"))
        for number in range(3):
            charm.perform("want", address=f"{provider.url}/{number}")
        assert "success" == charm.run()["status"]
        assert ([], 3) == (charm.get("wanted"), len(charm.get("pages")))
        provider.deed = answer("200 OK", body=b"x" * 9_000_000)
        charm.perform("want", address=f"{provider.url}/large")
        charm.run()
        assert "stopped" == charm.runs()[0]["status"]
    schedule = charm.show()["schedule"]
    assert "every 15 min, not from 22:00 to 07:00, Europe/Oslo" == schedule["words"]


def test_inbox_follows_its_provider(service: Service) -> None:
    """Page by page, with what is gone; a point that is too old begins it anew; rows tell of it."""
    with FakeServer() as provider:
        provider.on(
            "/v1/changes",
            json_answer({"changed": ["1", "2"], "point": "a", "nextPageToken": "more"}),
            json_answer({"changed": ["3"], "point": "b"}),
            sync_token_gone(),
        )
        provider.on("/v1/messages/1", answered(502), json_answer({"text": "one"}))
        provider.on("/v1/messages/2", answered(404))
        provider.on("/v1/messages/3", json_answer({"text": "three"}))
        values = {"base": f"{provider.url}/v1/", "token": TOKEN}
        charm = service.add(example("Inbox"), values=values)
        first = charm.run()
        assert "success" == first["status"], first["error"]
        assert ({"1": "one", "3": "three"}, "b") == (charm.get("messages"), charm.get("point"))
        assert {TOKEN} == {seen.token for seen in provider.seen}
        assert [
            ("/v1/changes", 200, 1),
            ("/v1/messages/1", 502, 1),
            ("/v1/messages/1", 200, 2),
            ("/v1/messages/2", 404, 1),
            ("/v1/changes", 200, 1),
            ("/v1/messages/3", 200, 1),
        ] == [(one["path"], one["status"], one["attempt"]) for one in first["requests"]]
        assert {("GET", "127.0.0.1")} == {(one["method"], one["host"]) for one in first["requests"]}
        assert "success" == charm.run()["status"]
        assert ({}, "") == (charm.get("messages"), charm.get("point"))
        assert ["b"] == provider.asked("/v1/changes")[-1].query["since"]
        provider.on("/v1/changes", answered(429, retry_after=3600))
        assert "waiting" == charm.run()["status"]
        provider.on("/v1/changes", answered(401))
        assert "sign_in" == charm.run()["status"]
        # A sign-in renewed by hand counts at once.
        charm.set("token", "another token")
        provider.on("/v1/changes", NO_ANSWER)
        down = charm.run()
    assert ("down", [1, 2, 3]) == (down["status"], [one["attempt"] for one in down["requests"]])
    assert {"RemoteProtocolError"} == {one["fault"] for one in down["requests"]}
    said = service.cli("charm", "logs", charm.ref, "--requests").stdout
    assert "  GET 127.0.0.1/v1/messages/1  502  " in said
    assert "  try 2\n" in said
    page = service.page(f"/charms/{charm.ref}/runs/{first['number']}?show=requests")
    assert "/v1/messages/1" in page
    assert "?show=requests" in service.page(f"/charms/{charm.ref}/runs/{first['number']}")
    assert "6 requests" in service.page(f"/charms/{charm.ref}")
    everything = json.dumps([charm.runs(), charm.show(), service.lines]) + said + page
    assert TOKEN not in everything
    assert "nextPageToken" not in json.dumps(charm.runs())
    for file in service.data_dir.glob("*.db*"):
        assert TOKEN.encode() not in file.read_bytes()


def test_letterbox_takes_in_what_its_provider_has(service: Service) -> None:
    """What is new is listed first and taken in then, what is gone goes; labels are written."""
    with FakeServer() as provider:
        provider.on(
            "/changes",
            json_answer({"new": ["1", "2", "3"], "gone": [], "point": "a"}),
            json_answer({"new": ["3", "4"], "gone": ["1", "9"], "point": "b"}),
        )
        for id in ("1", "3", "4"):
            text = json_answer({"sender": "me", "text": f"letter {id}"})
            provider.on(f"/letters/{id}", text)
        provider.on("/letters/2", answered(404))
        charm = service.add(example("Letterbox"), values={"base": f"{provider.url}/"})
        first = charm.run()
        assert "success" == first["status"], first["traceback"]
        assert (2, 0) == (charm.get("letters")["$items"], charm.get("wanted")["$items"])
        assert ["letters", "point", "wanted"] == first["writes"]
        assert "success" == charm.run()["status"]
        assert ["a"] == provider.asked("/changes")[-1].query["since"]
        assert 1 == len(provider.asked("/letters/3"))
    charm.perform("label", word="4", label="new")
    items = service.request("GET", f"{charm.path}/items/letters")["items"]
    assert {"3": [], "4": ["new"]} == {one["key"]: one["value"]["labels"] for one in items}
    shown = service.cli("charm", "items", charm.ref, "letters", "--text", "letter 4").stdout
    assert ("letter 4" in shown, "letter 3" in shown) == (True, False)
    assert '"sender": "me"' in service.cli("charm", "items", charm.ref, "letters", "3").stdout


def test_mailbox_follows_its_server(service: Service) -> None:
    """A hundred mails at a time, with what is gone; made anew, it is read anew."""
    count = 150
    flags = [f"* {uid} FETCH (UID {uid} FLAGS ())" for uid in range(1, count + 1)]
    bodies = [
        f"* {uid} FETCH (UID {uid} BODY[]<0> {{7}}\r\n\r\n\r\n{uid:03})" for uid in range(1, 152)
    ]
    examined = ["* OK [UIDVALIDITY 7] valid", "* OK [HIGHESTMODSEQ 10] highest"]

    def fetched(command: str) -> list[str]:
        if "BODY.PEEK" not in command:
            return flags
        wanted = {int(uid) for uid in command.split(" ")[2].split(",")}
        return [line for uid, line in enumerate(bodies, start=1) if uid in wanted]

    place = "Imap(self.host, self.user, self.password)"
    with FakeImap({"EXAMINE": examined}, "ENABLE QRESYNC") as server:
        server.script["FETCH"] = fetched
        source = example("Mailbox")
        assert place in source
        own = place.replace(")", f", port={server.port}, is_plain=True)")
        values = {"host": "127.0.0.1", "user": "me", "password": TOKEN}
        charm = service.add(source.replace(place, own), values=values)
        first = charm.run()
        assert "success" == first["status"], first["traceback"]
        assert ({str(uid) for uid in range(51, 151)}, 50) == (
            set(charm.get("mails")),
            len(charm.get("wanted")),
        )
        told = ["* VANISHED (EARLIER) 3,149", "* 1 FETCH (UID 151 FLAGS ())"]
        server.script["EXAMINE"] = [*examined, *told]
        assert "success" == charm.run()["status"]
        assert {str(uid) for uid in range(1, 152)} - {"3", "149"} == set(charm.get("mails"))
        assert "151" == charm.get("mails")["151"]
        server.script["EXAMINE"] = [examined[0].replace("7", "8"), examined[1]]
        assert "success" == charm.run()["status"]
        assert (100, 50) == (len(charm.get("mails")), len(charm.get("wanted")))
        server.script["AUTHENTICATE"] = ["NO [AUTHENTICATIONFAILED] no"]
        assert "sign_in" == charm.run()["status"]


def test_calendar_follows_its_server(service: Service) -> None:
    """What came, changed and went, also where an item is gone before it was read."""
    there = {"/cal/a.ics": '"1"', "/cal/b.ics": '"2"'}

    def served(seen: Seen) -> Any:
        body = seen.body.decode()
        if seen.method == "REPORT" and "multiget" in body:
            texts = {name: f"text of {etag}" for name, etag in there.items() if name in body}
            return multistatus({name: there[name] for name in texts}, texts=texts)
        if seen.method == "PROPFIND" or "<d:sync-token></" in body:
            return multistatus(there, "first")
        return multistatus({"/cal/a.ics": '"1a"', "/cal/b.ics": 404, "/cal/c.ics": '"3"'}, "next")

    with FakeServer() as server:
        server.on("/cal/", served)
        values = {"url": f"{server.url}/cal/", "user": "me", "password": TOKEN}
        charm = service.add(example("Agenda"), values=values)
        first = charm.run()
        assert "success" == first["status"], first["traceback"]
        assert {name: f"text of {etag}" for name, etag in there.items()} == charm.get("events")
        there = {"/cal/a.ics": '"1a"'}
        assert "success" == charm.run()["status"]
    assert ({"/cal/a.ics": 'text of "1a"'}, there) == (charm.get("events"), charm.get("etags"))
    assert "next" == charm.get("token")


def parcel(service: Service, provider: Provider) -> RunningCharm:
    """The parcel of the guide, followed at a provider of the test's."""
    source = example("Parcel")
    assert PLACE in source
    values = {"number": "4711", "token": "a token"}
    return service.add(source.replace(PLACE, provider.url), values=values)


def polled(charm: RunningCharm) -> dict[str, Any]:
    """The record of the first poll."""
    charm.register()
    runs: list[dict[str, Any]] = wait_until(charm.runs)
    return runs[-1]


def test_signing_in(service: Service) -> None:
    """Whoever has signed in is known, and a token that the provider ends is renewed."""
    with OAuthServer() as provider:
        provider.serve("/labels/UNREAD", {"messagesTotal": 3})
        client = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        service.request("PUT", "/api/oauth-clients/google", {**client, "issuer": provider.issuer})
        charm = service.add(example("Unread"), values={"base": f"{provider.issuer}/"})
        body = {"space": "test", "charm": charm.charm_id}
        begun = service.request("POST", "/api/integrations/google-oauth/login", body)
        address = {"address": provider.sign_in(begun["url"])}
        service.request("POST", "/api/integrations/google-oauth/callback", address)
        wait_until(lambda: charm.get("unread") == 3)
        provider.end_tokens()

        assert "success" == charm.run()["status"]
        assert USER["email"] == charm.get("owner")
        assert 1 == provider.refreshes

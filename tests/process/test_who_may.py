"""What can be done and read on this machine without a credential, and who is signed in."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx2
import pytest
from fastapi.routing import APIRoute

from bg_charm_service.api import create_app
from bg_charm_service.api.auth.authorization import Permission, permission_of
from bg_charm_service.api.auth.registration_rate import BURST
from bg_charm_service.domain.clock import SystemClock
from bg_charm_service.domain.identity import space_did
from bg_charm_service.service.commands import Commands
from tests.process.program import COUNTER
from tests.process.reaching import Reached, reached
from tests.process.running import RunningCharm

#: Stands in every text that a charm or an integration writes here.
WORDS = "words-of-somebody-elses-code"

#: Credentials that stand in those texts; nobody may see them, and no file may hold them.
SECRETS = ("pa55phrase-of-a-user", "k3y-in-a-query", "t0ken-in-json", "c00kie-of-a-header")

TELLTALE = f'''\
from bg_charm_service import Charm

class Telltale(Charm):
    """{WORDS}"""

    count: int = 0

    def bg_updater(self, event: dict) -> None:
        print("{WORDS}", {{"token": "{SECRETS[2]}"}})
        raise ConnectionError(
            "{WORDS}: GET https://me:{SECRETS[0]}@mail.example/v1?appid={SECRETS[1]}\\n"
            "Cookie: session={SECRETS[3]}"
        )
'''

BROKEN_INTEGRATION = f'''\
from bg_charm_service import Integration, IntegrationCellConfig


class Broken(Integration):
    id = "broken"
    name = "Broken"

    async def initialize(self) -> None: ...

    def get_integration_config(self) -> IntegrationCellConfig:
        return IntegrationCellConfig(
            id=self.id,
            name=self.name,
            space_id="system",
            cell_id="broken",
            fetch_charms=self.fetch,
            is_valid_integration_charm=self.is_valid,
        )

    async def fetch(self) -> list[dict[str, str]]:
        print("{WORDS} api_key={SECRETS[1]}")
        raise OSError("{WORDS}: https://mail.example/?appid={SECRETS[1]}")

    def is_valid(self, charm: object) -> bool:
        raise OSError("{WORDS}")


integration = Broken()
'''


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reached]:
    """A service whose integration cannot be scanned, and that gives up on a charm at once."""
    folder = tmp_path_factory.mktemp("who")
    (folder / "broken.py").write_text(BROKEN_INTEGRATION)
    flags = ("--max-retries=0", "--failures=1", "--integration=broken")
    with reached(folder, *flags, f"--integrations-dir={folder}") as found:
        yield found


@pytest.fixture(scope="module")
def telltale(door: Reached) -> RunningCharm:
    """A charm whose one run failed: it is disabled, and a dead letter lies there."""
    charm = door.service.add(TELLTALE, cause="telltale", register=True)
    charm.wait_for("charm.disabled")
    return charm


def register(
    client: httpx2.Client, charm: RunningCharm, integration: str = "manual"
) -> httpx2.Response:
    """Register a charm as the seeds' curl does."""
    space, _, charm_id = charm.ref.partition("/")
    body = {"pieceId": charm_id, "space": space, "integration": integration}
    return client.post("/api/integrations/bg", content=json.dumps(body))


def not_done(answer: httpx2.Response) -> str:
    """What an answer to a registration says was not done."""
    told = answer.json()
    assert (200, True, "success") == (answer.status_code, told["success"], told["message"])
    return " ".join(told.get("not_done", []))


def test_an_operators_disable_stays(door: Reached) -> None:
    """A registration that nobody vouches for leaves a charm off, and says so; a token's does not.

    That of a charm that was unregistered meanwhile has it registered, and still off.
    """
    charm = door.service.add(COUNTER, cause="switched off", register=True)
    charm.post("disable")
    before = charm.view()
    with door.client() as anybody:
        told = not_done(register(anybody, charm))
        assert "stays disabled" in told
        assert f"`bg-charm-service charm enable {charm.ref}`" in told
        assert before == charm.view()
        charm.unregister()
        assert "stays disabled" in not_done(register(anybody, charm))
        view = charm.view()
        assert (True, False, "hand") == (view["registered"], view["enabled"], view["disabled_by"])
        assert door.service.request("GET", "/api/status")["charms_disabled"] >= 1
    with door.client(door.token("vouching", space=space_did("test"))) as token:
        assert "" == not_done(register(token, charm))
    assert charm.view()["enabled"]


def test_a_charm_is_not_relabelled(door: Reached) -> None:
    """Without a credential a charm keeps the integration that it has; a first label is taken."""
    charm = door.service.add(COUNTER, cause="labelled")
    with door.client() as anybody:
        assert "" == not_done(register(anybody, charm, "first"))
        told = not_done(register(anybody, charm, "second"))
        assert "Its integration stays first" in told
        assert "first" == charm.view()["integration"]
    assert "first" == door.audit()[0]["detail"]
    with door.client(door.token("labelling")) as token:
        assert "" == not_done(register(token, charm, "second"))
    assert "second" == charm.view()["integration"]


def test_failures_are_not_forgiven(door: Reached) -> None:
    """A registration without a credential has a failing charm polled, and its failures counted.

    One that was disabled by its failures comes back, as the original's button has it.
    """
    charm = door.service.add(COUNTER, cause="failing", values={"error": "broken"}, register=True)
    charm.wait_for("charm.disabled")
    with door.client() as anybody:
        assert "" == not_done(register(anybody, charm))
    charm.wait_for("charm.disabled", times=2)
    assert 1 == charm.view()["consecutive_failures"]


def test_an_integrations_reason_is_not_told(door: Reached) -> None:
    """Why an integration refuses a charm is its own text: told with a credential only."""
    charm = door.service.add(COUNTER, cause="refused")
    with door.client() as anybody, door.client(door.token("refused")) as token:
        refused, told = register(anybody, charm, "broken"), register(token, charm, "broken")
    assert (400, 400) == (refused.status_code, told.status_code)
    assert (False, True) == (WORDS in refused.text, WORDS in told.text)


def paths_for_anybody(charm: RunningCharm) -> list[str]:
    """Every address that can be read without a credential, and ends."""
    commands = SimpleNamespace(clock=SystemClock())
    weak = (Permission.LISTING, Permission.PAGE, Permission.NONE)
    streams = ("/live", "/api/events")
    space, _, charm_id = charm.ref.partition("/")
    return [
        route.path.format(space=space, charm_id=charm_id, provider="google")
        for route in create_app(cast("Commands", commands)).routes
        if isinstance(route, APIRoute)
        and "GET" in (route.methods or ())
        and permission_of(route) in weak
        and route.path not in streams
        and "{name" not in route.path
    ]


def test_texts_of_others_take_a_credential(door: Reached, telltale: RunningCharm) -> None:
    """No page and no list shows anybody more of a failure than its cause."""
    with door.client() as anybody, door.signed_in() as operator:
        paths = paths_for_anybody(telltale)
        assert {"/", "/attention", "/api/status", "/api/charms", "/integrations"} < set(paths)
        for path in paths:
            shown = anybody.get(path)
            # Nobody comes back from a provider who was not sent there.
            is_refused = shown.status_code == 400 and path.endswith("-oauth/callback")
            assert shown.status_code in (200, 303, 308, 404) or is_refused, path
            assert WORDS not in shown.text, path
        telling = [path for path in paths if WORDS in operator.get(path).text]
    charm_page = f"/charms/{telltale.ref}"
    assert {"/", "/attention", charm_page, "/api/status", "/api/charms"} <= set(telling)
    assert {"/integrations", "/api/integrations"} <= set(telling)


def test_the_cause_is_shown_to_anybody(door: Reached, telltale: RunningCharm) -> None:
    """In the place of an error, and of a status that quotes one, its cause stands."""
    with door.client() as anybody:
        listed = anybody.get("/api/charms?text=telltale").json()["charms"]
        failing = anybody.get("/api/status").json()["failing"]
        page = anybody.get("/attention").text
    (view,) = [each for each in listed if each["charm_id"] == telltale.charm_id]
    assert ("error", "error", "error") == (
        view["last_error"],
        view["last_error_cause"],
        view["status"],
    )
    assert "error" in {
        each["last_error"] for each in failing if each["charm_id"] == telltale.charm_id
    }
    assert '<p class="error-text">error</p>' in page
    assert WORDS in telltale.view()["last_error"]


@pytest.mark.parametrize("is_signed_in", [False, True])
def test_the_event_stream_tells_the_cause(
    door: Reached, telltale: RunningCharm, *, is_signed_in: bool
) -> None:
    """What a stream tells of a run that failed depends on who follows it."""
    client_of = door.signed_in if is_signed_in else door.client
    with client_of() as client, client.stream("GET", "/api/events") as answer:
        told = _events(answer.iter_lines())
        kind, status = next(told)
        assert ("status", is_signed_in) == (kind, WORDS in json.dumps(status))
        telltale.run()
        run = next(
            data for kind, data in told if kind == "run" and data["charm_id"] == telltale.charm_id
        )
    assert ("error", is_signed_in) == (run["cause"], WORDS in run["error"])
    assert is_signed_in or "error" == run["error"]


def _events(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    kind = ""
    for line in lines:
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))


def test_credentials_are_masked_everywhere(
    door: Reached, telltale: RunningCharm, tmp_path: Path
) -> None:
    """No credential in a text of a charm is shown to the operator, logged or stored."""
    run = telltale.run()
    assert "https://[secret]@mail.example/v1?[secret]" in run["error"]
    assert "Cookie: [secret]" in run["traceback"]
    assert "{'token': '[secret]'}" in run["log"]
    logged = json.dumps(door.service.lines)
    assert WORDS in logged
    with door.signed_in() as operator:
        pages = [operator.get(path).text for path in paths_for_anybody(telltale)]
        pages.append(operator.get(f"/charms/{telltale.ref}/runs/{run['number']}").text)
    door.service.request("POST", "/api/backups", {"path": str(tmp_path / "copy.db")})
    stored = _without_source(tmp_path / "copy.db")
    for secret in SECRETS:
        assert secret not in json.dumps(telltale.show())
        assert secret not in logged
        assert not any(secret in _but_source(page) for page in pages)
        assert secret not in stored


def _but_source(page: str) -> str:
    """Leave out what a page shows of the source, in which the secrets stand."""
    return re.sub(r'<pre class="source".*?</pre>', "", page, flags=re.DOTALL)


def _without_source(copy: Path) -> str:
    """All that is stored of charms, runs and jobs but sources."""
    with closing(sqlite3.connect(copy)) as database:
        return "\n".join(line for line in database.iterdump() if '"sources"' not in line)


def test_anonymous_registrations_are_limited_in_rate(door: Reached) -> None:
    """After so many at once the next is refused, with when to come back; a token is not counted.

    They are counted before anybody looks at what they say.
    """
    charm = door.service.add(COUNTER, cause="often")
    with door.client() as anybody:
        path = "/api/integrations/bg"
        answers = [anybody.post(path, content="nonsense") for _ in range(2 * BURST)]
    refused = [answer for answer in answers if answer.status_code != 400]
    assert refused
    assert {429} == {answer.status_code for answer in refused}
    assert "1" == refused[0].headers["retry-after"]
    assert "`bg-charm-service token new --name NAME`" in refused[0].json()["error"]
    assert door.service.wait_for("access.limited")
    with door.client(door.token("often")) as token:
        assert "" == not_done(register(token, charm))


def test_who_is_signed_in_is_shown(door: Reached) -> None:
    """A session, a token and nobody hear who they are, what they may, and until when."""
    space = space_did("test")
    with (
        door.client() as anybody,
        door.client(door.token("who", read_only=True, space=space)) as token,
        door.signed_in() as session,
    ):
        shown = [client.get("/api/session").json() for client in (anybody, token, session)]
        page = session.get("/").text
        detail = session.get("/session").text
    told = [(one["name"], one["kind"], one["may_change"], one["spaces"]) for one in shown]
    assert [
        ("anonymous", "anonymous", False, None),
        ("token who", "token", False, [space]),
        ("operator", "session", True, None),
    ] == told
    assert [True, True, False] == [one["expires_at"] is None for one in shown]
    assert re.search(r"operator<span class=\"until\">, signed in until \d\d:\d\d UTC", page)
    assert "End all sessions" in detail


def test_all_sessions_end_at_once(door: Reached) -> None:
    """The operator's command, and the button of any session, end every session and login link."""
    code = door.service.request("POST", "/api/login-codes")["code"]
    with door.signed_in() as one, door.signed_in() as another, door.client() as late:
        assert len(door.service.request("GET", "/api/sessions")) >= 2
        assert door.service.request("DELETE", "/api/sessions")["ended"] >= 2
        statuses = [client.get(f"{door.charm.path}/state").status_code for client in (one, another)]
        assert [401, 401] == statuses
        assert 401 == late.get(f"/login?code={code}").status_code
    assert [] == door.service.request("GET", "/api/sessions")
    with door.signed_in() as one, door.signed_in() as another:
        csrf = re.search(r'name="csrf" value="(\w+)"', one.get("/session").text)
        assert csrf is not None
        without = another.post("/sessions/end", headers=door.origin)
        assert 403 == without.status_code
        ended = one.post("/sessions/end", data={"csrf": csrf[1]}, headers=door.origin)
        assert (303, "/login") == (ended.status_code, ended.headers["location"])
        assert 401 == another.get(f"{door.charm.path}/state").status_code
    assert "end sessions" == door.audit()[0]["action"]

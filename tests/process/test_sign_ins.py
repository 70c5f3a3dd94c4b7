"""Sign-ins at a provider that rotates, with the real program: no token is lost, none is shown."""

from __future__ import annotations

import html
import json
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from bg_charm_service.storage.data_directory import DATABASE_NAME
from tests.fakes.http_server import NO_ANSWER, answer
from tests.fakes.oauth_server import (
    CLIENT_ID,
    CLIENT_SECRET,
    USER,
    Held,
    OAuthServer,
    token_error,
)
from tests.process.program import wait_until
from tests.process.running import (
    PATIENCE_SECONDS,
    Refused,
    RunningCharm,
    Service,
    clean_environment,
)

READER = """\
from typing import Any
from bg_charm_service import Charm, OAuth

class Reader(Charm):
    auth: OAuth["fake", "mail.read", "calendar.read"]
    address: str = ""
    polls: int = 0
    seen: dict[str, Any] = {}

    async def bg_updater(self, event: dict[str, Any]) -> None:
        self.polls += 1
        self.seen = {
            "user": self.auth.user,
            "scopes": self.auth.scopes,
            "names": sorted(name for name in dir(self.auth) if not name.startswith("_")),
        }
        print("with", self.auth.token)
        if self.address:
            async with self.http(auth=self.auth) as http:
                self.seen["found"] = await http.json(self.address)
        if event.get("fails"):
            raise ValueError(f"with {self.auth.token}")
"""

LINKED = """\
from typing import Any
from bg_charm_service import Cell, Charm

class Linked(Charm):
    auth: Cell[dict[str, Any]]
    names: list[str] = []
    polls: int = 0

    async def bg_updater(self, event: dict[str, Any]) -> None:
        self.polls += 1
        self.names = sorted(self.auth.get())
"""


@pytest.fixture
def provider() -> Iterator[OAuthServer]:
    """A provider that allows no refresh token twice."""
    with OAuthServer() as running:
        yield running


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service that polls nothing by itself but what is registered, once an hour."""
    with Service(
        tmp_path / "data", "--interval=3600", "--failures=1", "--max-retries=0"
    ) as running:
        yield running


def set_client(service: Service, provider: OAuthServer) -> None:
    """Give the service the client that is registered at the provider."""
    body = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "issuer": provider.issuer}
    service.request("PUT", "/api/oauth-clients/fake", body)


def sign_in(service: Service, provider: OAuthServer, charm: str = "") -> dict[str, Any]:
    """Sign in for a charm, as a person does whose browser cannot reach the service."""
    body = {"space": "test", "charm": charm}
    begun = service.request("POST", "/api/integrations/fake-oauth/login", body)
    body = {"address": provider.sign_in(begun["url"])}
    found: dict[str, Any] = service.request("POST", "/api/integrations/fake-oauth/callback", body)
    return found


def signed_in(service: Service, provider: OAuthServer, **values: Any) -> RunningCharm:
    """A charm for which somebody has signed in, and which has been polled."""
    set_client(service, provider)
    charm = service.add(READER, values=values, cause="reader")
    sign_in(service, provider)
    wait_until(lambda: charm.runs())
    return charm


def age(service: Service) -> None:
    """Let an hour have passed since all tokens were obtained; the service is stopped."""
    with closing(sqlite3.connect(service.data_dir / DATABASE_NAME)) as database:
        database.execute("UPDATE sign_ins SET obtained_at = obtained_at - 4000, expires_at = 1")
        database.commit()


def restart_later(service: Service) -> None:
    """Stop the service, and start it when all tokens have ended."""
    service.stop()
    age(service)
    service.start()


def run(service: Service, *arguments: str, stdin: str) -> subprocess.CompletedProcess[str]:
    """Run a command that reads standard input."""
    command = [sys.executable, "-m", "bg_charm_service", "--data-dir", str(service.data_dir)]
    return subprocess.run(
        [*command, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        env=clean_environment(),
        check=False,
    )


def log_in(service: Service, provider: OAuthServer) -> tuple[str, str]:
    """Sign in by the command, pasting the address; gives what it said."""
    login = subprocess.Popen(
        [
            *(sys.executable, "-m", "bg_charm_service", "--data-dir", str(service.data_dir)),
            *("auth", "login", "fake", "--space", "test"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )
    assert login.stdout is not None
    address = provider.sign_in(login.stdout.readline().strip())
    out, errors = login.communicate(address + "\n", timeout=PATIENCE_SECONDS)
    return out, errors


CLIENT_LINES = f"{CLIENT_ID}\n{CLIENT_SECRET}\n"


def test_signing_in_by_commands_registers_the_charm_and_it_reads(
    service: Service, provider: OAuthServer
) -> None:
    """The client and the pasted address come by standard input, and the charm is polled."""
    charm = service.add(READER, values={"address": provider.resource}, cause="reader")
    issuer = ("--issuer", provider.issuer)
    client = run(service, "auth", "client", "fake", *issuer, stdin=CLIENT_LINES)
    assert (0, "Kept the client of fake.\n") == (client.returncode, client.stdout), client.stderr

    out, errors = log_in(service, provider)

    assert f"Signed in at fake as {USER['email']}, for auth of {charm.ref}.\n" == out, errors
    wait_until(lambda: charm.get("polls") == 1)
    seen = charm.get("seen")
    assert {"is": "here"} == seen["found"]
    assert USER == seen["user"]
    assert ["mail.read", "calendar.read"] == seen["scopes"]
    assert ["expires_at", "renew", "scopes", "token", "user"] == seen["names"]
    assert {"$secret": True} == charm.get("auth")


def test_signing_in_while_no_service_runs(service: Service, provider: OAuthServer) -> None:
    """The commands open the data directory themselves; the charm is polled once there is one."""
    charm = service.add(READER, cause="reader")
    service.stop()
    issuer = ("--issuer", provider.issuer)
    run(service, "auth", "client", "fake", *issuer, stdin=CLIENT_LINES)

    out, errors = log_in(service, provider)

    assert out.startswith(f"Signed in at fake as {USER['email']}"), errors
    service.start()
    wait_until(lambda: charm.get("polls") == 1)


def test_a_run_while_no_service_runs(service: Service, provider: OAuthServer) -> None:
    """The command that runs a charm renews its token first, as the service does."""
    charm = signed_in(service, provider)
    service.stop()
    age(service)

    ran = run(service, "--sandbox=off", "charm", "run", charm.ref, stdin="")

    assert "polls = 2" in ran.stdout, ran.stderr
    assert 1 == provider.refreshes


def test_another_provider_is_another_sign_in(service: Service, provider: OAuthServer) -> None:
    """A class that wants another one after an update is not given the token of the first."""
    charm = signed_in(service, provider)

    charm.update(READER.replace('OAuth["fake"', 'OAuth["google"'))

    ended = charm.run()
    assert "sign_in" == ended["status"]
    assert "auth login google --space test" in ended["error"]


def test_a_provider_sends_a_browser_back(tmp_path: Path, provider: OAuthServer) -> None:
    """The way back takes no session, by the state of a sign-in that was begun, and once only."""
    flags = ("--interval=3600", "--listen=127.0.0.1:0")
    with Service(tmp_path / "data", *flags) as service:
        url = service.wait_for("listening")["url"]
        set_client(service, provider)
        charm = service.add(READER, cause="reader")
        body = {"space": "test"}
        begun = service.request("POST", "/api/integrations/fake-oauth/login", body)
        back = urlsplit(provider.sign_in(begun["url"]))
        address = f"{url}{back.path}?{back.query}"

        browser = {"accept": "text/html,*/*;q=0.8"}
        wrong = httpx2.get(f"{url}{back.path}?state=other&code=other", headers=browser)
        # Fetched as often as one likes: nothing is kept before the person has read for whom it is.
        asked = [httpx2.get(address, headers=browser) for _ in range(2)]
        form = dict(re.findall(r'name="(state|code)" value="([^"]*)"', asked[0].text))
        (confirm,) = re.findall(r'action="([^"]*)"', asked[0].text)
        assert (0, []) == (provider.refreshes, service.request("GET", "/api/sign-ins"))
        first, second = (
            httpx2.post(f"{url}{confirm}", data=form, headers=browser) for _ in range(2)
        )

        assert [400, 200, 200, 200, 400] == [
            one.status_code for one in (wrong, *asked, first, second)
        ]
        assert f"Reader (test/{charm.charm_id})" in asked[0].text
        assert "mail.read, calendar.read" in asked[0].text
        assert re.search(r"begun by <strong>[^<]+</strong>", asked[0].text)
        assert USER["email"] in first.text
        assert charm.charm_id in first.text
        assert "begin it again" in second.text
        wait_until(lambda: charm.get("polls") == 1)


def test_the_page_of_a_charm_signs_in_and_out(service: Service, provider: OAuthServer) -> None:
    """By a button, over a page that names the host, and back."""
    set_client(service, provider)
    charm = service.add(READER, cause="reader")
    before = service.page(f"/charms/{charm.ref}")
    form = {"provider": "fake", "field": "auth"}

    leading = service.submit(f"/charms/{charm.ref}/sign-in", form)
    (url,) = re.findall(r'href="(http://[^"]*/authorize[^"]*)"', leading)
    body = {"address": provider.sign_in(html.unescape(url))}
    service.request("POST", "/api/integrations/fake-oauth/callback", body)

    assert "nobody has signed in" in before
    assert urlsplit(provider.issuer).netloc in leading
    assert USER["email"] in service.page(f"/charms/{charm.ref}")
    wait_until(lambda: charm.get("polls") == 1)
    service.submit(f"/charms/{charm.ref}/sign-out", form)
    assert "nobody has signed in" in service.page(f"/charms/{charm.ref}")


def test_a_token_that_has_ended_is_renewed_before_the_run(
    service: Service, provider: OAuthServer
) -> None:
    """The run begins with the new one, and is not stale for it."""
    charm = signed_in(service, provider, address=provider.resource)
    restart_later(service)

    ran = charm.run()

    assert "success" == ran["status"], ran
    assert 1 == provider.refreshes
    assert ["success", "success"] == [one["status"] for one in charm.runs()]


def test_a_token_that_lives_for_seconds_does_not_keep_its_charm_from_running(
    service: Service, provider: OAuthServer
) -> None:
    """It is shorter than a run may take: one that was just obtained is as good as it gets."""
    provider.expires_in = 0
    charm = signed_in(service, provider)

    assert "success" == charm.runs()[0]["status"]
    restart_later(service)
    assert "success" == charm.run()["status"]
    assert 1 == provider.refreshes


def test_it_is_renewed_once_for_all_that_share_it(service: Service, provider: OAuthServer) -> None:
    """Charms that link to a sign-in wait for the same refresh; a plain link has its old form."""
    charm = signed_in(service, provider)
    auth = {"auth": f"{charm.ref}/auth"}
    others = [service.add(READER, links=auth, register=True, cause=f"r{n}") for n in range(3)]
    linked = service.add(LINKED, links=auth, register=True, cause="linked")
    sharing = [charm, *others, linked]
    wait_until(lambda: all(one.get("polls") == 1 for one in sharing))
    service.stop()
    age(service)
    provider.held_before = Held()
    service.start()
    waiting = [service.later("POST", f"{one.path}/run") for one in sharing]
    assert provider.held_before.came.wait(PATIENCE_SECONDS)
    # Nobody has a worker, or a claim, while the provider takes its time.
    wait_until(lambda: service.status()["jobs_pending"] == 5)
    status = service.status()
    assert (0, 0) == (status["jobs_processing"], status["workers_busy"])

    provider.held_before.may_go.set()

    assert ["success"] * 5 == [one.result()["run"]["status"] for one in waiting]
    assert 1 == provider.refreshes
    names = ["expiresAt", "expiresIn", "scope", "token", "tokenType", "user"]
    assert names == linked.get("names")


def test_a_refused_refresh_is_a_sign_in_that_is_needed(
    service: Service, provider: OAuthServer
) -> None:
    """For all who share it; nobody asks again, and signing in lets them run."""
    charm = signed_in(service, provider)
    links = {"auth": f"{charm.ref}/auth"}
    other = service.add(READER, links=links, register=True, cause="other")
    wait_until(lambda: other.get("polls") == 1)
    provider.end_sign_ins()
    restart_later(service)

    ends = [charm.run()["status"], other.run()["status"], charm.run()["status"]]

    assert ["sign_in"] * 3 == ends
    assert 1 == provider.refreshes
    assert "invalid_grant" in charm.view()["status"]
    listed = run(service, "auth", "list", stdin="").stdout
    assert "again" in listed
    assert re.search(r"SPACE +NAME", listed)
    assert re.search(r" test +Reader …", listed)
    assert "invalid_grant" in listed
    space, charm_id = charm.ref.split("/")
    login = f"auth login fake --space {space} --charm {charm_id}"
    shown = run(service, "charm", "show", str(charm.ref), stdin="").stdout
    assert "".join(login.split()) in "".join(shown.split())
    attention = service.page("/attention")
    assert f"auth login fake --space test --charm {charm_id}" in attention
    sign_in(service, provider)
    wait_until(lambda: charm.get("polls") == 2 and other.get("polls") == 2)


def test_a_provider_that_is_down_costs_nobody_anything(
    service: Service, provider: OAuthServer
) -> None:
    """It is waited for, as for any provider; nobody is disabled, and the sign-in stays."""
    charm = signed_in(service, provider)
    provider.refusing = [answer(503)]
    restart_later(service)

    ended = charm.run()

    assert ("down", "down") == (ended["status"], ended["cause"])
    assert charm.view()["enabled"]
    # What it said stands for a moment: it is not asked by everybody at once.
    assert "down" == charm.run()["status"]
    assert 1 == provider.refreshes
    # A new life asks anew.
    restart_later(service)
    assert "success" == charm.run()["status"]


def test_a_client_that_is_wrong_is_told_and_mended(service: Service, provider: OAuthServer) -> None:
    """The operator has changed it there: given anew, the charms run on."""
    charm = signed_in(service, provider)
    provider.refusing = [token_error("invalid_client", 401)]
    restart_later(service)
    ended = charm.run()
    assert "sign_in" == ended["status"]
    assert "auth client fake" in ended["error"]

    set_client(service, provider)

    wait_until(lambda: charm.get("polls") == 2)


def test_nobody_has_signed_in(service: Service, provider: OAuthServer) -> None:
    """Its run does not begin, and says how to sign in."""
    charm = service.add(READER, cause="reader", register=True)

    ended = charm.run()

    assert "sign_in" == ended["status"]
    assert "auth login fake --space" in ended["error"]
    assert 0 == charm.get("polls")


def test_a_refused_token_is_renewed_once_and_the_request_repeated(
    service: Service, provider: OAuthServer
) -> None:
    """On a 401, in the run; the next run has the new token."""
    charm = signed_in(service, provider, address=provider.resource)
    provider.end_tokens()

    first, second = charm.run(), charm.run()

    assert ["success", "success"] == [first["status"], second["status"]], first
    assert 1 == provider.refreshes
    assert [401, 200] == [one["status"] for one in first["requests"]]


def test_a_refused_token_that_cannot_be_renewed_ends_the_run(
    service: Service, provider: OAuthServer
) -> None:
    """By a sign-in that is needed; nothing of the run is stored."""
    charm = signed_in(service, provider, address=provider.resource)
    provider.end_sign_ins()

    ended = charm.run()

    assert "sign_in" == ended["status"]
    assert 1 == charm.get("polls")


def test_killed_before_the_provider_has_done_anything(
    service: Service, provider: OAuthServer
) -> None:
    """The old token is tried, and still good: nothing is lost."""
    charm = signed_in(service, provider)
    service.stop()
    age(service)
    held = provider.held_before = Held()
    provider.refusing = [NO_ANSWER]
    service.start()
    service.later("POST", f"{charm.path}/run")
    assert held.came.wait(PATIENCE_SECONDS)

    service.kill()
    held.may_go.set()
    provider.held_before = None
    service.start()

    wait_until(lambda: charm.get("polls") == 2)
    assert 2 == provider.refreshes


def test_killed_when_the_provider_has_rotated(service: Service, provider: OAuthServer) -> None:
    """The new token went with the service: the old one is tried once, and a person is told."""
    charm = signed_in(service, provider)
    service.stop()
    age(service)
    held = provider.held_after = Held()
    service.start()
    service.later("POST", f"{charm.path}/run")
    assert held.came.wait(PATIENCE_SECONDS)

    service.kill()
    held.may_go.set()
    provider.held_after = None
    service.start()

    wait_until(lambda: charm.view()["disabled_by"] == "sign_in")
    assert "was lost with the service" in charm.view()["status"]
    assert 2 == provider.refreshes
    assert 1 == charm.get("polls")
    sign_in(service, provider)
    wait_until(lambda: charm.get("polls") == 2)


def test_killed_when_the_answer_is_stored(service: Service, provider: OAuthServer) -> None:
    """The new token is on disk before the run begins: the next life runs with it."""
    charm = signed_in(service, provider, address=provider.resource)
    service.stop()
    age(service)
    service.start()
    service.later("POST", f"{charm.path}/run")
    service.wait_for("token_renewed")

    service.kill()
    service.start()

    wait_until(lambda: charm.get("polls") == 2)
    assert 1 == provider.refreshes
    assert "success" == charm.runs()[0]["status"]


def test_an_answer_that_is_lost_on_the_way(service: Service, provider: OAuthServer) -> None:
    """The provider has rotated, and nobody heard: it is down, then a person has to sign in."""
    charm = signed_in(service, provider)
    provider.breaking = 1
    restart_later(service)
    assert "down" == charm.run()["status"]

    restart_later(service)

    ended = charm.run()
    assert "sign_in" == ended["status"]
    assert "was lost" in ended["error"]


def test_a_stop_waits_for_the_answer(service: Service, provider: OAuthServer) -> None:
    """A provider that was asked is heard out, and its answer is stored."""
    charm = signed_in(service, provider)
    service.stop()
    age(service)
    held = provider.held_after = Held()
    service.start()
    waiting = service.later("POST", f"{charm.path}/run")
    assert held.came.wait(PATIENCE_SECONDS)

    service.signal(signal.SIGTERM)
    service.wait_for("stopping")
    held.may_go.set()
    service.wait()
    # It is told that the service stopped, or nothing any more.
    assert isinstance(waiting.exception(), Refused | OSError | HTTPException)

    provider.held_after = None
    service.start()
    wait_until(lambda: charm.get("polls") == 2)
    assert 1 == provider.refreshes


PLAIN = """\
from typing import Any
from pydantic import BaseModel, ConfigDict
from bg_charm_service import Cell, Charm

class Auth(BaseModel):
    model_config = ConfigDict(extra="forbid")
    token: str
    tokenType: str = "Bearer"
    scope: list[str] = []
    expiresIn: int = 0
    expiresAt: int
    refreshToken: str

class Plain(Charm):
    auth: Auth
    polls: int = 0
    ended: bool = False
    async def bg_updater(self, event: dict[str, Any]) -> None:
        self.polls += 1
        self.ended = self.auth.expiresAt < 1_000_000

class Linked(Charm):
    auth: Cell[Auth]
    polls: int = 0
    ended: bool = False
    async def bg_updater(self, event: dict[str, Any]) -> None:
        self.polls += 1
        self.ended = self.auth.get().expiresAt < 1_000_000
"""


def plain_auth(provider: OAuthServer) -> dict[str, Any]:
    """A sign-in that has ended, in the form of the original."""
    issued = provider.issue()
    return {
        "token": issued["access_token"],
        "scope": ["mail.read"],
        "expiresAt": 1000,
        "refreshToken": issued["refresh_token"],
    }


def add_plain(service: Service, auth: dict[str, Any], **more: Any) -> RunningCharm:
    """A charm of the original's kind, polled for gmail."""
    registered = {"register": True, "integration": "gmail"}
    return service.add(PLAIN, **{"class": "Plain", "values": {"auth": auth}}, **registered, **more)


def set_google(service: Service, provider: OAuthServer) -> None:
    """Give the service a client of Google's, which is this provider."""
    body = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "issuer": provider.issuer}
    service.request("PUT", "/api/oauth-clients/google", body)


def test_the_originals_plain_auth_is_renewed_before_the_run(
    service: Service, provider: OAuthServer
) -> None:
    """Of a charm itself, and through a link; its class knows no more members than it declares."""
    set_google(service, provider)
    auth = plain_auth(provider)
    charm = add_plain(service, auth, cause="plain")
    wait_until(lambda: charm.get("polls") == 1)
    links = {"auth": f"{charm.ref}/auth"}
    registered = {"register": True, "integration": "gmail"}
    linked = service.add(PLAIN, **{"class": "Linked"}, links=links, **registered)
    wait_until(lambda: linked.get("polls") == 1)

    assert 1 == provider.refreshes
    assert [False, False] == [charm.get("ended"), linked.get("ended")]
    stored = charm.get("auth")
    assert {*auth, "tokenType", "expiresIn"} == set(stored)
    assert ["mail.read"] == stored["scope"]
    assert stored["refreshToken"] != auth["refreshToken"]


def test_a_plain_auth_that_is_refused_is_a_sign_in_until_it_is_set(
    service: Service, provider: OAuthServer
) -> None:
    """What a person puts there is another one, of which nothing is known yet."""
    set_google(service, provider)
    charm = add_plain(service, {**plain_auth(provider), "refreshToken": "nobodys"}, cause="plain")
    wait_until(lambda: charm.view()["disabled_by"] == "sign_in")
    assert 0 == charm.get("polls")

    charm.set("auth", plain_auth(provider))

    wait_until(lambda: charm.get("polls") == 1)
    assert not charm.get("ended")


@pytest.mark.parametrize("has_client", [True, False])
def test_a_plain_auth_that_is_nobodys_to_renew_is_left_alone(
    service: Service, provider: OAuthServer, *, has_client: bool
) -> None:
    """Without a client of the operator's, or where there is nothing to renew it with."""
    auth = plain_auth(provider)
    if has_client:
        set_google(service, provider)
        auth["refreshToken"] = ""
    charm = add_plain(service, auth, cause="plain")

    wait_until(lambda: charm.get("polls") == 1)

    assert charm.get("ended")
    assert 0 == provider.refreshes


def test_signing_out_gives_the_token_back(service: Service, provider: OAuthServer) -> None:
    """The charm needs a sign-in then; what it was renewed with is good no more."""
    charm = signed_in(service, provider)

    out = run(service, "auth", "logout", "fake", "--space", "test", "--charm", "reader", stdin="")

    assert "taken the token back" in out.stdout, out.stderr
    assert "sign_in" == charm.run()["status"]
    assert 1 == sum(one.path == "/revoke" for one in provider.seen)


def test_a_sign_in_is_nobodys_to_set(service: Service, provider: OAuthServer) -> None:
    """Neither when a charm is added nor later, and not by another who has a link."""
    charm = signed_in(service, provider)

    with pytest.raises(Refused, match="nobody sets"):
        charm.set("auth", {"token": "mine"})
    with pytest.raises(Refused, match="nobody sets"):
        service.add(READER, values={"auth": {"token": "mine"}}, cause="other")


def test_renewing_now(service: Service, provider: OAuthServer) -> None:
    """A person can have it renewed; the answer does not hold the token."""
    charm = signed_in(service, provider)
    body = {"space": "test", "charm": charm.charm_id}

    found = service.request("POST", "/api/integrations/fake-oauth/refresh", body)

    assert 1 == provider.refreshes
    assert not [one for one in provider.secrets if one in json.dumps(found)]


def test_a_provider_that_is_down_is_no_fault_of_the_service(
    service: Service, provider: OAuthServer
) -> None:
    """A renewal that a person asks for says so by its status, not by one of an internal error."""
    charm = signed_in(service, provider)
    provider.refusing = [answer(503)]
    body = {"space": "test", "charm": charm.charm_id}

    with pytest.raises(Refused, match="The token was not renewed") as refused:
        service.request("POST", "/api/integrations/fake-oauth/refresh", body)

    assert 502 == refused.value.status


def test_nothing_secret_shows_anywhere(tmp_path: Path, provider: OAuthServer) -> None:
    """In no log, page, answer, error, event, argument or page of the database, after all of it."""
    flags = ("--interval=3600", "--failures=1", "--max-retries=0")
    with Service(tmp_path / "data", *flags) as service:
        charm = signed_in(service, provider, address=provider.resource)
        provider.end_tokens()
        charm.run()
        charm.perform(fails=True)
        restart_later(service)
        charm.run()
        provider.end_sign_ins()
        provider.end_tokens()
        charm.run()
        sign_in(service, provider)
        paths = [
            *(charm.path, f"{charm.path}/runs?limit=100", f"{charm.path}/state"),
            *("/api/export", "/api/audit", "/api/sign-ins", "/api/oauth-clients", "/api/status"),
        ]
        told = [json.dumps(service.request("GET", path)) for path in paths if "export" not in path]
        told += [service.page(f"/charms/{charm.ref}"), service.page("/"), service.page("/audit")]
        told += [service.page(f"/charms/{charm.ref}/runs/{n}") for n in (1, 2, 3)]
        told += [service.cli("auth", "list", "--json").stdout, service.cli("audit").stdout]
        told.append(service.cli("charm", "export").stdout)
        lines = json.dumps(service.lines)
        service.stop()
        told += [lines, json.dumps(service.lines), service.errors]
        told += [
            path.read_bytes().decode("latin-1")
            for path in service.data_dir.rglob("*")
            if path.is_file()
        ]

    shown = {secret for secret in provider.secrets for text in told if secret in text}
    assert set() == shown
    assert len(provider.secrets) > 8


def test_nothing_secret_is_in_an_argument(service: Service, provider: OAuthServer) -> None:
    """Nor in a variable: other users of the machine can see those of the process that asks."""
    charm = signed_in(service, provider)
    service.stop()
    age(service)
    held = provider.held_before = Held()
    service.start()
    waiting = service.later("POST", f"{charm.path}/run")
    assert held.came.wait(PATIENCE_SECONDS)

    shown = [
        (process.cmdline(), process.environ())
        for process in service.descendants()
        if "provider_process" in " ".join(process.cmdline())
    ]

    held.may_go.set()
    waiting.result()
    assert 1 == len(shown)
    assert not [one for one in provider.secrets if one in str(shown)]


def test_behind_walls(tmp_path: Path, provider: OAuthServer) -> None:
    """The process that asks providers does so behind the walls that there are."""
    flags = ("--interval=3600", "--sandbox=auto")
    with Service(tmp_path / "data", *flags) as service:
        charm = signed_in(service, provider)
        restart_later(service)

        assert "success" == charm.run()["status"]
        assert 1 == provider.refreshes

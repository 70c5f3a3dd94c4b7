"""Every change is in the audit log: no route that can change something leaves none."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote

import pytest
from fastapi.routing import APIRoute

from bg_charm_service.api import create_app
from bg_charm_service.api.auth.authorization import Permission, permission_of
from bg_charm_service.domain.clock import SystemClock
from bg_charm_service.domain.identity import Identity, space_did
from bg_charm_service.service.commands import Commands
from tests.fakes.oauth_server import CLIENT_ID, CLIENT_SECRET, OAuthServer
from tests.process.program import COUNTER
from tests.process.running import Refused, RunningCharm, Service

SOMEBODY = Identity.from_passphrase("somebody").did()

CHARM = "/api/charms/{space}/{charm_id}"
OAUTH = "/api/integrations/{provider}-oauth"

COLLECTING = """\
from typing import Any
from bg_charm_service import Charm, Items

class Collecting(Charm):
    kept: Items[int]
    async def bg_updater(self, event: dict[str, Any]) -> None: ...
"""

SIGNED = """\
from typing import Any
from bg_charm_service import Charm, OAuth

class Signed(Charm):
    auth: OAuth["fake"]
    async def bg_updater(self, event: dict[str, Any]) -> None: ...
"""

HOOKED = """\
from typing import Any
from bg_charm_service import Charm, Secret, hook

class Hooked(Charm):
    shared: Secret[str] = "a secret"
    @hook(sign="github", secret="shared")
    def pushed(self, event: dict[str, Any]) -> None: ...
    async def bg_updater(self, event: dict[str, Any]) -> None: ...
"""

#: Each route that changes something, a body for it, and what the log says then.
CHANGES: dict[tuple[str, str], tuple[Any, list[str]]] = {
    ("POST", "/api/charms"): (
        {"source": COUNTER, "space": "test", "cause": "new", "register": True},
        ["add charm", "register"],
    ),
    ("POST", "/api/charms/import"): (
        [{"source": COUNTER, "space": "test", "cause": "imported"}, 5],
        ["add charm"],
    ),
    ("POST", "/api/integrations/bg"): ("registration", ["register"]),
    ("POST", f"{CHARM}/disable"): (None, ["disable"]),
    ("POST", f"{CHARM}/enable"): (None, ["enable"]),
    ("PUT", f"{CHARM}/interval"): ({"seconds": 60}, ["set interval"]),
    ("PUT", f"{CHARM}/schedule"): ({"cron": "0 8 * * *"}, ["set schedule"]),
    ("DELETE", f"{CHARM}/schedule"): (None, ["reset schedule"]),
    ("PUT", f"{CHARM}/state/{{field}}"): ("bad", ["set field"]),
    ("PUT", f"{CHARM}/items/{{field}}"): ({"items": {"a": 1}}, ["write items"]),
    ("PUT", f"{CHARM}/source"): ({"source": COUNTER + "\n"}, ["update source"]),
    ("POST", f"{CHARM}/send"): ({"event": {}}, ["send"]),
    ("POST", f"{CHARM}/requeue"): (None, ["requeue"]),
    ("POST", f"{CHARM}/hooks/{{stream}}/rotate"): (None, ["rotate hook"]),
    ("POST", f"{CHARM}/purge"): ({"stream": "bgUpdater"}, ["purge"]),
    ("DELETE", f"{CHARM}/reminders/{{name:path}}"): (None, ["forget"]),
    ("POST", "/api/jobs/{job_id}/cancel"): (None, ["cancel job"]),
    ("POST", f"{CHARM}/pause"): (None, ["pause"]),
    ("POST", f"{CHARM}/resume"): (None, ["resume"]),
    ("POST", "/api/spaces/{space}/pause"): (None, ["pause"]),
    ("POST", "/api/spaces/{space}/resume"): (None, ["resume"]),
    ("POST", "/api/pause"): (None, ["pause"]),
    ("POST", "/api/resume"): (None, ["resume"]),
    ("POST", "/api/dead-letters/requeue"): ({"all": True}, ["requeue"]),
    ("POST", "/api/dead-letters/drop"): ({"all": True}, ["drop dead letter"]),
    ("POST", f"{CHARM}/run"): (None, ["run"]),
    ("PUT", f"{CHARM}/limits"): ({"timeout": 5, "memory": None}, ["set limits"]),
    ("DELETE", f"{CHARM}/limits"): (None, ["reset limits"]),
    ("PUT", "/api/spaces/{space}/limits"): ({"network": "deny"}, ["set limits"]),
    ("DELETE", "/api/spaces/{space}/limits"): (None, ["reset limits"]),
    ("DELETE", "/api/integrations/bg/{space}/{charm_id}"): (None, ["unregister"]),
    ("DELETE", CHARM): (None, ["remove"]),
    ("POST", "/api/integrations/{integration_id}/initialize"): (None, ["initialize integration"]),
    ("POST", "/api/spaces/{space}/owners"): ({"did": SOMEBODY}, ["grant space"]),
    ("POST", "/api/admin-charm"): (
        {"grant": SOMEBODY},
        ["grant space", "grant secrets", "add charm"],
    ),
    ("POST", "/api/tokens"): ({"name": "one"}, ["make token"]),
    ("DELETE", "/api/tokens/{name}"): (None, ["revoke token"]),
    ("DELETE", "/api/sessions"): (None, ["end sessions"]),
    ("POST", "/api/doctor"): (None, ["doctor repair"]),
}

#: The same for sign-ins at a provider, one after the other.
SIGN_INS: dict[tuple[str, str], tuple[Any, list[str]]] = {
    ("PUT", "/api/oauth-clients/{provider}"): (
        {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET},
        ["set client"],
    ),
    ("POST", f"{OAUTH}/login"): ({"space": "test"}, ["begin sign-in"]),
    ("POST", f"{OAUTH}/callback"): ("address", ["sign in", "register"]),
    ("POST", f"{OAUTH}/refresh"): ({"space": "test", "charm": "signed"}, ["renew token"]),
    ("POST", f"{OAUTH}/logout"): ({"space": "test", "charm": "signed"}, ["sign out"]),
    ("DELETE", "/api/oauth-clients/{provider}"): (None, ["remove client"]),
}

#: The same for where notices go, one after the other.
TARGETS: dict[tuple[str, str], tuple[Any, list[str]]] = {
    ("POST", "/api/notice-targets"): (
        {"url": "jsons://receiver.invalid/notices", "name": "phone"},
        ["add target"],
    ),
    ("POST", "/api/notice-targets/{name}/test"): (None, ["test target"]),
    ("DELETE", "/api/notice-targets/{name}"): (None, ["remove target"]),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A running service whose charms get one try."""
    folder = tmp_path_factory.mktemp("audit")
    with Service(folder / "data", "--interval=3600", "--max-retries=0") as found:
        yield found


@pytest.fixture(scope="module")
def charm(service: Service) -> RunningCharm:
    """A charm."""
    return service.add(COUNTER, cause="counter")


def audit(service: Service) -> list[dict[str, Any]]:
    """The log, the oldest first."""
    entries: list[dict[str, Any]] = service.request("GET", "/api/audit?limit=1000")
    return entries[::-1]


def test_the_table_is_whole() -> None:
    """Every route of the API that asks for the right to change something stands in the table."""
    commands = SimpleNamespace(clock=SystemClock())
    routes = create_app(cast("Commands", commands)).routes
    changing = {
        (method, route.path)
        for route in routes
        if isinstance(route, APIRoute) and route.path.startswith("/api/")
        for method in route.methods or ()
        if permission_of(route)
        in (Permission.CHANGING, Permission.REGISTERING, Permission.GOVERNING)
        and method != "GET"
    }
    assert changing == CHANGES.keys() | SIGN_INS.keys() | TARGETS.keys()


@pytest.mark.parametrize(("method", "path"), CHANGES, ids=" ".join)
def test_a_change_is_written_down(
    service: Service, charm: RunningCharm, method: str, path: str
) -> None:
    """What changed, who changed it, and of which charm: one entry for each thing done."""
    body, expected = CHANGES[method, path]
    if path.endswith(("/requeue", "/drop")):
        charm.wait_until_settled(charm.send(delta="no number"))
        # What went before has left some too.
        service.request("POST", "/api/dead-letters/drop", {"all": True})
        charm.wait_until_settled(charm.send(delta="no number"))
    job_id, name, field = 0, "one", "error"
    if "/items/" in path:
        charm, field = service.add(COLLECTING, cause="collecting"), "kept"
    if "/hooks/" in path:
        charm = service.add(HOOKED, cause="hooked")
    if "/reminders/" in path:
        later = service.request("POST", f"{charm.path}/send", {"after": 3600})
        name = quote(later["reminder"]["name"])
    if path.endswith("/cancel"):
        # While its charm is paused, the job waits.
        charm.post("pause")
        job_id = charm.send()
    if body == "registration":
        body = {"charmId": charm.charm_id, "space": space_did("test"), "integration": "manual"}
    url = path.replace(":path", "").format(
        space=space_did("test"),
        charm_id=charm.charm_id,
        field=field,
        stream="pushed",
        integration_id="gmail",
        name=name,
        job_id=job_id,
    )
    before = audit(service)
    service.request(method, url, body)
    new = audit(service)[len(before) :]
    if path.endswith("/cancel"):
        charm.post("resume")
    assert expected == [each["action"] for each in new]
    assert {"operator"} == {each["caller"] for each in new}
    if "{charm_id}" in path:
        assert {charm.charm_id} == {each["charm_id"] for each in new}


def test_sign_ins_are_written_down(service: Service) -> None:
    """Who gave a client, and who signed in and out; the provider sends somebody who has no name."""
    signed = service.add(SIGNED, cause="signed")
    with OAuthServer() as provider:
        address = ""
        for (method, path), (given, expected) in SIGN_INS.items():
            body = {"address": address} if given == "address" else given
            if method == "PUT":
                body = {**given, "issuer": provider.issuer}
            before = audit(service)
            answer = service.request(method, path.format(provider="fake"), body)
            new = audit(service)[len(before) :]
            if path.endswith("/login"):
                address = provider.sign_in(answer["url"])
            assert expected == [each["action"] for each in new]
            assert {"operator"} == {each["caller"] for each in new}
            about = {each["charm_id"] for each in new}
            assert about == ({signed.charm_id} if path.startswith(OAUTH) else {""})


def test_targets_of_notices_are_written_down(service: Service) -> None:
    """Who gave one, tried it and took it away; its address is in no entry."""
    for (method, path), (body, expected) in TARGETS.items():
        before = audit(service)
        service.request(method, path.format(name="phone"), body)
        new = audit(service)[len(before) :]
        assert expected == [each["action"] for each in new]
        assert {"operator"} == {each["caller"] for each in new}
        assert "receiver.invalid" not in str(new)


def test_what_is_refused_is_not_written_down(service: Service) -> None:
    """A change that did not happen is in no log."""
    other = service.add(COUNTER, cause="other")
    before = audit(service)
    for method, path, body in (
        ("PUT", f"{other.path}/state/counter", "no number"),
        ("POST", f"{other.path}/enable", None),
        ("POST", f"{other.path}/requeue", None),
        ("PUT", f"{other.path}/source", {"source": "nonsense ="}),
        ("DELETE", "/api/tokens/nobody", None),
    ):
        with pytest.raises(Refused):
            service.request(method, path, body)
    service.request("PUT", f"{other.path}/source", {"source": COUNTER, "dry_run": True})
    assert before == audit(service)

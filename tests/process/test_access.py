"""Who may do what over the port: every kind of caller at every kind of route."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx2
import pytest

from bg_charm_service.domain.identity import DEFAULT_PASSPHRASE, Identity, space_did
from tests.process.reaching import OWNER, Reached, Signed, reached

Client = Callable[..., httpx2.Response]

STRANGER = Identity.from_passphrase("a stranger to all spaces")
#: The key of the space itself, which everybody can compute who knows its name.
SPACE_KEY = Identity.from_passphrase("common user").derive("test")

#: Kinds of requests: what they need, and one that does.
ROUTES: dict[str, tuple[str, str, Any]] = {
    "status": ("GET", "/api/status", None),
    "alive": ("GET", "/livez", None),
    "ready": ("GET", "/readyz", None),
    "metrics": ("GET", "/metrics", None),
    "charms": ("GET", "/api/charms?space=test", None),
    "register": ("POST", "/api/integrations/bg", "registration"),
    "state": ("GET", "{charm}/state", None),
    "logs": ("GET", "{charm}/runs", None),
    "source": ("GET", "{charm}/source", None),
    "change": ("PUT", "{charm}/state/counter", 5),
    "limits": ("GET", "{charm}/limits", None),
    "set limits": ("PUT", "{charm}/limits", {"timeout": 5}),
    "add with limits": (
        "POST",
        "/api/charms",
        {"source": "", "space": "test", "limits": {"timeout": 5}},
    ),
    "elsewhere": ("GET", "/api/charms?space=elsewhere", None),
    "add": ("POST", "/api/charms", {"source": "", "space": "elsewhere"}),
    "export": ("GET", "/api/export", None),
    "audit": ("GET", "/api/audit", None),
    "tokens": ("GET", "/api/tokens", None),
    "initialize": ("POST", "/api/integrations/gmail/initialize", None),
    "code": ("POST", "/api/login-codes", None),
}

#: What monitors ask, and the status: of the whole service, so not for who is limited to spaces.
WATCHING = dict.fromkeys(("status", "alive", "ready", "metrics"), 200)

OPEN = {**WATCHING, "charms": 200, "register": 200, "elsewhere": 200}
FULL = {**dict.fromkeys(ROUTES, 200), "add": 400, "add with limits": 400, "code": 403}
OWN_SPACE = dict.fromkeys(
    ("charms", "register", "state", "logs", "source", "limits", "change"), 200
)

#: Caller -> status of each route; what is not named is the first number.
EXPECTED: dict[str, tuple[int, dict[str, int]]] = {
    "anonymous": (401, {**OPEN, "code": 403}),
    "forwarded": (401, {"code": 403}),
    "full token": (200, FULL),
    "read-only token": (
        403,
        WATCHING
        | dict.fromkeys(
            (
                "charms",
                "state",
                "logs",
                "source",
                "limits",
                "elsewhere",
                "export",
                "audit",
            ),
            200,
        ),
    ),
    "space token": (403, OWN_SPACE),
    "read-only space token": (
        403,
        dict.fromkeys(("charms", "state", "logs", "source", "limits"), 200),
    ),
    "token of another space": (403, {"elsewhere": 200, "add": 400}),
    "expired token": (401, {}),
    "revoked token": (401, {}),
    "no token of ours": (401, {}),
    "session": (200, FULL),
    "owner's key": (403, OWN_SPACE),
    "stranger's key": (401, {}),
    "space's key": (401, {}),
    "public key": (401, {}),
}


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reached]:
    """A service that can be reached over its port."""
    with reached(tmp_path_factory.mktemp("access")) as found:
        yield found


@pytest.fixture(scope="module")
def callers(door: Reached) -> Iterator[dict[str, Client]]:
    """For every kind of caller, what sends its requests."""
    space = space_did("test")
    good = {
        "full token": door.token("full"),
        "read-only token": door.token("reader", read_only=True),
        "space token": door.token("space", space=space),
        "read-only space token": door.token("space reader", space=space, read_only=True),
        "token of another space": door.token("other", space="elsewhere"),
    }
    bad = {
        "expired token": door.token("short", expires_seconds=0.000001),
        "revoked token": door.token("revoked"),
        "no token of ours": "bgc_nonsense",
    }
    door.service.request("DELETE", "/api/tokens/revoked")
    bad_keys = {
        "stranger's key": STRANGER,
        "space's key": SPACE_KEY,
        "public key": Identity.from_passphrase(DEFAULT_PASSPHRASE),
    }
    addresses = (f"127.0.1.{number}" for number in itertools.count(1))

    def failing(**options: Any) -> Client:
        """Come from another address each time: one that fails too often has to wait."""

        def request(*arguments: Any, **more: Any) -> httpx2.Response:
            with door.client(address=next(addresses), **options) as client:
                return client.request(*arguments, **more)

        return request

    with ExitStack() as stack:
        enter = stack.enter_context
        session = enter(door.signed_in())
        session.headers["x-csrf-token"] = csrf_of(session)
        forwarded = {"x-forwarded-for": "203.0.113.7"}
        yield {
            "anonymous": enter(door.client()).request,
            "forwarded": enter(door.client(headers=forwarded)).request,
            "session": session.request,
            "owner's key": enter(door.client(auth=Signed(OWNER))).request,
            **{name: enter(door.client(token)).request for name, token in good.items()},
            **{name: failing(token=token) for name, token in bad.items()},
            **{name: failing(auth=Signed(key)) for name, key in bad_keys.items()},
        }


def csrf_of(client: httpx2.Client) -> str:
    """Compute what a form of a session carries, as the page would have it."""
    from bg_charm_service.api.auth.authentication import csrf_of as computed

    (secret,) = client.cookies.values()
    return computed(secret)


def send(door: Reached, client: Client, route: str) -> httpx2.Response:
    """Send one of the requests."""
    method, path, body = ROUTES[route]
    url = path.format(charm=door.charm.path)
    if body == "registration":
        return client(method, url, content=door.registration())
    return client(method, url, json=body)


@pytest.mark.parametrize("caller", EXPECTED)
def test_who_may_what(door: Reached, callers: dict[str, Client], caller: str) -> None:
    """Every kind of caller is answered at every kind of route as the table says."""
    usual, others = EXPECTED[caller]
    expected = {route: others.get(route, usual) for route in ROUTES}
    answers = {route: send(door, callers[caller], route) for route in ROUTES}
    statuses = {route: answer.status_code for route, answer in answers.items()}
    assert expected == statuses, {route: answer.text[:200] for route, answer in answers.items()}


def test_links_cannot_lead_out_of_a_space(door: Reached, callers: dict[str, Client]) -> None:
    """A token of one space cannot make a charm that reads a charm of another one."""
    source = (
        "from bg_charm_service import Cell, Charm\n\nclass Spy(Charm):\n    seen: Cell[int]\n\n"
        "    def bg_updater(self, event: dict) -> None: ...\n"
    )
    body = {"source": source, "space": "elsewhere", "links": {"seen": f"{door.charm.ref}/counter"}}
    client = callers["token of another space"]
    refused = client("POST", "/api/charms", json=body)
    assert (403, True) == (refused.status_code, "may not act on the space" in refused.text)
    (imported,) = client("POST", "/api/charms/import", json=[body]).json()
    assert "may not act on the space" in imported["error"]


def test_a_space_token_cannot_give_its_space_away(
    door: Reached, callers: dict[str, Client]
) -> None:
    """Who has a token of a space does not own it; who owns it may share it."""
    path, body = f"/api/spaces/{space_did('test')}/owners", {"did": STRANGER.did()}
    assert 403 == callers["space token"]("POST", path, json=body).status_code
    assert 403 == callers["read-only token"]("POST", path, json=body).status_code


def test_tokens_made_with_a_token_end_with_it(door: Reached) -> None:
    """A right that ends cannot be made to last."""
    ending = door.token("ending", expires_seconds=3600)
    with door.client(ending) as client:
        made = client.post("/api/tokens", json={"name": "lasting"}).json()["record"]
    listed = {each["name"]: each for each in door.service.request("GET", "/api/tokens")}
    assert listed["ending"]["expires_at"] == made["expires_at"]
    assert "token ending" == made["made_by"]


def test_tokens_are_stored_hashed(door: Reached) -> None:
    """Nothing in the data directory, and no answer but the first, has a token's text."""
    token = door.token("hashed")
    files = [path for path in door.service.data_dir.iterdir() if path.is_file()]
    assert not [path for path in files if token.encode() in path.read_bytes()]
    assert token not in str(door.service.request("GET", "/api/tokens"))
    assert 409 == _status(lambda: door.token("hashed"))


def test_use_of_a_token_is_shown(door: Reached) -> None:
    """The list says when each was used last."""
    with door.client(door.token("used")) as client:
        client.get("/api/status")
    listed = {each["name"]: each for each in door.service.request("GET", "/api/tokens")}
    assert listed["used"]["last_used_at"] > 0


def test_changes_are_in_the_audit_log(door: Reached, callers: dict[str, Client]) -> None:
    """Each successful change is written down with who made it; what failed, or only looked, not."""
    path = door.charm.path
    before = len(door.audit())
    callers["full token"]("PUT", f"{path}/state/counter", json=7)
    callers["full token"]("PUT", f"{path}/state/counter", json="no number")
    callers["full token"]("GET", f"{path}/state")
    callers["space token"]("PUT", f"{path}/interval", json={"seconds": 60})
    callers["owner's key"]("POST", f"{path}/disable")
    callers["anonymous"]("POST", "/api/integrations/bg", content=door.registration())
    callers["session"]("POST", f"{path}/run")
    door.service.request("POST", f"{path}/enable")
    entries = door.audit()
    new = entries[: len(entries) - before][::-1]
    assert [
        ("token full", "set field", "counter"),
        ("token space", "set interval", "60 s"),
        (f"key {OWNER.did()}", "disable", ""),
        ("anonymous", "register", "my-test"),
        ("session", "run", ""),
        ("operator", "enable", ""),
    ] == [(each["caller"], each["action"], each["detail"]) for each in new]
    assert {door.charm.charm_id} == {each["charm_id"] for each in new}


def _status(call: Callable[[], object]) -> int:
    from tests.process.running import Refused

    try:
        call()
    except Refused as error:
        return error.status
    return 200

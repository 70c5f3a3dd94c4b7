"""Every route with hostile addresses, queries, headers and bodies: 4xx in one form, never 500.

Generated from the application's routes and its OpenAPI document: a new route that takes a body
needs a good one in the table, or a test fails.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote, urlencode

import httpx2
import pytest
from fastapi.routing import APIRoute

from bg_charm_service.api import create_app
from bg_charm_service.domain.clock import SystemClock
from bg_charm_service.service.commands import Commands
from tests.bad_input.values import BODIES, CONTENT_TYPES, FEW_JSON_VALUES, FEW_TEXTS
from tests.process.program import COUNTER
from tests.process.running import PATIENCE_SECONDS, Service

#: No refusal is longer, in characters.
LONGEST_TEXT = 4000

#: What stands in an address is cut here, in characters: the server takes 64 kB in all.
LONGEST_PART = 4000

#: Streams that go on for ever once they have begun.
ENDLESS = {"/api/events", "/live"}

#: A run that fails for what it was sent is no refusal, and leaves its traces.
RUNS = re.compile(r"/(run|do/.*)$")

LIMITS = {
    "timeout": 10,
    "cpu": 10,
    "memory": "128M",
    "files": 64,
    "threads": 16,
    "processors": 2,
    "log": "8K",
    "state": "1M",
    "scratch": "1M",
    "network": "443",
}

#: A good JSON body of each route that takes one.
GOOD: dict[str, Any] = {
    "POST /api/charms": {
        "source": COUNTER,
        "space": "demo",
        "file": "counter.py",
        "class": "Counter",
        "cause": "new",
        "set": {"counter": 1},
        "links": {},
        "writable_links": {},
        "register": False,
        "integration": "manual",
        "limits": LIMITS,
        "schedule": {"quiet": "22:00-07:00", "missed": "skip"},
        "interval": 60,
        "lock": {"requires": [], "requires_python": "", "python": "", "packages": []},
    },
    "PUT /api/charms/{space}/{charm_id}/limits": LIMITS,
    "PUT /api/spaces/{space}/limits": LIMITS,
    "POST /api/charms/import": [{"source": COUNTER, "space": "demo", "cause": "new"}],
    "PUT /api/charms/{space}/{charm_id}/source": {
        "source": COUNTER,
        "file": "counter.py",
        "class": "Counter",
        "dry_run": True,
        "upgrade": False,
        "keep_items": False,
    },
    "PUT /api/charms/{space}/{charm_id}/state/{field}": 1,
    "PUT /api/charms/{space}/{charm_id}/items/{field}": {"items": {"a": ""}, "remove": ["b"]},
    "POST /api/charms/{space}/{charm_id}/send": {
        "stream": "bgUpdater",
        "event": {},
        "after": 60.0,
        "at": None,
    },
    "PUT /api/charms/{space}/{charm_id}/interval": {"seconds": 60},
    "PUT /api/charms/{space}/{charm_id}/schedule": {
        "cron": "0 8 * * *",
        "time_zone": "Europe/Oslo",
        "quiet": "22:00-07:00",
        "missed": "once",
    },
    "POST /api/charms/{space}/{charm_id}/purge": {"stream": "bgUpdater"},
    "POST /api/dead-letters/requeue": {"job": 1, "charm": "x", "all": True},
    "POST /api/dead-letters/drop": {"job": 1, "charm": "x", "all": True},
    "POST /api/integrations/bg": {"charmId": "x", "pieceId": "x", "space": "x", "integration": "x"},
    "POST /api/spaces/{space}/owners": {"did": "x"},
    "POST /api/admin-charm": {"grant": None},
    "POST /api/backups": {"path": "x", "folder": [0, 0]},
    "POST /api/identity": {"did": "x", "proof": "x"},
    "POST /api/tokens": {
        "name": "name",
        "space": None,
        "read_only": True,
        "expires_seconds": 60,
    },
    "POST /api/integrations/{provider}-oauth/login": {"space": "x", "charm": "x", "field": "x"},
    "POST /api/integrations/{provider}-oauth/callback": {"address": "x"},
    "POST /api/integrations/{provider}-oauth/refresh": {"space": "x", "charm": "x", "field": "x"},
    "POST /api/integrations/{provider}-oauth/logout": {"space": "x", "charm": "x", "field": "x"},
    "PUT /api/oauth-clients/{provider}": {"client_id": "x", "client_secret": "x", "issuer": "x"},
    "POST /api/notice-targets": {
        "url": "jsons://example.org/x",
        "name": "phone",
        "space": "demo",
        "kinds": ["down"],
        "down_after_seconds": 60.0,
    },
}

#: The fields of each page's form.
FORMS: dict[str, list[str]] = {
    "POST /charms/{space}/{charm_id}/interval": ["seconds"],
    "POST /charms/{space}/{charm_id}/field": ["name", "value", "text"],
    "POST /charms/{space}/{charm_id}/remove": ["name"],
    "POST /charms/{space}/{charm_id}/sign-in": ["provider", "field"],
    "POST /charms/{space}/{charm_id}/sign-out": ["provider", "field"],
    "POST /charms/{space}/{charm_id}/hook": ["stream"],
    "POST /charms/selected": ["action", "charm"],
    "POST /add/{name}": ["space", "cause", "field.url"],
    "POST /login": ["token"],
    "POST /api/integrations/{provider}-oauth/confirm": ["state", "code"],
}

#: What is posted without a body.
BARE = {
    "POST /api/charms/{space}/{charm_id}/run",
    "POST /api/charms/{space}/{charm_id}/enable",
    "POST /api/charms/{space}/{charm_id}/disable",
    "POST /api/charms/{space}/{charm_id}/requeue",
    "POST /api/charms/{space}/{charm_id}/hooks/{stream}/rotate",
    "POST /api/charms/{space}/{charm_id}/pause",
    "POST /api/charms/{space}/{charm_id}/resume",
    "POST /api/spaces/{space}/pause",
    "POST /api/spaces/{space}/resume",
    "POST /api/pause",
    "POST /api/resume",
    "POST /api/jobs/{job_id}/cancel",
    "POST /api/integrations/{integration_id}/initialize",
    "POST /api/backups/content",
    "POST /api/doctor",
    "POST /api/login-codes",
    "POST /charms/{space}/{charm_id}/do/{action}",
    "POST /spaces/{space}/do/{action}",
    "POST /service/do/{action}",
    "POST /letters/{job_id}/{action}",
    "POST /api/notice-targets/{name}/test",
    "POST /notices/{name}/test",
    "POST /logout",
    "POST /sessions/end",
}


@dataclass(frozen=True)
class Route:
    """One method of one path, with what its address may hold."""

    method: str
    path: str
    queries: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def parts(self) -> list[str]:
        """The names of what varies in its path."""
        return re.findall(r"{(\w+)(?::path)?}", self.path)


def _routes() -> Iterator[Route]:
    """Give what the application answers to."""
    commands = SimpleNamespace(clock=SystemClock())
    for route in create_app(cast("Commands", commands)).routes:
        assert isinstance(route, APIRoute)
        queries = tuple(field.alias for field in route.dependant.query_params)
        for method in sorted(set(route.methods or ()) - {"HEAD", "OPTIONS"}):
            yield Route(method, route.path, queries)


ROUTES = list(_routes())
CHANGING = [route for route in ROUTES if route.method in ("POST", "PUT")]
by_name = pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)


class Door:
    """A connection to a running service with a charm, over its socket."""

    def __init__(self, service: Service) -> None:
        transport = httpx2.HTTPTransport(uds=str(service.data_dir / "service.sock"))
        self._client = httpx2.Client(
            transport=transport, base_url="http://service", timeout=PATIENCE_SECONDS
        )
        space, _, charm_id = service.add(COUNTER, space="demo", cause="counter").ref.partition("/")
        self._newest = self.newest_change()
        self._good = {
            "space": space,
            "charm_id": charm_id,
            "field": "counter",
            "stream": "bgUpdater",
            "number": "1",
            "job_id": "1",
            "integration_id": "gmail",
            "provider": "google",
            "name": "style.css",
            "action": "enable",
        }

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def address(self, route: Route, **parts: str) -> str:
        """Write the address of a route; parts that are not given are good ones."""
        given = {**self._good, **parts}
        return re.sub(r"{(\w+)(?::path)?}", lambda found: escaped(given[found[1]]), route.path)

    def problem(self, route: Route, address: str, **request: Any) -> str:
        """Send a request; say what is wrong with its answer, nothing when it is as promised."""
        before = self._newest
        if route.path in ENDLESS:
            with self._client.stream(route.method, address, **request) as answer:
                if not answer.is_success:
                    answer.read()
        else:
            answer = self._client.request(route.method, address, **request)
        self._newest = self.newest_change()
        if answer.status_code >= 500:
            return f"{answer.status_code} {answer.text:.300}"
        if answer.status_code < 400:
            return ""
        if self._newest != before and not RUNS.search(route.path):
            return f"{answer.status_code}, but something was changed"
        if not route.path.startswith("/api"):
            # A page says it as a page.
            return ""
        return wrong_with(answer.json())

    def newest_change(self) -> object:
        """The number of the newest change: none that anybody makes goes unrecorded."""
        return self._client.get("/api/audit?limit=1").json()[0]["entry_id"]


def wrong_with(told: Any) -> str:
    """Say what is wrong with the words of a refusal."""
    text = told["error"]
    if not text or len(text) > LONGEST_TEXT:
        return f"has {len(text)} characters: {text:.200}"
    if "Traceback" in text or "\n" in text.strip():
        return f"is not one line: {text:.300}"
    return ""


def escaped(text: str) -> str:
    """Write a text as a part of an address, whatever it is."""
    return quote(text[:LONGEST_PART].encode("utf-8", "surrogatepass"), safe="")


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A service that polls seldom."""
    with Service(tmp_path_factory.mktemp("http") / "data", "--interval=3600") as service:
        opened = Door(service)
        yield opened
        opened.close()
        assert "Traceback" not in service.errors
        assert not service.count("api.error")


def test_every_body_has_a_good_one() -> None:
    """Each route that is posted or put to is in one of the tables, and no other is."""
    assert {route.name for route in CHANGING} == {*GOOD, *FORMS, *BARE}


@by_name
def test_addresses(door: Door, route: Route) -> None:
    """Hostile parts of an address, and hostile queries, one at a time."""
    problems = []
    for part in route.parts:
        for what, text in FEW_TEXTS.items():
            address = door.address(route, **{part: text})
            problems.append((f"{part} {what}", door.problem(route, address)))
    # Without a hostile part a removal would do what it is there for.
    if route.method != "DELETE":
        for query in route.queries:
            for what, text in FEW_TEXTS.items():
                address = f"{door.address(route)}?{query}={escaped(text)}"
                problems.append((f"?{query} {what}", door.problem(route, address)))
    assert [] == [each for each in problems if each[1]]


@pytest.mark.parametrize("route", CHANGING, ids=lambda route: route.name)
def test_bodies(door: Door, route: Route) -> None:
    """Bodies that are nothing, no JSON, too deep, of another shape or of another content type."""
    problems = []
    for what, body in BODIES.items():
        for kind in CONTENT_TYPES[: 3 if len(body) < 1000 else 1]:
            headers = {"content-type": kind}
            found = door.problem(route, door.address(route), content=body, headers=headers)
            problems.append((f"{what} as {kind}", found))
    good = json.dumps(GOOD.get(route.name, {})).encode()
    for kind in CONTENT_TYPES[3:]:
        found = door.problem(
            route, door.address(route), content=good, headers={"content-type": kind}
        )
        problems.append((f"good as {kind}", found))
    assert [] == [each for each in problems if each[1]]


MEMBERS = [
    (route, member)
    for route in CHANGING
    if isinstance(GOOD.get(route.name), dict)
    for member in GOOD[route.name]
]


@pytest.mark.parametrize(
    ("route", "member"), MEMBERS, ids=[f"{route.name} {member}" for route, member in MEMBERS]
)
def test_members(door: Door, route: Route, member: str) -> None:
    """Each member of a body with a hostile value, the others good; and left out."""
    problems = []
    good = GOOD[route.name]
    bodies = {what: {**good, member: value} for what, value in FEW_JSON_VALUES.items()}
    bodies["left out"] = {name: value for name, value in good.items() if name != member}
    for what, body in bodies.items():
        content = json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        found = door.problem(route, door.address(route), content=content, headers=headers)
        problems.append((what, found))
    assert [] == [each for each in problems if each[1]]


def test_members_of_the_table_are_those_of_the_description(door: Door) -> None:
    """A good body has every member that the document describes, so that each is tried."""
    document = door._client.get("/openapi.json").json()
    for route in CHANGING:
        operation = document["paths"].get(route.path, {}).get(route.method.lower(), {})
        content = operation.get("requestBody", {}).get("content", {})
        schema = content.get("application/json", {}).get("schema", {})
        name = schema.get("$ref", "").rpartition("/")[2]
        described = document["components"]["schemas"].get(name, {}).get("properties", {})
        if described:
            assert set(described) == set(GOOD[route.name]), route.name


@pytest.mark.parametrize("name", FORMS)
def test_forms(door: Door, name: str) -> None:
    """Each field of a page's form with a hostile text, the others too."""
    (route,) = (each for each in ROUTES if each.name == name)
    problems = []
    for what, text in FEW_TEXTS.items():
        form = urlencode({field: text.encode("utf-8", "surrogatepass") for field in FORMS[name]})
        headers = {"content-type": "application/x-www-form-urlencoded"}
        found = door.problem(route, door.address(route), content=form.encode(), headers=headers)
        problems.append((what, found))
    assert [] == [each for each in problems if each[1]]


@pytest.mark.parametrize(
    "header", ["last-event-id", "cookie", "authorization", "origin", "host", "content-type", "x"]
)
def test_headers(door: Door, header: str) -> None:
    """Headers with whatever a header can hold."""
    problems = []
    for path in ("/api/status", "/api/events", "/"):
        route = Route("GET", path, ())
        for what, text in FEW_TEXTS.items():
            value = text.encode("utf-8", "surrogatepass")
            if len(value) > 8000 or re.search(rb"[\0-\x1f\x7f]", value) or value != value.strip():
                continue
            problems.append((what, door.problem(route, path, headers={header: value})))
    assert [] == [each for each in problems if each[1]]


def test_a_body_that_never_ends(tmp_path: Path, door: Door) -> None:
    """A body over the limit is refused, announced or not."""
    route = Route("POST", "/api/tokens", ())

    def pieces() -> Iterator[bytes]:
        for _ in range(20):
            yield b" " * 100_000

    assert "" == door.problem(route, route.path, content=pieces())
    assert "" == door.problem(route, route.path, content=b" " * 2_000_000)

"""The promises of the HTTP API, over the socket of a running service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from bg_charm_service.domain.identity import space_did
from bg_charm_service.domain.merkle import refer
from tests.process.program import COUNTER, Program, wait_until

Json = dict[str, Any]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """A client of a running service."""
    program = Program(tmp_path_factory.mktemp("api") / "data")
    transport = httpx2.HTTPTransport(uds=str(program.data_dir / "service.sock"))
    with (
        program.service(),
        httpx2.Client(transport=transport, base_url="http://service", timeout=60) as client,
    ):
        yield client


def add(api: httpx2.Client, cause: str, **more: object) -> Json:
    """Add a counter charm."""
    body = {"source": COUNTER, "space": "demo", "cause": cause, **more}
    answer = api.post("/api/charms", json=body)
    assert 200 == answer.status_code, answer.text
    return dict(answer.json())


def path_of(charm: Json) -> str:
    """Give the path of a charm."""
    return f"/api/charms/{charm['space']}/{charm['charm_id']}"


@pytest.mark.parametrize("content_type", ["application/json", "text/plain;charset=UTF-8", None])
def test_the_button_can_register(api: httpx2.Client, content_type: str | None) -> None:
    """A registration is taken with any content type, answers like the original, and polls."""
    charm = add(api, f"button {content_type}")
    answer = api.post(
        "/api/integrations/bg",
        content=(
            f'{{"charmId": "{charm["charm_id"]}", "space": "{charm["space"]}", '
            '"integration": "my-test"}'
        ),
        headers={"content-type": content_type} if content_type else {},
    )
    assert (200, {"success": True, "message": "success"}) == (answer.status_code, answer.json())
    wait_until(lambda: api.get(path_of(charm)).json()["charm"]["successes"] > 0)
    assert "my-test" == api.get(path_of(charm)).json()["charm"]["integration"]


def test_state_is_stored_json(api: httpx2.Client) -> None:
    """A field is put and got as the JSON value itself; the types of the charm hold."""
    path = path_of(add(api, "state", set={"counter": 3}))
    assert 3 == api.get(f"{path}/state").json()["counter"]
    assert 200 == api.put(f"{path}/state/counter", content="12").status_code
    answer = api.get(f"{path}/state/counter")
    assert ("12", "application/json") == (answer.text, answer.headers["content-type"])
    assert 400 == api.put(f"{path}/state/counter", content='"text"').status_code
    assert 400 == api.put(f"{path}/state/counter", content="nonsense").status_code
    assert 404 == api.put(f"{path}/state/nothing", content="1").status_code
    assert COUNTER == api.get(f"{path}/source").json()["source"]


def test_runs_of_a_charm(api: httpx2.Client) -> None:
    """A run is answered when it is over; the history is paged from the newest."""
    path = path_of(add(api, "runs"))
    report = api.post(f"{path}/run").json()
    assert ("success", {"counter": 1}) == (report["run"]["status"], report["writes"])
    api.post(f"{path}/run")
    assert [2, 1] == [run["number"] for run in api.get(f"{path}/runs").json()]
    assert [1] == [run["number"] for run in api.get(f"{path}/runs?before=2").json()]
    assert 1 == len(api.get(f"{path}/runs?limit=1").json())


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "reason"),
    [
        ("GET", "/api/nothing", None, 404, "Not Found"),
        ("PATCH", "/api/charms", None, 405, "Method Not Allowed"),
        ("GET", "/api/charms?limit=0", None, 400, "limit: Input should be"),
        ("GET", f"/api/charms/demo/{refer({})}", None, 404, "There is no charm"),
        ("GET", f"/api/charms/{space_did('demo')}/x", None, 400, "Invalid charm ID: x."),
        ("GET", f"/api/charms/{space_did('demo')}/{refer({})}", None, 404, "There is no charm"),
        ("POST", "/api/charms", b"{", 400, "The body is not JSON."),
        ("POST", "/api/charms", b'{"source": ""}', 400, "space: Field required"),
        ("POST", "/api/charms/import", b"{}", 400, "Input should be a valid list"),
        ("POST", "/api/charms/import", b"[" + b"0," * 1000 + b"0]", 400, "takes 1000 charms"),
        ("POST", "/api/integrations/bg", b" " * 1_100_000, 413, "is too large"),
        ("POST", "/api/integrations/nothing/initialize", None, 404, "Unknown integration"),
        ("POST", "/api/admin-charm", b'{"grant": "x"}', 400, "x"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 40 else "",
)
def test_refusals_have_one_form(
    api: httpx2.Client, method: str, path: str, body: bytes | None, status: int, reason: str
) -> None:
    """Whatever is wrong, the answer is an error with one text, and the status that fits."""
    headers = {"content-type": "application/json"} if body is not None else {}
    answer = api.request(method, path, content=body, headers=headers)
    assert status == answer.status_code, answer.text
    assert ["error", "kind"] == list(answer.json())
    assert reason in answer.json()["error"]


def test_a_body_without_a_length_is_limited_too(api: httpx2.Client) -> None:
    """A request that comes in pieces is refused once it is too large."""
    answer = api.post("/api/integrations/bg", content=(b" " * 100_000 for _ in range(11)))
    assert (413, ["error", "kind"]) == (answer.status_code, list(answer.json()))


def test_an_import_answers_for_each(api: httpx2.Client) -> None:
    """Of many charms each is answered by itself, in order."""
    good = {"source": COUNTER, "space": "demo", "cause": "imported"}
    answers = api.post("/api/charms/import", json=[good, 5, {"space": "demo"}, good]).json()
    assert [True, None, None, False] == [
        one["charm"] and one["charm"]["created"] for one in answers
    ]
    assert [None, "This is not a JSON object", "source: Field required", None] == [
        one["error"] for one in answers
    ]
    assert '"cause":"imported"' in api.get("/api/export").text


def test_pages_of_charms(api: httpx2.Client) -> None:
    """A list is read page by page, each charm once, to the end."""
    for number in range(3):
        add(api, f"page {number}", space="pages")
    seen: list[str] = []
    cursor: int | None = 0
    while cursor is not None:
        page = api.get(f"/api/charms?space=pages&limit=2&cursor={cursor}").json()
        seen += [charm["cause"] for charm in page["charms"]]
        cursor = page["next"]
    assert ["page 0", "page 1", "page 2"] == seen


def test_the_api_describes_itself(api: httpx2.Client) -> None:
    """Every operation has a name, says what it does, and how it fails."""
    described = api.get("/openapi.json").json()
    assert "Background Charm Service" == described["info"]["title"]
    operations = [one for path in described["paths"].values() for one in path.values()]
    assert len(operations) == len({one["operationId"] for one in operations})
    assert all(one["summary"] and one["description"] for one in operations)
    assert all("422" not in one["responses"] and "4XX" in one["responses"] for one in operations)
    assert 200 == api.get("/docs").status_code

"""What is large holds up nobody: bodies are bounded, read elsewhere, and do what small ones do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import psutil
import pytest

from tests.process.running import SCRIPTED, RunningCharm, Service, watched

READER = "bg_charm_service.api.body_reader"
KILOBYTE = 1024
MEGABYTE = 1024 * KILOBYTE


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose charms may keep 1 MB each."""
    flags = ("--interval=3600", "--state-size=1M", "--history-runs=1000")
    with Service(tmp_path_factory.mktemp("long") / "data", *flags) as running:
        yield running


@pytest.fixture
def http(service: Service) -> Iterator[httpx2.Client]:
    """A client of its socket."""
    transport = httpx2.HTTPTransport(uds=str(service.data_dir / "service.sock"), verify=False)
    with httpx2.Client(transport=transport, base_url="http://service", timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def charm(service: Service) -> RunningCharm:
    """A charm that is only looked at and written to."""
    return service.add(cause="target")


def readers(service: Service) -> list[int]:
    """The processes that read large bodies."""
    children = psutil.Process(service.pid).children()
    return [child.pid for child in children if READER in " ".join(child.cmdline())]


def spaces(size: int) -> bytes:
    """So much of what says nothing."""
    return b" " * size


@pytest.mark.parametrize(
    ("method", "path", "limit"),
    [
        ("POST", "{charm}/send", MEGABYTE),
        ("PUT", "{charm}/source", 4 * MEGABYTE),
        ("PUT", "{charm}/state/text", 2 * MEGABYTE + 256 * KILOBYTE),
        ("POST", "/api/charms", 6 * MEGABYTE),
        ("POST", "/api/charms/import", 14 * MEGABYTE),
        ("PUT", "{charm}/limits", 256 * KILOBYTE),
        ("POST", "/api/tokens", 256 * KILOBYTE),
    ],
)
@pytest.mark.parametrize("is_announced", [True, False], ids=["announced", "in pieces"])
def test_a_body_has_a_limit(
    http: httpx2.Client,
    charm: RunningCharm,
    method: str,
    path: str,
    limit: int,
    *,
    is_announced: bool,
) -> None:
    """One byte more is refused, and the answer says how much is taken; the limit itself is read."""
    address = path.format(charm=charm.path)

    def send(size: int) -> httpx2.Response:
        body: Any = spaces(size) if is_announced else (spaces(size // 2), spaces(size - size // 2))
        headers = {"content-type": "application/json"}
        return http.request(
            method, address, content=body if is_announced else iter(body), headers=headers
        )

    answer = send(limit + 1)
    assert (413, "InvalidInput") == (answer.status_code, answer.json()["kind"])
    assert f"The request is too large: at most {limit} bytes" in answer.json()["error"]
    # There is no JSON in it.
    assert 400 == send(limit).status_code


def test_the_state_of_a_charm_counts(service: Service, http: httpx2.Client) -> None:
    """Where the operator gives a charm more, its bodies may be larger too."""
    charm = service.add()
    text = json.dumps("x" * 3 * MEGABYTE).encode()
    assert 413 == http.put(f"{charm.path}/state/text", content=text).status_code
    service.request("PUT", f"{charm.path}/limits", {"state": "4M"})
    assert 200 == http.put(f"{charm.path}/state/text", content=text).status_code
    assert "x" * 3 * MEGABYTE == charm.get("text")


def test_a_large_event_is_handled(service: Service) -> None:
    """It is read by another process, kept as it is, and given to the charm."""
    charm = service.add()
    value = [[], {"a": "é"}, "[" * 500_000]
    charm.perform(mode="ok", number=1, value=value)
    (reader,) = readers(service)
    with watched(reader):
        charm.perform(mode="ok", number=2, value=value)
        assert [reader] == readers(service)
    assert [1, 2] == charm.get("numbers")


def test_a_large_state_is_kept(service: Service) -> None:
    """A value of a megabyte is set, read, shown on the page and left by a run as it is."""
    charm = service.add()
    value = [["x" * 1000, {}, []]] * 900
    charm.set("anything", value)
    assert value == charm.get("anything")
    assert 1 == charm.run()["number"]
    assert value == service.request("GET", f"{charm.path}/state")["anything"]


def test_a_large_charm_is_added(service: Service) -> None:
    """With values, in an import with others, and with a long source."""
    value = ["x" * 1000, []] * 400
    assert value == service.add(values={"anything": value}).get("anything")
    source = f"{SCRIPTED}\n# {'x' * 900_000}\n"
    charms = [
        {"source": SCRIPTED, "space": "test", "cause": "first", "set": {"anything": value}},
        {"source": SCRIPTED, "space": "test", "cause": "wrong", "sett": {}},
        {"source": source, "space": "test", "cause": "long"},
    ]
    first, wrong, long = service.request("POST", "/api/charms/import", charms)
    assert "sett: There is no such member" == wrong["error"]
    charm = RunningCharm(service, f"{first['charm']['space']}/{first['charm']['charm_id']}")
    assert value == charm.get("anything")
    changed = f"{SCRIPTED}\n# {'y' * 900_000}\n"
    other = RunningCharm(service, f"{long['charm']['space']}/{long['charm']['charm_id']}")
    assert other.update(changed)["applied"]
    assert changed == service.request("GET", f"{other.path}/source")["source"]


def test_a_large_body_that_is_wrong_is_refused(http: httpx2.Client, charm: RunningCharm) -> None:
    """As a small one is: in one form, with the member's name."""
    members = b",".join(b'"k%06d":1' % number for number in range(60_000))
    headers = {"content-type": "application/json"}
    for content, reason in (
        (b"{" + members + b"}", "k000000: There is no such member"),
        (b"{" + members, "The body is not JSON."),
        (b'{"event": ' + b"[" * 300_000 + b"]" * 300_000 + b"}", "The body is not JSON."),
    ):
        answer = http.post(f"{charm.path}/send", content=content, headers=headers)
        assert (400, reason) == (answer.status_code, answer.json()["error"])


def test_an_import_of_many_answers_for_each(service: Service) -> None:
    """More charms than one transaction takes are all there, in order."""
    charms = [
        {"source": SCRIPTED, "space": "many", "cause": f"many {number}", "register": False}
        for number in range(230)
    ]
    charms[150]["cause"] = "many 0"
    charms[150]["source"] = f"{SCRIPTED}\n"
    answers = service.request("POST", "/api/charms/import", charms)
    assert [150] == [number for number, one in enumerate(answers) if one["error"]]
    assert "has a charm for the cause 'many 0' already" in answers[150]["error"]
    listed = service.request("GET", "/api/charms?space=many&limit=1000")["charms"]
    assert [f"many {number}" for number in range(230) if number != 150] == [
        one["cause"] for one in listed
    ]


def test_a_long_history_is_one_list(service: Service) -> None:
    """However many runs are asked for, each comes once, the newest first."""
    charm = service.add()
    jobs = [charm.send(number=number) for number in range(45)]
    charm.wait_until_settled(jobs[-1])
    assert list(range(45, 0, -1)) == [run["number"] for run in charm.runs()]
    path = f"{charm.path}/runs?limit=30&before=41"
    assert list(range(40, 10, -1)) == [run["number"] for run in service.request("GET", path)]
    assert [] == service.request("GET", f"{charm.path}/runs?before=1")


def test_the_longest_step_is_in_the_status(service: Service) -> None:
    """As processor time and as wall time, of the last minute and since the start."""
    status = service.status()
    for name in ("longest_step_cpu_ms", "longest_step_wall_ms"):
        assert 0 < status[f"{name}_last_minute"] <= status[name]
    assert status["longest_step_cpu_ms"] <= status["longest_step_wall_ms"]
    service.request("GET", "/api/status")
    assert "longest step" in service.cli("status").stdout

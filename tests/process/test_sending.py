"""Events that people send: kept secret, checked, sent once for a key, and waited for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.process.program import Program
from tests.process.running import PATIENCE_SECONDS, Refused, Service

TAKER = """\
from typing import TypedDict

from bg_charm_service import Charm, Secret


class Delivery(TypedDict):
    token: Secret[str]
    mode: str


class Taker(Charm):
    taken: int = 0

    def bg_updater(self, event: dict) -> None: ...

    def take(self, event: Delivery) -> None:
        print("came with", event["token"])
        if event["mode"] == "later":
            self.remind("take", event | {"mode": "ok"}, after=3600)
        if event["mode"] == "fail":
            raise ValueError(f"{event['token']} is not good")
        self.taken += 1
"""

TOKEN = "a-token-that-nobody-may-see"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that tries nothing again."""
    flags = ("--interval=3600", "--max-retries=0", "--max-concurrent=1")
    with Service(tmp_path_factory.mktemp("sending") / "data", *flags) as running:
        yield running


def stored(service: Service) -> bytes:
    """All that the service has on disk."""
    return b"".join(path.read_bytes() for path in service.data_dir.glob("*") if path.is_file())


def test_a_secret_of_an_event_is_nowhere_to_be_read(service: Service) -> None:
    """Neither in the file while it waits, nor as a dead letter, in a log, an error or on a page."""
    charm = service.add(TAKER, cause="secrets", register=True)
    charm.wait_for("run.succeeded")
    service.request("POST", f"{charm.path}/disable")
    job_id = charm.send("take", token=TOKEN, mode="fail")
    assert TOKEN.encode() not in stored(service)
    service.request("POST", f"{charm.path}/enable")
    charm.wait_until_settled(job_id)
    run = next(run for run in charm.runs() if run["job_id"] == job_id)
    assert ("failure", "came with [secret]\n") == (run["status"], run["log"])
    (letter,) = charm.show()["dead_letters"]
    assert '{"token":{"$secret":true},"mode":"fail"}' == letter["event"]
    assert ("error", "ValueError: [secret] is not good") == (letter["cause"], letter["error"])
    for path in (f"/charms/{charm.ref}", "/attention"):
        page = service.page(path)
        assert "ValueError: [secret] is not good" in page
        assert "{&#34;token&#34;:{&#34;$secret&#34;:true}" in page
        assert TOKEN not in page
    listed = service.cli("dead-letters").stdout
    assert "error: ValueError: [secret] is not good" in re.sub(" +", " ", listed)
    # The handler was given it, also from a reminder: the token is in none of its runs' logs.
    assert "success" == charm.perform("take", token=TOKEN, mode="later")["status"]
    assert TOKEN.encode() not in stored(service)
    everything = service.cli("dead-letters", "--json").stdout + str(service.lines) + listed
    assert TOKEN not in everything
    # It is requeued, and dropped, by the buttons of its page.
    service.submit(f"/letters/{job_id}/requeue", {})
    (again,) = _new_letters(service, charm.ref, job_id)
    service.submit(f"/letters/{again}/drop", {})
    assert [] == charm.show()["dead_letters"]


def _new_letters(service: Service, ref: str, before: int) -> list[int]:
    """The dead letters of a charm that are newer than a job, once there is one."""
    charm_id = ref.partition("/")[2]
    told = service.wait_until(
        lambda lines: [
            line
            for line in lines
            if line.get("charm") == charm_id
            and line.get("event") == "run.failed"
            and line.get("job", 0) > before
        ],
        1,
    )
    assert told
    letters = service.request("GET", f"/api/charms/{ref}")["dead_letters"]
    return [letter["job_id"] for letter in letters]


def test_an_event_that_does_not_fit_is_not_sent(service: Service) -> None:
    """It is refused by the place that does not fit, and nothing of it is told or queued."""
    charm = service.add(TAKER, cause="checked")
    with pytest.raises(Refused, match=r"event\.mode: missing\. Nothing was sent") as refused:
        charm.send("take", token=TOKEN)
    assert (400, False) == (refused.value.status, TOKEN in str(refused.value))
    jobs = service.request("GET", f"/api/jobs?space=test&charm={charm.charm_id}")["jobs"]
    assert [] == jobs


def test_the_same_key_is_the_same_job(service: Service) -> None:
    """Also after the service was killed; another event with that key is refused."""
    charm = service.add(TAKER, cause="keys")
    event = {"stream": "take", "event": {"token": TOKEN, "mode": "ok"}}

    def send(body: object, key: str) -> httpx2.Response:
        transport = httpx2.HTTPTransport(uds=str(service.data_dir / "service.sock"), verify=False)
        with httpx2.Client(transport=transport, timeout=PATIENCE_SECONDS) as client:
            return client.post(
                f"http://service{charm.path}/send", json=body, headers={"Idempotency-Key": key}
            )

    first = send(event, "one").json()
    charm.wait_until_settled(first["job_id"])
    service.kill()
    service.start()
    again = send(event, "one").json()
    assert (first["job_id"], True) == (again["job_id"], again["is_repeated"])
    other = send(event | {"stream": "bgUpdater"}, "one")
    assert (409, True) == (other.status_code, "Idempotency-Key" in other.json()["error"])
    assert first["job_id"] != send(event, "two").json()["job_id"]
    assert 400 == send(event, "").status_code
    sent = service.cli("charm", "send", charm.ref, "{}", "--key=three").stdout
    said = service.cli("charm", "send", charm.ref, "{}", "--key=three").stdout
    assert sent.replace("Sent as", "Was sent before, as") == said


def test_waiting_shows_the_outcome(service: Service) -> None:
    """A run that failed is an exit code too; one of a disabled charm is not waited for."""
    charm = service.add(TAKER, cause="waits", register=True)
    charm.wait_for("run.succeeded")
    good = service.cli("charm", "send", charm.ref, _event("ok"), "--stream=take", "--wait")
    assert (0, True) == (good.returncode, "success" in good.stdout), good.stderr
    assert ("came with [secret]" in good.stdout, "wrote taken" in good.stdout) == (True, True)
    bad = service.cli("charm", "send", charm.ref, _event("fail"), "--stream=take", "--wait")
    assert 1 == bad.returncode
    assert "ValueError: [secret] is not good" in bad.stderr
    service.request("POST", f"{charm.path}/disable")
    held = service.cli("charm", "send", charm.ref, _event("ok"), "--stream=take", "--wait")
    assert (0, True) == (held.returncode, "Its charm is disabled" in held.stdout)
    assert 2 == service.cli("charm", "send", charm.ref, "--after=5s", "--wait").returncode


def test_waiting_runs_it_where_no_service_does(tmp_path: Path) -> None:
    """The command runs it itself, as it runs a poll."""
    program = Program(tmp_path / "data")
    (tmp_path / "taker.py").write_text(TAKER)
    ref = program.output("charm", "add", str(tmp_path / "taker.py"), "--space", "demo")
    sent = program.output("charm", "send", ref, _event("ok"), "--stream=take", "--wait")
    assert "success" in sent
    assert "1" == program.output("charm", "get", ref, "taken", "--json")


def _event(mode: str) -> str:
    return f'{{"token": "{TOKEN}", "mode": "{mode}"}}'

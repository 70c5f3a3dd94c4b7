"""What monitors ask of a running service: is it alive, can it work, what has it counted."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bg_charm_service.domain.identity import space_did
from tests.process.otlp_receiver import receiving
from tests.process.program import Program, wait_until
from tests.process.reaching import Reached, reached
from tests.process.running import Refused, Service
from tests.unit.pages import rows, spans

#: A text that a charm puts into its error.
SECRET_TEXT = "a text of the charm's own"


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reached]:
    """A service that was asked to run a charm well, and badly."""
    with reached(tmp_path_factory.mktemp("monitoring")) as found:
        found.charm.perform()
        found.charm.perform()
        scripted = found.service.add(cause="fails", register=True, integration="my-test")
        scripted.perform(mode="raise", text=SECRET_TEXT)
        yield found


def scraped(door: Reached, **headers: str) -> httpx2.Response:
    """What anybody on this machine gets."""
    with door.client(headers=headers) as client:
        answer = client.get("/metrics")
    assert 200 == answer.status_code, answer.text
    return answer


def samples(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Each sample's values, by its labels."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def test_the_table_has_every_metric(door: Reached) -> None:
    """The guide names what is exported, with its labels, and nothing else."""
    exported = {}
    for family in text_string_to_metric_families(scraped(door).text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        exported[name] = labels
    told = {
        spans(name)[0]: set(spans(labels))
        for name, labels, _ in rows("docs/operating.md", "Monitoring")
        if name.startswith(("`bg_charm_", "`process_"))
    }
    assert exported == told


def test_runs_are_counted(door: Reached) -> None:
    """By how they ended, whose they were and why they failed; each is in both histograms."""
    found = samples(scraped(door).text)
    runs = {
        (labels["integration"], labels["outcome"], labels["cause"]): value
        for key, value in found["bg_charm_runs_total"].items()
        if (labels := dict(key)) and value
    }
    assert 2 == runs["none", "success", "none"]
    assert runs["my-test", "failure", "error"] >= 1
    for name in ("bg_charm_run_duration_seconds", "bg_charm_run_start_lag_seconds"):
        assert found[f"{name}_count"][()] >= 3
        assert found[f"{name}_count"][()] == found[f"{name}_bucket"][(("le", "+Inf"),)]


def test_numbers_are_those_of_the_status(door: Reached) -> None:
    """Both come from the same counts."""
    before = door.service.status()
    found = samples(scraped(door).text)
    runs = found["bg_charm_runs_total"]
    ended = {
        outcome: sum(value for key, value in runs.items() if ("outcome", outcome) in key)
        for outcome in ("success", "failure")
    }
    assert before["tasks_completed"] <= ended["success"]
    assert before["tasks_failed"] <= ended["failure"]
    assert before["workers_created"] <= found["bg_charm_workers_started_total"][()]
    assert before["healthy"] == found["bg_charm_healthy"][()]


def test_no_charm_is_a_label(door: Reached) -> None:
    """Neither ids nor spaces, nor anything that a charm wrote, are in what monitors get."""
    text = scraped(door).text
    for kept in (door.charm.charm_id, space_did("test"), "bgUpdater", SECRET_TEXT):
        assert kept not in text


def test_openmetrics_is_spoken(door: Reached) -> None:
    """A scraper that asks for it gets the newer format."""
    answer = scraped(door, accept="application/openmetrics-text; version=1.0.0")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_what_can_be_read_answers_head(door: Reached) -> None:
    """As GET is answered, without a body; streams too, which have no end."""
    with door.client(door.token("heads")) as client:
        described = client.get("/openapi.json").json()["paths"]
        space, _, charm_id = door.charm.ref.partition("/")
        names = {"space": space, "charm_id": charm_id, "field": "counter", "number": "1"}
        api = [path.format(**names) for path, item in described.items() if "get" in item]
        assert len(api) > 15
        pages = ["/", "/docs", "/login", "/static/style.css", "/favicon.ico", "/audit", "/live"]
        for path in [*api, *pages]:
            if path in ("/api/events", "/live"):
                expected, kind = 200, "text/event-stream; charset=utf-8"
            else:
                answer = client.get(path)
                expected, kind = answer.status_code, answer.headers.get("content-type", "")
            head = client.head(path)
            assert (expected, kind, b"") == (
                head.status_code,
                head.headers.get("content-type", ""),
                head.content,
            ), path
        assert 405 == client.head(f"/api/charms/{door.charm.ref}/run").status_code


def test_a_look_does_not_use_a_login_link_up(door: Reached) -> None:
    """Who previews links asks with HEAD: the link still signs in afterwards."""
    code = door.service.request("POST", "/api/login-codes")["code"]
    with door.client() as client:
        assert 200 == client.head(f"/login?code={code}").status_code
        assert not client.cookies
        assert 303 == client.get(f"/login?code={code}").status_code


def test_a_service_that_stops_is_alive_and_not_ready(tmp_path: Path) -> None:
    """From the signal on nothing new is to be sent to it, while its last runs end."""
    with Service(tmp_path / "data", "--interval=3600") as service:
        gate = service.gate()
        charm = service.add(values={"folder": str(gate.folder)})
        charm.send(mode="wait")
        gate.wait_for_run()
        assert "ready" == service.request("GET", "/readyz")["message"]
        service.signal(signal.SIGTERM)
        service.wait_for("stopping")
        with pytest.raises(Refused, match="Not ready: the service is stopping") as refused:
            wait_until(lambda: service.request("GET", "/readyz") and None)
        assert 503 == refused.value.status
        assert "alive" == service.request("GET", "/livez")["message"]
        gate.let_go()
        assert 0 == service.wait()


def test_a_monitor_sees_a_disk_that_fails(tmp_path: Path) -> None:
    """With a token too, whose use cannot be written down; everything says the same, and when it is
    over.
    """
    with reached(tmp_path) as door:
        service = door.service
        with door.client(door.token("monitor", read_only=True)) as client:
            resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
            answer = client.get("/readyz")
            assert (503, "NotReady") == (answer.status_code, answer.json()["kind"])
            assert "Not ready: the database cannot be written." == answer.json()["error"]
            found = samples(client.get("/metrics").text)
            assert (0, 0) == (found["bg_charm_healthy"][()], found["bg_charm_ready"][()])
            assert 1 == found["bg_charm_problem"][(("kind", "storage"),)]
            assert 200 == client.get("/livez").status_code
            assert 4 == service.cli("status").returncode
            resource.prlimit(
                service.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            )
            service.wait_for("storage_back")
            assert 200 == client.get("/readyz").status_code
            assert 1 == samples(client.get("/metrics").text)["bg_charm_healthy"][()]


def test_status_tells_by_its_exit_code(tmp_path: Path) -> None:
    """0 for healthy, 3 for not running, 1 when it cannot be asked; in every form of its output."""
    program = Program(tmp_path / "data")
    assert "has no database" in program.error("status")
    program.output("add-admin-charm")
    for form in ((), ("--json",)):
        program.output("status", *form, code=3)
    with program.service():
        for form in ((), ("--json",)):
            program.output("status", *form)
    (tmp_path / "file").write_text("")
    assert "--data-dir" in Program(tmp_path / "file").error("status")


def test_each_run_is_a_span(tmp_path: Path) -> None:
    """With OTEL_ENABLED every run goes to the receiver, the last ones at the stop; all counted."""
    with receiving() as receiver:
        with Service(
            tmp_path / "data",
            "--interval=3600",
            "--listen=localhost:0",
            OTEL_ENABLED="true",
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
        ) as service:
            charm = service.add()
            jobs = [charm.perform(number=number)["job_id"] for number in (1, 2)]
            receiver.wait_for_spans(2)
            url = str(service.wait_for("listening")["url"])
            wait_until(lambda: spans_of(url)["exported"] == 2)
            jobs.append(charm.perform(mode="raise")["job_id"])
            service.stop()
        told = [
            (span.attributes["charm.job.id"], span.attributes["charm.outcome"])
            for span in receiver.spans
        ]
        assert [*zip(jobs[:2], ("success", "success"), strict=True), (jobs[2], "failure")] == told
        assert {"bg-charm-service"} == {span.resource["service.name"] for span in receiver.spans}
        assert {charm.charm_id} == {span.attributes["charm.id"] for span in receiver.spans}


def spans_of(url: str) -> dict[str, float]:
    """What became of spans, as the service tells it."""
    found = samples(httpx2.get(f"{url}/metrics").text)["bg_charm_spans_total"]
    return {dict(key)["result"]: value for key, value in found.items()}


@pytest.mark.parametrize(
    ("environ", "boot", "told"),
    [
        (
            {"OTEL_ENABLED": "true"},
            "sys.modules['opentelemetry.sdk.trace'] = None",
            "pip install 'bg-charm-service[otel]'",
        ),
        (
            {"OTEL_ENABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "nonsense"},
            "pass",
            "OTEL_EXPORTER_OTLP_ENDPOINT='nonsense': expected an address",
        ),
    ],
    ids=["no extra", "no address"],
)
def test_spans_that_cannot_be_made_end_the_start(
    tmp_path: Path, environ: dict[str, str], boot: str, told: str
) -> None:
    """In one line that says what to do, before anything is opened."""
    script = f"import sys; {boot}; from bg_charm_service.__main__ import main; main()"
    data = tmp_path / "data"
    done: Any = subprocess.run(
        [sys.executable, "-c", script, f"--data-dir={data}", "--no-api"],
        capture_output=True,
        text=True,
        env=environ,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert (1, 1) == (done.returncode, len(done.stderr.splitlines())), done.stderr
    assert told in done.stderr
    assert not data.exists()

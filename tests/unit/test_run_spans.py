"""Promises of the spans of runs: a span a run, bounded, counted, and nothing that a charm wrote."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bg_charm_service.daemon.run_spans import RunSpans, check_otel, open_spans
from bg_charm_service.daemon.settings import load_settings
from bg_charm_service.domain.errors import FailureCause, InvalidInput, ServiceError
from bg_charm_service.domain.outcomes.policy import RunStatus
from bg_charm_service.domain.version import VERSION
from bg_charm_service.service.metrics.span_counts import SpanCounts
from tests.process.otlp_receiver import Receiver, receiving
from tests.process.program import wait_until
from tests.unit.settling import NOW, REF, settled
from tests.unit.test_loop import logged


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that takes everything."""
    with receiving() as listening:
        yield listening


@pytest.fixture
def counts() -> SpanCounts:
    """Where it is counted."""
    return SpanCounts()


@contextmanager
def sending(url: str, counts: SpanCounts, **environ: str) -> Iterator[RunSpans]:
    """Send spans to a receiver, as the environment says it; the last ones at the end."""
    environ = {"OTEL_ENABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": url, **environ}
    spans = open_spans(load_settings({}, environ), counts, {1: "gmail"}.get)
    spans.start()
    try:
        yield spans
    finally:
        spans.close()


def nobodys(charm_key: int) -> str | None:
    """Of no integration."""
    return None


def told(counts: SpanCounts) -> tuple[int, int, int]:
    """What became of all spans."""
    return counts.exported, counts.failed, counts.dropped


def test_each_run_is_a_span(receiver: Receiver, counts: SpanCounts) -> None:
    """With its place in time, whose it was, how it ended and why; of this service, in traces of
    their own.
    """
    with sending(receiver.url, counts, OTEL_SERVICE_NAME="mine", ENV="test") as spans:
        spans([settled(seconds=1.5, lag_seconds=0.25, job_id=7)])
        spans([settled(RunStatus.FAILURE, FailureCause.TIMEOUT, charm_key=2)])
    good, bad = receiver.spans
    assert (2, 0, 0) == told(counts)
    assert ("charm run", int((NOW - 1.5) * 1e9), int(NOW * 1e9), 0) == (
        good.name,
        good.started,
        good.ended,
        good.status,
    )
    assert {
        "charm.space": REF.space,
        "charm.id": REF.charm_id,
        "charm.integration": "gmail",
        "charm.stream": "bgUpdater",
        "charm.origin": "poll",
        "charm.job.id": 7,
        "charm.attempt": 1,
        "charm.outcome": "success",
        "charm.start_lag": 0.25,
        "charm.worker.pid": 4711,
    } == good.attributes
    assert ("mine", VERSION, "test") == (
        good.resource["service.name"],
        good.resource["service.version"],
        good.resource["deployment.environment.name"],
    )
    assert (2, "timeout") == (bad.status, bad.status_text)
    assert ("failure", "timeout", "") == (
        bad.attributes["charm.outcome"],
        bad.attributes["error.type"],
        bad.attributes["charm.integration"],
    )
    assert good.trace_id != bad.trace_id


def test_no_text_of_a_charm_leaves(receiver: Receiver, counts: SpanCounts) -> None:
    """What a handler raised stays here."""
    with sending(receiver.url, counts) as spans:
        spans([settled(RunStatus.FAILURE, FailureCause.ERROR, error="key=not-for-others")])
    (span,) = receiver.spans
    assert "not-for-others" not in str(span)


def test_the_last_runs_are_sent_at_the_end(receiver: Receiver, counts: SpanCounts) -> None:
    """Those that wait when the service stops are not lost, and closing twice is fine."""
    with sending(receiver.url, counts) as spans:
        spans([settled(job_id=number) for number in range(1000)])
        spans.close()
    assert list(range(1000)) == [span.attributes["charm.job.id"] for span in receiver.spans]
    assert (1000, 0, 0) == told(counts)


def test_what_finds_no_room_is_dropped_and_counted(counts: SpanCounts) -> None:
    """A receiver that is away costs no memory without end, and holds up no run."""
    settings = load_settings({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"})
    spans = open_spans(settings, counts, nobodys, most_waiting=10)
    spans([settled() for _ in range(25)])
    assert (0, 0, 15) == told(counts)
    spans.close()


def test_a_receiver_that_refuses_is_told_once(receiver: Receiver, counts: SpanCounts) -> None:
    """One line with the reason, and one when it is over; what it refused is counted."""
    receiver.refuses_with = 400
    with logged() as events, sending(receiver.url, counts) as spans:
        for number in (1, 2):
            spans([settled()])
            wait_until(lambda number=number: number == counts.failed)
        receiver.refuses_with = 0
        spans([settled()])
        receiver.wait_for_spans(1)
    assert ["spans_failed", "spans_back"] == events
    assert (1, 2, 0) == told(counts)


def test_headers_and_the_sampler_of_the_standard_count(
    receiver: Receiver, counts: SpanCounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables of OpenTelemetry that are not ours mean what they mean everywhere."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=abc")
    with sending(receiver.url, counts) as spans:
        spans([settled()])
    assert "abc" == receiver.headers[0]["api-key"]
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    with sending(receiver.url, counts) as spans:
        spans([settled()])
    assert (1, 1) == (receiver.requests, counts.exported)


def test_a_receiver_of_traces_alone(
    receiver: Receiver, counts: SpanCounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The standard's own variable for traces is a whole address, and wins."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{receiver.url}/v1/traces")
    with sending("http://127.0.0.1:9", counts) as spans:
        spans([settled()])
    assert 1 == len(receiver.spans)


@pytest.mark.parametrize("text", ["localhost:4318", "nonsense", "ftp://localhost"])
def test_an_address_that_is_none(text: str) -> None:
    """It is refused where spans are wanted, in one line that names the variable."""
    settings = load_settings({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": text})
    with pytest.raises(InvalidInput, match="OTEL_EXPORTER_OTLP_ENDPOINT='"):
        check_otel(settings)


def test_other_variables_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the library refuses is one line, with what it says."""
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "nonsense")
    with pytest.raises(InvalidInput, match=r"OTEL_.*nonsense"):
        open_spans(load_settings({}, {}), SpanCounts(), nobodys)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for spans and has no OpenTelemetry is told how to get it, or how to do without."""
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ServiceError, match=r"pip install 'bg-charm-service\[otel\]'"):
        check_otel(load_settings({}, {}))


def test_nothing_is_loaded_for_nothing() -> None:
    """Without OTEL_ENABLED the service imports nothing that could send or record anything."""
    script = (
        "import sys; import bg_charm_service.daemon.process, bg_charm_service.daemon.run_spans; "
        "import bg_charm_service.api.application; wanted = ('opentelemetry.sdk', "
        "'opentelemetry.exporter', 'opentelemetry.proto', 'requests', 'prometheus_client'); "
        "print([name for name in wanted if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True
    )
    assert "[]\n" == done.stdout


@pytest.mark.parametrize(
    ("text", "is_on"),
    [("true", True), ("1", True), ("ON", True), ("false", False), ("0", False), ("no", False)],
)
def test_false_is_false(text: str, *, is_on: bool) -> None:
    """The variable says yes or no; empty is not set, and anything else is refused."""
    assert is_on == load_settings({}, {"OTEL_ENABLED": text}).otel_enabled
    assert not load_settings({}, {"OTEL_ENABLED": ""}).otel_enabled
    with pytest.raises(InvalidInput, match="OTEL_ENABLED='perhaps'"):
        load_settings({}, {"OTEL_ENABLED": "perhaps"})

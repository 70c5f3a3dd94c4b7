"""Sends a span for each run to an OTLP receiver, for OTEL_ENABLED, from a thread of its own.

The loop only notes what a span is made of; what finds no room while the receiver is away is
dropped, and counted. Spans hold ids and causes, and no text of a charm. The libraries come with
the extra `otel`, and are imported only when they are wanted. Used by the daemon.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from loguru import logger

from bg_charm_service.daemon.settings import Settings
from bg_charm_service.domain.errors import InvalidInput, ServiceError
from bg_charm_service.domain.quantities import url
from bg_charm_service.domain.version import VERSION
from bg_charm_service.service.metrics.span_counts import SpanCounts
from bg_charm_service.supervisor.completer import Settled

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

#: So many runs may wait for the receiver.
MOST_WAITING = 10_000

#: How often they are sent, in seconds.
_EVERY_SECONDS = 1.0

#: So many spans are sent at once: while they are written, the loop has to share the interpreter.
_MOST_AT_ONCE = 512

#: How long a stop waits for the last of them, in seconds.
_LAST_SECONDS = 3.0

#: Below which path receivers take traces, by the specification of OTLP over HTTP.
_TRACES_PATH = "/v1/traces"

#: The loggers of the library, which has a line for each attempt.
_LIBRARY_LOGGER = "opentelemetry"

_NANOSECONDS = 1_000_000_000


class RunFacts(NamedTuple):
    """What a span is made of; times are seconds since the epoch, durations seconds."""

    space: str
    charm_id: str
    integration: str | None
    stream: str
    origin: str
    job_id: int
    attempt: int
    outcome: str
    cause: str | None
    finished_at: float
    duration_seconds: float
    lag_seconds: float
    worker: int


class RunSpans:
    """Takes settled runs, and sends their spans until it is closed."""

    def __init__(
        self,
        exporter: SpanExporter,
        service_name: str,
        environment: str,
        counts: SpanCounts,
        label_of: Callable[[int], str | None],
        *,
        most_waiting: int,
    ) -> None:
        """`label_of` gives the integration of a charm."""
        self._exporter = exporter
        self._counts = counts
        self._label_of = label_of
        self._most_waiting = most_waiting
        self._waiting: deque[RunFacts] = deque()
        self._is_stopping = threading.Event()
        self._is_failing = False
        self._last_words = _LastWords()
        self._make_span = _span_maker(service_name, environment)
        self._thread = threading.Thread(target=self._run, name="run-spans", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._last_words.listen()
        self._thread.start()

    def __call__(self, settled: Sequence[Settled]) -> None:
        """Note runs that are on disk; on the loop's thread."""
        for one in settled:
            if len(self._waiting) >= self._most_waiting:
                self._counts.dropped += 1
                continue
            claim, record = one.run.claim, one.record
            job = claim.job
            self._waiting.append(
                RunFacts(
                    job.ref.space,
                    job.ref.charm_id,
                    self._label_of(claim.charm_key),
                    job.stream,
                    job.origin,
                    job.job_id,
                    job.attempt,
                    record.status,
                    record.cause,
                    record.finished_at,
                    one.outcome.duration_seconds,
                    one.run.lag_seconds,
                    record.worker,
                )
            )

    def close(self) -> None:
        """Send what waits, for a moment at most; closing twice is fine."""
        self._is_stopping.set()
        if self._thread.ident is not None:
            self._thread.join(_LAST_SECONDS)
            if self._thread.is_alive():
                # It gives up what it is at; the process does not wait for it.
                self._exporter.shutdown()
        self._last_words.leave()

    def _run(self) -> None:
        while not self._is_stopping.wait(_EVERY_SECONDS):
            self._send_waiting()
        self._send_waiting()

    def _send_waiting(self) -> None:
        while self._waiting:
            many = min(len(self._waiting), _MOST_AT_ONCE)
            made = [self._make_span(self._waiting.popleft()) for _ in range(many)]
            spans = [span for span in made if span is not None]
            if not spans:
                continue
            if self._export(spans):
                self._counts.exported += len(spans)
            else:
                self._counts.failed += len(spans)
                if self._is_stopping.is_set():
                    return

    def _export(self, spans: Sequence[ReadableSpan]) -> bool:
        from opentelemetry.sdk.trace.export import SpanExportResult

        try:
            is_done = self._exporter.export(spans) is SpanExportResult.SUCCESS
            reason = self._last_words.text
        except Exception as error:  # whatever the library did not see coming ends no thread of ours
            is_done, reason = False, f"{type(error).__name__}: {error}"
        if is_done and self._is_failing:
            logger.bind(event="spans_back").info("Spans of runs reach their receiver again")
        elif not is_done and not self._is_failing:
            logger.bind(event="spans_failed").warning(
                "Spans of runs do not reach their receiver: {}. They are counted as failed; "
                "nothing else is held up",
                reason or "it gives no reason",
            )
        self._is_failing = not is_done
        return is_done


def open_spans(
    settings: Settings,
    counts: SpanCounts,
    label_of: Callable[[int], str | None],
    *,
    most_waiting: int = MOST_WAITING,
) -> RunSpans:
    """Make what sends spans where the environment says; raises ServiceError, InvalidInput."""
    check_otel(settings)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    # A variable of its own for traces is a whole address; the library reads it by itself.
    has_own = bool(os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))
    endpoint = None if has_own else f"{_endpoint(settings)}{_TRACES_PATH}"
    try:
        return RunSpans(
            OTLPSpanExporter(endpoint=endpoint),
            settings.otel_service_name,
            settings.environment,
            counts,
            label_of,
            most_waiting=most_waiting,
        )
    except (ValueError, OSError) as error:
        raise InvalidInput(
            f"OpenTelemetry cannot use a variable of its own, one of OTEL_…: {error}"
        ) from None


def check_otel(settings: Settings) -> None:
    """Raise ServiceError without the libraries, InvalidInput for a receiver that is none."""
    try:
        import opentelemetry.exporter.otlp.proto.http.trace_exporter
        import opentelemetry.sdk.trace  # noqa: F401 - whether it is there
    except ImportError:
        raise ServiceError(
            "OTEL_ENABLED asks for spans, and OpenTelemetry is not installed: "
            f"`{sys.executable} -m pip install 'bg-charm-service[otel]'` installs it, "
            "OTEL_ENABLED=false does without."
        ) from None
    _endpoint(settings)


def _endpoint(settings: Settings) -> str:
    try:
        return url(settings.otel_endpoint)
    except ValueError:
        raise InvalidInput(
            f"OTEL_EXPORTER_OTLP_ENDPOINT={settings.otel_endpoint!a:.200}: expected an address "
            "such as http://localhost:4318"
        ) from None


def _span_maker(service_name: str, environment: str) -> Callable[[RunFacts], ReadableSpan | None]:
    """Give what makes a span of a run; None for one that the sampler leaves out."""
    from opentelemetry.context import Context
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.trace import Status, StatusCode

    resource = {"service.name": service_name, "service.version": VERSION}
    if environment:
        resource["deployment.environment.name"] = environment
    # Not the program's own provider, and nothing is left to do at its end.
    provider = TracerProvider(resource=Resource.create(resource), shutdown_on_exit=False)
    tracer = provider.get_tracer("bg_charm_service", VERSION)

    def make(run: RunFacts) -> ReadableSpan | None:
        ended = int(run.finished_at * _NANOSECONDS)
        span = tracer.start_span(
            "charm run",
            context=Context(),
            start_time=ended - int(run.duration_seconds * _NANOSECONDS),
            attributes={
                "charm.space": run.space,
                "charm.id": run.charm_id,
                "charm.integration": run.integration or "",
                "charm.stream": run.stream,
                "charm.origin": run.origin,
                "charm.job.id": run.job_id,
                "charm.attempt": run.attempt,
                "charm.outcome": run.outcome,
                "charm.start_lag": run.lag_seconds,
                "charm.worker.pid": run.worker,
            },
        )
        if run.cause is not None:
            span.set_attribute("error.type", run.cause)
            span.set_status(Status(StatusCode.ERROR, run.cause))
        span.end(ended)
        return span if isinstance(span, ReadableSpan) else None

    return make


class _LastWords(logging.Handler):
    """Keeps what the library said last, instead of its line for each attempt."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""
        self._before = True

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()

    def listen(self) -> None:
        """Take the library's lines from now on."""
        library = logging.getLogger(_LIBRARY_LOGGER)
        self._before, library.propagate = library.propagate, False
        library.addHandler(self)

    def leave(self) -> None:
        """Take no more; leaving twice is fine."""
        library = logging.getLogger(_LIBRARY_LOGGER)
        library.propagate = self._before
        library.removeHandler(self)

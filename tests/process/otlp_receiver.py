"""A receiver of OTLP over HTTP: it reads what is posted as its specification says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.process.running import PATIENCE_SECONDS


@dataclass(frozen=True)
class ReceivedSpan:
    """One span; times are nanoseconds since the epoch, a status of 2 is an error."""

    name: str
    trace_id: bytes
    started: int
    ended: int
    status: int
    status_text: str
    attributes: dict[str, Any]
    resource: dict[str, Any]


@dataclass
class Receiver:
    """What has come so far."""

    url: str = ""
    #: What is answered instead of taking it; 0 for taking it.
    refuses_with: int = 0
    spans: list[ReceivedSpan] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    #: How many requests have come, refused or not.
    requests: int = 0
    _news: threading.Condition = field(default_factory=threading.Condition)

    def wait_for_spans(self, count: int) -> list[ReceivedSpan]:
        """Wait until so many have come; gives all."""
        with self._news:
            assert self._news.wait_for(lambda: len(self.spans) >= count, PATIENCE_SECONDS)
            return list(self.spans)

    def wait_for_requests(self, count: int) -> None:
        """Wait until so many have come."""
        with self._news:
            assert self._news.wait_for(lambda: self.requests >= count, PATIENCE_SECONDS)

    def take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        """Take a request; gives the status of the answer."""
        with self._news:
            self.requests += 1
            self.headers.append(headers)
            is_ours = path == "/v1/traces" and headers["content-type"] == "application/x-protobuf"
            if is_ours and not self.refuses_with:
                self.spans += _spans(body)
            self._news.notify_all()
            return self.refuses_with or (200 if is_ours else 404)


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Listen on a port of this machine."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): text for name, text in self.headers.items()}
            status = receiver.take(self.path, headers, body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(status)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *arguments: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()


def _spans(body: bytes) -> Iterator[ReceivedSpan]:
    request = ExportTraceServiceRequest.FromString(body)
    for resource in request.resource_spans:
        about = _values(resource.resource.attributes)
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield ReceivedSpan(
                    span.name,
                    span.trace_id,
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    span.status.code,
                    span.status.message,
                    _values(span.attributes),
                    about,
                )


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in attributes}

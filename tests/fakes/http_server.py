"""A real HTTP server on loopback that answers by a script: what providers do, and emulators do not.

    with FakeServer() as server:
        server.on("/messages", answer(429, retry_after=60), json_answer({"messages": []}))

Each address has its answers, one after the other; the last one stays. What was asked is kept in
`seen`. It serves in threads of the test's own process, and waits for nothing but its clients.
"""

from __future__ import annotations

import gzip
import json
import threading
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

#: A connection on which nobody speaks is closed after so many seconds.
_IDLE_SECONDS = 30


@dataclass(frozen=True)
class Seen:
    """One request that came in; the names of headers are in small letters."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    @property
    def token(self) -> str:
        """The token that it came with; empty for none."""
        return self.headers.get("authorization", "").removeprefix("Bearer ")


@dataclass(frozen=True)
class Answer:
    """What is answered, and how much of it: all, or up to where the connection is cut or stalls."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    #: Of the body so much is sent; then the connection is closed.
    cut_at: int | None = None
    #: Of the body so much is sent; then nothing, until the client goes away.
    stalls_at: int | None = None
    #: The connection is closed before there is any answer.
    is_none: bool = False
    #: The body is sent in chunks, without its length.
    is_chunked: bool = False
    #: The body is sent without its length, until the connection is closed.
    is_without_length: bool = False
    #: Called once so much of it is sent as is to be sent.
    when_sent: Callable[[], None] | None = None

    def cut(self, at: int) -> Answer:
        """The same, cut in the body."""
        return replace(self, cut_at=at)

    def stalled(self, at: int = 0) -> Answer:
        """The same, of which the rest never comes."""
        return replace(self, stalls_at=at)

    def chunked(self) -> Answer:
        """The same, without saying its length first."""
        return replace(self, is_chunked=True)

    def packed(self) -> Answer:
        """The same, as gzip."""
        return replace(
            self,
            headers=(*self.headers, ("Content-Encoding", "gzip")),
            body=gzip.compress(self.body),
        )


#: What answers: the same for everybody, or by what is asked.
Script = Answer | Callable[[Seen], Answer]

NO_ANSWER = Answer(is_none=True)


def answer(
    status: int = 200,
    body: bytes | str = b"",
    *,
    retry_after: object = None,
    content_type: str = "",
    **headers: str,
) -> Answer:
    """An answer; names of headers with a bar for each hyphen."""
    found = [(name.replace("_", "-"), text) for name, text in headers.items()]
    if retry_after is not None:
        found.append(("Retry-After", str(retry_after)))
    if content_type:
        found.append(("Content-Type", content_type))
    return Answer(status, tuple(found), body.encode() if isinstance(body, str) else body)


def json_answer(value: Any, status: int = 200, **headers: str) -> Answer:
    """An answer of JSON."""
    return answer(status, json.dumps(value), content_type="application/json", **headers)


def redirect(to: str, status: int = 302) -> Answer:
    """An answer that sends on to another address."""
    return answer(status, Location=to)


def unpacks_to(size_bytes: int) -> Answer:
    """A body of gzip that is a thousand times larger once it is unpacked: zeros, and harmless."""
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    piece = bytes(64 * 1024)
    body = b"".join(packer.compress(piece) for _ in range(-(-size_bytes // len(piece))))
    return Answer(200, (("Content-Encoding", "gzip"),), body + packer.flush())


@dataclass
class FakeServer:
    """One server on a free port; `on` may be called while it runs."""

    seen: list[Seen] = field(default_factory=list)
    _scripts: dict[str, list[Script]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _server: ThreadingHTTPServer | None = None
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        owner: FakeServer = self

        class Handler(_Handler):
            server_of_test = owner

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        # Asked often whether to stop: a test does not wait for it.
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        assert self._thread is not None
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        port: int = self._server.server_address[1]
        return port

    @property
    def url(self) -> str:
        """Its address, with no slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def on(self, path: str, *answers: Script) -> FakeServer:
        """Answer an address so from now on, one after the other; the last one stays."""
        with self._lock:
            self._scripts[path] = list(answers)
        return self

    def asked(self, path: str) -> list[Seen]:
        """What was asked of an address so far."""
        return [one for one in self.seen if one.path == path]

    def answer_to(self, seen: Seen) -> Answer:
        """Take the next answer of the script; 404 where there is none for that address."""
        with self._lock:
            self.seen.append(seen)
            scripts = self._scripts.get(seen.path)
            if not scripts:
                return answer(404)
            script = scripts.pop(0) if len(scripts) > 1 else scripts[0]
        return script if isinstance(script, Answer) else script(seen)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = _IDLE_SECONDS
    server_of_test: FakeServer

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the test knows what it asks."""

    def handle(self) -> None:
        with suppress(OSError):
            super().handle()

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        seen = Seen(
            self.command,
            parts.path,
            parse_qs(parts.query, keep_blank_values=True),
            {name.lower(): text for name, text in self.headers.items()},
            self.rfile.read(length),
        )
        found = self.server_of_test.answer_to(seen)
        if found.is_none:
            self.close_connection = True
            return
        self._send(found)

    def _send(self, found: Answer) -> None:
        self.send_response(found.status)
        for name, text in found.headers:
            self.send_header(name, text)
        if found.is_chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif found.status not in (204, 304) and not found.is_without_length:
            self.send_header("Content-Length", str(len(found.body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        ends = [at for at in (found.cut_at, found.stalls_at) if at is not None]
        sent = found.body[: min(ends)] if ends else found.body
        if found.is_chunked:
            sent = b"%x\r\n%s\r\n" % (len(sent), sent) if sent else b""
            sent += b"" if ends else b"0\r\n\r\n"
        self.wfile.write(sent)
        self.wfile.flush()
        if found.when_sent is not None:
            found.when_sent()
        if ends:
            self.close_connection = True
        if found.stalls_at is not None:
            while self.rfile.read(1):
                pass

    def __getattr__(self, name: str) -> Any:
        """Every method is served alike, whatever it is called."""
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

"""Servers of this machine that the charms talk to: HTTP with a few answers, IMAP, SMTP, Redis.

Each answers what the libraries ask in `charms/`, and no more.
"""

from __future__ import annotations

import json
import socket
import socketserver
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

_FEED = (
    '<?xml version="1.0"?><rss version="2.0"><channel><title>News</title>'
    "<item><title>First</title><link>http://localhost/1</link></item></channel></rss>"
)
_BUCKETS = (
    '<?xml version="1.0"?><ListAllMyBucketsResult><Buckets><Bucket><Name>first</Name>'
    "</Bucket></Buckets></ListAllMyBucketsResult>"
)
_CHAT = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "some-model",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello."}}
    ],
}
_MESSAGE = {
    "id": "1",
    "type": "message",
    "role": "assistant",
    "model": "some-model",
    "content": [{"type": "text", "text": "Hello."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}

#: What is answered below each path: its type, and the text.
_ANSWERS = {
    "/page": ("text/html", '<p><a href="/a">a</a> <a href="/b">b</a></p>'),
    "/feed": ("application/rss+xml", _FEED),
    "/json": ("application/json", '{"number": 7}'),
    "/s3": ("application/xml", _BUCKETS),
    "/openai": ("application/json", json.dumps(_CHAT)),
    "/anthropic": ("application/json", json.dumps(_MESSAGE)),
    "/slack": ("application/json", '{"ok": true, "ts": "1.0"}'),
}


class _Http(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        found = next((one for path, one in _ANSWERS.items() if self.path.startswith(path)), None)
        kind, text = found or ("text/plain", "nothing here")
        self.send_response(200 if found else 404)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_POST = _answer  # noqa: N815 - the names that the class above calls

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of each request."""


class _Imap(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self._say("* OK [CAPABILITY IMAP4rev1] ready")
        for line in self.rfile:
            tag, verb, *_ = line.decode().split()
            verb = verb.upper()
            if verb == "CAPABILITY":
                self._say("* CAPABILITY IMAP4rev1")
            elif verb in ("SELECT", "EXAMINE"):
                self._say("* 3 EXISTS", "* 0 RECENT", "* OK [UIDVALIDITY 1]")
            elif verb in ("SEARCH", "UID"):
                self._say("* SEARCH 2 3")
            elif verb == "LOGOUT":
                self._say("* BYE", f"{tag} OK")
                return
            self._say(f"{tag} OK done")

    def _say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())


class _Smtp(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self._say("220 ready")
        is_letter = False
        for line in self.rfile:
            if is_letter:
                is_letter = line != b".\r\n"
                if not is_letter:
                    self._say("250 taken")
                continue
            verb = line.decode().split()[0].upper()
            is_letter = verb == "DATA"
            self._say({"DATA": "354 go on", "QUIT": "221 bye"}.get(verb, "250 done"))

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


class _Redis(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while line := self.rfile.readline():
            # An array of texts, each with its length before it.
            words = []
            for _ in range(int(line[1:])):
                length = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(length + 2)[:length])
            self.wfile.write(b":7\r\n" if words[0].upper().startswith(b"INCR") else b"+OK\r\n")


class _Threaded(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


class _ThreadedHttp(ThreadingHTTPServer):
    # As many as ask at once.
    request_queue_size = 512


@contextmanager
def servers() -> Iterator[dict[str, str]]:
    """Serve meanwhile; gives the addresses by the names of the fields that charms have for them.

    At that of `nobody` nobody listens, and nobody else can.
    """
    made: dict[str, Any] = {
        "url": _ThreadedHttp(("127.0.0.1", 0), _Http),
        "imap": _Threaded(("127.0.0.1", 0), _Imap),
        "smtp": _Threaded(("127.0.0.1", 0), _Smtp),
        "redis": _Threaded(("127.0.0.1", 0), _Redis),
    }
    schemes = {"url": "http"}
    with ExitStack() as stack:
        for server in made.values():
            stack.enter_context(server)
            stack.callback(server.shutdown)
            Thread(target=server.serve_forever, daemon=True).start()
        nobody = stack.enter_context(socket.socket())
        nobody.bind(("127.0.0.1", 0))
        yield {
            name: f"{schemes.get(name, name)}://127.0.0.1:{server.server_address[1]}"
            for name, server in made.items()
        } | {"nobody": f"tcp://127.0.0.1:{nobody.getsockname()[1]}"}

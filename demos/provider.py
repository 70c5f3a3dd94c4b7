"""A provider of the demonstration: an HTTP server on this machine with the faults of real ones.

    python -m demos.provider PORT PATIENCE

Tells each request on standard output, as a line of JSON: its path, the status of the answer, when,
and until when it was asked to wait (null for not at all). PATIENCE is what it asks for, in seconds:
between two searches, and until its archive is open, from when it is first asked for it.
"""

from __future__ import annotations

import json
import sys
import time
from email.utils import formatdate, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

#: The token that is good, once a person has signed in again.
GOOD_TOKEN = "renewed"

#: Where the parcel is when it is asked for the first time, the second, and from then on.
PLACES = ("in the depot", "on the van", "delivered")


class Provider(ThreadingHTTPServer):
    """The server, and what it knows."""

    daemon_threads = True

    def __init__(self, port: int, patience_seconds: float) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.patience_seconds = patience_seconds
        self.began_at = time.time()
        self.archive_open_at = 0.0
        self.search_free_at = 0.0
        self.parcel_asked = 0


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Provider

    def do_GET(self) -> None:
        """Answer it, and tell of it."""
        path = urlsplit(self.path).path
        now = time.time()
        status, headers, body = self._answer(path, now)
        content = json.dumps(body).encode()
        until = _named_time(headers.get("Retry-After"), now)
        # Told first: whoever has the answer may look for the line.
        told = {"path": path, "status": status, "at": now, "until": until}
        print(json.dumps(told), flush=True)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing more."""

    def _answer(self, path: str, now: float) -> tuple[int, dict[str, str], object]:
        provider = self.server
        if path == "/forecast":
            return 200, {}, {"celsius": 21}
        if path == "/search":
            if now < provider.search_free_at:
                left = int(provider.search_free_at - now) + 1
                return 429, {"Retry-After": str(left)}, {"error": "one search at a time"}
            provider.search_free_at = now + provider.patience_seconds
            return 200, {}, {"found": 3}
        if path == "/archive":
            provider.archive_open_at = provider.archive_open_at or now + provider.patience_seconds
            if now < provider.archive_open_at:
                # A date has whole seconds.
                at = formatdate(provider.archive_open_at + 1, usegmt=True)
                return 503, {"Retry-After": at}, {}
            return 200, {}, {}
        if path == "/mail":
            if self.headers["Authorization"] != f"Bearer {GOOD_TOKEN}":
                return 401, {}, {"error": "revoked"}
            return 200, {}, {"unread": 7}
        if path == "/parcel":
            provider.parcel_asked += 1
            return 200, {}, {"place": PLACES[min(provider.parcel_asked, len(PLACES)) - 1]}
        if path == "/news":
            # The same for as long as it lives.
            return 200, {}, {"headline": f"Provider opened at {provider.began_at:.0f}"}
        return 404, {}, {}


def _named_time(retry_after: str | None, now: float) -> float | None:
    """The moment that a header names, by seconds or by a date."""
    if retry_after is None:
        return None
    if retry_after.isdigit():
        return now + int(retry_after)
    return parsedate_to_datetime(retry_after).timestamp()


if __name__ == "__main__":
    with Provider(int(sys.argv[1]), float(sys.argv[2])) as server:
        server.serve_forever()

"""Who is told in the demonstration: takes notices, and notices when the heartbeat stops.

A server in a thread of the demonstration's own process; a phone, a chat or a monitor elsewhere.
"""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

#: How often the service asks the heartbeat's address here, in seconds; in earnest it is a minute.
BEAT_SECONDS = 1.0


class Receiver(ThreadingHTTPServer):
    """The server, and what it was told, the newest last."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.told: list[str] = []
        #: When the heartbeat came last, by the steady clock.
        self.beats: list[float] = []

    def start(self) -> None:
        """Serve in a thread."""
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def heartbeat(self) -> str:
        """The address that is asked while the service is well."""
        return f"http://127.0.0.1:{self.server_address[1]}/beat"

    def write_target(self, file: Path, options: str) -> None:
        """Write where notices are to be sent into a file, as an operator does."""
        file.write_text(f"json://127.0.0.1:{self.server_address[1]}/told {options}\n")

    def find(self, part: str) -> str:
        """Give the newest line that it was told with this in it; empty for none."""
        return next((line for line in reversed(self.told) if part in line), "")

    @property
    def silent_seconds(self) -> float:
        """For how long the heartbeat has not come."""
        return time.monotonic() - self.beats[-1] if self.beats else 0.0


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.told += json.loads(body)["message"].splitlines()
        self._answer()

    def do_GET(self) -> None:
        self.server.beats.append(time.monotonic())
        self._answer()

    def _answer(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing more."""

"""The real service as a process of its own, and its API over the socket in its data directory.

Whatever is measured goes through `bin/bg-charm-service`, this checkout's or another build's, as an
operator starts it. Used by the scenarios.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
PROGRAM = ROOT / "bin" / "bg-charm-service"

#: A start or a stop may take so long, in seconds.
PATIENCE_SECONDS = 120.0

#: A connection that nothing was asked on for this long is opened anew: the service may end it.
_KEEP_SECONDS = 2.0


class Failed(Exception):
    """The service did not start, or refused a request; the text says what it said."""


class ServiceProcess:
    """One life of the service on a data directory; on no port unless told, and all walls up."""

    def __init__(
        self, data_dir: Path, *flags: str, sandbox: str = "require", program: Path = PROGRAM
    ) -> None:
        self.data_dir = data_dir
        self._command = [
            *(str(program), f"--data-dir={data_dir}", "--log-format=json"),
            *(() if any(flag.startswith("--listen") for flag in flags) else ("--no-api",)),
            *(f"--sandbox={sandbox}", *flags),
        ]
        #: Its log: in memory, so that what is written to the disk is the database's.
        self._log = os.memfd_create("log")
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: http.client.HTTPConnection | None = None
        self._last_asked = 0.0
        self._is_paused = False
        #: When the process was started, by the monotonic clock.
        self.booted_at = 0.0

    def __enter__(self) -> ServiceProcess:
        try:
            self.boot()
            self.wait_until_up()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def boot(self) -> None:
        """Start the process, and wait for nothing."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self.booted_at = time.monotonic()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env=kept,
        )

    def wait_until_up(self) -> None:
        """Wait until it answers; raises Failed when it ended instead."""
        assert self._process is not None
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise Failed(f"The service ended with {self._process.returncode}: {self._words()}")
            try:
                self.status()
            except (OSError, http.client.HTTPException):
                time.sleep(0.005)
            else:
                return
        raise Failed(f"The service did not answer within {PATIENCE_SECONDS:g} s: {self._words()}")

    def close(self) -> None:
        """Ask the process to end and wait for it; closing twice is fine."""
        self._hang_up()
        if self._process is not None and self._process.poll() is None:
            # A stopped process would not hear of it.
            self.resume()
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._log >= 0:
            os.close(self._log)
            self._log = -1

    def pause(self) -> None:
        """Stop the process of supervisor and API where it is: workers end what they have, and wait.

        Nothing may be asked until it goes on.
        """
        os.kill(self.pid, signal.SIGSTOP)
        self._is_paused = True

    def resume(self) -> None:
        """Let it go on; one that was not paused is fine."""
        if self._is_paused:
            os.kill(self.pid, signal.SIGCONT)
            self._is_paused = False

    @property
    def pid(self) -> int:
        """The process of supervisor and API."""
        assert self._process is not None
        return self._process.pid

    @property
    def zygote_pid(self) -> int:
        """The process that forks the workers."""
        for child in psutil.Process(self.pid).children():
            if "bg_charm_service.workers.runtime.zygote" in " ".join(child.cmdline()):
                return child.pid
        raise Failed("The service has no process that forks workers.")

    def status(self) -> dict[str, Any]:
        """The status as the service tells it."""
        status: dict[str, Any] = self.ask("GET", "/api/status")
        return status

    def executions(self) -> int:
        """How many runs were recorded so far."""
        return int(self.status()["executions"])

    def walls(self) -> str:
        """Say what stands between charms, in a few words."""
        sandbox = self.status()["sandbox"]
        missing = [wall["name"] for wall in sandbox["walls"] if wall["missing"]]
        up = "all walls" if not missing else f"walls without {', '.join(missing)}"
        if not sandbox["walls"] or sandbox["mode"] == "off":
            up = "no walls"
        between = {"shared": "none between spaces", "run": "a worker for each run"}
        isolation = sandbox["isolation"]
        return f"{up}, {between.get(isolation, 'a worker for each space')}"

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Send a request; gives the JSON that it is answered with, raises Failed."""
        return json.loads(self.fetch(method, path, body))

    def fetch(self, method: str, path: str, body: object = None) -> bytes:
        """Send a request; gives what it is answered with, raises Failed."""
        connection = self._connect()
        sent = None if body is None else json.dumps(body)
        headers = {} if sent is None else {"content-type": "application/json"}
        try:
            connection.request(method, path, sent, headers)
            with connection.getresponse() as answer:
                content = answer.read()
        except BaseException:
            self._hang_up()
            raise
        if answer.status >= http.client.BAD_REQUEST:
            raise Failed(f"{method} {path} was answered {answer.status}: {content[:300]!r}")
        return content

    def _connect(self) -> http.client.HTTPConnection:
        now = time.monotonic()
        if self._connection is not None and now - self._last_asked > _KEEP_SECONDS:
            self._hang_up()
        self._last_asked = now
        if self._connection is None:
            connection = http.client.HTTPConnection("service", timeout=PATIENCE_SECONDS)
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(PATIENCE_SECONDS)
            try:
                connection.sock.connect(str(self.data_dir / "service.sock"))
            except OSError:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _words(self) -> str:
        """Give the end of its log."""
        size = os.fstat(self._log).st_size
        return os.pread(self._log, 2000, max(0, size - 2000)).decode(errors="replace")

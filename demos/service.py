"""The service of a demonstration: the real program, on a data directory of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

ROOT = Path(__file__).parents[1]

#: So long the service may take to start, in seconds.
_START_SECONDS = 60.0


class Program:
    """The program, with its commands, on the data directory `data` of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._program = [sys.executable, "-m", "bg_charm_service"]
        # Not by a flag: what the page says of commands would have it everywhere.
        self._environment = {**os.environ, "KV_STORE_DIR": str(folder / "data")}

    @contextmanager
    def service(self, *flags: str, **environ: str) -> Iterator[None]:
        """Run the service; `url` is then the address of its page. Exits where it does not start."""
        told = self.folder / "service.log"
        with (
            told.open("w") as log,
            subprocess.Popen(
                [*self._program, "--listen=127.0.0.1:0", "--log-format=json", *flags],
                cwd=ROOT,
                env={**self._environment, **environ},
                stdout=log,
                stderr=log,
            ) as process,
        ):
            try:
                self.url = _address(told, process)
                self._process = process
                yield
            finally:
                process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the service as `kill -9` does, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def run(self, *arguments: str) -> str:
        """Run a command; give what it prints. Raises CalledProcessError where it fails."""
        done = subprocess.run(
            [*self._program, *arguments],
            cwd=ROOT,
            env=self._environment,
            check=True,
            text=True,
            stdout=subprocess.PIPE,
        )
        return done.stdout

    def show(self, *arguments: str) -> None:
        """Run a command that prints for itself, as a person would; whatever its exit code says."""
        sys.stdout.flush()
        subprocess.run([*self._program, *arguments], cwd=ROOT, env=self._environment, check=False)

    def add(
        self,
        source: Path,
        *,
        space: str,
        cause: str,
        integration: str = "manual",
        values: Mapping[str, object] = MappingProxyType({}),
    ) -> str:
        """Add a charm, and have it polled where it has an integration; give its address."""
        register = ["--register", "--integration", integration] if integration else []
        sets = [f"--set={name}={json.dumps(value)}" for name, value in values.items()]
        place = ["--space", space, "--cause", cause]
        added = self.run("charm", "add", str(source), *place, *sets, *register, "--json")
        charm = json.loads(added)
        return f"{charm['space']}/{charm['charm_id']}"

    def get(self, path: str) -> Any:
        """Ask the API as somebody without a credential does."""
        with urllib.request.urlopen(f"{self.url}{path}", timeout=30) as answer:  # noqa: S310 - ours
            return json.loads(answer.read())


def _address(told: Path, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        events = {}
        for line in told.read_text().splitlines(keepends=True):
            if line.startswith("{") and line.endswith("\n"):
                event = json.loads(line)
                events[event.get("event")] = event
        if {"listening", "started"} <= events.keys():
            return str(events["listening"]["url"])
        time.sleep(0.1)
    sys.exit(f"The service did not start:\n{told.read_text()}")

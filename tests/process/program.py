"""The program as people use it: real processes on a data directory, waited for by conditions."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tenacity

COMMAND = [sys.executable, "-m", "bg_charm_service"]

#: Nothing here takes longer on a slow machine, in seconds.
PATIENCE_SECONDS = 60.0

COUNTER = """\
from bg_charm_service import Charm

class Counter(Charm):
    counter: int = 0
    error: str = ""

    async def bg_updater(self, event: dict) -> None:
        print("was", self.counter)
        if self.error:
            raise ValueError(self.error)
        self.counter += event.get("delta", 1)
"""


class Program:
    """Runs commands on one data directory, and the service."""

    def __init__(self, data_dir: Path, **environment: str) -> None:
        self.data_dir = data_dir
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        # Whatever this machine is configured to.
        self.environment = {**kept, "BG_CHARM_CONFIG": os.devnull, **environment}

    def run(self, *arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [*COMMAND, f"--data-dir={self.data_dir}", *arguments],
            input=given,
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    def output(self, *arguments: str, given: str | None = None, code: int = 0) -> str:
        """Give what a command prints that must succeed, and complain about nothing."""
        done = self.run(*arguments, given=given)
        assert code == done.returncode, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout.rstrip("\n")

    def value(self, *arguments: str, code: int = 0) -> Any:
        """Give the JSON that a command prints."""
        return json.loads(self.output(*arguments, "--json", code=code))

    def error(self, *arguments: str, code: int = 1) -> str:
        """Give the one line that a command says when it fails, as it must."""
        done = self.run(*arguments)
        assert code == done.returncode, (done.stdout, done.stderr)
        last = done.stderr.rstrip("\n").splitlines()[-1]
        assert last.startswith("Error: "), done.stderr
        assert "Traceback" not in done.stderr
        return last

    @contextmanager
    def start(self, *flags: str) -> Iterator[subprocess.Popen[str]]:
        """Start the service without waiting for it; it is stopped at the end."""
        with (
            open(self.data_dir.parent / "service.log", "a") as log,
            subprocess.Popen(
                [*COMMAND, f"--data-dir={self.data_dir}", *_with_port(flags)],
                stdout=log,
                stderr=log,
                env=self.environment,
                text=True,
            ) as service,
        ):
            try:
                yield service
            finally:
                service.send_signal(signal.SIGTERM)
                try:
                    service.wait(PATIENCE_SECONDS)
                finally:
                    service.kill()

    @contextmanager
    def service(self, *flags: str) -> Iterator[subprocess.Popen[str]]:
        """Run the service; inside, it answers."""
        with self.start(*flags) as service:
            wait_until(lambda: self.is_answering() or service.poll() is not None)
            assert None is service.poll(), (self.data_dir.parent / "service.log").read_text()
            yield service

    def is_answering(self) -> bool:
        """Tell whether somebody takes connections on the data directory's socket."""
        try:
            directory = os.open(self.data_dir, os.O_PATH)
        except OSError:
            return False
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(f"/proc/self/fd/{directory}/service.sock")
            except OSError:
                return False
            finally:
                os.close(directory)
        return True


def _with_port(flags: tuple[str, ...]) -> tuple[str, ...]:
    """Flags of a service that opens no port unless it is told to: several run at a time."""
    told = any(flag.startswith("--listen") for flag in flags)
    return flags if told else ("--no-api", *flags)


def wait_until(condition: Any) -> Any:
    """Wait until a condition gives something true, and give that."""
    return tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda found: not found),
        wait=tenacity.wait_fixed(0.05),
        stop=tenacity.stop_after_delay(PATIENCE_SECONDS),
    )(condition)

"""What systemd is told by the real service: ready, alive, stopping."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.process.program import PATIENCE_SECONDS


def test_service_reports_its_life(tmp_path: Path) -> None:
    """READY once it works, WATCHDOG while loop and database advance, STOPPING at the end."""
    address = tmp_path / "notify.sock"
    environment = {
        "PATH": os.environ["PATH"],
        "NOTIFY_SOCKET": str(address),
        "WATCHDOG_USEC": "400000",
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(address))
        systemd.settimeout(PATIENCE_SECONDS)
        command = [
            sys.executable,
            "-m",
            "bg_charm_service",
            f"--data-dir={tmp_path / 'data'}",
            "--no-api",
        ]
        service = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        try:
            told = _read_until(systemd, "WATCHDOG=1")
            assert told[0].startswith("READY=1"), told
            service.send_signal(signal.SIGTERM)
            assert any("STATUS=stopping" in text for text in _read_until(systemd, "STOPPING=1"))
            assert 0 == service.wait(PATIENCE_SECONDS)
        finally:
            service.kill()
            service.wait()


def _read_until(systemd: socket.socket, field: str) -> list[str]:
    """Collect notifications up to the first one with a field."""
    told: list[str] = []
    while not told or field not in told[-1]:
        told.append(systemd.recv(4096).decode())
    return told

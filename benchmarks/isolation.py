"""Measures what each isolation level costs a run: `python -m benchmarks.isolation`.

A service of its own on a directory of its own, with two workers and all walls that this machine
has. Events are queued while their charms are disabled; the time is taken from when all are
enabled until the last one is settled, and so is the processor time of all processes. The handler
adds 1 to a field: what is left is the cost.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click
import psutil

from tests.process.running import RunningCharm, Service

SOURCE = """
from bg_charm_service import Charm

class Adder(Charm):
    n: int = 0

    async def bg_updater(self, event: dict) -> None:
        self.n += 1
"""

CHARMS = 24
EVENTS = 20
WORKERS = 2
ROUNDS = 3
LEVELS = ("shared", "space", "run")

#: All charms in one space, and spread over more spaces than there are workers.
SPACES = (1, 8)


@dataclass(frozen=True)
class Cost:
    """What one measurement came to."""

    run_ms: float
    cpu_ms: float
    workers: int


def measure(level: str, spaces: int) -> Cost:
    """Let each charm run through its events under one level."""
    flags = (
        f"--isolation={level}",
        f"--max-concurrent={WORKERS}",
        "--sandbox=auto",
        "--interval=3600",
    )
    with tempfile.TemporaryDirectory() as folder, Service(Path(folder) / "data", *flags) as service:
        charms = [service.add(SOURCE, space=f"space {number % spaces}") for number in range(CHARMS)]
        for charm in charms:
            charm.register()
            charm.post("disable")
        _send_events(service, charms)
        before = service.status()
        expected = before["executions"] + CHARMS * EVENTS
        cpu, began = _cpu_seconds(service), time.monotonic()
        for charm in charms:
            charm.post("enable")
        while (now := service.status())["executions"] < expected:
            time.sleep(0.1)
        elapsed, cpu = time.monotonic() - began, _cpu_seconds(service) - cpu
        workers = now["workers_created"] - before["workers_created"]
        runs = CHARMS * EVENTS
        return Cost(elapsed * 1000 / runs, cpu * 1000 / runs, workers)


def _cpu_seconds(service: Service) -> float:
    """What the service's processes have used, with those of them that have ended."""
    found = [psutil.Process(service.pid), *service.descendants()]
    total = 0.0
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])
    return total


def _send_events(service: Service, charms: list[RunningCharm]) -> None:
    connection = http.client.HTTPConnection("service")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(service.data_dir / "service.sock"))
    for charm in charms:
        for _ in range(EVENTS):
            headers = {"content-type": "application/json"}
            connection.request("POST", f"{charm.path}/send", '{"event": {}}', headers)
            with connection.getresponse() as answer:
                answer.read()
            if answer.status != 200:
                raise click.ClickException(f"an event was refused with {answer.status}")
    connection.close()


def main() -> None:
    """Print a row for each level and number of spaces: the round that took the least processor."""
    cores = len(os.sched_getaffinity(0))
    click.echo(
        f"{CHARMS} charms, {EVENTS} events each, {WORKERS} workers, {cores} cores, "
        f"Python {sys.version.split()[0]}, best of {ROUNDS}"
    )
    click.echo(f"{'level':8} {'spaces':>6} {'ms a run':>9} {'cpu ms':>7} {'workers made':>13}")
    for level in LEVELS:
        for spaces in SPACES:
            costs = [measure(level, spaces) for _ in range(ROUNDS)]
            best = min(costs, key=lambda cost: cost.cpu_ms)
            click.echo(
                f"{level:8} {spaces:6} {best.run_ms:9.2f} {best.cpu_ms:7.2f} {best.workers:13}"
            )


if __name__ == "__main__":
    main()

"""Importers: the first sync of a mailbox and of a calendar, and a poll after it with nothing new.

Beside a plain script with the same client library and the same parser, which keeps it in SQLite
with a commit for each portion, against the same server. Processor time of the service is that of
all of its processes, for polls once a second, by the schedule.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.bench import Bench
from benchmarks.importers.contents import fill_calendar, fill_mailbox
from benchmarks.populations import Population
from benchmarks.rows import Asked, Row
from benchmarks.sampling import Unmeasurable, wait_until_more
from benchmarks.service_process import ROOT, ServiceProcess
from benchmarks.usage import peak_resident_bytes, processor_time_of
from tests.real_servers import PASSWORD, USER, RealServer, dovecot, radicale

#: A first sync may take so long, in seconds.
PATIENCE_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class _Found:
    """What a first sync took, and a poll after it."""

    seconds: float
    poll_ms: float
    peak_bytes: int = 0
    walls: str = ""


def run(bench: Bench) -> list[Row]:
    """Measure both importers beside their scripts."""
    mails, events = bench.pick(10_000, 500), bench.pick(5_000, 300)
    rows: list[Row] = []
    with _server(dovecot) as (server, _):
        fill_mailbox(server.port, USER, PASSWORD, mails)
        where = {"host": "127.0.0.1", "port": server.port, "is_plain": True, "user": USER}
        rows += _compare(
            bench,
            f"{mails:,} mails (Dovecot)",
            server.port,
            ("mail", str(server.port), USER, PASSWORD),
            "mail_importer.py",
            {**where, "password": PASSWORD},
            lambda state: " of about " not in (state["progress"] or " of about "),
        )
    with _server(radicale) as (server, folder):
        fill_calendar(folder / "collection-root" / "me" / "work", events)
        # Radicale reads each item before its first answer, and keeps what it has read.
        _script("calendar", server.url, ":memory:")
        rows += _compare(
            bench,
            f"{events:,} events (Radicale)",
            server.port,
            ("calendar", server.url),
            "calendar_importer.py",
            {"url": server.url, "user": "me", "password": "any"},
            lambda state: state["sources"]["$items"] == events and state["left"] == 0,
        )
    return rows


@contextmanager
def _server(start: Callable[[Path], Any]) -> Iterator[tuple[RealServer, Path]]:
    """Run a real server in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="importers-") as folder:
        try:
            with start(Path(folder)) as server:
                yield server, Path(folder)
        except pytest.skip.Exception as why:
            raise Unmeasurable(str(why)) from None


def _compare(
    bench: Bench,
    what: str,
    port: int,
    command: tuple[str, ...],
    charm: str,
    values: dict[str, Any],
    is_done: Callable[[dict[str, Any]], bool],
) -> list[Row]:
    """Let a script and a charm import the same, one after the other."""
    with tempfile.TemporaryDirectory(prefix="script-", dir=bench.folder) as folder:
        script = _script(*command, str(Path(folder) / "script.db"))
    found = _charm(bench, port, charm, values, is_done)
    return [
        Row(f"first sync of {what}", found.seconds, "s", walls=found.walls),
        Row(f"the same by a script: {what}", script.seconds, "s"),
        Row(
            f"first sync beside the script: {what}",
            found.seconds / script.seconds,
            "times",
            asked=Asked("at most", 1.5),
        ),
        Row(f"processor time of a poll with nothing new, {what}", found.poll_ms, "ms"),
        Row(f"the same by a script, {what}", script.poll_ms, "ms"),
        Row(
            f"a poll beyond the script's, {what}",
            found.poll_ms - script.poll_ms,
            "ms",
            asked=Asked("at most", 10),
        ),
        Row(
            f"supervisor's memory at the most, {what}",
            found.peak_bytes / 1e6,
            "MB",
            asked=Asked("under", 150),
        ),
    ]


def _script(*arguments: str) -> _Found:
    command = [sys.executable, "-m", "benchmarks.importers.plain", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unmeasurable(f"The script failed: {done.stderr[-1000:]}")
    return _Found(**json.loads(done.stdout))


def _charm(
    bench: Bench,
    port: int,
    file: str,
    values: dict[str, Any],
    is_done: Callable[[dict[str, Any]], bool],
) -> _Found:
    flags = ("--interval=86400", f"--charm-network={port}")
    with bench.directory(Population(0, 0)) as data_dir, bench.start(data_dir, *flags) as service:
        body = {
            "source": (ROOT / "charms" / file).read_text(),
            "space": "importers",
            "file": file,
            "set": values,
            "register": True,
        }
        began = time.monotonic()
        added = service.ask("POST", "/api/charms", body)
        path = f"/api/charms/{added['space']}/{added['charm_id']}"
        while not is_done(service.ask("GET", f"{path}/state")):
            if time.monotonic() - began > PATIENCE_SECONDS:
                runs = service.ask("GET", f"{path}/runs?limit=3")
                raise Unmeasurable(f"{file} was not done: {runs}")
            time.sleep(0.1)
        seconds = time.monotonic() - began
        peak_bytes, walls = peak_resident_bytes(service.pid), service.walls()
        poll_ms = _poll_ms(bench, service, path)
    return _Found(seconds, poll_ms, peak_bytes, walls)


def _poll_ms(bench: Bench, service: ServiceProcess, path: str) -> float:
    """What a poll takes that finds nothing new, of all processes of the service.

    What the service takes without it, in as long a time just before, is left out. Nobody asks it
    for anything meanwhile: to answer that takes as long as a poll.
    """
    seconds = bench.pick(30.0, 10.0)
    at_rest, _ = _used_seconds(bench, service, seconds)
    service.ask("PUT", f"{path}/interval", {"seconds": 1})
    wait_until_more(service.executions, service.executions() + 1)
    used, polls = _used_seconds(bench, service, seconds)
    if not polls:
        raise Unmeasurable("It was not polled for half a minute.")
    return (used - at_rest) * 1000 / polls


def _used_seconds(bench: Bench, service: ServiceProcess, seconds: float) -> tuple[float, int]:
    """Wait, and give the processor time that the service took meanwhile, and its runs."""
    before, used = service.executions(), processor_time_of(service.pid)
    with bench.measuring(service):
        time.sleep(seconds)
    now, polls = processor_time_of(service.pid), service.executions() - before
    supervisor = now.supervisor_seconds - used.supervisor_seconds
    return supervisor + now.workers_seconds - used.workers_seconds, polls

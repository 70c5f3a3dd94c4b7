"""Connections of one program, in great numbers: what they do to the charms that run meanwhile.

It opens them, sends half a request on each, and closes it at once or holds it; or it sends whole
requests that nobody has signed to the listener of hooks. Everything else is as it always is; how
late runs start is asked for over the socket of the data directory.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from dataclasses import dataclass

from benchmarks.bench import Bench
from benchmarks.history import Period, runs_of, some_charms
from benchmarks.populations import Population
from benchmarks.rows import Asked, Row, percentile
from benchmarks.sampling import Unmeasurable, wait_until_more
from benchmarks.service_process import Failed, ServiceProcess

SECONDS = 5.0

#: Of so many charms of each space the recorded runs are looked at.
SAMPLE = 50

#: What one program does: so many connections in so many seconds, as evenly as it can.
_FLOOD = """
import resource, socket, sys, time
port, count, seconds, is_held = (float(word) for word in sys.argv[1:])
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
held, began = [], time.monotonic()
for number in range(int(count)):
    time.sleep(max(0.0, began + seconds * number / count - time.monotonic()))
    one = socket.socket()
    try:
        one.connect(("127.0.0.1", int(port)))
        one.send(b"GET /api/status HTTP/1.1\\r\\nhost: localhost\\r\\n")
    except OSError:
        pass
    if is_held:
        held.append(one)
    else:
        one.close()
print(time.monotonic() - began)
"""


#: What another one does: it offers so many deliveries that nobody has signed, in so many seconds,
#: each on a connection of its own, and waits for no answer.
_BAD_HOOKS = """
import select, socket, sys, time
port, count, seconds, _ = (float(word) for word in sys.argv[1:])
body = b"x" * 1000
request = (
    b"POST /hook/" + b"A" * 43 + b" HTTP/1.1\\r\\nhost: localhost\\r\\ncontent-length: 1000\\r\\n"
    b"x-hub-signature-256: sha256=" + b"0" * 64 + b"\\r\\n\\r\\n" + body
)
opening, began = [], time.monotonic()
for number in range(int(count)):
    time.sleep(max(0.0, began + seconds * number / count - time.monotonic()))
    one = socket.socket()
    one.setblocking(False)
    one.connect_ex(("127.0.0.1", int(port)))
    opening.append(one)
    if len(opening) == 200:
        _, ready, _ = select.select([], opening, [], 0)
        for each in ready:
            try:
                each.send(request)
            except OSError:
                pass
        for each in opening:
            each.close()
        opening = []
print(time.monotonic() - began)
"""


@dataclass(frozen=True, slots=True)
class Flood:
    """What one flood came to."""

    took_seconds: float
    lags_ms: list[float]
    answer_ms: float


def run(bench: Bench) -> list[Row]:
    """Measure without a flood, with two kinds of connections, and with deliveries nobody signed."""
    population = bench.pick(Population(10, 100), Population(4, 25))
    count = bench.pick(5000, 1000)
    port, hook_port = _free_port(), _free_port()
    flags = (
        f"--interval={SECONDS:g}",
        f"--listen=127.0.0.1:{port}",
        f"--hook-listen=127.0.0.1:{hook_port}",
    )
    bad_hooks = int(bench.pick(5000, 1000) * SECONDS)
    with bench.service(population, *flags) as service:
        walls = service.walls()
        wait_until_more(service.executions, 2 * population.size)
        quiet = _flood(service, port, 0, is_held=False)
        with bench.measuring(service):
            closed = _flood(service, port, count, is_held=False)
            held = _flood(service, port, count, is_held=True)
            hooks = _flood(service, hook_port, bad_hooks, is_held=False, program=_BAD_HOOKS)
    note = f"{population.size:,} charms, every {SECONDS:g} s"
    rows = [Row("start lag without a flood, p99", percentile(quiet.lags_ms, 99), "ms", walls=walls)]
    for name, one in (("opened and closed", closed), ("opened and held", held)):
        rows += [
            Row(
                f"start lag, {count:,} connections {name}, p99",
                percentile(one.lags_ms, 99),
                "ms",
                asked=Asked("under", 500),
                note=f"{note}; the flood took {one.took_seconds:.1f} s",
            ),
            Row(f"status over the socket, connections {name}, slowest", one.answer_ms, "ms"),
        ]
    offered = f"{bad_hooks / SECONDS:,.0f} unsigned deliveries offered a second"
    rows += [
        Row(
            f"start lag, {offered}, p99",
            percentile(hooks.lags_ms, 99),
            "ms",
            asked=Asked("under", 500),
            note=f"{note}; the flood took {hooks.took_seconds:.1f} s",
        ),
        Row(f"status over the socket, {offered}, slowest", hooks.answer_ms, "ms"),
    ]
    return rows


def _flood(
    service: ServiceProcess, port: int, count: int, *, is_held: bool, program: str = _FLOOD
) -> Flood:
    """Let a program open connections, and look at what ran until all were due again."""
    since, answers_ms = time.time(), []
    command = [sys.executable, "-c", program, *map(str, (port, count, SECONDS, int(is_held)))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as flooder:
        while flooder.poll() is None or time.time() < since + SECONDS:
            asked = time.monotonic()
            service.status()
            answers_ms.append((time.monotonic() - asked) * 1000)
            time.sleep(0.1)
        told = flooder.stdout.read() if flooder.stdout is not None else ""
    if flooder.returncode:
        raise Failed(f"The flood ended with {flooder.returncode}.")
    until = time.time()
    # What was due towards the end has run by then.
    time.sleep(SECONDS)
    period = Period(since, until + SECONDS)
    paths = list(some_charms(service, SAMPLE))
    lags = [run["lag_ms"] for path in paths for run in runs_of(service, path, period)]
    if not lags:
        raise Unmeasurable("Nothing ran while the connections came.")
    return Flood(float(told), lags, max(answers_ms))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port

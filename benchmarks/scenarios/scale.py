"""Point 2: 100,000 charms in 1,000 spaces, each polled once a minute, with the default flags.

Measured over one whole interval, in which every charm is due once, after one to warm up; then
once more with 1,000 charms that make as many runs a second, to see what a run costs more.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.bench import Bench
from benchmarks.history import Period, runs_of, some_charms
from benchmarks.populations import Population
from benchmarks.rows import Asked, Row, percentile
from benchmarks.sampling import wait_until_more
from benchmarks.service_process import ServiceProcess
from benchmarks.usage import resident_bytes, usage_of

#: What the page and the API are asked for meanwhile, so often.
PATHS = ("/", "/api/status", "/api/charms?limit=100", "/spaces")
EVERY_SECONDS = 0.25

#: Of so many charms of each space the recorded runs are looked at.
SAMPLE = 2


@dataclass(frozen=True, slots=True)
class Load:
    """What a while under load came to."""

    runs_per_second: float
    cpu_percent: float
    cpu_ms: float
    answers_ms: list[float]
    period: Period


def run(bench: Bench) -> list[Row]:
    """Measure the many, then the few."""
    many = bench.pick(Population(1000, 100), Population(100, 100))
    few = bench.pick(Population(10, 100), Population(2, 50))
    seconds = bench.pick(60.0, 10.0)
    interval = f"--interval={seconds:g}"
    with bench.directory(many) as data_dir:
        with bench.start(data_dir, interval) as service:
            walls = service.walls()
            fresh = _first_run(service)
            time.sleep(seconds)
            with bench.measuring(service):
                load = _under_load(service, seconds)
            resident = resident_bytes(service.pid)
            # Nothing of a sample may have run where the service is hopelessly late.
            latest_ms = service.status()["lag_ms_max_last_minute"]
            lags = list(_lags(service, load.period)) or [latest_ms]
        with bench.start(data_dir, interval) as service:
            again = _first_run(service)
    as_often = seconds * few.size / many.size
    with bench.service(few, f"--interval={as_often:g}") as service:
        _first_run(service)
        time.sleep(bench.pick(5.0, 1.0))
        small = _under_load(service, bench.pick(20.0, 5.0))
    due = many.size / seconds
    note = f"{many.size:,} charms, {many.spaces:,} spaces, every {seconds:g} s"
    return [
        Row("runs a second", load.runs_per_second, "/s", walls=walls, note=f"{due:,.0f} due"),
        Row("start lag, p50", percentile(lags, 50), "ms", note=note),
        Row("start lag, p99", percentile(lags, 99), "ms", asked=Asked("under", 1000)),
        Row(
            "processor time, all processes, of two cores",
            load.cpu_percent,
            "%",
            asked=Asked("under", 35),
        ),
        Row("supervisor, resident", resident / 1e6, "MB", asked=Asked("at most", 300)),
        Row("processor time of a run", load.cpu_ms, "ms"),
        Row(
            f"cost of a run, beside {few.size:,} charms",
            load.cpu_ms / small.cpu_ms,
            "times",
            asked=Asked("at most", 1.3),
            note=f"{small.cpu_ms:.3f} ms at {small.runs_per_second:,.0f} runs a second",
        ),
        Row("start to first run, never run before", fresh, "s", asked=Asked("under", 3)),
        Row("start to first run, again", again, "s", asked=Asked("under", 3)),
        Row(
            "page and API, p95 meanwhile",
            percentile(load.answers_ms, 95),
            "ms",
            asked=Asked("under", 50),
            note=f"slowest {max(load.answers_ms):.0f} ms of {len(load.answers_ms)}",
        ),
    ]


def _first_run(service: ServiceProcess) -> float:
    """Give the seconds from the start of the process to its first settled run."""

    def settled() -> int:
        status = service.status()
        return int(status["tasks_completed"] + status["tasks_failed"])

    return wait_until_more(settled, 0, every_seconds=0.01) - service.booted_at


def _under_load(service: ServiceProcess, seconds: float) -> Load:
    """Let it work for a while, asking for something now and then."""
    answers_ms = []
    before, runs = usage_of([service.pid]), service.executions()
    began, since = time.monotonic(), time.time()
    while time.monotonic() < began + seconds:
        for path in PATHS:
            asked = time.monotonic()
            service.fetch("GET", path)
            answers_ms.append((time.monotonic() - asked) * 1000)
        time.sleep(EVERY_SECONDS)
    elapsed = time.monotonic() - began
    after, runs = usage_of([service.pid]), service.executions() - runs
    cpu_seconds = after.cpu_seconds - before.cpu_seconds
    return Load(
        runs / elapsed,
        cpu_seconds / elapsed / 2 * 100,
        cpu_seconds * 1000 / max(runs, 1),
        answers_ms,
        Period(since, time.time()),
    )


def _lags(service: ServiceProcess, period: Period) -> Iterator[float]:
    """Give how late runs of a sample of charms started, in milliseconds."""
    for path in list(some_charms(service, SAMPLE)):
        for run in runs_of(service, path, period):
            yield run["lag_ms"]

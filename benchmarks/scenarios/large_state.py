"""Point 5: a charm that keeps 10 MB in one field and changes another, beside a small one.

Time is that of a run asked for, one after the other, in turns. What is written is that of a poll:
a service with this charm alone, once a second, so that nothing is shared with other runs.
"""

from __future__ import annotations

import statistics
import time

from benchmarks.bench import Bench
from benchmarks.history import some_charms
from benchmarks.populations import Population
from benchmarks.rows import Asked, Row
from benchmarks.sampling import wait_until_more
from benchmarks.service_process import ServiceProcess
from benchmarks.usage import bytes_written

LARGE_BYTES = 10_000_000

#: What a poll that runs alone may write, in kB: two commits of two pages each.
LONE_POLL = Asked("at most", 26)


def run(bench: Bench) -> list[Row]:
    """Measure both, each in a service of its own, at the same time."""
    small = Population(1, 1, "hoard.py", {"kept": "x"})
    large = Population(1, 1, "hoard.py", {"kept": "x" * LARGE_BYTES})
    times: dict[str, list[float]] = {"small": [], "large": []}
    never = "--interval=86400"
    with bench.service(small, never) as one, bench.service(large, never) as other:
        walls = other.walls()
        services = {"small": one, "large": other}
        paths = {name: _path(service) for name, service in services.items()}
        with bench.measuring(other):
            for _ in range(bench.pick(200, 30)):
                for name, service in services.items():
                    times[name].append(_run_ms(service, paths[name]))
    small_bytes = _written_by_poll(bench, small)
    large_bytes = _written_by_poll(bench, large)
    small_ms, large_ms = (statistics.median(times[name]) for name in ("small", "large"))
    return [
        Row("a run of the small charm", small_ms, "ms"),
        Row("a run of the charm with 10 MB", large_ms, "ms", walls=walls),
        Row("beside the small one", large_ms / small_ms, "times", asked=Asked("at most", 3)),
        Row("written for a poll of the small charm", small_bytes / 1e3, "kB", asked=LONE_POLL),
        Row("written for a poll of the charm with 10 MB", large_bytes / 1e3, "kB", asked=LONE_POLL),
    ]


def _path(service: ServiceProcess) -> str:
    """Wait for the first poll of the one charm; gives its path."""
    wait_until_more(service.executions, 0)
    return next(some_charms(service, 1))


def _run_ms(service: ServiceProcess, path: str) -> float:
    asked = time.monotonic()
    service.fetch("POST", f"{path}/run")
    return (time.monotonic() - asked) * 1000


def _written_by_poll(bench: Bench, population: Population) -> float:
    with bench.service(population, "--interval=1") as service:
        wait_until_more(service.executions, 2)
        runs, written = service.executions(), bytes_written(service.pid)
        wait_until_more(service.executions, runs + bench.pick(20, 5), every_seconds=0.2)
        runs, written = service.executions() - runs, bytes_written(service.pid) - written
    return written / runs

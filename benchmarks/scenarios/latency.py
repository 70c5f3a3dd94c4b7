"""Point 4: from a request for a run to the first line of its handler, on an idle service.

The clock starts before the request is sent, which is earlier than its arrival; the handler reads
the same clock first of all. Requests come one after the other.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence

from benchmarks.bench import Bench
from benchmarks.history import some_charms
from benchmarks.populations import Population
from benchmarks.rows import Asked, Row, percentile
from benchmarks.sampling import wait_until_more
from benchmarks.service_process import ServiceProcess

#: No charm is polled while this measures, in seconds.
INTERVAL_SECONDS = 86_400

#: A registration is answered before its run begins; by then it is over, mostly.
_PAUSE_SECONDS = 0.05

_SPACES = 100

P50, P99 = Asked("under", 10), Asked("under", 50)


def run(bench: Bench) -> list[Row]:
    """Measure runs that are asked for, registrations, and runs that wait for a fresh worker."""
    count = bench.pick(500, 60)
    population = Population(bench.pick(_SPACES, 20), 1, "stamp.py")
    interval = f"--interval={INTERVAL_SECONDS}"
    with bench.service(population, interval) as service:
        walls = service.walls()
        paths = _when_idle(service, population.size)
        with bench.measuring(service):
            same = [_run_now(service, paths[0]) for _ in range(count)]
            other = [_run_now(service, path) for path in _turns(paths, count)]
            rested = [_run_now_rested(service, path) for path in _turns(paths, count)]
            registered = [_register(service, paths[0]) for _ in range(count // 2)]
    alone = ("--isolation=run", "--max-concurrent=1")
    with bench.service(population, interval, *alone) as service:
        run_walls = service.walls()
        paths = _when_idle(service, population.size)
        fresh = list(_fresh_workers(service, paths[0], count // 2))
    return [
        *_rows("run now", same, walls),
        *_rows("run now, in a space without a worker", rested, walls),
        # The service is not idle then: each finds it giving birth to the next one's worker.
        *_rows("run now, each in another space, back to back", other, walls, asked=(None, None)),
        *_rows("registration", registered, walls),
        Row(
            "a fresh worker: from the end of one run to the next one's first line, p50",
            percentile(fresh, 50),
            "ms",
            asked=Asked("under", 15),
            walls=run_walls,
            note=f"least {min(fresh):.1f}, p99 {percentile(fresh, 99):.1f} ms",
        ),
    ]


def _rows(
    name: str,
    values_ms: Sequence[float],
    walls: str,
    asked: tuple[Asked | None, Asked | None] = (P50, P99),
) -> list[Row]:
    p50, p99 = asked
    note = f"of {len(values_ms)}, slowest {max(values_ms):.1f} ms"
    return [
        Row(f"{name}, p50", percentile(values_ms, 50), "ms", asked=p50, walls=walls, note=note),
        Row(f"{name}, p99", percentile(values_ms, 99), "ms", asked=p99, walls=walls),
    ]


def _when_idle(service: ServiceProcess, size: int) -> list[str]:
    """Wait until every charm had its first poll; gives the paths of all."""
    wait_until_more(service.executions, size - 1)
    return list(some_charms(service, 1))


def _turns(paths: list[str], count: int) -> Iterator[str]:
    """Take turns, among more spaces than there are workers: none has one when its turn comes."""
    return itertools.islice(itertools.cycle(paths), count)


def _run_now_rested(service: ServiceProcess, path: str) -> float:
    """Have a charm run on a service that has been idle for a moment."""
    time.sleep(_PAUSE_SECONDS)
    return _run_now(service, path)


def _run_now(service: ServiceProcess, path: str) -> float:
    """Have a charm run; gives the milliseconds until its handler began."""
    asked_ns = time.monotonic_ns()
    report = service.ask("POST", f"{path}/run")
    return float(report["writes"]["began_ns"] - asked_ns) / 1e6


def _register(service: ServiceProcess, path: str) -> float:
    """Register a charm anew, which polls it at once; gives the milliseconds until it began."""
    space, _, charm_id = path.removeprefix("/api/charms/").partition("/")
    service.ask("DELETE", f"/api/integrations/bg/{space}/{charm_id}")
    executions = service.executions()
    body = {"charmId": charm_id, "space": space, "integration": "manual"}
    asked_ns = time.monotonic_ns()
    service.ask("POST", "/api/integrations/bg", body)
    # Asking whether it is over takes time from what is measured.
    time.sleep(_PAUSE_SECONDS)
    wait_until_more(service.executions, executions)
    state = service.ask("GET", f"{path}/state")
    return float(state["began_ns"] - asked_ns) / 1e6


def _fresh_workers(service: ServiceProcess, path: str, count: int) -> Iterator[float]:
    """Run again and again where each run needs a worker that is forked when the last one ended.

    What is given has the settling of the last run in it, and the request for the next.
    """
    ended_ns = 0
    for _ in range(count + 1):
        report = service.ask("POST", f"{path}/run")
        began_ns = int(report["writes"]["began_ns"])
        if ended_ns:
            yield (began_ns - ended_ns) / 1e6
        ended_ns = began_ns + int(report["run"]["duration_ms"] * 1e6)

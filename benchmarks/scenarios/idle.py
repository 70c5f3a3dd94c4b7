"""Point 6: what the service uses while no charm is due, over more than one of its own cycles.

A thousand charms are there, each with an interval of a day.
"""

from __future__ import annotations

import time

from benchmarks.bench import Bench
from benchmarks.history import some_charms
from benchmarks.populations import Population
from benchmarks.rows import Asked, Row
from benchmarks.sampling import wait_until_more
from benchmarks.usage import memory_bytes, resident_bytes, usage_of

#: How often each charm is polled, in seconds.
DAY_SECONDS = 86_400

#: What is left to do after the last run gets so long, in seconds.
_SETTLE_SECONDS = 5.0


def run(bench: Bench) -> list[Row]:
    """Measure one service with the default flags."""
    population = bench.pick(Population(10, 100), Population(5, 10))
    seconds = bench.pick(65.0, 10.0)
    with bench.service(population) as service:
        walls = service.walls()
        wait_until_more(service.executions, population.size - 1)
        # Each is polled once more when its interval is set.
        for path in list(some_charms(service, population.charms_per_space)):
            service.ask("PUT", f"{path}/interval", {"seconds": DAY_SECONDS})
        wait_until_more(service.executions, population.size * 2 - 1)
        time.sleep(_SETTLE_SECONDS)
        before, began = usage_of([service.pid]), time.monotonic()
        with bench.measuring(service):
            time.sleep(seconds)
        after, elapsed = usage_of([service.pid]), time.monotonic() - began
        pss, resident = memory_bytes(service.pid), resident_bytes(service.pid)
    cpu_percent = (after.cpu_seconds - before.cpu_seconds) / elapsed * 100
    written = after.written_bytes - before.written_bytes
    note = f"{population.size:,} charms, none due, {seconds:g} s"
    return [
        Row(
            "processor time, all processes, of one core",
            cpu_percent,
            "%",
            asked=Asked("under", 0.5),
            walls=walls,
            note=note,
        ),
        Row("supervisor and API, resident", resident / 1e6, "MB", asked=Asked("under", 80)),
        Row("supervisor and API (PSS)", pss / 1e6, "MB"),
        Row("all processes (PSS)", after.pss_bytes / 1e6, "MB"),
        Row("written to disk", written, "bytes", asked=Asked("at most", 0)),
    ]

"""What each level of isolation costs a run, with all charms in one space and in several.

Events are queued while their charms are disabled; the time is taken from when all are enabled
until the last one is settled, and so is the processor time of all processes. The handler adds 1
to a field: what is left is the cost.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from benchmarks.bench import Bench
from benchmarks.history import some_charms
from benchmarks.populations import Population
from benchmarks.rows import Row, over_rounds
from benchmarks.sampling import wait_until_more
from benchmarks.usage import usage_of

EVENTS = 20
ROUNDS = 2
LEVELS = ("shared", "space", "run")

#: All charms in one space, and spread over more spaces than there are workers.
POPULATIONS = (Population(1, 24), Population(8, 3))


@dataclass(frozen=True, slots=True)
class Cost:
    """What one measurement came to."""

    run_ms: float
    cpu_ms: float
    workers: int
    walls: str


def run(bench: Bench) -> list[Row]:
    """Give rows for each level and number of spaces."""
    rows = []
    for level in LEVELS:
        for population in POPULATIONS:
            costs = [measure(bench, level, population) for _ in range(min(ROUNDS, bench.rounds))]
            spaces = "one space" if population.spaces == 1 else f"{population.spaces} spaces"
            name, walls = f"{level}, {spaces}", costs[0].walls
            made = f"{max(cost.workers for cost in costs)} workers made"
            cpu_ms, run_ms = [one.cpu_ms for one in costs], [one.run_ms for one in costs]
            rows += [
                over_rounds(f"{name}: processor time of a run", cpu_ms, "ms", walls=walls),
                over_rounds(f"{name}: time of a run", run_ms, "ms", note=made),
            ]
    return rows


def measure(bench: Bench, level: str, population: Population) -> Cost:
    """Let each charm run through its events under one level."""
    flags = (f"--isolation={level}", "--max-concurrent=2", "--interval=86400")
    with bench.service(population, *flags) as service:
        wait_until_more(service.executions, population.size - 1)
        charms = list(some_charms(service, population.charms_per_space))
        for charm in charms:
            service.ask("POST", f"{charm}/disable")
        for charm in charms:
            for _ in range(EVENTS):
                service.ask("POST", f"{charm}/send", {"event": {}})
        before, runs = service.status(), population.size * EVENTS
        cpu_seconds, began = usage_of([service.pid]).cpu_seconds, time.monotonic()
        with bench.measuring(service):
            for charm in charms:
                service.ask("POST", f"{charm}/enable")
            wait_until_more(service.executions, before["executions"] + runs - 1)
        elapsed = time.monotonic() - began
        cpu_seconds = usage_of([service.pid]).cpu_seconds - cpu_seconds
        workers = service.status()["workers_created"] - before["workers_created"]
        return Cost(elapsed * 1000 / runs, cpu_seconds * 1000 / runs, workers, service.walls())

"""Point 7: nothing slows down with age: the rate at the start beside the rate after many runs.

20,000 charms that keep 10 runs each, so that history is full, and pruned with every run, long
before the end, as it is after days of an ordinary service. What is not done within the time is
left out; the table says how many runs it were.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.populations import Population
from benchmarks.rows import Asked, Row
from benchmarks.sampling import Sample, rate_between
from benchmarks.saturation import busy_interval

#: The first and the last so many runs are compared.
PART = 100_000

#: How many runs of a charm are kept.
KEPT = 10

#: Hoped for in a second.
HOPED = 12_000

_EVERY_SECONDS = 0.5


def run(bench: Bench) -> list[Row]:
    """Let it run for long, and look at how fast and how large it was."""
    population = bench.pick(Population(200, 100), Population(20, 50))
    flags = ("--isolation=shared", "--max-concurrent=2", f"--history-runs={KEPT}")
    interval_seconds = busy_interval(bench, population, flags, HOPED)
    most_runs = min(bench.runs, bench.pick(bench.runs, 30_000))
    deadline = time.monotonic() + bench.pick(bench.minutes * 60, 25.0)
    samples: list[Sample] = []
    sizes: list[int] = []
    interval = f"--interval={interval_seconds:.3f}"
    with bench.service(population, interval, *flags) as service, bench.measuring(service):
        walls = service.walls()
        while time.monotonic() < deadline and (not samples or samples[-1].count < most_runs):
            samples.append(Sample(time.monotonic(), service.executions()))
            sizes.append(stored_bytes(service.data_dir))
            time.sleep(_EVERY_SECONDS)
    if samples[-1].count < most_runs:
        bench.say(f"  only {samples[-1].count:,} of {most_runs:,} runs: the time was over")
    return _rows(population, samples, sizes, walls)


def _rows(
    population: Population, samples: Sequence[Sample], sizes: Sequence[int], walls: str
) -> list[Row]:
    done = samples[-1].count
    part = min(PART, done // 4)
    # What the start of processes costs is no part of growth.
    begun = samples[0].count + part // 10
    first = rate_between(samples, begun, begun + part)
    last = rate_between(samples, done - part, done)
    full = next(
        (
            size
            for one, size in zip(samples, sizes, strict=True)
            if one.count >= _when_full(population)
        ),
        None,
    )
    rows = [
        Row("runs", done, "", walls=walls, note=f"{population.size:,} charms, {KEPT} runs kept"),
        Row("rate of the first runs", first, "/s", note=f"{part:,} runs"),
        Row("rate of the last runs", last, "/s", note=f"{part:,} runs"),
        Row("last beside first", last / first, "times", asked=Asked("at least", 0.97)),
        Row("database at the end", sizes[-1] / 1e6, "MB"),
    ]
    if full:
        asked = Asked("at most", 1.1)
        rows.append(Row("beside when history was full", sizes[-1] / full, "times", asked=asked))
    # From here on each run drops an old one from the history, as it does on any later day.
    filled = _when_full(population)
    if done >= filled + part:
        after = rate_between(samples, filled, filled + part)
        rows.append(Row("rate once history was full", after, "/s"))
        rows.append(Row("last beside once history was full", last / after, "times"))
    return rows


def _when_full(population: Population) -> int:
    """After how many runs every charm has made as many as are kept, and some more."""
    return int(population.size * KEPT * 1.2)


def stored_bytes(data_dir: Path) -> int:
    """Give the size of the database with its log."""
    return sum(file.stat().st_size for file in data_dir.glob("*.db*"))

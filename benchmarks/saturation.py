"""Finds the interval at which a service always has work waiting, but not far too much.

Polls that fall due while an earlier one of the same charm waits are skipped and counted, which
costs time too: a service that is asked for ten times what it can do measures how fast it skips.
Used by the scenarios that measure how fast it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.bench import Bench
from benchmarks.populations import Population
from benchmarks.sampling import rate, wait_until_more, watch

#: More than so many times what is done is asked for in vain.
MOST = 2.2

#: Asked for at first, in parts of what the service should do. In its first interval it is asked for
#: half as much again: missed polls are spread over it, beside those of the charms' phases.
FIRST = 1.7

_PROBE_SECONDS = 3.0
_MOST_PROBES = 8


@dataclass(frozen=True, slots=True)
class Demand:
    """Runs asked for in a second, and the most of which it is known that they are too few."""

    per_second: float
    too_few: float = 0.0

    def after(self, done_per_second: float, *, is_busy: bool) -> Demand:
        """Give the demand to try next; the same one is good."""
        if not is_busy:
            return Demand(self.per_second * 2, max(self.too_few, self.per_second))
        if self.per_second <= done_per_second * MOST:
            return self
        return replace(self, per_second=max(done_per_second * FIRST, self.too_few * 1.25))


def busy_interval(
    bench: Bench, population: Population, flags: Sequence[str], per_second: float
) -> float:
    """Try intervals, given what is hoped for, until one keeps the service busy."""
    demand = Demand(per_second * FIRST)
    for _ in range(_MOST_PROBES):
        done, is_busy = _try(bench, population, flags, demand)
        following = demand.after(done, is_busy=is_busy)
        if following == demand:
            break
        bench.say(f"  asked for {demand.per_second:,.0f} a second, {done:,.0f} were done")
        demand = following
    return population.size / demand.per_second


def _try(
    bench: Bench, population: Population, flags: Sequence[str], demand: Demand
) -> tuple[float, bool]:
    waiting: list[int] = []

    def count() -> int:
        status = service.status()
        waiting.append(int(status["jobs_pending"]))
        return int(status["executions"])

    interval = f"--interval={population.size / demand.per_second:.3f}"
    with bench.service(population, interval, *flags) as service:
        # At a first start, most charms wait until a few have shown how long a run takes.
        wait_until_more(count, population.size // 4)
        waiting.clear()
        done = rate(watch(count, _PROBE_SECONDS))
    return done, 0 not in waiting

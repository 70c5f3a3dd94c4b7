"""What a run costs in processor time, supervisor and workers apart, beside the build before.

In each round every build has a service of its own, and both are warm before anything is measured.
Then they take turns of a quarter of a second: the supervisor of the other one is stopped, so that
its workers have nothing to do. What else the machine does, and how fast its processors run just
then, changes from second to second, and hits both alike this way; lives of whole services one after
the other differ by a quarter on a busy machine, where nothing was changed.

Each round starts both anew: where a process has its memory, and in which order its sets are, makes
it a little faster or slower for its whole life. Services that lived through all rounds would have
the same luck in each, and the spread would not show it.

How many runs are asked for is the same for both and less than they can do, so that no poll is
skipped: that costs time too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeVar

from benchmarks.bench import Bench
from benchmarks.populations import Population
from benchmarks.rows import Asked, Row, compared, over_rounds
from benchmarks.sampling import wait_until_more
from benchmarks.service_process import ServiceProcess
from benchmarks.usage import processor_time_of

Kind = TypeVar("Kind")

#: Asked for in a second of the clock, twice as many in one of a service's own turn.
RUNS_PER_SECOND = 2_000

#: How long one of them works before it is the other's turn, in seconds. With a whole second the
#: ratio strayed further, and a tenth of a second was no better.
TURN_SECONDS = 0.25

#: How often each works in a round: with fewer turns the ratio strays by more than the changes do
#: that it is to show.
TURNS, TURNS_QUICK = 40, 8

#: Of the supervisor's part and of the workers'.
ASKED = Asked("at most", 0.45, beside_before=True)

#: So many charms are in a space.
_CHARMS_PER_SPACE = 100


@dataclass(frozen=True, slots=True)
class Cost:
    """What one service used in one round, in milliseconds of processor time for each run."""

    supervisor_ms: float
    workers_ms: float
    skipped_polls: int
    walls: str

    @property
    def both_ms(self) -> float:
        """All processes of the service."""
        return self.supervisor_ms + self.workers_ms


def run(bench: Bench) -> list[Row]:
    """Measure all rounds, and compare round by round."""
    population = population_of(bench.pick(bench.charms, 1_000))
    ours: list[Cost] = []
    theirs: list[Cost] = []
    for number in range(bench.rounds):
        costs = _round(bench, population, number)
        ours.append(costs[0])
        theirs += costs[1:]
        told = " beside ".join(f"{one.both_ms:.4f} ms" for one in costs)
        bench.say(f"  round {number + 1}: {told}")
    return _rows(population, ours, theirs)


def population_of(charms: int) -> Population:
    """Spread about so many charms over spaces of a hundred."""
    in_space = min(charms, _CHARMS_PER_SPACE)
    return Population(charms // in_space, in_space)


def _rows(population: Population, ours: Sequence[Cost], theirs: Sequence[Cost]) -> list[Row]:
    note = f"{population.size:,} charms, {population.spaces:,} spaces, two workers"
    if skipped := sum(one.skipped_polls for one in (*ours, *theirs)):
        note += f"; {skipped:,} polls were skipped: the machine is too slow for this"
    pairs = list(zip(ours, theirs, strict=bool(theirs)))
    name = "processor time of a run"
    return [
        over_rounds(
            name,
            [one.both_ms for one in ours],
            "ms",
            before=compared([(one.both_ms, other.both_ms) for one, other in pairs]),
            walls=ours[0].walls,
            note=note,
        ),
        over_rounds(
            f"{name}: supervisor",
            [one.supervisor_ms for one in ours],
            "ms",
            asked=ASKED,
            before=compared([(one.supervisor_ms, other.supervisor_ms) for one, other in pairs]),
        ),
        over_rounds(
            f"{name}: workers",
            [one.workers_ms for one in ours],
            "ms",
            asked=ASKED,
            before=compared([(one.workers_ms, other.workers_ms) for one, other in pairs]),
            note="with the process that forks them",
        ),
    ]


def _round(bench: Bench, population: Population, number: int) -> list[Cost]:
    """Give the cost in a service of each build, this one's first."""
    interval = f"--interval={population.size / RUNS_PER_SECOND:g}"
    benches = bench.turns(number)
    with ExitStack() as stack:
        services = {
            one: stack.enter_context(one.service(population, interval, "--max-concurrent=2"))
            for one in benches
        }
        for service in services.values():
            wait_until_more(service.executions, population.size)
        stack.enter_context(bench.measuring(services[bench]))
        meters = {one: Meter(service) for one, service in services.items()}
        _take_turns(list(services.values()), bench.pick(TURNS, TURNS_QUICK))
        return [meters[one].read() for one in sorted(benches, key=lambda one: one is not bench)]


class Meter:
    """Reads what a service has used since this was made."""

    def __init__(self, service: ServiceProcess) -> None:
        self._service = service
        self._began = processor_time_of(service.pid)
        self._status = service.status()

    def read(self) -> Cost:
        """Give the cost of a run since then."""
        status, now = self._service.status(), processor_time_of(self._service.pid)
        runs = max(1, status["executions"] - self._status["executions"])
        return Cost(
            (now.supervisor_seconds - self._began.supervisor_seconds) * 1000 / runs,
            (now.workers_seconds - self._began.workers_seconds) * 1000 / runs,
            status["skipped_polls"] - self._status["skipped_polls"],
            self._service.walls(),
        )


def _take_turns(services: Sequence[ServiceProcess], turns: int) -> None:
    """Let each work so many times, and nobody else meanwhile."""
    for service in services:
        service.pause()
    for working in order_of_turns(services, turns):
        if working is not None:
            working.resume()
        time.sleep(TURN_SECONDS)
        if working is not None:
            working.pause()
    for service in services:
        service.resume()


def order_of_turns(services: Sequence[Kind], turns: int) -> Iterator[Kind | None]:
    """Give who works next: one, other, other, one, and so on.

    A service that is alone takes turns with nobody: its figure means the same with and without
    another one beside it.
    """
    first, second = services if len(services) > 1 else (*services, None)
    for number in range(turns):
        yield from (first, second) if number % 2 == 0 else (second, first)

"""What one seed stands for: the service's settings, its charms, and how much goes wrong."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from bg_charm_service.domain.suspicion import LONGEST_TRIAL_SECONDS
from tests.simulation.cast import Deed, Temper

#: How long after the faults stop a job that may run can wait, in simulated seconds.
OVERDUE_SECONDS = 300.0

#: About so many polls are simulated in one seed, however long that takes.
_POLLS = 15

_BAD_DEEDS = tuple(deed for deed in Deed if deed not in (Deed.WELL, Deed.FATAL))


@dataclass(frozen=True, slots=True)
class Plan:
    """The draw of one seed; durations in simulated seconds."""

    seed: int
    interval_seconds: float
    timeout_seconds: float
    run_seconds: float
    workers: int
    max_runs: int
    spaces: int
    charms: int
    chaos_seconds: float
    calm_seconds: float
    #: How long it is quiet between two things that go wrong, on average.
    pause_seconds: float
    history_runs: int
    history_jobs: int
    disabled_retry_seconds: float
    #: How many charms share the collections of a hub; in most worlds there is none.
    takers: int = 0
    #: How many charms share a sign-in, beside the one that has it; in most worlds there is none.
    readers: int = 0

    @property
    def hours(self) -> float:
        """How much time is simulated."""
        return (self.chaos_seconds + self.calm_seconds) / 3600


def draw_plan(seed: int) -> Plan:
    """Draw a plan; the same seed gives the same plan."""
    chance = random.Random(f"plan {seed}")
    interval = chance.choice([60.0, 900.0, 3600.0, 4 * 3600.0, 12 * 3600.0])
    charms = chance.choice([2, 6, 12, 12])
    chaos = interval * max(4.0, _POLLS / charms)
    return Plan(
        seed=seed,
        interval_seconds=interval,
        timeout_seconds=chance.choice([2.0, 10.0]),
        run_seconds=chance.choice([0.001, 0.001, 0.2, 1.0, 1.0]),
        workers=chance.randint(1, 4),
        max_runs=chance.choice([1, 5, 1000]),
        spaces=chance.randint(1, 3),
        charms=charms,
        chaos_seconds=chaos,
        calm_seconds=interval + 2 * OVERDUE_SECONDS + LONGEST_TRIAL_SECONDS,
        pause_seconds=chaos / chance.choice([5, 12, 30]),
        history_runs=chance.choice([3, 20]),
        history_jobs=chance.choice([5, 50]),
        disabled_retry_seconds=chance.choice([interval * 3, 86400.0]),
        takers=chance.choice([2, 3]) if seed % 4 == 3 else 0,
        readers=chance.choice([1, 3]) if seed % 4 == 1 else 0,
    )


def draw_temper(chance: random.Random) -> Temper:
    """Draw how a charm behaves for a while."""
    rate = chance.choice([0.0, 0.0, 0.1, 0.5, 1.0])
    if chance.random() < 0.05:
        return Temper(rate, (Deed.FATAL,))
    return Temper(rate, tuple(chance.sample(_BAD_DEEDS, chance.randint(1, 6))))


def crowded(plan: Plan) -> Plan:
    """Give a plan in which many quick charms share a worker: they run in batches."""
    return replace(plan, spaces=1, workers=1, charms=12, run_seconds=0.001)


def scarce(plan: Plan) -> Plan:
    """Give a plan in which three spaces wait for one worker."""
    return replace(plan, spaces=3, workers=1, charms=12, run_seconds=1.0)


def hectic(plan: Plan) -> Plan:
    """Give a plan in which it is never quiet for long."""
    return replace(plan, pause_seconds=plan.chaos_seconds / 40)


def scarce_and_hectic(plan: Plan) -> Plan:
    """Give a plan that is both."""
    return hectic(scarce(plan))


def signed_in(plan: Plan) -> Plan:
    """Give a plan in which three charms share a sign-in, and it is never quiet for long."""
    return replace(hectic(plan), charms=2, readers=3, run_seconds=1.0)


def as_drawn(plan: Plan) -> Plan:
    """Give a plan as it is."""
    return plan

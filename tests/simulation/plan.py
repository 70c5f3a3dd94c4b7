"""What one seed stands for: the service's settings, its charms, and how much goes wrong."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from bg_charm_service.domain.outcomes.suspicion import LONGEST_TRIAL_SECONDS
from tests.simulation.cast import Deed, Temper

#: How long after the faults stop a job that may run can wait, in simulated seconds.
OVERDUE_SECONDS = 300.0

#: About so many polls are simulated in one seed, however long that takes.
_POLLS = 15

#: How much of what is done, or goes wrong, is what a test wants most.
FAVOURED_SHARE = 0.6

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
    #: How many charms have people told of what they do; in most worlds nobody is told of anything.
    tellers: int = 0
    #: How many charms have hooks; in most worlds there is none.
    hooked: int = 0
    #: How often somebody who does something waits until a run is under way.
    watched_share: float = 0.7
    #: How often charms misbehave: each has one of these rates.
    rates: tuple[float, ...] = (0.0, 0.0, 0.1, 0.5, 1.0)
    #: What they do then; in most worlds each has ways of its own.
    deeds: tuple[Deed, ...] = ()

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
        calm_seconds=_calm_seconds(interval),
        pause_seconds=chaos / chance.choice([5, 12, 30]),
        history_runs=chance.choice([3, 20]),
        history_jobs=chance.choice([5, 50]),
        disabled_retry_seconds=chance.choice([interval * 3, 86400.0]),
        takers=chance.choice([2, 3]) if seed % 4 == 3 else 0,
        readers=chance.choice([1, 3]) if seed % 4 == 1 else 0,
        tellers=2 if seed % 4 == 2 else 0,
        hooked=2 if seed % 4 == 2 else 0,
    )


def _calm_seconds(interval_seconds: float) -> float:
    """Give the time in which whatever waits has to have come to its end."""
    return interval_seconds + 2 * OVERDUE_SECONDS + LONGEST_TRIAL_SECONDS


def draw_temper(chance: random.Random, plan: Plan) -> Temper:
    """Draw how a charm behaves for a while."""
    rate = chance.choice(plan.rates)
    if plan.deeds:
        return Temper(rate, plan.deeds)
    if chance.random() < 0.05:
        return Temper(rate, (Deed.FATAL,))
    return Temper(rate, tuple(chance.sample(_BAD_DEEDS, chance.randint(1, 6))))


def hectic(plan: Plan) -> Plan:
    """Give a plan in which it is never quiet for long."""
    return replace(plan, pause_seconds=plan.chaos_seconds / 40)


def signed_in(plan: Plan) -> Plan:
    """Give a plan in which three charms share a sign-in, and it is never quiet for long."""
    return replace(hectic(plan), charms=2, readers=3, run_seconds=1.0)


def brief(*, polls: float = 4.0, moments: int = 40, **changes: Any) -> Callable[[Plan], Plan]:
    """Make a world of an hour and few charms, to which much happens: a bug shows soon, or never.

    Until it is calm each charm is polled about `polls` times, and so many `moments` come at which
    something is done, and as many at which something goes wrong. `changes` are other fields of the
    plan.
    """
    given = {
        "interval_seconds": 900.0,
        "timeout_seconds": 2.0,
        "run_seconds": 1.0,
        "workers": 1,
        "spaces": 1,
        "charms": 4,
        "takers": 0,
        "readers": 0,
        "tellers": 0,
        "hooked": 0,
        **changes,
    }
    interval_seconds = given["interval_seconds"]
    chaos_seconds = interval_seconds * polls

    def world(plan: Plan) -> Plan:
        return replace(
            plan,
            chaos_seconds=chaos_seconds,
            calm_seconds=_calm_seconds(interval_seconds),
            pause_seconds=chaos_seconds / moments,
            **given,
        )

    return world


def as_drawn(plan: Plan) -> Plan:
    """Give a plan as it is."""
    return plan

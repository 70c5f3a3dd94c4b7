"""When charms are due: stable phases, never back to back, spread only where it is needed."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bg_charm_service.domain.model import CharmRef
from bg_charm_service.domain.schedules.poll_schedule import (
    due_after_first,
    due_after_poll,
    due_after_restart,
    next_due,
    phase_seconds,
    spread_seconds,
)

NOW = 1_790_000_000.0
MINUTE = 60.0

refs = st.builds(CharmRef, st.text(max_size=8), st.text(max_size=8))
intervals = st.floats(0.1, 1e6)
fractions = st.floats(0, 1, exclude_max=True)
moments = st.floats(0, 4e9)
bursts = st.floats(0, 1e6)


@given(refs, intervals, bursts)
def test_phase_lies_in_the_interval(ref: CharmRef, interval: float, burst: float) -> None:
    """A phase is in [0, interval), and the same whenever it is asked for."""
    phase = phase_seconds(ref, interval, burst)
    assert 0 <= phase < interval
    assert phase == phase_seconds(ref, interval, burst)


def test_neighbours_are_due_together() -> None:
    """Charms of a space with a short burst share one phase, so that one worker serves them."""
    phases = {phase_seconds(CharmRef("space", f"charm {n}"), MINUTE, 0.9) for n in range(20)}
    assert 1 == len(phases)


def test_long_burst_is_spread() -> None:
    """A space that takes 8 s of worker time uses half a minute, not one moment, nor all of it."""
    phases = [phase_seconds(CharmRef("space", f"charm {n}"), MINUTE, 8.0) for n in range(500)]
    start = phase_seconds(CharmRef("space", "charm 0"), MINUTE, 0.0)
    places = sorted((phase - start) % MINUTE for phase in phases)
    assert places[-1] < 32
    assert max(later - sooner for sooner, later in pairwise(places)) < 1


def test_spaces_are_due_apart() -> None:
    """The phases of many spaces fill the interval evenly."""
    phases = [phase_seconds(CharmRef(f"space {n}", "charm"), MINUTE) for n in range(6000)]
    tenths = [sum(int(phase // 6) == tenth for phase in phases) for tenth in range(10)]
    assert min(tenths) > 500


@given(bursts, intervals)
def test_spread_grows_with_the_burst(burst: float, interval: float) -> None:
    """A spread is never longer than the interval, nor shorter than a smaller burst's."""
    spread = spread_seconds(burst, interval)
    assert 0 <= spread <= interval
    assert spread <= spread_seconds(burst * 2, interval)


@pytest.mark.parametrize(("burst", "spread"), [(0.0, 0), (1.0, 0), (1.1, 8), (2.0, 8), (2.1, 16)])
def test_spread_stays_put_while_a_space_grows_slowly(burst: float, spread: float) -> None:
    """It begins above one second of worker time, and moves in powers of two only."""
    assert spread == spread_seconds(burst, 3600)


@given(moments, intervals, fractions)
def test_next_due_is_the_first_moment_of_the_phase(
    after: float, interval: float, fraction: float
) -> None:
    """It is later than asked for, by at most an interval, and at the phase."""
    phase = fraction * interval
    due = next_due(after, phase, interval)
    assert after < due
    assert due - interval <= after + 1e-6
    periods = (due - phase) / interval
    assert math.isclose(periods, round(periods), rel_tol=1e-9, abs_tol=1e-6)


@given(moments, st.floats(0, 1e6), intervals, fractions)
def test_missed_polls_are_skipped(
    due: float, late: float, interval: float, fraction: float
) -> None:
    """However late a poll is planned, the next one is in the future and within an interval."""
    now = due + late
    following = due_after_poll(due, now, fraction * interval, interval)
    assert now < following <= now + interval + 1e-6


@given(moments, intervals, fractions)
def test_early_poll_does_not_repeat(due: float, interval: float, fraction: float) -> None:
    """A poll planned a little before its time is not due a second time in the same period."""
    following = due_after_poll(due, due - interval / 10, fraction * interval, interval)
    assert due < following


@given(moments, intervals, fractions)
def test_new_charm_rests_half_an_interval(now: float, interval: float, fraction: float) -> None:
    """After the poll at once, the next is half to one and a half intervals away."""
    due = due_after_first(now, fraction * interval, interval)
    assert now + interval / 2 < due <= now + interval * 1.5 + 1e-6


def test_few_missed_polls_start_at_once() -> None:
    """What can start within five seconds is not delayed; what is not due yet stays."""
    dues = [NOW - 500, NOW - 1, NOW, NOW + 7]
    assert [NOW, NOW, NOW, NOW + 7] == due_after_restart(dues, NOW, MINUTE, starts_per_second=10)


def test_many_missed_polls_are_spread_oldest_first() -> None:
    """More than that are spread evenly over the interval, in the order in which they were due."""
    dues = [NOW - 10 * n for n in range(60)]
    moved = due_after_restart(dues, NOW, MINUTE, starts_per_second=10)
    assert [NOW + place for place in range(60)] == moved[::-1]


def test_many_missed_polls_wait_no_longer_than_their_own_interval() -> None:
    """A charm that is polled more often than others is not spread over the others' interval."""
    dues = [NOW - 10 * n for n in range(60)]
    own = [6.0 if n % 2 else None for n in range(60)]
    moved = due_after_restart(dues, NOW, MINUTE, starts_per_second=10, own_intervals=own)
    assert max(moved[1::2]) < NOW + 6 < max(moved[::2])


@given(st.lists(st.floats(0, 4e9), max_size=30), intervals, st.floats(0.01, 100))
def test_restart_leaves_nothing_far_away(
    dues: list[float], interval: float, starts_per_second: float
) -> None:
    """Every charm runs once within an interval, whatever the clock did meanwhile."""
    assume(interval < NOW)
    moved = due_after_restart(dues, NOW, interval, starts_per_second)
    assert len(dues) == len(moved)
    assert all(NOW <= due <= NOW + interval for due in moved)

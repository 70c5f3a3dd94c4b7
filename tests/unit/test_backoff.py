"""Delays between attempts: growing, capped, and never in step."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bg_charm_service.domain.outcomes.backoff import (
    MAX_DELAY_SECONDS,
    restart_delay_seconds,
    retry_delay_seconds,
)

attempts = st.integers(1, 10_000)
chances = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("attempt", "seconds"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 30), (7, 30), (5000, 30)]
)
def test_retries_wait_twice_as_long_each_time(attempt: int, seconds: float) -> None:
    """One second after the first failure, doubling up to half a minute."""
    assert seconds == retry_delay_seconds(attempt, 0.0)


@pytest.mark.parametrize(("deaths", "seconds"), [(1, 0.1), (2, 0.2), (5, 1.6), (100, 30)])
def test_restarts_begin_sooner(deaths: int, seconds: float) -> None:
    """A worker that died is replaced after a tenth of a second, then ever later."""
    assert pytest.approx(seconds) == restart_delay_seconds(deaths, 0.0)


@given(attempts, chances)
def test_chance_takes_at_most_a_fifth(attempt: int, chance: float) -> None:
    """The random part only shortens a delay, so that the cap holds."""
    longest = retry_delay_seconds(attempt, 0.0)
    assert longest * 0.8 <= retry_delay_seconds(attempt, chance) <= longest <= MAX_DELAY_SECONDS

"""Promises of the small charts: nothing is drawn outside, the newest is at the right."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bg_charm_service.api.pages import charts
from bg_charm_service.status_views import MinuteView

OUTCOMES = st.lists(
    st.tuples(st.sampled_from(["success", "failure", "stale"]), st.floats(0, 1e9)), max_size=30
)
MINUTES = st.lists(
    st.builds(MinuteView, st.just(0.0), st.integers(0, 10**6), st.integers(0, 10**6)),
    min_size=60,
    max_size=60,
)


@given(OUTCOMES)
def test_bars_of_runs_fit(outcomes: list[tuple[str, float]]) -> None:
    """Each run has a bar inside the chart, in order, the last at the right end."""
    bars = charts.spark_bars(outcomes, 30)
    assert [status for status, _ in outcomes] == [bar.kind for bar in bars]
    assert all(0 < bar.height <= charts.SPARK_HEIGHT and bar.y >= 0 for bar in bars)
    assert not bars or 29 * charts.SPARK_STEP == bars[-1].x


@given(MINUTES)
def test_bars_of_the_hour_fit(minutes: list[MinuteView]) -> None:
    """Successes and failures of a minute stand on each other, inside the chart."""
    bars = charts.hour_bars(minutes)
    assert all(bar.y >= 0 and bar.y + bar.height <= charts.HOUR_HEIGHT + 0.11 for bar in bars)
    counts = sum((minute.successes > 0) + (minute.failures > 0) for minute in minutes)
    assert counts == len(bars)


def test_charts_say_what_they_show() -> None:
    """Who sees no chart gets its numbers."""
    assert "No runs yet" == charts.describe_outcomes([])
    assert "Last 2 runs: 1 failed" == charts.describe_outcomes([("failure", 1), ("success", 2)])
    told = charts.describe_hour([MinuteView(0.0, 3, 1), MinuteView(60.0, 0, 0)])
    assert "Last hour: 4 runs, 1 of them failed; at most 4 a minute." == told

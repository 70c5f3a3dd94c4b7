"""Promises of the small charts: nothing is drawn outside, the newest is at the right."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from bg_charm_service.api.pages import charts
from bg_charm_service.domain.outcomes.policy import RunStatus
from bg_charm_service.service.status.views import MinuteView

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
    """Each run has a bar of its kind inside the chart, in order, the last at the right end."""
    bars = sorted(
        (float(x), shape.kind, float(y), float(height))
        for shape in charts.spark_shapes(outcomes, 30)
        for x, y, height in re.findall(r"M(\S+) (\S+)h3v(\S+)h-3z", shape.outline)
    )
    assert [status for status, _ in outcomes] == [kind for _, kind, _, _ in bars]
    ends = [(30 - place) * charts.SPARK_STEP for place in range(len(outcomes), 0, -1)]
    assert ends == [x for x, _, _, _ in bars]
    assert all(0 < height and y >= 0 for _, _, y, height in bars)
    assert all(abs(y + height - charts.SPARK_HEIGHT) < 0.01 for _, _, y, height in bars)


def test_every_end_of_a_run_has_a_colour() -> None:
    """A bar without a rule of its own would be black, and cannot be seen on a dark page."""
    style = (Path(charts.__file__).parents[1] / "static" / "style.css").read_text()
    assert [] == [each for each in RunStatus if not re.search(rf"\.bar-{each}\b", style)]


def test_a_row_of_runs_in_words() -> None:
    """Failures, and runs that had to wait, are told apart."""
    runs = [("success", 1.0), ("failure", 1.0), ("down", 1.0), ("waiting", 1.0), ("sign_in", 1.0)]
    assert "Last 5 runs: 1 failed, 2 had to wait" == charts.describe_outcomes(runs)
    assert "Last run: 0 failed" == charts.describe_outcomes(runs[:1])


def test_bars_of_a_kind_are_one_shape() -> None:
    """A row of alike runs is drawn at once."""
    shapes = charts.spark_shapes([("success", 1.0), ("failure", 2.0), ("success", 3.0)], 30)
    assert ["success", "failure"] == [shape.kind for shape in shapes]


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

"""Promises of the status board: the counts of the last hour, and how late runs start."""

from __future__ import annotations

from bg_charm_service.service.metrics.run_counters import RunsTogether
from bg_charm_service.service.status.board import MINUTES, RunHistory, StartLags


def test_an_hour_has_sixty_minutes() -> None:
    """Minutes without runs are there with zeros; the newest is the last."""
    shown = RunHistory().last_hour(3600.0)
    assert (MINUTES, 60.0, 3600.0) == (len(shown), shown[0].minute, shown[-1].minute)
    assert 0 == sum(minute.successes + minute.failures for minute in shown)


def test_runs_are_counted_in_their_minute() -> None:
    """Successes and failures count; other ends say nothing; old ones go."""
    history = RunHistory()
    history.note(RunsTogether(successes=1), 10.0)
    history.note(RunsTogether(successes=1), 7205.0)
    history.note(RunsTogether(failures=1), 7259.0)
    history.note(RunsTogether(), 7259.0)
    history.note(RunsTogether(successes=1), 7260.0)
    shown = history.last_hour(7290.0)
    counts = [(one.minute, one.successes, one.failures) for one in shown if one.successes]
    assert [(7200.0, 1, 1), (7260.0, 1, 0)] == counts


def lag(*seconds: float) -> RunsTogether:
    """Runs that started so late."""
    return RunsTogether(
        lags=len(seconds), lag_seconds=sum(seconds), longest_lag_seconds=max(seconds)
    )


def test_lags_are_those_of_the_last_minute() -> None:
    """Average and latest; what is older does not count."""
    lags = StartLags()
    lags.note(lag(90.0), 100.0)
    lags.note(lag(1.0), 150.0)
    lags.note(lag(1.0, 4.0), 200.0)
    lags.note(RunsTogether(), 201.0)
    assert (2000.0, 4000.0) == (lags.mean_ms(205.0), lags.max_ms(205.0))

"""Promises of the status board: the counts of the last hour, and how late runs start."""

from __future__ import annotations

from bg_charm_service.domain.outcome_policy import RunStatus
from bg_charm_service.service.status.board import MINUTES, RunHistory, StartLags


def test_an_hour_has_sixty_minutes() -> None:
    """Minutes without runs are there with zeros; the newest is the last."""
    shown = RunHistory().last_hour(3600.0)
    assert (MINUTES, 60.0, 3600.0) == (len(shown), shown[0].minute, shown[-1].minute)
    assert 0 == sum(minute.successes + minute.failures for minute in shown)


def test_runs_are_counted_in_their_minute() -> None:
    """Successes and failures count; stale and cancelled runs say nothing; old ones go."""
    history = RunHistory()
    history.note(RunStatus.SUCCESS, 10.0)
    history.note(RunStatus.SUCCESS, 7205.0)
    history.note(RunStatus.FAILURE, 7259.0)
    history.note(RunStatus.STALE, 7259.0)
    history.note(RunStatus.CANCELLED, 7259.0)
    history.note(RunStatus.SUCCESS, 7260.0)
    shown = history.last_hour(7290.0)
    counts = [(one.minute, one.successes, one.failures) for one in shown if one.successes]
    assert [(7200.0, 1, 1), (7260.0, 1, 0)] == counts


def test_lags_are_those_of_the_last_minute() -> None:
    """Average and latest; what is older does not count."""
    lags = StartLags()
    lags.note(90.0, run_at=10.0, awake_since=0.0, now=100.0)
    lags.note(1.0, run_at=149.0, awake_since=0.0, now=150.0)
    lags.note(3.0, run_at=197.0, awake_since=0.0, now=200.0)
    assert (2000.0, 3000.0) == (lags.mean_ms(205.0), lags.max_ms(205.0))


def test_jobs_that_waited_for_the_service_are_not_late() -> None:
    """What became due before it was there says nothing of how many workers it needs."""
    lags = StartLags()
    lags.note(86400.0, run_at=13600.0, awake_since=99999.0, now=100_000.0)
    assert (0.0, 0.0) == (lags.mean_ms(100_000.0), lags.max_ms(100_000.0))
    lags.note(1.0, run_at=99999.0, awake_since=99999.0, now=100_000.0)
    assert (1000.0, 1000.0) == (lags.mean_ms(100_000.0), lags.max_ms(100_000.0))

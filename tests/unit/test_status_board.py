"""Promises of the status board: the counts of the last hour."""

from __future__ import annotations

from bg_charm_service.domain.outcome_policy import RunStatus
from bg_charm_service.service.status.board import MINUTES, RunHistory


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

"""Promises of how pages word things."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bg_charm_service.api.pages import formatting
from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.outcomes.run_endings import WaitingView
from tests.unit.plain_charm import CHARM


def waiting(kind: str) -> WaitingView:
    """What a charm waits for."""
    return WaitingView(kind, 10.0, 5.0, "api.example.org", "because", "")


@pytest.mark.parametrize(
    ("changes", "kind", "word"),
    [
        ({}, "ok", "Running"),
        ({"last_ms": 1000.0}, "ok", "Running, slow"),
        ({"stale_since": 1.0, "last_ms": 1000.0}, "unknown", "Stale"),
        ({"runs_late": True, "last_ms": 61_000.0}, "unknown", "Runs late"),
        ({"stale_since": 1.0, "consecutive_failures": 1}, "failed", "Failing"),
        ({"last_success": 0.0, "status": ""}, "unknown", "Waiting"),
        ({"status": "Re-initializing"}, "unknown", "Waiting"),
        ({"consecutive_failures": 2}, "failed", "Failing"),
        ({"enabled": False, "disabled_by": "hand"}, "off", "Disabled"),
        ({"enabled": False, "disabled_by": "sign_in"}, "failed", "Sign in again"),
        ({"enabled": False, "disabled_by": "stopped"}, "off", "Stopped"),
        ({"waiting": waiting("wait")}, "unknown", "Waiting"),
        ({"waiting": waiting("down"), "consecutive_failures": 2}, "unknown", "Down"),
        ({"waiting": waiting("again")}, "ok", "Goes on"),
        ({"enabled": False, "disabled_by": "failures"}, "failed", "Disabled by failures"),
        ({"registered": False}, "unregistered", "Not registered"),
        ({"paused": "charm", "consecutive_failures": 2}, "failed", "Paused"),
        ({"paused": "everything", "enabled": False}, "failed", "Paused"),
        ({"registered": False, "listed_by": ("gmail",)}, "ok", "Running"),
    ],
)
def test_dots(changes: dict[str, object], kind: str, word: str) -> None:
    """Each standing has the original's colour, and a word for those who see none."""
    mark = formatting.mark_of(replace(CHARM, **changes))  # type: ignore[arg-type]
    assert (kind, word) == (mark.kind, mark.word)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "now"),
        (-0.5, "now"),
        (12, "12 s ago"),
        (-12, "in 12 s"),
        (60, "1 minute ago"),
        (300, "5 minutes ago"),
        (3600, "1 hour ago"),
        (200_000, "2 days ago"),
    ],
)
def test_ages(seconds: float, text: str) -> None:
    """An age is one number and one unit."""
    assert text == formatting.ago(1_000_000.0 - seconds, 1_000_000.0)
    assert "" == formatting.ago(0.0, 1_000_000.0)


@pytest.mark.parametrize(
    ("rate", "text"),
    [(None, "-"), (0.0, "0 %"), (0.5, "50 %"), (0.9999, "99.9 %"), (1.0, "100 %")],
)
def test_success_rates(rate: float | None, text: str) -> None:
    """All is 100 % only when nothing failed."""
    assert text == formatting.percent(rate)


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0.2, "under 1 ms"),
        (45.4, "45 ms"),
        (1400, "1.4 s"),
        (30_000, "30 s"),
        (180_000, "3 minutes"),
    ],
)
def test_durations(ms: float, text: str) -> None:
    """A duration has the unit that fits it."""
    assert text == formatting.duration(ms)


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "5 s"), (90, "90 s"), (300, "5 min"), (7200, "2 h")]
)
def test_intervals(seconds: float, text: str) -> None:
    """An interval is written as people say it."""
    assert text == formatting.interval(seconds)


@pytest.mark.parametrize(
    ("count", "text"), [(12, "12 B"), (3900, "3.9 kB"), (45_000_000, "45 MB"), (2e9, "2.0 GB")]
)
def test_sizes(count: float, text: str) -> None:
    """A size has the unit that fits it."""
    assert text == formatting.size(count)


def test_errors_have_one_line() -> None:
    """A long error of many lines is cut to a part of one."""
    assert "a b" == formatting.first_line("a\n\n b")
    assert 160 == len(formatting.first_line("x" * 5000))


@pytest.mark.parametrize("cause", FailureCause)
def test_every_failure_has_advice(cause: FailureCause) -> None:
    """For each cause of failure a page says what to do."""
    assert formatting.advice(cause)


def test_advice_names_the_quotas_of_collections() -> None:
    """What a run may not store for one of them is no limit of its state."""
    told = formatting.advice(FailureCause.STATE_SIZE)
    assert all(flag in told for flag in ("limits --state", "--items-size", "--items-total"))

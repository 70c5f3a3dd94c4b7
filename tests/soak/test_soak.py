"""The kill loop, cut short: bounded by blows, not by time, so that a slow machine beats as much."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.loop import KillLoop
from tests.soak.small_disk import small_disk

BLOWS = 28


# The HTTP client leaves the socket open whose connection was refused, here a dead service's.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_nothing_is_lost_and_nothing_comes_twice(tmp_path: Path) -> None:
    """KILL, TERM and STOP at random moments: every counter is what was recorded and accepted."""
    with small_disk(tmp_path) as why_not:
        report = KillLoop(tmp_path / "data", seed=5).run(lambda blows, _: blows >= BLOWS)

    print(why_not, *report.lines(), sep="\n")
    assert () == report.violations
    assert sum(report.faults.values()) == BLOWS
    assert report.restarts > 0
    assert report.kills > 0
    assert report.runs_checked > 0
    assert report.events_checked > 0
    assert report.answers_checked > 0
    assert report.refreshes_checked > 0
    assert report.notices_taken > 0

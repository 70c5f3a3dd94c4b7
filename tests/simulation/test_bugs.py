"""The simulation itself is tested: it finds every bug that is planted, and says what is wrong."""

from __future__ import annotations

import re

import pytest

from tests.simulation.bugs import BUGS
from tests.simulation.simulate import simulate
from tests.simulation.world import Bug

#: Within so many seeds each bug has to show.
_SEEDS = 60


@pytest.mark.parametrize(("bug", "said"), BUGS, ids=[bug.name for bug, _ in BUGS])
def test_planted_bug_is_found(bug: Bug, said: str) -> None:
    """What the bug breaks is named, by one of the first seeds."""
    found: list[str] = []
    for seed in range(_SEEDS):
        found += simulate(seed, bug).violations
        if found and re.search(said, found[-1]):
            return
    pytest.fail(f"it was not found, but: {found}")

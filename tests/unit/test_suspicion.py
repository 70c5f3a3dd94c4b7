"""Lives of the service after deaths: who runs in them, and when the cause lies outside."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bg_charm_service.domain.outcomes.suspicion import (
    LONGEST_TRIAL_SECONDS,
    SHORTEST_TRIAL_SECONDS,
    Life,
    LifeKind,
    died_from_outside,
    is_over_it,
    next_life,
    seconds_until_note,
    trial_seconds,
)


def ordinary(lived_seconds: float) -> Life:
    """A life in which everybody ran."""
    return Life(LifeKind.ORDINARY, 0.0, lived_seconds)


def trial(
    lived_seconds: float, kind: LifeKind = LifeKind.WITHOUT_SUSPECTS, target_seconds: float = 15.0
) -> Life:
    """A life that was to show whether the service dies without suspects too."""
    return Life(kind, target_seconds, lived_seconds)


def test_without_suspects_everybody_runs() -> None:
    """However often the service died: with nobody suspected there is nothing to try."""
    assert LifeKind.ORDINARY is next_life([], has_suspects=False).kind
    assert LifeKind.ORDINARY is next_life([ordinary(5.0)] * 3, has_suspects=False).kind


def test_suspects_wait_for_one_life() -> None:
    """After deaths with suspects the next life begins without them, a bit longer than the last."""
    life = next_life([ordinary(4.0), ordinary(10.0), ordinary(8.0)], has_suspects=True)
    assert Life(LifeKind.WITHOUT_SUSPECTS, 15.0, 0.0) == life


def test_only_the_last_ordinary_lives_count() -> None:
    """A long life of long ago, and trials, do not make the next trial longer."""
    deaths = [ordinary(900.0), ordinary(10.0), ordinary(8.0), trial(40.0), ordinary(9.0)]
    assert 15.0 == trial_seconds(deaths)


@pytest.mark.parametrize(
    ("lived", "target"),
    [(0.0, SHORTEST_TRIAL_SECONDS), (1e6, LONGEST_TRIAL_SECONDS)],
)
def test_trials_have_bounds(lived: float, target: float) -> None:
    """A trial is neither over at once, nor does it keep suspects waiting for days."""
    assert target == trial_seconds([ordinary(lived)])
    assert SHORTEST_TRIAL_SECONDS == trial_seconds([])


@pytest.mark.parametrize(
    ("last", "is_outside"),
    [
        (ordinary(5.0), False),
        (trial(14.9), True),
        (trial(15.0), False),
        (trial(1.0, LifeKind.WITHOUT_CHARMS), True),
    ],
)
def test_death_in_a_trial_has_its_cause_outside(last: Life, *, is_outside: bool) -> None:
    """A life that died before its trial was over died without any suspect at work."""
    assert is_outside == died_from_outside([ordinary(10.0), last])
    assert not died_from_outside([])


def test_second_trial_is_without_any_charm() -> None:
    """Where a life without suspects died, another charm may have done it: then none runs."""
    deaths = [ordinary(10.0), trial(3.0), ordinary(10.0), ordinary(10.0)]
    assert LifeKind.WITHOUT_CHARMS is next_life(deaths, has_suspects=True).kind


def test_deaths_become_history() -> None:
    """A life that outlasts those before by far ends their story, unless suspects wait."""
    deaths = [ordinary(100.0)]
    assert not is_over_it(deaths, 299.0, has_suspects=False)
    assert is_over_it(deaths, 301.0, has_suspects=False)
    assert not is_over_it(deaths, 301.0, has_suspects=True)
    assert not is_over_it([ordinary(1.0)], 59.0, has_suspects=False)


def notes_of(life: Life, lived_seconds: float) -> list[float]:
    """When it is written how long a life has lasted, which lasts so long."""
    notes: list[float] = []
    while True:
        noted = replace(life, lived_seconds=notes[-1] if notes else 0.0)
        following = noted.lived_seconds + seconds_until_note(noted)
        if following > lived_seconds:
            return notes
        notes.append(following)


@given(st.floats(0.0, 86400.0))
def test_trial_is_longer_than_the_life_before_it(lived_seconds: float) -> None:
    """Whenever a service dies: what was noted of its life is enough for the trial that follows."""
    *_, noted = [0.0, *notes_of(ordinary(0.0), lived_seconds)]
    assert min(lived_seconds, LONGEST_TRIAL_SECONDS) <= trial_seconds([ordinary(noted)])


def test_long_life_is_noted_ever_less_often() -> None:
    """A service that goes on for a day after a death writes 150 times for that at most."""
    assert 150 > len(notes_of(ordinary(0.0), 86400.0))


@given(st.floats(SHORTEST_TRIAL_SECONDS, LONGEST_TRIAL_SECONDS))
def test_trial_is_noted_when_it_is_passed(target_seconds: float) -> None:
    """Suspects wait no longer than they have to: there is a note at the end of their trial."""
    notes = notes_of(trial(0.0, target_seconds=target_seconds), target_seconds + 1e-6)
    assert pytest.approx(target_seconds) == notes[-1]

"""Shares between spaces: by worker-seconds used lately, the older the less they count."""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bg_charm_service.supervisor.fair_share import (
    HALF_LIFE_SECONDS,
    SHORT_SECONDS,
    AtWork,
    FairShare,
    may_take_last,
)

NOW = 1_790_000_000.0


def order_at(shares: FairShare, spaces: Collection[int], now: float) -> list[int]:
    """Give the spaces as they are to be served."""
    used = shares.used_seconds(spaces, now)
    in_turn = list(shares.in_turn(spaces, now, {}))
    assert in_turn == sorted(used, key=lambda key: (used[key], key))
    return in_turn


def test_unknown_spaces_come_first() -> None:
    """A space that used nothing is served before one that did."""
    shares = FairShare()
    shares.charge(1, 0.5, NOW)
    assert [2, 1] == order_at(shares, [1, 2], NOW)


def test_order_is_by_seconds_not_by_runs() -> None:
    """A hundred short runs weigh less than one long one."""
    shares = FairShare()
    for _ in range(100):
        shares.charge(1, 0.01, NOW)
    shares.charge(2, 5.0, NOW)
    assert [1, 2] == order_at(shares, [2, 1], NOW)


def test_half_is_forgotten_in_a_half_life() -> None:
    """Two seconds a half-life ago weigh as much as one now."""
    shares = FairShare()
    shares.charge(1, 2.0, NOW)
    shares.charge(2, 0.99, NOW + HALF_LIFE_SECONDS)
    shares.charge(3, 1.01, NOW + HALF_LIFE_SECONDS)
    assert [2, 1, 3] == order_at(shares, [1, 2, 3], NOW + HALF_LIFE_SECONDS)


def test_old_use_is_forgotten() -> None:
    """After a long time a space is as good as new: no order among equals but their own."""
    shares = FairShare()
    shares.charge(1, 1000.0, NOW)
    shares.charge(2, 0.0, NOW + HALF_LIFE_SECONDS * 60)
    assert [1, 3] == order_at(shares, [1, 3], NOW + HALF_LIFE_SECONDS * 60)


def test_what_is_at_work_counts() -> None:
    """A run counts with what it has used so far; of equals, fewer workers come first."""
    shares = FairShare()
    shares.charge(1, 1.0, NOW)
    at_work = {2: AtWork(1, 2.0), 3: AtWork(2, 0.0), 4: AtWork(1, 0.0)}
    assert [5, 4, 3, 1, 2] == list(shares.in_turn([1, 2, 3, 4, 5], NOW, at_work))


def test_use_is_told_as_of_now() -> None:
    """What a space used a half-life ago counts half, in worker-seconds."""
    shares = FairShare()
    shares.charge(1, 2.0, NOW)
    used = shares.used_seconds([1], NOW + HALF_LIFE_SECONDS)
    assert used[1] == pytest.approx(1.0)


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.floats(0.01, 60), st.floats(0, 400)),
        min_size=1,
        max_size=30,
    )
)
def test_order_is_that_of_the_plain_formula(charges: list[tuple[int, float, float]]) -> None:
    """Whatever the bookkeeping, the order is that of seconds halved with each half-life."""
    shares, moment, spent = FairShare(), NOW, []
    for space, seconds, pause in charges:
        moment += pause
        shares.charge(space, seconds, moment)
        spent.append((space, seconds, moment))
    plain = {
        space: sum(
            seconds * 0.5 ** ((moment - at) / HALF_LIFE_SECONDS)
            for key, seconds, at in spent
            if key == space
        )
        for space in range(1, 5)
    }
    order = order_at(shares, plain, moment)
    weights = [plain[space] for space in order]
    # What is below a thousandth of a second may be forgotten.
    assert all(sooner <= later + 0.01 for sooner, later in pairwise(weights)), weights


@pytest.mark.parametrize(
    ("under_way", "typical_seconds", "has_others", "expected"),
    [
        (0, None, True, True),
        (0, 30.0, True, True),
        (1, SHORT_SECONDS, True, True),
        (1, SHORT_SECONDS * 1.01, True, False),
        (1, None, True, False),
        (3, 30.0, False, True),
    ],
    ids=["nothing known", "nothing runs", "short", "long", "runs and not known", "nobody else"],
)
def test_last_free_worker(
    under_way: int,
    typical_seconds: float | None,
    *,
    has_others: bool,
    expected: bool,
) -> None:
    """It goes to a space without runs, to one with short runs, and to whoever is alone."""
    assert expected == may_take_last(under_way, typical_seconds, has_others=has_others)


def test_typical_seconds_follow_the_newest_runs() -> None:
    """What a space's runs take is known from its first one, and soon follows a change."""
    shares = FairShare()
    assert shares.typical_seconds(1) is None
    shares.charge(1, 20.0, NOW)
    assert 20.0 == shares.typical_seconds(1)
    for _ in range(20):
        shares.charge(1, 0.1, NOW)
    assert shares.typical_seconds(1) == pytest.approx(0.1, abs=0.05)


def test_others_are_expected_for_a_day() -> None:
    """A space is alone until another ran something, and again a day after that."""
    shares = FairShare()
    shares.charge(1, 1.0, NOW)
    assert not shares.has_others(1, NOW)
    assert shares.has_others(2, NOW)
    shares.charge(2, 1.0, NOW)
    shares.charge(1, 1.0, NOW + 3600)
    assert shares.has_others(1, NOW + 3600)
    shares.charge(1, 1.0, NOW + 90_000)
    assert not shares.has_others(1, NOW + 90_000)

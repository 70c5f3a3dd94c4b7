"""Sets of UIDs are as sets of numbers, and as a server writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bg_charm_service import UidSet

UIDS = st.sets(st.integers(1, 40))


@given(UIDS, UIDS, st.integers(0, 41))
def test_it_is_as_a_set_of_numbers(left: set[int], right: set[int], at: int) -> None:
    """In all that it can be asked; and what it writes it reads."""
    mine, theirs = UidSet.of(left), UidSet.of(right)
    assert left | right == set(mine | theirs)
    assert left & right == set(mine & theirs)
    assert left - right == set(mine - theirs)
    assert {uid for uid in left if uid <= at} == set(mine.up_to(at))
    assert sorted(left, reverse=True)[:at] == mine.newest(at)
    assert (len(left), bool(left), at in left) == (len(mine), bool(mine), at in mine)
    assert (min(left, default=0), max(left, default=0)) == (mine.lowest, mine.highest)
    assert (mine == theirs) == (left == right)
    assert mine == UidSet.parse(str(mine))
    assert hash(mine) == hash(UidSet.parse(str(mine)))


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("", ""),
        ("4:1,3:6", "1:6"),
        ("7, 9", "7,9"),
        ("1:2,x,3:y,:4,5:", "1:2,5"),
        ("1:4294967295", "1:4294967295"),
    ],
)
def test_what_a_server_writes_is_read(text: str, written: str) -> None:
    """Runs in any order and direction; however large they are, nothing is counted out."""
    assert written == str(UidSet.parse(text))


def test_it_is_equal_to_sets_of_its_kind_only() -> None:
    """And shows what is in it."""
    assert UidSet.of([1]) != {1}
    assert "UidSet.parse('1:2')" == repr(UidSet.of([2, 1]))

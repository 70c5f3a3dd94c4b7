"""Promises of how much a run may leave behind."""

from __future__ import annotations

import pytest

from bg_charm_service.domain.errors import StateTooLarge
from bg_charm_service.domain.size_limits import MOST_SENDS, check_run_size, check_state_size


def test_up_to_the_limit_is_fine() -> None:
    """Writes and events together may fill the limit to its last byte."""
    check_run_size({"a": b"x" * 600, "b": b"x" * 200}, [b"x" * 200], 1000)


def test_too_much_names_the_largest_field() -> None:
    """Who left too much is told how much it was, and which field is to blame."""
    with pytest.raises(StateTooLarge, match=r"left 1,025 bytes .* leave 1K: text is 1,000 bytes"):
        check_run_size({"n": b"x" * 25, "text": b"x" * 1000}, [], 1024)


def test_events_count_too() -> None:
    """What is sent is stored as well."""
    with pytest.raises(StateTooLarge, match="its 2 events are 1,200 bytes of it"):
        check_run_size({"n": b"1"}, [b"x" * 600, b"x" * 600], 1024)


def test_events_have_a_number() -> None:
    """However small they are, a run cannot send events without end."""
    check_run_size({}, [b"1"] * MOST_SENDS, 10_000)
    with pytest.raises(StateTooLarge, match="sent 1,001 events; a run may send 1,000"):
        check_run_size({}, [b"1"] * (MOST_SENDS + 1), 10_000)


def test_a_state_may_always_shrink() -> None:
    """A state that was too large before may become smaller, and not larger."""
    check_state_size(2000, 3000, 1024)
    with pytest.raises(StateTooLarge, match="would be 2,001 bytes, and may be 1K"):
        check_state_size(2001, 2000, 1024)

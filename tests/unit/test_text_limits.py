"""How texts are cut: never longer than their limit, and marked."""

from __future__ import annotations

import pytest

from bg_charm_service.domain import text_limits
from bg_charm_service.domain.text_limits import cut


@pytest.mark.parametrize(
    ("text", "shown"), [("", ""), ("abcd", "abcd"), ("abcde", "abcde"), ("abcdef", "abcd…")]
)
def test_cut_counts_its_mark(text: str, shown: str) -> None:
    """What fits is left alone; what does not is as long as its limit, the mark included."""
    assert shown == cut(text, 5)


def test_cut_takes_another_mark_or_none() -> None:
    """Some texts are read by programs, or end in dots of ASCII."""
    assert ["ab...", "abcde"] == [cut("abcdefgh", 5, mark="..."), cut("abcdefgh", 5, mark="")]


def test_what_a_worker_cut_is_not_cut_again() -> None:
    """A worker's own limits are below those of what is stored, marks included."""
    assert text_limits.REPORTED_ERROR_CHARACTERS < text_limits.STORED_ERROR_CHARACTERS
    assert text_limits.REPORTED_TRACEBACK_CHARACTERS < text_limits.STORED_TRACEBACK_CHARACTERS

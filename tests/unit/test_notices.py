"""Who is told of what, and how it reads: many at once are one, and lose nothing but their words."""

from __future__ import annotations

import pytest

from bg_charm_service.domain.notices import (
    MOST_LINES,
    Line,
    Message,
    Notice,
    NoticeKind,
    Target,
    about_charm,
    body_of,
    merged,
    read_kinds,
)
from bg_charm_service.domain.outcomes.backoff import notice_delay_seconds

ALL, OF_SPACE = Target(1, "all", "…"), Target(2, "its", "…", space_key=7)


def message(*lines: Line) -> Message:
    """A message of these."""
    written, counts = merged((), {}, lines)
    return Message(1, 1, "phone", "…", written, counts, 0.0)


@pytest.mark.parametrize(
    ("notice", "takers"),
    [
        (Notice(NoticeKind.DISABLED, "a", "", 7, 1), [1, 2]),
        (Notice(NoticeKind.DISABLED, "a", "", 8, 1), [1]),
        (Notice(NoticeKind.CHARM, "a", "", 7, 1), [2]),
        (Notice(NoticeKind.UNHEALTHY, "a", ""), [1]),
        (Notice(NoticeKind.DOWN, "a", "", after_seconds=600.0), [1]),
        (Notice(NoticeKind.DOWN, "a", "", 7, is_for_space=True, after_seconds=600.0), [2]),
        (Notice(NoticeKind.DOWN, "a", "", after_seconds=60.0), []),
    ],
)
def test_each_target_gets_what_is_its_own(notice: Notice, takers: list[int]) -> None:
    """A space's what concerns the space; others all but what charms say to their space."""
    assert takers == [one.target_id for one in (ALL, OF_SPACE) if one.takes(notice)]


def test_kinds_can_be_chosen() -> None:
    """Those that there are for a target; what charms say also by one that is of no space."""
    kinds = read_kinds(["charm", "down"], is_of_space=False)
    chosen = Target(3, "some", "…", kinds=kinds)
    assert chosen.takes(Notice(NoticeKind.CHARM, "a", "", 7, 1))
    assert not chosen.takes(Notice(NoticeKind.DISABLED, "a", "", 7, 1))
    with pytest.raises(ValueError, match="'unhealthy' is no kind of notice; there are disabled"):
        read_kinds(["unhealthy"], is_of_space=True)


def test_one_notice_is_its_own_title() -> None:
    """And how bad it is goes with it."""
    one = message(Line(NoticeKind.DISABLED, "Charm A was disabled: why", 1.0))
    assert ("Charm A was disabled: why", "failure") == (one.title, one.severity)
    assert "now  Charm A was disabled: why" == body_of(one, ["now"])


def test_a_hundred_at_once_are_one_with_the_count() -> None:
    """The first are written out, and all are counted."""
    lines = [Line(NoticeKind.DISABLED, f"Charm {number}", 1.0) for number in range(97)]
    many = message(*lines, Line(NoticeKind.UP, "back", 1.0, 3))
    assert "100 notices: 97 disabled, 3 back" == many.title
    body = body_of(many, ["now"] * len(many.lines))
    assert f"and {100 - MOST_LINES} more" in body
    assert MOST_LINES + 1 == len(body.splitlines())
    assert "failure" == many.severity


def test_what_happened_again_says_how_often() -> None:
    """One line for it."""
    assert "now  late (3 times)" == body_of(message(Line(NoticeKind.UP, "late", 1.0, 3)), ["now"])


def test_a_charm_is_named_as_commands_take_it() -> None:
    """A reason that has lines is one; what a charm says itself stays as it was arranged."""
    assert "Charm Mail (home/mail) was disabled: a b" == about_charm(
        NoticeKind.DISABLED, "Mail", "home/mail", "a\n b"
    )
    assert "Mail (home/mail): a\nb" == about_charm(NoticeKind.CHARM, "Mail", "home/mail", "a\nb")


def test_delays_grow_to_an_hour() -> None:
    """From ten seconds, doubled each time."""
    assert [10, 20, 40] == [notice_delay_seconds(tries, 0.0, 10.0) for tries in (1, 2, 3)]
    assert 3600 == notice_delay_seconds(50, 0.0, 10.0)

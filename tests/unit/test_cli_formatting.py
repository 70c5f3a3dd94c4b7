"""The promises of wording: what people read about times, amounts and other people's texts."""

from __future__ import annotations

import pytest

from bg_charm_service.cli.output.formatting import (
    counted,
    memory,
    milliseconds,
    one_line,
    percent,
    relative,
    span,
    visible,
)


@pytest.mark.parametrize(
    ("expected", "seconds"),
    [("0s", 0.4), ("59s", 59.9), ("1m", 60), ("59m", 3599), ("23h", 86399), ("2d", 2 * 86400)],
)
def test_span_has_one_unit(expected: str, seconds: float) -> None:
    """A length of time is a whole number of its largest unit, rounded down."""
    assert expected == span(seconds)


@pytest.mark.parametrize(
    ("expected", "moment"),
    [("never", 0.0), ("never", None), ("now", 999.5), ("5m ago", 700.0), ("in 12s", 1012.0)],
)
def test_relative_times_have_a_direction(expected: str, moment: float | None) -> None:
    """A moment is told from now: past, future, or never."""
    assert expected == relative(moment, 1000.0)


@pytest.mark.parametrize(
    ("expected", "value"), [("1.2 ms", 1.23), ("123 ms", 123.4), ("12.35 s", 12345)]
)
def test_durations_show_the_digits_that_mean_something(expected: str, value: float) -> None:
    """A run's duration is told in the unit that fits it."""
    assert expected == milliseconds(value)


def test_amounts() -> None:
    """Counts agree with their noun, a rate of nothing is a dash, bytes are megabytes."""
    assert ("1 run", "2,000 runs") == (counted(1, "run"), counted(2000, "run"))
    assert ("-", "99.5 %") == (percent(None), percent(0.995))
    assert "12 MB" == memory(12 * 1024 * 1024)


def test_texts_cannot_drive_the_terminal() -> None:
    """Escape sequences of a charm's text are shown, not obeyed; line breaks stay where wanted."""
    assert "\\x1b[31mred\ttab\nline é" == visible("\x1b[31mred\ttab\nline é")
    assert "two lines\\x07" == one_line("two\n   lines\x07")

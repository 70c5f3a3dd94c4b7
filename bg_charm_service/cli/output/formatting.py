"""How commands write times, amounts and texts. Pure: the moment comes in as an argument."""

from __future__ import annotations

import datetime

from bg_charm_service.domain.text_limits import COMMAND_ERROR_CHARACTERS, cut

#: The units of relative times: seconds in one, and its sign.
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))

#: A moment that is nearer than this is written with its second.
NEAR_SECONDS = 120.0


def span(seconds: float) -> str:
    """Write a length of time in its largest unit: `12s`, `5m`, `3h`, `2d`."""
    for size, sign in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)}{sign}"
    return "0s"


def relative(moment: float | None, now: float) -> str:
    """Write when something was or will be: `5m ago`, `in 12s`, `never` for 0 or None."""
    if not moment:
        return "never"
    distance = moment - now
    if distance > 0:
        return f"in {span(distance)}"
    return f"{span(-distance)} ago" if distance <= -1 else "now"


def moment(seconds: float) -> str:
    """Write a moment as local date and time."""
    return f"{datetime.datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}"


def clock(seconds: float, now: float) -> str:
    """Write a moment by the local clock: with seconds where it is near, the day if not today."""
    at, today = datetime.datetime.fromtimestamp(seconds), datetime.datetime.fromtimestamp(now)
    if at.date() != today.date():
        return f"{at:%Y-%m-%d %H:%M}"
    return f"{at:%H:%M:%S}" if abs(seconds - now) < NEAR_SECONDS else f"{at:%H:%M}"


def milliseconds(value: float) -> str:
    """Write a duration given in milliseconds, with three digits that mean something."""
    if value < 10:
        return f"{value:.1f} ms"
    return f"{value:.0f} ms" if value < 1000 else f"{value / 1000:.2f} s"


def seconds(value: float) -> str:
    """Write a setting's duration: `60 s`, `0.5 s`."""
    return f"{value:g} s"


def memory(size: int) -> str:
    """Write a byte count in megabytes."""
    return f"{size / 1024 / 1024:.0f} MB"


def file_size(size: int) -> str:
    """Write the size of a file in kilobytes or megabytes."""
    return f"{size / 1000:.0f} kB" if size < 1_000_000 else f"{size / 1_000_000:.1f} MB"


def percent(rate: float | None) -> str:
    """Write a rate in [0, 1]; a dash where nothing was counted."""
    return "-" if rate is None else f"{rate * 100:.1f} %"


def counted(number: int, noun: str) -> str:
    """Write a number of things: `1 run`, `2 runs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def visible(text: str) -> str:
    """Show control characters as escapes, so that no charm's text can drive the terminal."""
    if text.isprintable():
        return text
    return "".join(
        letter
        if letter.isprintable() or letter in "\n\t"
        else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


def one_line(text: str) -> str:
    """Show a text on one line."""
    return visible(" ".join(text.split()))


def short_line(text: str) -> str:
    """Show a text on one line, which is cut where it gets too long to be read."""
    return cut(one_line(text), COMMAND_ERROR_CHARACTERS)

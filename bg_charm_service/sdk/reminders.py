"""What `self.remind` and `self.forget` take: names, events, moments, lengths of time.

Raises StateError for what cannot be meant. Used by Charm; whether it is allowed is decided where
the run is settled.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

from bg_charm_service.domain.errors import StateError
from bg_charm_service.domain.model import FieldKind
from bg_charm_service.domain.quantities import span
from bg_charm_service.sdk.fields import CharmField, parse_annotation

#: A reminder's name has no more characters.
MOST_NAME_CHARACTERS = 200


def reminder_name(name: object) -> str:
    """Check the name of a reminder."""
    if not isinstance(name, str) or not 0 < len(name) <= MOST_NAME_CHARACTERS:
        raise StateError(f"a reminder's name is a text of up to {MOST_NAME_CHARACTERS} characters")
    if not name.isprintable() or name.startswith("#"):
        raise StateError(f"{name!r} is no name of a reminder: it begins with # or is not printable")
    return name


def dump_event(event: Any) -> bytes:
    """Write an event as JSON; raises StateError for what JSON cannot say."""
    field = CharmField("the event of a reminder", FieldKind.VALUE, parse_annotation(Any).adapter)
    dumped = field.dump(event)
    field.check(event, dumped)
    return dumped


def seconds_after(after: object) -> float:
    """Read how long it is until then: seconds, a timedelta, or a text such as "5m"."""
    if isinstance(after, timedelta):
        return _checked(after.total_seconds())
    if isinstance(after, str):
        try:
            return span(after)
        except ValueError as error:
            raise StateError(f"after={after!r}: {error}") from None
    return _checked(_number("after", after))


def moment_at(at: object) -> float:
    """Read a moment: a datetime with a time zone, or seconds since the epoch."""
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise StateError(
                f"at={at!r}: it has no time zone; datetime.now(UTC) has one, and so has "
                "datetime(..., tzinfo=ZoneInfo('Europe/Oslo'))"
            )
        return at.timestamp()
    return _number("at", at)


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        wanted = "seconds, a timedelta or a text such as '5m'" if name == "after" else "a datetime"
        raise StateError(f"{name}={value!r:.80}: expected {wanted}")
    return float(value)


def _checked(seconds: float) -> float:
    if seconds < 0:
        raise StateError(f"after={seconds:g}: it lies in the past")
    return seconds

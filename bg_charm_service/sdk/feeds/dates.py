"""Dates as feeds have them: RFC 822, ISO 8601, and what is usual beside these. Pure."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import Final

#: What stands before this year is a placeholder: the year 1 of Go and .NET, PHP's year -1.
_FIRST_YEAR: Final = 1000

#: Longer texts are no dates.
_MOST_CHARACTERS: Final = 100

_ISO: Final = re.compile(
    r"""(?P<year>\d{4})
    (?: -?W(?P<week>\d\d)(?:-?(?P<weekday>[1-7]))?
      | -(?P<ordinal>\d{3})
      | -(?P<month>\d\d)(?:-(?P<day>\d\d))?
      | (?P<short_month>\d\d)(?P<short_day>\d\d)
    )?
    (?:[Tt\s]\s*(?P<hour>\d\d):?(?P<minute>\d\d)(?::?(?P<second>\d\d)(?:[.,]\d+)?)?
       \s*(?P<zone>\S+)?
    )?""",
    re.VERBOSE,
)

#: RFC 822 (5.1), and what is usual beside it: no blank after the comma, names in full, no time.
_RFC_822: Final = re.compile(
    r"""(?:[^\W\d]+\.?\s*,?\s*)?
    (?P<day>\d{1,2})[\s-]+(?P<month>[A-Za-z]{3,9})\.?[\s-]+(?P<year>\d{4}|\d\d)
    (?:[\s,]+(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.\d+)?)?
       \s*(?P<zone>\S+(?:\s+\S+)?)?
    )?""",
    re.VERBOSE,
)

#: As C's asctime writes it.
_ASCTIME: Final = re.compile(
    r"""[A-Za-z]{3}\s+(?P<month>[A-Za-z]{3})\s+(?P<day>\d{1,2})\s+
    (?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)\s+(?:(?P<zone>[A-Z]{3,4})\s+)?(?P<year>\d{4})""",
    re.VERBOSE,
)

_COMMENT: Final = re.compile(r"\([^()]*\)")
_OFFSET: Final = re.compile(r"(?:GMT|UTC?|Z)?\s*([+-])(\d{1,2}):?(\d\d)?")

_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
        start=1,
    )
}

#: Names of zones that mean one thing, in hours. Others count as UTC, as RFC 5322 (4.3) has it.
_ZONES: Final = {
    "EST": -5,
    "EDT": -4,
    "CST": -6,
    "CDT": -5,
    "MST": -7,
    "MDT": -6,
    "PST": -8,
    "PDT": -7,
    "AKST": -9,
    "AKDT": -8,
    "HST": -10,
    "WET": 0,
    "WEST": 1,
    "CET": 1,
    "CEST": 2,
    "MET": 1,
    "MEST": 2,
    "MESZ": 2,
    "MEZ": 1,
    "EET": 2,
    "EEST": 3,
    "MSK": 3,
    "JST": 9,
    "KST": 9,
    "AEST": 10,
    "AEDT": 11,
    "NZST": 12,
    "NZDT": 13,
}


def feed_date(text: str) -> datetime | None:
    """Read a date; None for what is none. Without a zone it counts as UTC, without a time as 0:00.

    The leap second, which no datetime can hold, is the one before it.
    """
    text = text.strip()
    if not text or len(text) > _MOST_CHARACTERS:
        return None
    try:
        if found := _ISO.fullmatch(text):
            return _moment(_iso_day(found), found)
        text = _without_comments(text)
        if found := _RFC_822.fullmatch(text) or _ASCTIME.fullmatch(text):
            return _moment(_named_day(found), found)
    except (ValueError, OverflowError, LookupError):
        # It looks like a date and is none: 31 February, hour 25.
        pass
    return None


def _iso_day(found: re.Match[str]) -> date:
    year = int(found["year"])
    if found["week"]:
        return date.fromisocalendar(year, int(found["week"]), int(found["weekday"] or 1))
    if found["ordinal"]:
        day = date(year, 1, 1) + timedelta(days=int(found["ordinal"]) - 1)
        if day.year != year:
            raise ValueError(found["ordinal"])
        return day
    month = found["month"] or found["short_month"]
    return date(year, int(month or 1), int(found["day"] or found["short_day"] or 1))


def _named_day(found: re.Match[str]) -> date:
    year = int(found["year"])
    if len(found["year"]) == 2:
        year += 1900 if year > 68 else 2000
    return date(year, _MONTHS[found["month"][:3].lower()], int(found["day"]))


def _moment(day: date, found: re.Match[str]) -> datetime | None:
    if day.year < _FIRST_YEAR:
        return None
    hour, minute = int(found["hour"] or 0), int(found["minute"] or 0)
    second = int(found["second"] or 0)
    if (hour, minute, second) == (24, 0, 0):
        # The end of a day, as ISO 8601 may write it.
        day, hour = day + timedelta(days=1), 0
    second = 59 if second == 60 else second
    local = datetime(
        day.year, day.month, day.day, hour, minute, second, tzinfo=_zone(found["zone"] or "")
    )
    # Compared and stored in one form, whatever the feed's is.
    return local.astimezone(UTC)


def _zone(text: str) -> tzinfo:
    name = text.upper()
    if found := _OFFSET.fullmatch(name):
        sign, hours, minutes = found.groups()
        offset = timedelta(hours=int(hours), minutes=int(minutes or 0))
        return timezone(-offset if sign == "-" else offset)
    if name and not name.isalpha():
        raise ValueError(text)
    return timezone(timedelta(hours=_ZONES.get(name, 0)))


def _without_comments(text: str) -> str:
    """RFC 822 has comments in brackets, also one in another."""
    while (shorter := _COMMENT.sub(" ", text)) != text:
        text = shorter
    return text.strip()

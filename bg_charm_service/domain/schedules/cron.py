"""Cron expressions of five fields: what they may say, which wall-clock minute comes next, words.

The library cronsim matches them, over times without a zone; what it takes otherwise than we
promise is settled before it sees it (the table in docs/schedules.md). Zones and clock changes are
the business of `schedules`, the only caller.
"""

from __future__ import annotations

import re
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final, NoReturn

from cronsim import CronSim, CronSimError

#: Names that stand for a whole expression.
_MACROS: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

_WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS: Final = (
    *("jan", "feb", "mar", "apr", "may", "jun"),
    *("jul", "aug", "sep", "oct", "nov", "dec"),
)
_DAYS_IN_WORDS: Final = (
    *("Sundays", "Mondays", "Tuesdays", "Wednesdays"),
    *("Thursdays", "Fridays", "Saturdays"),
)

_TERM: Final = re.compile(r"(\*|[0-9]{1,4}|[a-z]{3})(?:-([0-9]{1,4}|[a-z]{3}))?(?:/([0-9]{1,4}))?")

#: A text is not longer than this, in characters: it is parsed for each new schedule.
_LONGEST: Final = 200

#: An expression is tried from here: whatever names a date at all does within fifty years of it.
_ANY_MOMENT: Final = datetime(2000, 1, 1)

#: So many times of day are named one by one in words.
_NAMED_TIMES: Final = 4


@dataclass(frozen=True, slots=True)
class _Field:
    """One field: its name, its numbers, the names that stand for them, its special terms."""

    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()
    special: str = ""

    @property
    def span(self) -> str:
        return f"{self.least}-{self.most}"


_FIELDS: Final = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31, special=r"l|lw"),
    _Field("month", 1, 12, _MONTHS),
    _Field("weekday", 0, 7, _WEEKDAYS, special=r"[0-7]l|(?:[0-7]|[a-z]{3})#[1-5]"),
)
_MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY = range(5)


def read_cron(text: str) -> str:
    """Give an expression in its one form: lower case, macros and wrapping ranges written out.

    Raises ValueError saying which field is wrong and what it may be, or that no date is named.
    """
    if len(text) > _LONGEST:
        raise ValueError(f"expected a text of up to {_LONGEST} characters")
    lower = text.strip().lower()
    if lower.startswith("@") and lower not in _MACROS:
        raise ValueError(f"there is no {lower:.30}; there are {', '.join(_MACROS)}")
    parts = _MACROS.get(lower, lower).split()
    if len(parts) != len(_FIELDS):
        raise ValueError(
            f"expected five fields (minute, hour, day of month, month, weekday), not {len(parts)}; "
            "seconds and years are not taken"
        )
    read = " ".join(_read_field(one, part) for one, part in zip(_FIELDS, parts, strict=True))
    try:
        next(CronSim(read, _ANY_MOMENT))
    except (CronSimError, StopIteration):
        raise ValueError(f"{text.strip()!r} names no date that ever comes") from None
    return read


def next_wall(cron: str, after: datetime) -> datetime:
    """Give the first minute later than `after` that an expression in its one form names.

    Both are wall-clock times without a zone, as if no clock was ever changed.
    """
    matcher = copy(_matcher(cron))
    matcher.dt = after.replace(second=0, microsecond=0)
    found: datetime = next(matcher)
    return found


def has_any_hour(cron: str) -> bool:
    """Whether the hour is a wildcard (`*`, `*/n`, or all of them): each real instant counts."""
    return cron.split()[_HOUR].startswith("*") or len(_matcher(cron).hours) == 24


def cron_words(cron: str) -> str:
    """Say in English when an expression in its one form comes, without a zone."""
    matcher = _matcher(cron)
    fields = cron.split()
    times = [(hour, minute) for hour in sorted(matcher.hours) for minute in sorted(matcher.minutes)]
    if len(times) > _NAMED_TIMES or (fields[_DAY], fields[_MONTH]) != ("*", "*"):
        # As the library says it: "At 00:00 on the 13th day of month and on Friday".
        said = matcher.explain()
        return said[:1].lower() + said[1:]
    days = _days_in_words(matcher)
    if days is None:
        said = matcher.explain()
        return said[:1].lower() + said[1:]
    return f"{days} at {_and([f'{hour:02}:{minute:02}' for hour, minute in times])}"


def _days_in_words(matcher: CronSim) -> str | None:
    if not all(isinstance(day, int) for day in matcher.weekdays):
        return None
    days = sorted({int(day) % 7 for day in matcher.weekdays if isinstance(day, int)})
    if len(days) == 7:
        return "every day"
    if days == [1, 2, 3, 4, 5]:
        return "weekdays"
    if days == [0, 6]:
        return "weekends"
    # The week begins on Monday here.
    return _and([_DAYS_IN_WORDS[day] for day in sorted(days, key=lambda day: (day - 1) % 7)])


def _and(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


@lru_cache(maxsize=4096)
def _matcher(cron: str) -> CronSim:
    return CronSim(cron, _ANY_MOMENT)


def _read_field(field: _Field, text: str) -> str:
    return ",".join(_read_term(field, term) for term in text.split(","))


def _read_term(field: _Field, term: str) -> str:
    if field.special and re.fullmatch(field.special, term):
        day, hash_sign, which = term.partition("#")
        return f"{_number(field, day, term)}#{which}" if hash_sign else term
    found = _TERM.fullmatch(term)
    if found is None or (found[1] == "*" and found[2]):
        _refuse(field, term)
    first, last, step = found.groups()
    if step is not None and not 0 < int(step) <= _steps(field):
        raise ValueError(
            f"{field.name}: a step of {int(step)} does not fit into {field.span}; "
            f"a step is 1 to {_steps(field)}"
        )
    if first == "*":
        return term
    start = _number(field, first, term)
    stride = f"/{int(step)}" if step is not None else ""
    if last is None:
        return f"{start}{stride}"
    end = _number(field, last, term)
    if end >= start:
        return f"{start}-{end}{stride}"
    # It wraps: 22-2 is 22, 23, 0, 1, 2. On a Sunday a week both ends and begins.
    size = 7 if field.names is _WEEKDAYS else field.most - field.least + 1
    length = (end - start) % size + 1
    around = [field.least + (start - field.least + ahead) % size for ahead in range(length)]
    return ",".join(map(str, around[:: int(step or 1)]))


def _steps(field: _Field) -> int:
    return 6 if field.names is _WEEKDAYS else field.most - field.least


def _number(field: _Field, text: str, term: str) -> int:
    if text in field.names:
        return field.names.index(text) + (field.least if field.names is _MONTHS else 0)
    if not text.isdigit() or not field.least <= int(text) <= field.most:
        _refuse(field, term)
    return int(text)


def _refuse(field: _Field, term: str) -> NoReturn:
    also = ""
    if field.names:
        also = f" or {field.names[0]}-{field.names[-1]}"
    if field.names is _WEEKDAYS:
        also += ", 5#2 for the second Friday, 5L for the last one"
    elif field.special:
        also = ", L for the last day, LW for the last weekday"
    raise ValueError(
        f"{field.name}: {term!r:.40} is not taken; expected {field.span}{also}, as a number, a "
        "list with commas, a range 1-5, or with a step */15"
    )

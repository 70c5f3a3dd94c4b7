"""When a charm runs, beyond a plain interval: schedules, quiet hours, what becomes of missed times.

Pure: values that classes and operators write, the next time after a moment, words for people. All
moments are float seconds since the epoch by the wall clock, and compared as such; the rules for
clock changes are the table in docs/schedules.md. Used by the schedule resolver and the planner.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.quantities import span, span_text
from bg_charm_service.domain.schedules.cron import cron_words, has_any_hour, next_wall, read_cron
from bg_charm_service.domain.schedules.time_zones import (
    UTC_NAME,
    is_known,
    moment_of,
    offset_at,
    read_zone,
    wall_at,
)
from bg_charm_service.domain.schedules.words import Missed, ScheduleWords

#: No interval is longer than this, in seconds; the service has a bound of its own.
LONGEST_INTERVAL_SECONDS: Final = 366 * 86400.0

#: A time is missed when it is later than this, in seconds; sooner it was only late.
MISSED_AFTER_SECONDS: Final = 60.0

#: Further away than this no clock change can matter for the next time, in seconds.
_NEAR_SECONDS: Final = 2 * 86400.0

_QUIET: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])")

#: What an operator writes for no quiet hours, whatever the class says.
NO_QUIET: Final = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """What counts for one charm: an expression of cron, or else an interval in seconds.

    Two runs by `cron` are at least `least_seconds` apart. `quiet` is the first and the last minute
    of the day between which no poll begins.
    """

    every_seconds: float
    cron: str = ""
    time_zone: str = UTC_NAME
    quiet: tuple[int, int] | None = None
    missed: Missed = Missed.ONCE
    least_seconds: float = 0.0


def read_class_words(said: Mapping[str, object]) -> ScheduleWords:
    """Read what a class says, by word; raises InvalidInput naming the word.

    Words that are not about when it runs are left alone.
    """
    given = {word: said.get(word) for word in ("every", "cron", "time_zone", "quiet", "missed")}
    if given["every"] is not None and given["cron"] is not None:
        raise InvalidInput("every and cron are two schedules: keep one of them")
    read = read_words(
        cron=given["cron"],
        time_zone=given["time_zone"],
        quiet=given["quiet"],
        missed=given["missed"],
    )
    every = given["every"]
    if every is None:
        return read
    try:
        seconds = span(every)
    except ValueError as error:
        raise InvalidInput(f"every: {error}") from None
    if seconds > LONGEST_INTERVAL_SECONDS:
        raise InvalidInput("every: an interval is no longer than 366 days")
    return replace(read, every_seconds=seconds)


def read_words(
    *,
    cron: object = None,
    time_zone: object = None,
    quiet: object = None,
    missed: object = None,
) -> ScheduleWords:
    """Read what is said of a schedule, None for nothing; raises InvalidInput naming the word."""
    what = ""
    try:
        what = "cron"
        cron_read = None if cron is None else read_cron(_text(cron))
        what = "time_zone"
        zone_read = None if time_zone is None else read_zone(time_zone)
        what = "quiet"
        quiet_read = None if quiet is None else _read_quiet(_text(quiet))
        what = "missed"
        missed_read = None if missed is None else _read_missed(missed)
    except ValueError as error:
        raise InvalidInput(f"{what}: {error}") from None
    return ScheduleWords(cron=cron_read, time_zone=zone_read, quiet=quiet_read, missed=missed_read)


def joined(
    of_class: ScheduleWords,
    of_operator: ScheduleWords,
    operator_seconds: float | None,
    service_seconds: float,
    least_seconds: float,
) -> Schedule:
    """Say what counts: the operator's word, else the class's, else the service's interval.

    A class gets nothing more often than `least_seconds`, unless the service itself does.
    """
    zone = of_operator.time_zone or of_class.time_zone or UTC_NAME
    quiet = of_operator.quiet or of_class.quiet
    least = min(least_seconds, service_seconds)
    every, cron, gap = service_seconds, "", 0.0
    if of_operator.cron:
        cron = of_operator.cron
    elif operator_seconds is not None:
        every = operator_seconds
    elif of_class.cron:
        cron, gap = of_class.cron, least
    elif of_class.every_seconds is not None:
        every = max(of_class.every_seconds, least)
    return Schedule(
        every_seconds=every,
        cron=cron,
        time_zone=zone if is_known(zone) else UTC_NAME,
        quiet=None if quiet is None or quiet == NO_QUIET else _quiet_minutes(quiet),
        missed=of_operator.missed or of_class.missed or Missed.ONCE,
        least_seconds=gap,
    )


@lru_cache(maxsize=10_000)
def next_time(schedule: Schedule, after: int) -> float:
    """Give the first time of a schedule by cron that is later than `after`, in whole seconds.

    A fixed time that a clock change leaves out comes right after the gap, one that is there twice
    comes once; where the hour is a wildcard, each real instant counts.
    """
    if has_any_hour(schedule.cron):
        return _next_instant(schedule, after)
    zone, cron = schedule.time_zone, schedule.cron
    wall = wall_at(zone, after)
    while True:
        wall = next_wall(cron, wall)
        found = moment_of(zone, wall)
        if found > after:
            return found


def time_after(schedule: Schedule, due: float, now: float) -> float:
    """Give the next time of a schedule by cron once its poll for `due` is planned at `now`."""
    after = max(due, now)
    if schedule.least_seconds > 60.0:
        after = max(after, due + schedule.least_seconds - 1.0)
    return next_time(schedule, int(after // 1))


def end_of_quiet(schedule: Schedule, moment: float) -> float | None:
    """Give when the quiet hours around a moment end; None outside of them."""
    if schedule.quiet is None:
        return None
    begin, end = schedule.quiet
    wall = wall_at(schedule.time_zone, moment)
    minute = wall.hour * 60 + wall.minute
    is_inside = begin <= minute < end if begin < end else not end <= minute < begin
    if not is_inside:
        return None
    last = wall.replace(hour=end // 60, minute=end % 60, second=0, microsecond=0)
    if last <= wall:
        last += timedelta(days=1)
    found = moment_of(schedule.time_zone, last)
    if found <= moment:
        # The clock was set back within them: the end is there twice, and this is past the first.
        found = moment_of(schedule.time_zone, last, second=True)
    return found


def out_of_quiet(schedule: Schedule, moment: float) -> float:
    """Give the moment itself, or the end of the quiet hours around it."""
    end = end_of_quiet(schedule, moment)
    return moment if end is None else end


def upcoming(schedule: Schedule, first: float, count: int) -> list[float]:
    """Give the next times, given the first one: what a person is shown."""
    found = [first]
    due = first
    while len(found) < count:
        if schedule.cron:
            due = time_after(schedule, due, due)
        else:
            due += schedule.every_seconds
        moved = out_of_quiet(schedule, due)
        if moved > found[-1]:
            found.append(moved)
        due = max(due, moved) if schedule.cron else due
    return found


def seconds_between(schedule: Schedule, moment: float) -> float:
    """Give how long it is from one time of a schedule by cron to the next, around a moment.

    That is from the first one that is no earlier than the moment.
    """
    first = out_of_quiet(schedule, next_time(schedule, int(moment // 1) - 1))
    return upcoming(schedule, first, 2)[1] - first


def schedule_words(schedule: Schedule) -> str:
    """Say when a charm runs, such as `weekdays at 08:00, Europe/Oslo`."""
    if schedule.cron:
        said = f"{cron_words(schedule.cron)}, {schedule.time_zone}"
    else:
        said = f"every {span_text(schedule.every_seconds)}"
    if schedule.quiet is not None:
        begin, end = (f"{minute // 60:02}:{minute % 60:02}" for minute in schedule.quiet)
        zone = "" if schedule.cron else f", {schedule.time_zone}"
        said += f", not from {begin} to {end}{zone}"
    if schedule.missed is Missed.SKIP:
        said += ", missed times are skipped"
    return said


def _next_instant(schedule: Schedule, after: int) -> float:
    """Give the next moment whose wall-clock time an expression names, whatever the clocks do."""
    zone, cron = schedule.time_zone, schedule.cron
    start, offset = float(after), offset_at(zone, after)
    wall = _shifted(start, offset)
    while True:
        wall = next_wall(cron, wall)
        found = _moment(wall, offset)
        if found - start > _NEAR_SECONDS:
            # No time in between has a name in the expression, under whatever offset.
            start = found - _NEAR_SECONDS
            offset = offset_at(zone, start)
            wall = _shifted(start, offset)
            continue
        if offset_at(zone, found) == offset:
            return found
        # The clocks change on the way: look again from the change on, by their new time.
        start = _first_change(zone, start, found)
        offset = offset_at(zone, start)
        wall = _shifted(start - 1, offset)


def _first_change(zone: str, before: float, behind: float) -> float:
    """Give the second in which the clocks of a zone change between two moments."""
    offset = offset_at(zone, before)
    while behind - before > 1:
        middle = (before + behind) // 2
        if offset_at(zone, middle) == offset:
            before = middle
        else:
            behind = middle
    return behind


_EPOCH: Final = datetime(1970, 1, 1)


def _shifted(moment: float, offset_seconds: float) -> datetime:
    """Give the wall-clock time under an offset, whether it counts at that moment or not."""
    return _EPOCH + timedelta(seconds=moment + offset_seconds)


def _moment(wall: datetime, offset_seconds: float) -> float:
    return (wall - _EPOCH).total_seconds() - offset_seconds


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a text, not {value!r:.60}")
    return value


def _read_quiet(text: str) -> str:
    if text == NO_QUIET:
        return text
    if not _QUIET.fullmatch(text):
        raise ValueError(f"expected hours such as 22:00-07:00, or none, not {text!r:.60}")
    begin, end = _quiet_minutes(text)
    if begin == end:
        raise ValueError(f"{text} would be quiet all day, or never: give two different times")
    return text


def _quiet_minutes(text: str) -> tuple[int, int]:
    begin, _, end = text.partition("-")
    hours = [tuple(map(int, each.split(":"))) for each in (begin, end)]
    return hours[0][0] * 60 + hours[0][1], hours[1][0] * 60 + hours[1][1]


def _read_missed(value: object) -> Missed:
    try:
        return Missed(str(value))
    except ValueError:
        raise ValueError(f"expected once or skip, not {value!r:.60}") from None

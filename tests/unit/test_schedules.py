"""Schedules answer as docs/schedules.md promises, on the days on which clocks change too."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.schedules.cron import read_cron
from bg_charm_service.domain.schedules.schedule import (
    Schedule,
    end_of_quiet,
    joined,
    next_time,
    out_of_quiet,
    read_class_words,
    read_words,
    schedule_words,
    seconds_between,
    time_after,
    upcoming,
)
from bg_charm_service.domain.schedules.words import NO_WORDS, Missed, ScheduleWords


def by_cron(cron: str, time_zone: str = "UTC") -> Schedule:
    """Give a schedule by an expression."""
    return Schedule(every_seconds=60.0, cron=read_cron(cron), time_zone=time_zone)


def at(text: str, zone: str = "UTC", *, second: bool = False) -> int:
    """Give the moment of a wall-clock time that exists."""
    wall = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=int(second))
    return int(wall.timestamp())


def times(cron: str, zone: str, begin: str, end: str) -> list[str]:
    """Give all times from `begin` to before `end`, in wall-clock time with the offset."""
    schedule = by_cron(cron, zone)
    now, last = at(begin, zone) - 1, at(end, zone)
    found = []
    while (now := int(next_time(schedule, now))) < last:
        shown = datetime.fromtimestamp(now, ZoneInfo(zone))
        found.append(shown.strftime("%m-%d %H:%M%z"))
    return found


# Each row of the table in docs/schedules.md that is about clock changes.

BERLIN = "Europe/Berlin"


def test_a_fixed_time_that_does_not_exist_runs_once_right_after_the_gap() -> None:
    """Once, however many times of the expression the gap swallows."""
    spring = ("2026-03-29T00:00", "2026-03-30T00:00")
    assert times("30 2 * * *", BERLIN, *spring) == ["03-29 03:00+0200"]
    assert times("15,45 2 * * *", BERLIN, *spring) == ["03-29 03:00+0200"]
    assert times("*/20 2 * * *", BERLIN, *spring) == ["03-29 03:00+0200"]
    assert times("30 2 * * *", "America/New_York", "2026-03-08T00:00", "2026-03-09T00:00") == [
        "03-08 03:00-0400"
    ]


def test_a_time_in_the_gap_and_the_time_right_after_it_are_one() -> None:
    """`0 2,3` runs once at three o'clock on that day."""
    spring = ("2026-03-29T00:00", "2026-03-30T00:00")
    assert times("0 2,3 * * *", BERLIN, *spring) == ["03-29 03:00+0200"]


def test_a_fixed_time_that_is_there_twice_runs_once() -> None:
    """At the first of the two."""
    autumn = ("2026-10-25T00:00", "2026-10-26T00:00")
    assert times("30 2 * * *", BERLIN, *autumn) == ["10-25 02:30+0200"]
    assert times("*/20 2 * * *", BERLIN, *autumn) == [
        "10-25 02:00+0200",
        "10-25 02:20+0200",
        "10-25 02:40+0200",
    ]


def test_where_the_hour_is_a_wildcard_each_real_instant_counts() -> None:
    """A quarter of an hour is one on both days: in spring none is missing, in autumn none waits."""
    for day in ("2026-03-29", "2026-10-25"):
        schedule = by_cron("*/15 * * * *", BERLIN)
        now = at(f"{day}T00:00", BERLIN)
        found = [now]
        while now < at(f"{day}T05:00", BERLIN):
            now = int(next_time(schedule, now))
            found.append(now)
        assert {behind - before for before, behind in pairwise(found)} == {900}


def test_an_hour_that_is_there_twice_counts_twice_where_the_hour_is_a_wildcard() -> None:
    """So does one of `*/2`, as in Debian's cron."""
    autumn = ("2026-10-25T00:00", "2026-10-25T05:00")
    assert times("30 * * * *", BERLIN, *autumn) == [
        "10-25 00:30+0200",
        "10-25 01:30+0200",
        "10-25 02:30+0200",
        "10-25 02:30+0100",
        "10-25 03:30+0100",
        "10-25 04:30+0100",
    ]
    assert times("0 */2 * * *", BERLIN, *autumn) == [
        "10-25 00:00+0200",
        "10-25 02:00+0200",
        "10-25 02:00+0100",
        "10-25 04:00+0100",
    ]


def test_half_an_hour_that_is_missing_or_there_twice() -> None:
    """Lord Howe Island changes its clocks by half an hour."""
    zone = "Australia/Lord_Howe"
    spring = ("2026-10-04T00:00", "2026-10-05T00:00")
    assert times("15 2 * * *", zone, *spring) == ["10-04 02:30+1100"]
    autumn = ("2026-04-05T00:00", "2026-04-06T00:00")
    assert times("45 1 * * *", zone, *autumn) == ["04-05 01:45+1100"]
    assert times("*/15 1 * * *", zone, *autumn) == [
        "04-05 01:00+1100",
        "04-05 01:15+1100",
        "04-05 01:30+1100",
        "04-05 01:45+1100",
    ]
    assert times("*/30 * * * *", zone, "2026-04-05T01:00", "2026-04-05T03:00") == [
        "04-05 01:00+1100",
        "04-05 01:30+1100",
        "04-05 01:30+1030",
        "04-05 02:00+1030",
        "04-05 02:30+1030",
    ]


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("Africa/Cairo", "2026-04-24"),
        ("Asia/Beirut", "2026-03-29"),
        ("America/Santiago", "2026-09-06"),
        ("America/Havana", "2026-03-08"),
        ("Atlantic/Azores", "2026-03-29"),
    ],
)
def test_a_midnight_that_does_not_exist_is_one_o_clock_of_that_day(zone: str, day: str) -> None:
    """A daily job loses no day and gets none twice where the clocks change at midnight."""
    schedule = by_cron("@daily", zone)
    noon = at(f"{day}T12:00", zone)
    now, walls = noon - 2 * 86400, []
    for _ in range(4):
        now = int(next_time(schedule, now))
        walls.append(datetime.fromtimestamp(now, ZoneInfo(zone)))
    days = [wall.date().isoformat() for wall in walls]
    start = datetime.fromisoformat(day).date() - timedelta(days=1)
    assert days == [(start + timedelta(days=ahead)).isoformat() for ahead in range(4)]
    gap = walls[1]
    assert gap.strftime("%Y-%m-%d %H:%M") == f"{day} 01:00"
    assert {wall.strftime("%H:%M") for wall in walls if wall is not gap} == {"00:00"}


@pytest.mark.parametrize(
    ("zone", "change"), [(BERLIN, "2026-03-29"), ("America/New_York", "2026-03-08")]
)
def test_midnight_on_the_day_after_the_spring_change_runs(zone: str, change: str) -> None:
    """A Monday job does not lose a week each year."""
    monday = (datetime.fromisoformat(change) + timedelta(days=1)).date()
    found = next_time(by_cron("0 0 * * mon", zone), at(f"{change}T12:00", zone))
    assert datetime.fromtimestamp(found, ZoneInfo(zone)).date() == monday


def test_a_day_that_does_not_exist_comes_right_after_the_gap_once() -> None:
    """Samoa had no 30 December 2011: what was due on it, and at midnight after it, is one run."""
    around = ("2011-12-29T12:30", "2012-01-01T00:00")
    zone = "Pacific/Apia"
    assert times("0 0 * * *", zone, *around) == ["12-31 00:00+1400"]
    assert times("0 12 * * *", zone, *around) == ["12-31 00:00+1400", "12-31 12:00+1400"]
    assert times("0 12 30 12 *", zone, *around) == ["12-31 00:00+1400"]


def test_the_next_time_is_later_also_when_asked_in_the_second_of_two_hours() -> None:
    """Wall-clock time goes backwards there; the answer never does."""
    for minute in range(60):
        now = at(f"2026-10-25T02:{minute:02}", BERLIN, second=True)
        for cron in ("30 2 * * *", "*/15 * * * *", "15,45 2 * * *", "0 3 * * *"):
            assert next_time(by_cron(cron, BERLIN), now) > now


def test_a_rare_date_with_a_wildcard_hour_is_found_across_clock_changes() -> None:
    """The offset that counts is that of the date, not that of today."""
    found = next_time(by_cron("0 * 1 7 *", BERLIN), at("2026-01-01T00:00", BERLIN))
    assert found == at("2026-07-01T00:00", BERLIN)


ZONES = [
    "UTC",
    BERLIN,
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Cairo",
    "America/Santiago",
    "America/Havana",
    "Atlantic/Azores",
    "Africa/Casablanca",
    "Asia/Kolkata",
]

#: Moments around which the clocks of one of these zones change, by UTC.
CHANGES = [
    "2026-03-29T01:00",
    "2026-10-25T01:00",
    "2026-03-08T07:00",
    "2026-11-01T06:00",
    "2026-10-03T15:30",
    "2026-04-04T15:00",
    "2026-04-23T22:00",
    "2026-10-29T21:00",
    "2026-09-06T04:00",
    "2026-04-05T03:00",
    "2026-03-08T05:00",
    "2026-11-01T05:00",
    "2026-02-15T02:00",
    "2026-03-22T02:00",
]

_numbers = st.lists(st.integers(0, 23), min_size=1, max_size=3, unique=True)


@st.composite
def expressions(draw: st.DrawFn) -> tuple[str, set[int], set[int], set[int] | None, bool]:
    """Give an expression, its minutes, hours and weekdays (Monday is 0), and if it has any hour."""
    minutes = draw(
        st.one_of(
            st.lists(st.integers(0, 59), min_size=1, max_size=3, unique=True),
            st.sampled_from([list(range(0, 60, step)) for step in (1, 15, 20)]),
        )
    )
    hours, is_any = draw(
        st.one_of(
            st.tuples(_numbers, st.just(value=False)),
            st.tuples(
                st.sampled_from([list(range(24)), list(range(0, 24, 2))]), st.just(value=True)
            ),
        )
    )
    days = draw(st.none() | st.lists(st.integers(0, 6), min_size=1, max_size=3, unique=True))
    hour_text = ("*" if len(hours) == 24 else "*/2") if is_any else ",".join(map(str, hours))
    day_text = "*" if days is None else ",".join(str((day + 1) % 7) for day in days)
    text = f"{','.join(map(str, minutes))} {hour_text} * * {day_text}"
    return text, set(minutes), set(hours), None if days is None else set(days), is_any


@given(
    expression=expressions(),
    zone=st.sampled_from(ZONES),
    change=st.sampled_from(CHANGES),
    ahead=st.integers(-26 * 60, 4 * 60),
)
@example(("30 2 * * *", {30}, {2}, None, False), BERLIN, "2026-03-29T01:00", -60)
@example(("0 * * * *", {0}, set(range(24)), None, True), BERLIN, "2026-10-25T01:00", -60)
def test_the_next_time_is_that_of_a_scan_of_every_minute(
    expression: tuple[str, set[int], set[int], set[int] | None, bool],
    zone: str,
    change: str,
    ahead: int,
) -> None:
    """Around every kind of clock change, two days long, minute by minute in real time."""
    text, minutes, hours, days, is_any = expression
    start = int(datetime.fromisoformat(change).replace(tzinfo=UTC).timestamp()) + ahead * 60
    info = ZoneInfo(zone)

    def names(wall: datetime) -> bool:
        is_day = days is None or wall.weekday() in days
        return is_day and wall.hour in hours and wall.minute in minutes

    expected = None
    before = datetime.fromtimestamp(start - 86400, info).replace(tzinfo=None)
    latest = before
    for second in range(start - 86400, start + 8 * 86400, 60):
        wall = datetime.fromtimestamp(second, info).replace(tzinfo=None, fold=0)
        if is_any:
            is_time = names(wall)
        else:
            # What the clock shows for the first time now, with all that it has left out.
            shown = []
            while latest < wall:
                latest += timedelta(minutes=1)
                shown.append(latest)
            is_time = any(map(names, shown))
        if is_time and second > start:
            expected = second
            break
    assert expected is not None
    assert next_time(by_cron(text, zone), start) == expected


# What an expression may say.


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("0 8 * * MON-FRI", "0 8 * * 1-5"),
        ("@daily", "0 0 * * *"),
        ("@Weekly", "0 0 * * 0"),
        ("0 0 * * 7", "0 0 * * 7"),
        ("0 0 * * 5-7", "0 0 * * 5-7"),
        ("0 0 * * 5-1", "0 0 * * 5,6,0,1"),
        ("0 0 * * fri-sun", "0 0 * * 5,6,0"),
        ("0 0 * * 7-2", "0 0 * * 0,1,2"),
        ("0 22-2 * * *", "0 22,23,0,1,2 * * *"),
        ("0 22-2/2 * * *", "0 22,0,2 * * *"),
        ("50-10/10 * * * *", "50,0,10 * * * *"),
        ("0 0 * nov-feb *", "0 0 * 11,12,1,2 *"),
        ("0 0 28-3 * *", "0 0 28,29,30,31,1,2,3 * *"),
        ("*/59 */23 */30 */11 */6", "*/59 */23 */30 */11 */6"),
        ("15 10 L * *", "15 10 l * *"),
        ("0 0 * * fri#2", "0 0 * * 5#2"),
    ],
)
def test_expressions_have_one_form(text: str, read: str) -> None:
    """Macros, names and ranges that wrap are written out; that form is read as itself."""
    assert read_cron(text) == read
    assert read_cron(read) == read


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("*/90 * * * *", "minute: a step of 90 does not fit into 0-59; a step is 1 to 59"),
        ("0 */24 * * *", "hour: a step of 24"),
        ("0 0 */0 * *", "day of month: a step of 0"),
        ("0 0 15W * *", "day of month: '15w' is not taken; expected 1-31"),
        ("61 * * * *", "minute: '61' is not taken; expected 0-59"),
        ("0 0 * * funday", "weekday: 'funday' is not taken"),
        ("0 0 * * 8", "weekday: '8' is not taken; expected 0-7"),
        ("0 0 ? * 1", "day of month: '?' is not taken"),
        ("0 0 * *", "expected five fields"),
        ("0 0 0 * * *", "seconds and years are not taken"),
        ("@reboot", "there is no @reboot"),
        ("0 0 30 2 *", "names no date that ever comes"),
        ("0 0 31 4,6 *", "names no date that ever comes"),
        ("*-5 * * * *", "minute: '*-5' is not taken"),
        ("1,,2 * * * *", "minute: '' is not taken"),
        ("", "expected five fields"),
        ("0 0 * * " + ",".join(["1"] * 200), "up to 200 characters"),
    ],
)
def test_what_is_not_taken_is_refused_with_what_is(text: str, words: str) -> None:
    """When it is added, not when it should run."""
    with pytest.raises(ValueError, match=re.escape(words)):
        read_cron(text)


def test_day_of_month_and_weekday_are_joined_by_or() -> None:
    """As cron has it, unless one of them begins with a star; `1#1` beside a day counts too."""
    begin, end = "2026-06-01T00:00", "2026-07-01T00:00"
    days = [text[:5] for text in times("0 0 15 * fri", "UTC", begin, end)]
    assert days == ["06-05", "06-12", "06-15", "06-19", "06-26"]
    both = [text[:5] for text in times("0 0 15 * 1#1", "UTC", begin, end)]
    assert both == ["06-01", "06-15"]
    odd_mondays = [text[:5] for text in times("0 0 */2 * mon", "UTC", begin, end)]
    assert odd_mondays == ["06-01", "06-15", "06-29"]


def test_seven_is_sunday_and_ranges_wrap() -> None:
    """`sat-sun` is a weekend, `22-2` five hours of a night."""
    begin, end = "2026-06-01T00:00", "2026-06-15T00:00"
    for text in ("0 0 * * 6-7", "0 0 * * sat-sun", "0 0 * * 6,0"):
        days = [text[:5] for text in times(text, "UTC", begin, end)]
        assert days == ["06-06", "06-07", "06-13", "06-14"]
    night = times("0 22-2 * * *", "UTC", "2026-06-01T12:00", "2026-06-02T12:00")
    assert [text[6:11] for text in night] == ["22:00", "23:00", "00:00", "01:00", "02:00"]


# Words, time zones, quiet hours, what is said where.


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("0 8 * * mon-fri", "weekdays at 08:00, Europe/Oslo"),
        ("0 8,20 * * *", "every day at 08:00 and 20:00, Europe/Oslo"),
        ("30 6 * * sat,sun", "weekends at 06:30, Europe/Oslo"),
        ("0 9 * * 7,1,3", "Mondays, Wednesdays and Sundays at 09:00, Europe/Oslo"),
        ("*/15 * * * *", "every 15th minute of every hour, Europe/Oslo"),
        ("0 0 13 * 5", "at 00:00 on the 13th day of month and on Friday, Europe/Oslo"),
        ("0 0 * * 1#1", "at 00:00 on the first Monday of the month, Europe/Oslo"),
    ],
)
def test_a_schedule_is_said_in_words(cron: str, words: str) -> None:
    """As a person would, where that is short; else as the library does."""
    assert schedule_words(by_cron(cron, "Europe/Oslo")) == words


def test_words_of_intervals_and_quiet_hours() -> None:
    """What is not as usual is said too."""
    quiet = Schedule(every_seconds=300.0, time_zone="Europe/Oslo", quiet=(22 * 60, 7 * 60))
    assert schedule_words(quiet) == "every 5 min, not from 22:00 to 07:00, Europe/Oslo"
    skipping = Schedule(every_seconds=60.0, missed=Missed.SKIP)
    assert schedule_words(skipping) == "every 60 s, missed times are skipped"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("Europe/Olso", "Europe/Oslo"),
        ("europe/oslo", "Europe/Oslo"),
        ("Oslo", "Europe/Oslo"),
        ("new york", "America/New_York"),
        ("America/NewYork", "America/New_York"),
    ],
)
def test_a_time_zone_that_does_not_exist_is_refused_with_the_nearest_names(
    name: str, near: str
) -> None:
    """By the whole name, or by its place."""
    with pytest.raises(InvalidInput, match=rf"time_zone: there is no time zone .*{near}"):
        read_words(time_zone=name)


@pytest.mark.parametrize("name", ["", "+02:00", "../etc/passwd", "posix/Europe/Oslo", 5, "Oslo\0"])
def test_what_is_no_name_of_a_time_zone_is_refused(name: object) -> None:
    """Nor is any file looked at for it."""
    with pytest.raises(InvalidInput, match="time_zone: there is no time zone"):
        read_words(time_zone=name)


def test_quiet_hours_move_a_poll_to_their_end() -> None:
    """Over midnight, and within a day; the end itself is not quiet, the begin is."""
    night = Schedule(every_seconds=60.0, time_zone="Europe/Oslo", quiet=(22 * 60, 7 * 60))
    for moment, moved in [
        ("2026-06-01T21:59", "2026-06-01T21:59"),
        ("2026-06-01T22:00", "2026-06-02T07:00"),
        ("2026-06-02T03:00", "2026-06-02T07:00"),
        ("2026-06-02T07:00", "2026-06-02T07:00"),
    ]:
        got = out_of_quiet(night, at(moment, "Europe/Oslo"))
        assert got == at(moved, "Europe/Oslo")
    noon = Schedule(every_seconds=60.0, quiet=(12 * 60, 13 * 60))
    assert end_of_quiet(noon, at("2026-06-01T11:59")) is None
    assert end_of_quiet(noon, at("2026-06-01T12:30")) == at("2026-06-01T13:00")
    assert end_of_quiet(noon, at("2026-06-01T13:00")) is None


def test_quiet_hours_end_after_the_moment_whatever_the_clocks_do() -> None:
    """Their end may not exist, or be there twice."""
    early = Schedule(every_seconds=60.0, time_zone=BERLIN, quiet=(22 * 60, 2 * 60 + 30))
    assert end_of_quiet(early, at("2026-03-29T01:00", BERLIN)) == at("2026-03-29T03:00", BERLIN)
    second = at("2026-10-25T02:10", BERLIN, second=True)
    assert end_of_quiet(early, second) == at("2026-10-25T02:30", BERLIN, second=True)


def test_a_class_says_when_it_runs() -> None:
    """Other words of the class are left alone."""
    said = {"cron": "0 8 * * mon-fri", "time_zone": "Europe/Oslo", "quiet": "22:00-07:00"}
    assert read_class_words({**said, "missed": "skip", "expects": "1d"}) == ScheduleWords(
        cron="0 8 * * 1-5", time_zone="Europe/Oslo", quiet="22:00-07:00", missed=Missed.SKIP
    )
    assert read_class_words({"every": "5m"}) == ScheduleWords(every_seconds=300.0)
    assert read_class_words({"every": 2.5}) == ScheduleWords(every_seconds=2.5)
    assert read_class_words({}) == NO_WORDS


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"every": "often"}, "every: expected seconds, or a text such as 90s, 5m"),
        ({"every": 0}, "every: expected seconds"),
        ({"every": -5}, "every: expected seconds"),
        ({"every": True}, "every: expected seconds"),
        ({"every": float("nan")}, "every: expected seconds"),
        ({"every": "60w"}, "every: an interval is no longer than 366 days"),
        ({"every": 60, "cron": "@daily"}, "every and cron are two schedules"),
        ({"cron": 5}, "cron: expected a text, not 5"),
        ({"cron": "0 0 30 2 *"}, "cron: '0 0 30 2 *' names no date"),
        ({"quiet": "22-7"}, "quiet: expected hours such as 22:00-07:00"),
        ({"quiet": "24:00-07:00"}, "quiet: expected hours"),
        ({"quiet": "07:00-07:00"}, "quiet: 07:00-07:00 would be quiet all day"),
        ({"quiet": True}, "quiet: expected a text"),
        ({"missed": "twice"}, "missed: expected once or skip, not 'twice'"),
    ],
)
def test_a_word_that_cannot_be_read_is_refused_by_its_name(
    said: dict[str, object], words: str
) -> None:
    """With what it may be."""
    with pytest.raises(InvalidInput) as refused:
        read_class_words(said)
    assert words in str(refused.value)


def test_the_operator_wins_over_the_class_and_the_class_over_the_service() -> None:
    """An interval of the class is bounded, one of the operator is not."""
    of_class = read_class_words({"cron": "0 8 * * *", "time_zone": "Europe/Oslo"})
    often = read_class_words({"every": 2})

    def counts(
        of_class: ScheduleWords,
        of_operator: ScheduleWords = NO_WORDS,
        seconds: float | None = None,
        service: float = 60.0,
    ) -> str:
        return schedule_words(joined(of_class, of_operator, seconds, service, 10.0))

    assert counts(NO_WORDS) == "every 60 s"
    assert counts(of_class) == "every day at 08:00, Europe/Oslo"
    assert counts(of_class, seconds=5.0) == "every 5 s"
    assert counts(of_class, read_words(cron="30 9 * * *")) == "every day at 09:30, Europe/Oslo"
    assert counts(of_class, read_words(cron="30 9 * * *", time_zone="UTC")) == (
        "every day at 09:30, UTC"
    )
    assert counts(often) == "every 10 s"
    assert counts(often, service=5.0) == "every 5 s"
    hushed = read_class_words({"quiet": "22:00-07:00"})
    assert counts(hushed, read_words(quiet="none")) == "every 60 s"


def test_a_class_that_wants_every_minute_gets_what_the_service_allows() -> None:
    """`--min-interval` holds for expressions too."""
    wanted = read_class_words({"cron": "* * * * *"})
    slow = joined(wanted, NO_WORDS, None, 600.0, 150.0)
    due = float(at("2026-06-01T08:00"))
    assert time_after(slow, due, due) == due + 180
    by_hand = joined(wanted, read_words(cron="* * * * *"), None, 600.0, 150.0)
    assert time_after(by_hand, due, due) == due + 60


def test_times_that_passed_meanwhile_are_not_run_back_to_back() -> None:
    """The next one is later than now."""
    daily = by_cron("0 8 * * *", "Europe/Oslo")
    due, now = at("2026-06-01T08:00", "Europe/Oslo"), at("2026-06-04T09:00", "Europe/Oslo")
    assert time_after(daily, due, now) == at("2026-06-05T08:00", "Europe/Oslo")


def test_the_next_times_are_those_that_the_planner_takes() -> None:
    """Those in quiet hours are one at their end."""
    hourly = Schedule(every_seconds=60.0, cron=read_cron("0 * * * *"), quiet=(22 * 60, 7 * 60 + 30))
    first = float(at("2026-06-01T20:00"))
    assert upcoming(hourly, first, 5) == [
        at("2026-06-01T20:00"),
        at("2026-06-01T21:00"),
        at("2026-06-02T07:30"),
        at("2026-06-02T08:00"),
        at("2026-06-02T09:00"),
    ]
    plain = Schedule(every_seconds=3600.0, quiet=(22 * 60, 7 * 60 + 30))
    assert upcoming(plain, first + 900, 4) == [
        at("2026-06-01T20:15"),
        at("2026-06-01T21:15"),
        at("2026-06-02T07:30"),
        at("2026-06-02T08:15"),
    ]


@pytest.mark.parametrize(
    ("cron", "moment", "seconds"),
    [
        ("*/5 * * * *", "2026-11-23T10:05", 300),
        ("*/5 * * * *", "2026-11-23T10:06", 300),
        ("0 8 * * mon-fri", "2026-11-27T08:00", 3 * 86400),
        ("0 8,9 * * *", "2026-11-23T08:00", 3600),
        ("0 8,9 * * *", "2026-11-23T08:01", 23 * 3600),
    ],
)
def test_the_time_between_two_times(cron: str, moment: str, seconds: int) -> None:
    """From the first that is no earlier than a moment to the one behind it."""
    assert seconds == seconds_between(by_cron(cron), at(moment))


def test_the_time_between_two_times_leaves_quiet_hours_out() -> None:
    """What is due within them is due at their end."""
    schedule = replace(by_cron("0 * * * *"), quiet=(22 * 60, 7 * 60 + 30))
    assert 30 * 60 == seconds_between(schedule, at("2026-11-23T22:00"))
    assert 10.5 * 3600 == seconds_between(schedule, at("2026-11-23T21:00"))

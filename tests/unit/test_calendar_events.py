"""What a calendar holds in a window (RFC 5545, 7529, 7986): what libraries get wrong."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from bg_charm_service import CalendarEvent, CalendarReading, calendar_events

BERLIN = "DTSTART;TZID=Europe/Berlin:"
YEAR_2026 = (datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))


def calendar(*events: str, head: str = "") -> str:
    """A calendar of events, each given by its lines; names are given where they have none."""
    parts = []
    for number, event in enumerate(events):
        uid = "" if "UID:" in event else f"UID:{number}\n"
        parts.append(f"BEGIN:VEVENT\n{uid}DTSTAMP:20260101T000000Z\n{event.strip()}\nEND:VEVENT\n")
    lines = (
        f"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//tests//EN\n{head}{''.join(parts)}END:VCALENDAR\n"
    )
    return lines.replace("\n", "\r\n")


def read(text: str | bytes, window: Any = YEAR_2026, zone: str = "") -> CalendarReading:
    """Read what is in a window."""
    return calendar_events(text, *window, zone=zone)


def events(
    *lines: str, head: str = "", window: Any = YEAR_2026, zone: str = ""
) -> list[CalendarEvent]:
    """The events of a calendar in which all can be read."""
    found = read(calendar(*lines, head=head), window, zone)
    assert [] == found.unreadable
    return found.events


def utc(event: CalendarEvent) -> tuple[str, str]:
    """When an event begins and ends, in UTC; days as they are."""
    return stamp(event.start), stamp(event.end)


def stamp(when: datetime | date) -> str:
    """A time in UTC, or a day, in few letters."""
    if isinstance(when, datetime):
        return f"{when.astimezone(UTC):%m-%d %H:%M}"
    return f"{when:%m-%d}"


def starts(*lines: str, **options: Any) -> list[str]:
    """When the events begin, in UTC."""
    return [stamp(one.start) for one in events(*lines, **options)]


def reasons(text: str | bytes) -> list[str]:
    """Why events were skipped."""
    return [one.reason for one in read(text).unreadable]


# Text.


def test_an_event_is_told_with_what_it_says() -> None:
    """Texts lose backslashes and folds, parameters their quotes; alarms are not its own."""
    event = (
        "DTSTART;TZID=Europe/Berlin:20260301T100000\nDTEND;TZID=Europe/Berlin:20260301T113000\n"
        "SUMMARY;LANGUAGE=de:Gespräch\\, kurz\\; \\\\ wi\n chtig\n"
        "DESCRIPTION:one\\ntwo\nLOCATION:Raum 4\n"
        'ORGANIZER;CN="Ada: B.";SENT-BY="mailto:x@example.org":mailto:ada@example.org\n'
        "STATUS:TENTATIVE\nTRANSP:TRANSPARENT\nURL:https://example.org/?a;b=c:d\n"
        "BEGIN:VALARM\nACTION:DISPLAY\nDESCRIPTION:Wake up\nSUMMARY:Alarm\n"
        "DURATION:PT5M\nTRIGGER:-PT15M\nEND:VALARM"
    )
    (found,) = events(event)
    assert found == CalendarEvent(
        uid="0",
        recurrence_id="",
        start=found.start,
        end=found.end,
        all_day=False,
        zone="Europe/Berlin",
        summary="Gespräch, kurz; \\ wichtig",
        description="one\ntwo",
        location="Raum 4",
        status="TENTATIVE",
        busy=False,
        organizer="Ada: B. <ada@example.org>",
        url="https://example.org/?a;b=c:d",
    )
    assert ("2026-03-01T10:00:00+01:00", "0") == (found.start.isoformat(), found.key)
    assert ("03-01 09:00", "03-01 10:30") == utc(found)


def test_a_fold_may_cut_a_letter() -> None:
    """Lines are cut by bytes, so a letter of two may be in both."""
    text = calendar("DTSTART:20260301T100000Z\nSUMMARY:Grüße").encode()
    text = text.replace("ü".encode(), b"\xc3\r\n \xbc").replace(b"DTSTART", b"DTST\r\n\tART")
    assert ["Grüße"] == [one.summary for one in read(text).events]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_they_do_elsewhere(end: str) -> None:
    """Not at letters that Python takes for ends; names in any case; behind a mark of order."""
    text = calendar("dtstart:20260301T100000Z\nSUMMARY:one\u2028two\u0085three\x0bfour")
    found = read("\ufeff" + text.replace("\r\n", end))
    assert ["one\u2028two\u0085three\x0bfour"] == [one.summary for one in found.events]


def test_a_parameter_has_no_backslash() -> None:
    """A backslash before the colon is of the name; a caret stands for what quotes lack."""
    (found,) = events("DTSTART:20260301T100000Z\nORGANIZER;CN=A\\:mailto:a@example.org")
    assert "A\\ <a@example.org>" == found.organizer
    (found,) = events("DTSTART:20260301T100000Z\nORGANIZER;CN=^'B^' ^^:mailto:a@example.org")
    assert '"B" ^ <a@example.org>' == found.organizer


def test_several_calendars_may_follow_each_other() -> None:
    """Each with its own zones; the first one's name is told, by the newer word or the older."""
    zones = [zone(name="Mine", offset=offset) for offset in ("+0100", "-0500")]
    one, two = (
        calendar(f"UID:{offset}\nDTSTART;TZID=Mine:20260301T100000", head=offset)
        for offset in zones
    )
    found = read(one.replace("VERSION:2.0", "VERSION:2.0\r\nX-WR-CALNAME:old") + two)
    assert ["03-01 09:00", "03-01 15:00"] == [stamp(each.start) for each in found.events]
    assert "old" == found.name
    assert "new" == read(one.replace("VERSION:2.0", "NAME:new\r\nX-WR-CALNAME:old")).name


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no calendar"),
        ("<html><body>Sign in</body></html>", "no calendar"),
        ("BEGIN:VCARD\r\nEND:VCARD\r\n", "begins with VCARD"),
        (calendar("DTSTART:20260301T100000Z")[:-20], "cut off"),
        (calendar("DTSTART:20260301T100000Z").partition("END:VEVENT")[0], "cut off"),
    ],
)
def test_what_is_no_calendar_is_refused(text: str, why: str) -> None:
    """With a sentence: half of a calendar would look as though the rest had been deleted."""
    with pytest.raises(ValueError, match=why):
        read(text)


def test_a_window_has_zones_and_an_order() -> None:
    """Anything else is refused, and a zone that is none."""
    text, (first, last) = calendar("DTSTART:20260301T100000Z"), YEAR_2026
    for window in ((last, first), (datetime(2026, 1, 1), datetime(2027, 1, 1))):
        with pytest.raises(ValueError, match="window"):
            read(text, window)
    with pytest.raises(ValueError, match="Nowhere"):
        read(text, zone="Nowhere")


# What cannot be read.

BROKEN = {
    "DTSTART:20260231T100000Z": "DTSTART: '20260231T100000Z' is no time that there is",
    "DTSTART:tomorrow": "DTSTART: 'TOMORROW' is no time",
    "SUMMARY:x": "it has no start (DTSTART)",
    "DTSTART;TZID=Nobodys:20260301T100000": "DTSTART: its zone 'Nobodys' is not defined",
    "DTSTART:20260301T100000Z\nDTEND:20260301T090000Z": "it ends before it begins",
    "DTSTART;VALUE=DATE:20260301\nDTEND;VALUE=DATE:20260201": "it ends before it begins",
    "DTSTART:20260301T100000Z\nDURATION:-PT1H": "it ends before it begins",
    "DTSTART:20260301T100000Z\nDURATION:1H": "'1H' is no duration",
    "DTSTART:20260301T100000Z\nDURATION:P": "'P' is no duration",
    "DTSTART:20260301T100000Z\nDURATION:P9999999D": "'P9999999D' is longer than anything",
    "DTSTART:20260301T100000Z\nRRULE:FREQ=OFTEN": "its rule has FREQ=OFTEN",
    "DTSTART:20260301T100000Z\nRRULE:COUNT=2": "its rule has FREQ=",
    "DTSTART:20260301T100000Z\nRRULE:FREQ=DAILY;INTERVAL=0": "its rule has INTERVAL=0",
    "DTSTART:20260301T100000Z\nRRULE:FREQ=DAILY;BYHOUR=24": "its rule has BYHOUR=24",
    "DTSTART:20260301T100000Z\nRRULE:FREQ=DAILY;BYMONTH=5L": "its rule has BYMONTH=5L",
    "DTSTART:20260301T100000Z\nRRULE:FREQ=MONTHLY;BYMONTHDAY=0": "its rule has BYMONTHDAY=0",
    "DTSTART:20260301T100000Z\nRRULE:FREQ=WEEKLY;BYDAY=XX": "its rule has the weekday 'XX'",
    "DTSTART:20260301T100000Z\nRRULE:FREQ=MONTHLY;BYDAY=0MO": "its rule has BYDAY=0MO",
    "DTSTART:20260301T100000Z\nRRULE:FREQ=DAILY;FREQ=DAILY": "its rule has 'FREQ=DAILY'",
    "DTSTART:20260301T100000Z\nRRULE:FREQ=DAILY;BYMOON=1": (
        "its rule has BYMOON, which is not known"
    ),
    "DTSTART:20260301T100000Z\nRRULE:FREQ=DAILY;UNTIL=never": "'NEVER' is no time",
    "DTSTART:20260301T100000Z\nRRULE:FREQ=SECONDLY": "its rule has more than 100,000 times",
    "DTSTART:20260301T100000Z\nRRULE:FREQ=MINUTELY;INTERVAL=10": (
        "it has more than 10,000 times in the window"
    ),
    "DTSTART:20260301T100000Z\nRRULE:RSCALE=CHINESE;FREQ=YEARLY": (
        "its rule counts in the calendar CHINESE, which is not known here"
    ),
    "DTSTART:20260301T100000Z\nEXDATE:x": "EXDATE: 'X' is no time",
    "DTSTART:20260301T100000Z\nRECURRENCE-ID:x": "RECURRENCE-ID: 'X' is no time",
    'DTSTART;TZID="a:20260301T100000Z': (
        "its line 'DTSTART;TZID=\"a:20260301T100000Z' cannot be read"
    ),
}


@pytest.mark.parametrize(("lines", "reason"), BROKEN.items())
def test_what_cannot_be_read_is_named(lines: str, reason: str) -> None:
    """And what stands beside it is there."""
    rule = "\nRRULE:FREQ=YEARLY" if "EXDATE" in lines else ""
    text = calendar(
        f"UID:bad\nSUMMARY:Odd one\n{lines}{rule}", "UID:good\nDTSTART:20260302T100000Z"
    )
    found = read(text)
    assert ["good"] == [one.uid for one in found.events]
    (skipped,) = found.unreadable
    assert ("bad", reason) == (skipped.uid, skipped.reason)
    assert f"Odd one: {reason}" == str(skipped)


def test_lines_that_are_none_cost_nothing() -> None:
    """A text that was not folded has lines that are none; an event may lack its name."""
    found = read(
        "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:20260301T100000Z\nDESCRIPTION:first\nsecond line\n"
        "https://example.org/third\n;x\nEND:VEVENT\nBEGIN:VEVENT\nDTSTART:20260302T100000Z\n"
        "END:VEVENT\nEND:X\nEND:VCALENDAR\n"
    )
    assert [] == found.unreadable
    assert 2 == len({one.uid for one in found.events})
    assert ["first", ""] == [one.description for one in found.events]


# Zones.


def zone(name: str, offset: str = "+0100", rules: str = "") -> str:
    """A zone that a calendar brings along; without rules it has one offset."""
    standard = (
        f"BEGIN:STANDARD\nDTSTART:16010101T000000\nTZOFFSETFROM:{offset}\nTZOFFSETTO:{offset}\n"
        "TZNAME:X\nEND:STANDARD\n"
    )
    return f"BEGIN:VTIMEZONE\nTZID:{name}\n{rules or standard}END:VTIMEZONE\n"


#: As Outlook writes it.
CUSTOM = (
    "BEGIN:STANDARD\nDTSTART:16010101T030000\nTZOFFSETFROM:+0200\nTZOFFSETTO:+0100\n"
    "RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10\nEND:STANDARD\n"
    "BEGIN:DAYLIGHT\nDTSTART:16010101T020000\nTZOFFSETFROM:+0100\nTZOFFSETTO:+0200\n"
    "RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3\nEND:DAYLIGHT\n"
)
OUTLOOK = "Customized Time Zone"


def test_a_zone_is_that_of_its_calendar() -> None:
    """Two calendars may call different zones alike, one after the other and again."""
    lines = f"DTSTART;TZID={OUTLOOK}:20260701T100000"
    for _ in range(2):
        assert ["07-01 08:00"] == starts(lines, head=zone(OUTLOOK, rules=CUSTOM))
        assert ["07-01 17:00"] == starts(lines, head=zone(OUTLOOK, "-0700"))
    assert ["DTSTART: its zone 'Customized Time Zone' is not defined"] == reasons(calendar(lines))


def test_a_zone_may_stand_behind_what_uses_it() -> None:
    """The order of components says nothing."""
    text = calendar(f"DTSTART;TZID={OUTLOOK}:20260701T100000")
    text = text.replace("END:VCALENDAR", zone(OUTLOOK, rules=CUSTOM) + "END:VCALENDAR")
    assert ["07-01 08:00"] == [stamp(one.start) for one in read(text).events]


@pytest.mark.parametrize(
    ("local", "there"),
    [
        ("20260328T120000", "03-28 11:00"),
        ("20260329T013000", "03-29 00:30"),
        ("20260329T023000", "03-29 01:30"),  # there is none: with the offset before
        ("20260329T030000", "03-29 01:00"),
        ("20261025T013000", "10-24 23:30"),
        ("20261025T023000", "10-25 00:30"),  # the first of two
        ("20261025T030000", "10-25 02:00"),
    ],
)
def test_a_zone_of_a_calendar_is_as_one_of_the_world(local: str, there: str) -> None:
    """At its changes too."""
    for name in (OUTLOOK, "Europe/Berlin"):
        (found,) = events(
            f"DTSTART;TZID={name}:{local}\nDURATION:PT3H", head=zone(OUTLOOK, rules=CUSTOM)
        )
        assert there == stamp(found.start)
        assert isinstance(found.start, datetime)
        assert isinstance(found.end, datetime)
        assert timedelta(hours=3) == found.end.astimezone(UTC) - found.start.astimezone(UTC)
        assert name == found.zone


def test_clocks_of_both_zones_agree_all_year() -> None:
    """From UTC to the wall clock and back, each half of an hour."""
    (one,) = events(f"DTSTART;TZID={OUTLOOK}:20260102T000000", head=zone(OUTLOOK, rules=CUSTOM))
    (other,) = events("DTSTART;TZID=Europe/Berlin:20260102T000000")
    assert isinstance(one.start, datetime)
    assert isinstance(other.start, datetime)
    for half_hours in range(-48, 2 * 24 * 366):
        when = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=30 * half_hours)
        mine, theirs = when.astimezone(one.start.tzinfo), when.astimezone(other.start.tzinfo)
        assert mine.isoformat() == theirs.isoformat()
        assert when == mine.astimezone(UTC)


def test_a_zone_with_one_offset_has_it() -> None:
    """India, Tokyo, Arizona: no rule, before its start and after."""
    window = (datetime(1960, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    head = zone("Mine", "+0530").replace("16010101", "19700101")
    lines = [f"DTSTART;TZID=Mine:{year}0701T100000" for year in (1965, 2026)]
    assert ["07-01 04:30", "07-01 04:30"] == starts(*lines, head=head, window=window)


def test_a_zone_may_end_its_rules_or_list_its_days() -> None:
    """UNTIL, in UTC, and RDATE; what held last goes on."""
    rules = CUSTOM.replace("BYMONTH=3", "BYMONTH=3;UNTIL=20250330T010000Z")
    rules += "BEGIN:DAYLIGHT\nDTSTART:20260501T000000\nRDATE:20260501T000000,20280501T000000\n"
    rules += "TZOFFSETFROM:+0100\nTZOFFSETTO:+0300\nEND:DAYLIGHT\n"
    lines = [
        f"DTSTART;TZID=Mine:{day}T100000"
        for day in ("20250401", "20260401", "20260601", "20261101", "20280601")
    ]
    window = (datetime(2025, 1, 1, tzinfo=UTC), datetime(2029, 1, 1, tzinfo=UTC))
    expected = ["04-01 08:00", "04-01 09:00", "06-01 07:00", "11-01 09:00", "06-01 07:00"]
    assert expected == starts(*lines, head=zone("Mine", rules=rules), window=window)


def test_a_rule_goes_by_the_zone_of_its_calendar() -> None:
    """Ten o'clock stays ten o'clock, and an UNTIL may be there."""
    lines = f"DTSTART;TZID={OUTLOOK}:20260327T100000\nRRULE:FREQ=DAILY;UNTIL=20260330T080000Z"
    expected = ["03-27 09:00", "03-28 09:00", "03-29 08:00", "03-30 08:00"]
    assert expected == starts(lines, head=zone(OUTLOOK, rules=CUSTOM))


@pytest.mark.parametrize(
    "name",
    [
        "Europe/Berlin",
        "/Europe/Berlin",
        "/freeassociation.sourceforge.net/Europe/Berlin",
        "/mozilla.org/20050126_1/Europe/Berlin",
        '"Europe/Berlin"',
    ],
)
def test_names_of_the_world_need_no_definition(name: str) -> None:
    """RFC 7809; programs put theirs in front."""
    assert ["07-01 08:00"] == starts(f"DTSTART;TZID={name}:20260701T100000")


def test_a_name_of_the_world_is_the_worlds() -> None:
    """What is brought along under it is often one change of one year."""
    head = zone("Europe/Berlin", rules=CUSTOM.partition("BEGIN:DAYLIGHT")[0])
    assert ["07-01 08:00"] == starts("DTSTART;TZID=Europe/Berlin:20260701T100000", head=head)


def test_a_zone_that_cannot_be_read_costs_its_events_only() -> None:
    """Each with why."""
    bad = zone("Bad", "+99") + zone("Empty", rules="COMMENT:x\n")
    lines = [f"UID:{name}\nDTSTART;TZID={name}:20260301T100000" for name in ("Bad", "Empty", "UTC")]
    found = read(calendar(*lines, head=bad))
    assert ["UTC"] == [one.uid for one in found.events]
    assert ["DTSTART: '+99' is no offset from UTC", "DTSTART: its zone says no offset"] == [
        one.reason for one in found.unreadable
    ]


def test_x_wr_timezone_is_for_times_without_a_zone() -> None:
    """A rule of UTC stays one of UTC: its weekdays are those there."""
    head = "X-WR-TIMEZONE:America/New_York\n"
    lines = "DTSTART:20260302T010000Z\nRRULE:FREQ=WEEKLY;BYDAY=MO;COUNT=3"
    assert ["03-02 01:00", "03-09 01:00", "03-16 01:00"] == starts(lines, head=head)
    (found,) = events("DTSTART:20260302T100000", head=head)
    assert ("03-02 15:00", "") == (stamp(found.start), found.zone)
    assert ["03-02 09:00"] == starts("DTSTART:20260302T100000", head=head, zone="Europe/Berlin")
    assert ["03-02 10:00"] == starts("DTSTART:20260302T100000")
    assert ["03-02 10:00"] == starts("DTSTART:20260302T100000", head="X-WR-TIMEZONE:Nowhere\n")


# How long.


@pytest.mark.parametrize(
    ("start", "duration", "end"),
    [
        ("20260328T220000", "PT3H", "03-29 00:00"),
        ("20260329T000000", "PT3H", "03-29 02:00"),  # over the change: four on the clock
        ("20261025T000000", "PT4H", "10-25 02:00"),
        ("20260328T120000", "P1D", "03-29 10:00"),  # the same time of day: 23 hours
        ("20260328T120000", "PT24H", "03-29 11:00"),
        ("20260328T120000", "P1DT2H", "03-29 12:00"),
        ("20261024T120000", "P1W", "10-31 11:00"),
        ("20260329T023000", "PT30M", "03-29 02:00"),  # in the gap it begins at half past three
        ("20260329T010000", "PT0S", "03-29 00:00"),
    ],
)
def test_hours_pass_and_days_are_of_the_calendar(start: str, duration: str, end: str) -> None:
    """RFC 5545, 3.3.6, in each kind of zone."""
    for name in ("Europe/Berlin", OUTLOOK):
        lines = f"DTSTART;TZID={name}:{start}\nDURATION:{duration}"
        (found,) = events(lines, head=zone(OUTLOOK, rules=CUSTOM))
        assert end == stamp(found.end)


def test_all_times_of_a_series_last_the_same() -> None:
    """Exactly so with DTEND, by the calendar with DURATION (3.8.5.3)."""
    start = "DTSTART;TZID=Europe/Berlin:20260327T120000\nRRULE:FREQ=DAILY;COUNT=2"
    by_end = events(f"{start}\nDTEND;TZID=Europe/Berlin:20260328T120000")
    assert ["03-28 11:00", "03-29 11:00"] == [stamp(one.end) for one in by_end]
    by_duration = events(f"{start}\nDURATION:P1D")
    assert ["03-28 11:00", "03-29 10:00"] == [stamp(one.end) for one in by_duration]


def test_an_end_may_have_a_zone_of_its_own() -> None:
    """A flight."""
    (found,) = events(
        "DTSTART;TZID=Europe/Berlin:20260301T100000\nDTEND;TZID=America/New_York:20260301T130000"
    )
    assert ("03-01 09:00", "03-01 18:00") == utc(found)


def test_days_are_days() -> None:
    """Whatever the zone: the end is the day after the last one."""
    cases = {
        "DTSTART;VALUE=DATE:20260329": ("03-29", "03-30"),
        "DTSTART:20260329": ("03-29", "03-30"),
        "DTSTART;VALUE=DATE:20260328\nDTEND;VALUE=DATE:20260331": ("03-28", "03-31"),
        "DTSTART;VALUE=DATE:20260328\nDTEND;VALUE=DATE:20260328": ("03-28", "03-29"),
        "DTSTART;VALUE=DATE:20260328\nDURATION:P2D": ("03-28", "03-30"),
        "DTSTART;VALUE=DATE:20260328\nDURATION:P1W": ("03-28", "04-04"),
        "DTSTART;VALUE=DATE;TZID=Europe/Berlin:20260328": ("03-28", "03-29"),
    }
    for lines, expected in cases.items():
        for there in ("Europe/Berlin", "Pacific/Auckland", "America/Los_Angeles", ""):
            (found,) = events(lines, zone=there)
            assert expected == utc(found)
            assert (True, "") == (found.all_day, found.zone)
            assert not isinstance(found.start, datetime)


def test_a_window_has_what_overlaps_it() -> None:
    """Also of what began before; not what only touches its start, or begins at its end."""
    window = (datetime(2026, 3, 10, tzinfo=UTC), datetime(2026, 3, 11, tzinfo=UTC))
    lines = (
        "UID:over\nDTSTART:20260301T000000Z\nDTEND:20260401T000000Z",
        "UID:before\nDTSTART:20260309T230000Z\nDTEND:20260310T000000Z",
        "UID:first\nDTSTART:20260310T000000Z",
        "UID:after\nDTSTART:20260311T000000Z",
        "UID:day\nDTSTART;VALUE=DATE:20260310",
        "UID:day-before\nDTSTART;VALUE=DATE:20260309",
        "UID:series\nDTSTART:20260101T000000Z\nDURATION:P3D\nRRULE:FREQ=DAILY",
    )
    found = events(*lines, window=window)
    assert ["over", "series", "series", "day", "first", "series"] == [one.uid for one in found]
    assert "day-before" in {
        one.uid for one in events(*lines, window=window, zone="America/New_York")
    }


# Series.


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        # UNTIL as a day includes that day; in local time it is that of the event's zone.
        ("FREQ=DAILY;UNTIL=20260303", ["03-01 22:00", "03-02 22:00", "03-03 22:00"]),
        ("FREQ=DAILY;UNTIL=20260303T230000", ["03-01 22:00", "03-02 22:00", "03-03 22:00"]),
        ("FREQ=DAILY;UNTIL=20260303T220000Z", ["03-01 22:00", "03-02 22:00", "03-03 22:00"]),
        ("FREQ=DAILY;UNTIL=20260303T215959Z", ["03-01 22:00", "03-02 22:00"]),
        ("FREQ=DAILY;UNTIL=20260228", []),
        # A start that the rule does not name is the first one.
        ("FREQ=WEEKLY;BYDAY=MO;COUNT=3", ["03-01 22:00", "03-02 22:00", "03-09 22:00"]),
        ("FREQ=MONTHLY;BYMONTHDAY=31;COUNT=3", ["03-01 22:00", "03-31 21:00", "05-31 21:00"]),
        # A week's number means the weekday of the start.
        ("FREQ=YEARLY;BYWEEKNO=20;COUNT=2", ["03-01 22:00", "05-17 21:00"]),
        (
            "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1;COUNT=3",
            ["03-01 22:00", "03-31 21:00", "04-30 21:00"],
        ),
        ("freq=weekly;interval=2;wkst=su;count=2", ["03-01 22:00", "03-15 22:00"]),
        ("FREQ=DAILY;COUNT=2;X-MINE=1", ["03-01 22:00", "03-02 22:00"]),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", ["03-01 22:00"]),
        ("FREQ=MINUTELY;BYMONTH=2;BYMONTHDAY=30", ["03-01 22:00"]),
        ("FREQ=MINUTELY;INTERVAL=10;BYDAY=TU;BYSETPOS=2", ["03-01 22:00"]),
        ("FREQ=HOURLY;INTERVAL=24;BYHOUR=5", ["03-01 22:00"]),
    ],
)
def test_rules(rule: str, expected: list[str]) -> None:
    """In Berlin, at 23 o'clock of a Sunday."""
    assert expected == starts(f"{BERLIN}20260301T230000\nRRULE:{rule}")


@pytest.mark.parametrize(
    ("start", "rule", "expected"),
    [
        ("20240229", "FREQ=YEARLY", []),
        ("20240229", "RSCALE=GREGORIAN;FREQ=YEARLY;SKIP=OMIT", []),
        ("20240229", "RSCALE=GREGORIAN;FREQ=YEARLY;SKIP=BACKWARD", ["02-28"]),
        ("20240229", "RSCALE=GREGORIAN;FREQ=YEARLY;SKIP=FORWARD", ["03-01"]),
        (
            "20260131",
            "RSCALE=GREGORIAN;FREQ=MONTHLY;SKIP=BACKWARD;COUNT=4",
            ["01-31", "02-28", "03-31", "04-30"],
        ),
        (
            "20260131",
            "RSCALE=GREGORIAN;FREQ=MONTHLY;SKIP=FORWARD;COUNT=4",
            ["01-31", "03-01", "03-31", "05-01"],
        ),
        (
            "20260101",
            "RSCALE=GREGORIAN;FREQ=MONTHLY;BYMONTHDAY=1,31;BYMONTH=1,2,3;SKIP=FORWARD",
            ["01-01", "01-31", "02-01", "03-01", "03-31"],
        ),
        (
            "20260102",
            "RSCALE=GREGORIAN;FREQ=MONTHLY;INTERVAL=3;SKIP=FORWARD",
            ["01-02", "04-02", "07-02", "10-02"],
        ),
        ("20260102", "RSCALE=GREGORIAN;FREQ=WEEKLY;SKIP=FORWARD;COUNT=2", ["01-02", "01-09"]),
        (
            "20260102",
            "RSCALE=GREGORIAN;FREQ=MONTHLY;BYDAY=1FR;SKIP=FORWARD;COUNT=2",
            ["01-02", "02-06"],
        ),
        (
            "20240131",
            "RSCALE=GREGORIAN;FREQ=YEARLY;BYMONTH=1,4;SKIP=BACKWARD;UNTIL=20260501",
            ["01-31", "04-30"],
        ),
    ],
)
def test_days_that_months_lack(start: str, rule: str, expected: list[str]) -> None:
    """RFC 7529: left out, or the day before or after."""
    assert expected == starts(f"DTSTART;VALUE=DATE:{start}\nRRULE:{rule}")


def test_a_rule_with_skip_that_is_not_read_is_named() -> None:
    """Not guessed."""
    rule = "RRULE:RSCALE=GREGORIAN;FREQ=MONTHLY;BYMONTHDAY=-31;SKIP=FORWARD"
    expected = "its rule has SKIP=FORWARD with parts that are not read with it"
    assert [expected] == reasons(calendar(f"DTSTART;VALUE=DATE:20260101\n{rule}"))


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=DAILY;INTERVAL=3",
        "FREQ=WEEKLY;INTERVAL=3;BYDAY=SU,TU;WKST=SU",
        "FREQ=MONTHLY;INTERVAL=5",
        "FREQ=MONTHLY;INTERVAL=2;BYDAY=-1SU,2WE",
        "FREQ=MONTHLY;BYDAY=SU,WE;BYSETPOS=2,-1",
        "FREQ=YEARLY;INTERVAL=3",
        "FREQ=YEARLY;BYDAY=20MO",
        "FREQ=YEARLY;BYMONTH=1,6;BYDAY=-1SU",
        "FREQ=YEARLY;BYWEEKNO=1,53;BYDAY=MO,SU",
        "FREQ=YEARLY;BYYEARDAY=1,-1,200",
        "FREQ=HOURLY;INTERVAL=7",
        "FREQ=HOURLY;INTERVAL=5;BYDAY=SU;BYMINUTE=0,30;BYSETPOS=-1",
        "FREQ=MINUTELY;INTERVAL=95;BYHOUR=9,10",
    ],
)
def test_a_series_is_the_same_from_anywhere(rule: str) -> None:
    """A window far from the start has what a rule followed from its start has there."""
    start = datetime(1997, 8, 31, 9, 0)
    window = (datetime(2032, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC))
    from dateutil.rrule import rrulestr

    followed = rrulestr(rule, dtstart=start).between(
        datetime(2032, 1, 1), datetime(2036, 1, 1), inc=True
    )
    expected = [f"{when:%Y%m%dT%H%M%S}" for when in followed if when < datetime(2036, 1, 1)]
    lines = f"DTSTART:{start:%Y%m%dT%H%M%S}\nRRULE:{rule}"
    assert expected == [one.recurrence_id for one in events(lines, window=window)]
    assert expected


def test_dates_are_added_and_left_out() -> None:
    """RDATE without a rule too, with periods; EXDATE in any zone, or as a day."""
    lines = f"{BERLIN}20260301T100000\nDURATION:PT1H\n"
    lines += "RDATE;TZID=Europe/Berlin:20260303T100000,20260305T120000\n"
    lines += "RDATE;VALUE=PERIOD:20260307T090000Z/PT2H,20260308T090000Z/20260308T120000Z\n"
    found = events(lines)
    expected = [
        ("03-01 09:00", "03-01 10:00"),
        ("03-03 09:00", "03-03 10:00"),
        ("03-05 11:00", "03-05 12:00"),
        ("03-07 09:00", "03-07 11:00"),
        ("03-08 09:00", "03-08 12:00"),
    ]
    assert expected == [utc(one) for one in found]
    left_out = "EXDATE:20260301T090000Z\nEXDATE;TZID=America/New_York:20260303T040000\n"
    left_out += "EXDATE;VALUE=DATE:20260307"
    assert [expected[2], expected[4]] == [utc(one) for one in events(lines + left_out)]
    days = "DTSTART;VALUE=DATE:20260301\nRRULE:FREQ=DAILY;COUNT=4\n"
    days += "EXDATE;VALUE=DATE:20260302\nEXDATE:20260303T000000"
    assert ["03-01", "03-04"] == starts(days)


def test_rules_may_be_several_and_take_out() -> None:
    """Two rules are one set; a rule of what is not (RFC 2445) too."""
    lines = "DTSTART:20260301T100000Z\nRRULE:FREQ=DAILY;COUNT=4\nRRULE:FREQ=WEEKLY;COUNT=2\n"
    expected = ["03-01 10:00", "03-02 10:00", "03-03 10:00", "03-04 10:00", "03-08 10:00"]
    assert expected == starts(lines)
    assert [expected[1], expected[3]] == starts(
        "DTSTART:20260301T100000Z\nRRULE:FREQ=DAILY;COUNT=4\nEXRULE:FREQ=DAILY;INTERVAL=2"
    )


def test_each_hour_is_there_once() -> None:
    """Over a gap of the wall clock, in which two of its hours are one."""
    lines = f"{BERLIN}20260329T010000\nRRULE:FREQ=HOURLY;COUNT=4"
    assert ["03-29 00:00", "03-29 01:00", "03-29 02:00"] == starts(lines)


def test_a_time_that_a_change_leaves_out_is_after_it() -> None:
    """Half past two of each day, also where there is none, or two."""
    lines = f"{BERLIN}20260328T023000\nRRULE:FREQ=DAILY;COUNT=3\nDURATION:PT15M"
    assert ["03-28 01:30", "03-29 01:30", "03-30 00:30"] == starts(lines)
    (_, gap, _) = events(lines)
    assert ("2026-03-29T03:30:00+02:00", "03-29 01:45") == (gap.start.isoformat(), stamp(gap.end))
    lines = f"{BERLIN}20261024T023000\nRRULE:FREQ=DAILY;COUNT=3"
    assert ["10-24 00:30", "10-25 00:30", "10-26 01:30"] == starts(lines)


# Exceptions.

DAILY = f"UID:s\nSUMMARY:daily\n{BERLIN}20260327T100000\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=4"


@pytest.mark.parametrize(
    "named",
    [
        "RECURRENCE-ID;TZID=Europe/Berlin:20260329T100000",
        "RECURRENCE-ID:20260329T080000Z",
        "RECURRENCE-ID;VALUE=DATE:20260329",
    ],
)
def test_one_time_of_a_series_is_otherwise(named: str) -> None:
    """However it is named, and wherever it stands; it keeps its name where it moved to."""
    other = f"UID:s\nSUMMARY:moved\n{named}\n{BERLIN}20260401T180000\nDURATION:PT2H"
    for lines in ((DAILY, other), (other, DAILY)):
        found = events(*lines)
        expected = [
            ("daily", "20260327T090000Z", "03-27 09:00"),
            ("daily", "20260328T090000Z", "03-28 09:00"),
            ("daily", "20260330T080000Z", "03-30 08:00"),
            ("moved", "20260329T080000Z", "04-01 16:00"),
        ]
        assert expected == [(one.summary, one.recurrence_id, stamp(one.start)) for one in found]
        assert len({one.key for one in found}) == len(found)
    # It was in the window, and is not any more.
    window = (datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 3, 30, tzinfo=UTC))
    assert [] == starts(DAILY, other, window=window)


def test_one_time_of_a_series_is_cancelled() -> None:
    """It is there, and says so; a whole calendar may be sent to say it."""
    other = "UID:s\nRECURRENCE-ID:20260329T080000Z\nDTSTART:20260329T080000Z\nSTATUS:CANCELLED"
    assert ["CONFIRMED", "CONFIRMED", "CANCELLED", "CONFIRMED"] == [
        one.status for one in events(DAILY, other)
    ]
    assert {"CANCELLED"} == {one.status for one in events(DAILY, head="METHOD:CANCEL\n")}


def test_the_newest_version_counts() -> None:
    """Of a series and of an exception, by SEQUENCE, then by DTSTAMP."""
    older = "UID:s\nSEQUENCE:1\nSUMMARY:older\nDTSTART:20260301T100000Z"
    newer = "UID:s\nSEQUENCE:2\nSUMMARY:newer\nDTSTART:20260302T100000Z"
    for lines in ((older, newer), (newer, older)):
        assert ["newer"] == [one.summary for one in events(*lines)]
        exceptions = [f"{line}\nRECURRENCE-ID:20260328T090000Z" for line in lines]
        found = events(DAILY, *exceptions)
        assert ["newer", "daily", "daily", "daily"] == [one.summary for one in found]


def test_events_of_one_name_are_told_apart() -> None:
    """Some programs give all the same."""
    lines = [f"UID:same\nDTSTART:2026030{day}T100000Z" for day in (1, 2, 2)]
    found = events(*lines)
    assert ["03-01 10:00", "03-02 10:00"] == [stamp(one.start) for one in found]
    assert 2 == len({one.key for one in found})


def test_an_exception_may_be_all_that_is_there() -> None:
    """Whoever is invited to one time of a series has no more."""
    (found,) = events("UID:s\nRECURRENCE-ID:20260329T080000Z\nDTSTART:20260329T090000Z")
    assert ("20260329T080000Z", "03-29 09:00") == (found.recurrence_id, stamp(found.start))


def test_all_later_times_are_otherwise() -> None:
    """RANGE=THISANDFUTURE moves them by as much, with their length; a nearer exception wins."""
    change = (
        "UID:s\nSUMMARY:later\nRECURRENCE-ID;RANGE=THISANDFUTURE;TZID=Europe/Berlin:20260328T100000\n"
        f"{BERLIN}20260328T140000\nDURATION:PT2H"
    )
    other = f"UID:s\nSUMMARY:one\nRECURRENCE-ID:20260329T080000Z\n{BERLIN}20260329T200000"
    assert [
        ("daily", ("03-27 09:00", "03-27 10:00"), "20260327T090000Z"),
        ("later", ("03-28 13:00", "03-28 15:00"), "20260328T090000Z"),
        ("one", ("03-29 18:00", "03-29 18:00"), "20260329T080000Z"),
        ("later", ("03-30 12:00", "03-30 14:00"), "20260330T080000Z"),
    ] == [(one.summary, utc(one), one.recurrence_id) for one in events(DAILY, change, other)]
    far = change.replace("20260328T140000", "20260405T140000")
    window = (datetime(2026, 4, 6, tzinfo=UTC), datetime(2026, 4, 7, tzinfo=UTC))
    assert ["04-06 12:00"] == starts(DAILY, far, window=window)


def test_an_exception_that_cannot_be_read_hides_its_time() -> None:
    """The series says what is known to be otherwise, so it is skipped, and named."""
    other = "UID:s\nSUMMARY:bad\nRECURRENCE-ID:20260329T080000Z\nDTSTART:soon"
    found = read(calendar(DAILY, other))
    assert ["03-27 09:00", "03-28 09:00", "03-30 08:00"] == [
        stamp(one.start) for one in found.events
    ]
    assert ["bad: DTSTART: 'SOON' is no time"] == [str(one) for one in found.unreadable]
    assert "20260329T080000Z" == found.unreadable[0].recurrence_id


def test_a_series_that_cannot_be_read_leaves_its_exceptions() -> None:
    """They say all of themselves."""
    bad = DAILY.replace("FREQ=DAILY", "FREQ=DAILY;BYMOON=1")
    other = "UID:s\nRECURRENCE-ID:20260329T080000Z\nDTSTART:20260329T090000Z"
    found = read(calendar(bad, other))
    assert ["03-29 09:00"] == [stamp(one.start) for one in found.events]
    assert ["its rule has BYMOON, which is not known"] == [one.reason for one in found.unreadable]


def test_other_components_are_none_of_it() -> None:
    """Tasks, journals and what is busy."""
    head = "".join(
        f"BEGIN:{name}\nUID:x\nDTSTART:20260301T100000Z\nEND:{name}\n"
        for name in ("VTODO", "VJOURNAL", "VFREEBUSY", "VAVAILABILITY")
    )
    assert [] == events(head=head)

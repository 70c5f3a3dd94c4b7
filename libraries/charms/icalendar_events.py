"""icalendar: events of a calendar."""

import icalendar

from bg_charm_service import Charm

TEXT = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:x
BEGIN:VEVENT
UID:1
DTSTART;TZID=Europe/Berlin:20260105T090000
RRULE:FREQ=WEEKLY
SUMMARY:Standup
END:VEVENT
END:VCALENDAR
"""


class IcalendarEvents(Charm):
    """Reads the names of events."""

    names: list[str] = []

    def bg_updater(self, event: dict) -> None:
        calendar = icalendar.Calendar.from_ical(TEXT)
        self.names = [str(one["SUMMARY"]) for one in calendar.walk("VEVENT")]

"""recurring-ical-events: when an event comes again."""

import icalendar
import recurring_ical_events

from bg_charm_service import Charm

LINES = (
    *("BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:x", "BEGIN:VEVENT", "UID:1"),
    *("DTSTART:20260105T090000Z", "RRULE:FREQ=WEEKLY", "SUMMARY:Standup"),
    *("END:VEVENT", "END:VCALENDAR", ""),
)


class RecurringEvents(Charm):
    """Counts the events of a month."""

    count: int = 0

    def bg_updater(self, event: dict) -> None:
        calendar = icalendar.Calendar.from_ical("\r\n".join(LINES))
        found = recurring_ical_events.of(calendar).between((2026, 1, 1), (2026, 2, 1))
        self.count = len(list(found))

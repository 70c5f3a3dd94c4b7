#!/usr/bin/env bash
# python-dateutil 2.9.0: a yearly rule by a week's number has all seven days of that week, and
# icalendar's recurring events follow it; a rule that never comes is looked for up to the year 9999.
#
# RFC 5545, 3.3.10: what a rule does not say "is derived from DTSTART". A start on a Wednesday with
# FREQ=YEARLY;BYWEEKNO=20 is the Wednesday of each week 20.
#
# Why it matters here: docs/decisions/0077-calendars.md. Such a rule is completed before dateutil is
# asked, and it is asked in a year shortly before the last one.
#
# Seen with python-dateutil 2.9.0.post0 and recurring-ical-events 3.8.2 on Python 3.11:
#
#     dateutil: 7 days in 2027, Mon Tue Wed Thu Fri Sat Sun
#     recurring-ical-events: 7 days in 2027
#     a rule that never comes, from 2026 and from 9626: more than 10 times the time
#
# Needs a network. Exits with 1 when anything else is seen.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check python-dateutil==2.9.0.post0 icalendar==7.3.2 recurring-ical-events==3.8.2

cat >"$folder/expected" <<'EXPECTED'
dateutil: 7 days in 2027, Mon Tue Wed Thu Fri Sat Sun
recurring-ical-events: 7 days in 2027
a rule that never comes, from 2026 and from 9626: more than 10 times the time
EXPECTED

cd "$folder"
venv/bin/python - <<'PROGRAM' | tee seen
from datetime import datetime
from time import process_time

import icalendar
import recurring_ical_events
from dateutil.rrule import rrulestr

rule = "FREQ=YEARLY;BYWEEKNO=20"
start = datetime(2026, 5, 13, 9)
window = datetime(2027, 1, 1), datetime(2028, 1, 1)
found = rrulestr(rule, dtstart=start).between(*window)
print(f"dateutil: {len(found)} days in 2027, {' '.join(f'{one:%a}' for one in found)}")
text = f"""BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//x//EN
BEGIN:VEVENT
UID:1
DTSTAMP:20260101T000000Z
DTSTART:{start:%Y%m%dT%H%M%S}
RRULE:{rule}
END:VEVENT
END:VCALENDAR
""".replace("\n", "\r\n")
events = recurring_ical_events.of(icalendar.Calendar.from_ical(text)).between(*window)
print(f"recurring-ical-events: {len(events)} days in 2027")
took = []
for year in (2026, 9626):
    began = process_time()
    assert not list(rrulestr("FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30", dtstart=datetime(year, 1, 1)))
    took.append(process_time() - began)
factor = "more" if took[0] > 10 * took[1] else "less"
print(f"a rule that never comes, from 2026 and from 9626: {factor} than 10 times the time")
PROGRAM
diff expected seen

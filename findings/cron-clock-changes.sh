#!/usr/bin/env bash
# cronsim 2.8 and croniter 7.0.0: what they answer on the days on which clocks change.
#
# Why it matters here: docs/decisions/0048-schedules.md. Each is right about some days and wrong about
# others, so that times are matched without a zone, and the zone is put on by a rule of our own.
#
# Seen with cronsim 2.8, croniter 7.0.0 and tzdata 2026.6 on Python 3.11:
#
#     02:30 that is there twice: cronsim 1 time, croniter 2 times
#     the next time, asked in the second of two hours: cronsim -45 min, croniter 15 min
#     every 20 minutes of an hour that does not exist: cronsim 0 times, croniter 1 time
#     a step of 90 in 60 minutes: cronsim 60 min apart, croniter 60 min apart
#     15th or first Monday, in a year: cronsim 24 days, croniter 0 days
#
# Needs a network. Exits with 1 when anything else is seen.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check cronsim==2.8 croniter==7.0.0 tzdata==2026.6

cat >"$folder/expected" <<'EXPECTED'
02:30 that is there twice: cronsim 1 time, croniter 2 times
the next time, asked in the second of two hours: cronsim -45 min, croniter 15 min
every 20 minutes of an hour that does not exist: cronsim 0 times, croniter 1 time
a step of 90 in 60 minutes: cronsim 60 min apart, croniter 60 min apart
15th or first Monday, in a year: cronsim 24 days, croniter 0 days
EXPECTED

cd "$folder"
# The zones of the package, whatever the machine has.
PYTHONTZPATH="" venv/bin/python - <<'PROGRAM' | tee seen
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from croniter import CroniterBadDateError, croniter
from cronsim import CronSim

BERLIN = ZoneInfo("Europe/Berlin")


def by_cronsim(text, start):
    return iter(CronSim(text, start))


def by_croniter(text, start):
    found = croniter(text, start, ret_type=datetime)
    while True:
        try:
            yield found.get_next()
        except CroniterBadDateError:
            return


LIBRARIES = {"cronsim": by_cronsim, "croniter": by_croniter}


def count(text, start, end):
    found = {}
    for name, times in LIBRARIES.items():
        number = 0
        for time in times(text, start):
            if time.astimezone(UTC) >= end.astimezone(UTC):
                break
            number += 1
        found[name] = number
    return found


def say(what, found, unit):
    words = ", ".join(
        f"{name} {number} {unit}{'s' if unit == 'time' and number != 1 else ''}"
        for name, number in found.items()
    )
    print(f"{what}: {words}")


def day(*date):
    return datetime(*date, tzinfo=BERLIN)


say("02:30 that is there twice", count("30 2 * * *", day(2026, 10, 25), day(2026, 10, 26)), "time")

second = datetime(2026, 10, 25, 2, 15, tzinfo=BERLIN, fold=1)
ahead = {
    name: round((next(iter(times("30 2 * * *", second))).astimezone(UTC) - second.astimezone(UTC))
                / timedelta(minutes=1))
    for name, times in LIBRARIES.items()
}
say("the next time, asked in the second of two hours", ahead, "min")

say(
    "every 20 minutes of an hour that does not exist",
    count("*/20 2 * * *", day(2026, 3, 29), day(2026, 3, 30)),
    "time",
)

start = datetime(2026, 6, 1, tzinfo=UTC)
apart = {}
for name, times in LIBRARIES.items():
    found = iter(times("*/90 * * * *", start))
    apart[name] = round((-(next(found) - next(found))) / timedelta(minutes=1))
say("a step of 90 in 60 minutes", apart, "min apart")

year = (datetime(2026, 1, 1, tzinfo=UTC) - timedelta(minutes=1), datetime(2027, 1, 1, tzinfo=UTC))
say("15th or first Monday, in a year", count("0 0 15 * 1#1", *year), "days")
PROGRAM
diff expected seen

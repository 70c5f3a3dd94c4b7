"""Polls by a schedule: at its times, whatever happens to the service, the machine and the clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from bg_charm_service.domain.model import DisabledBy
from bg_charm_service.domain.schedules.schedule import Schedule, read_class_words, read_words
from bg_charm_service.storage.records import CharmRecord
from bg_charm_service.supervisor.planning.timetable import Timetable
from tests.unit.test_loop import Bench, broken

HOUR = 3600.0
OSLO = "Europe/Oslo"


def at(text: str, zone: str = "UTC") -> float:
    """Give the moment of a wall-clock time."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A supervisor on an empty database, on a Monday at noon."""
    made = Bench(tmp_path / "test.db")
    made.clock.seconds = at("2026-06-01T12:00")
    yield made
    made.database.close()


def add(bench: Bench, **said: object) -> CharmRecord:
    """Add a charm whose class says this, and have it polled."""
    charm = bench.charm()
    schema = replace(charm.schema, schedule=read_class_words(said))
    with bench.database.transaction():
        bench.store.charms.replace_source(
            charm.charm_key, file_name="some.py", source="", schema=schema, now=0
        )
        bench.store.registrations.put(charm.charm_key, "manual", 0)
        bench.planner.begin(charm.charm_key, charm.ref.space)
    return charm


def restart(bench: Bench, tmp_path: Path, seconds_later: float) -> Bench:
    """Close the service, and begin another life of it so much later."""
    now = bench.clock.now() + seconds_later
    bench.database.close()
    again = Bench(tmp_path / "test.db")
    again.clock.seconds = now
    again.planner.load()
    return again


def polls_until(bench: Bench, end: float, *, look_seconds: float = HOUR) -> list[float | None]:
    """Let the time pass, and every run succeed; gives for when their polls were due.

    The service looks at its clock every `look_seconds`, and when something is due.
    """
    found: list[float | None] = []
    while bench.clock.now() <= end:
        bench.step()
        while bench.pool.out:
            found.append(bench.pool.out[0].scheduled_at)
            bench.pool.end(bench.pool.out[0])
            bench.step()
        due = bench.planner.next_due
        ahead = bench.clock.seconds + look_seconds
        bench.clock.seconds = max(min(ahead, due or ahead), bench.clock.seconds + 0.001)
    return found


def shown(times: list[float | None], zone: str = "UTC") -> list[str]:
    """Write times as day and wall-clock time."""
    read = [datetime.fromtimestamp(each or 0, ZoneInfo(zone)) for each in times]
    return [f"{each:%d %H:%M:%S}" for each in read]


def test_a_charm_runs_at_its_times_and_not_when_it_is_added(bench: Bench) -> None:
    """Each poll knows for when it was due, to the second."""
    charm = add(bench, cron="0 8 * * mon-fri", time_zone=OSLO)
    assert bench.planner.due_at(charm.charm_key) == at("2026-06-02T08:00", OSLO)
    found = polls_until(bench, at("2026-06-08T12:00"))
    assert shown(found, OSLO) == [
        *("02 08:00:00", "03 08:00:00", "04 08:00:00", "05 08:00:00", "08 08:00:00")
    ]


def test_a_poll_knows_the_last_one_that_succeeded(bench: Bench) -> None:
    """Failures in between do not count, and a retry has the time of its poll."""
    add(bench, cron="0 * * * *")
    bench.clock.seconds = at("2026-06-01T13:00")
    bench.step()
    first = bench.pool.out[0]
    assert (first.scheduled_at, first.previous) == (at("2026-06-01T13:00"), None)
    bench.pool.end(first)
    bench.step()
    bench.clock.seconds = at("2026-06-01T14:00")
    bench.step()
    failing = bench.pool.out[0]
    assert failing.previous == at("2026-06-01T13:00")
    bench.pool.fail(failing)
    bench.step()
    bench.clock.seconds += 60
    bench.step()
    retried = bench.pool.out[0]
    assert retried.attempt == 2
    assert retried.scheduled_at == at("2026-06-01T14:00")
    assert retried.previous == at("2026-06-01T13:00")


def test_intervals_of_classes_are_kept(bench: Bench) -> None:
    """`every` longer and shorter than the service's 60 s."""
    slow, quick = add(bench, every="15m"), add(bench, every=20)
    polls_until(bench, bench.clock.seconds + HOUR)
    slow_health, quick_health = (bench.store.health.get(one.charm_key) for one in (slow, quick))
    # Its first one, and those at its place in the interval.
    assert slow_health.executions in (4, 5)
    assert abs(quick_health.executions - 180) <= 2


def test_a_restart_moves_nothing(bench: Bench, tmp_path: Path) -> None:
    """Times far away stay where they are, though due times are read before any class is."""
    daily = add(bench, cron="0 8 * * *")
    long = add(bench, every="12h")
    polls_until(bench, bench.clock.seconds + 60)
    due = bench.planner.due_at(long.charm_key)
    again = restart(bench, tmp_path, 30.0)
    found = polls_until(again, at("2026-06-01T20:00"))
    entry = again.store.health.entry(daily.charm_key)
    assert again.planner.next_poll_at(daily, entry) == at("2026-06-02T08:00")
    assert found == [time for time in [due] if time is not None and time < at("2026-06-01T20:00")]
    assert polls_until(again, at("2026-06-02T08:00:30"))[-1] == at("2026-06-02T08:00")
    again.database.close()


def test_times_are_shown_as_they_are_kept_after_a_restart(bench: Bench, tmp_path: Path) -> None:
    """Also where the two clocks of the new life lie a hair apart, as they always do."""
    key = add(bench, cron="1 12 * * *").charm_key
    again = restart(bench, tmp_path, 30.0)
    again.clock.ahead = 5e-7
    charm, entry = again.store.charms.get_many([key])[key], again.store.health.entry(key)
    due = again.planner.next_poll_at(charm, entry)
    again.database.close()
    assert due == at("2026-06-01T12:01")


def test_what_was_missed_runs_once(bench: Bench, tmp_path: Path) -> None:
    """Three days without the service are one run, soon after its start."""
    add(bench, cron="0 8 * * *")
    again = restart(bench, tmp_path, 72 * HOUR)
    found = polls_until(again, at("2026-06-06T07:00"))
    assert shown(found) == ["02 08:00:00", "05 08:00:00"]
    again.database.close()


def test_what_was_missed_is_skipped_where_the_class_says_so(bench: Bench, tmp_path: Path) -> None:
    """By an expression and by an interval alike."""
    add(bench, cron="0 8 * * *", missed="skip")
    again = restart(bench, tmp_path, 72 * HOUR)
    assert shown(polls_until(again, at("2026-06-06T07:00"))) == ["05 08:00:00"]
    long = add(again, every="12h", missed="skip")
    polls_until(again, again.clock.seconds + 60)
    ran = again.store.health.get(long.charm_key).executions
    later = restart(again, tmp_path, 60 * HOUR)
    polls_until(later, later.clock.seconds + 120)
    assert later.store.health.get(long.charm_key).executions == ran
    polls_until(later, later.clock.seconds + 24 * HOUR)
    assert later.store.health.get(long.charm_key).executions == ran + 2
    later.database.close()


def test_a_restart_of_a_moment_is_no_missed_time(bench: Bench, tmp_path: Path) -> None:
    """A time that comes within a minute of its start was only late."""
    add(bench, cron="0 13 * * *", missed="skip")
    again = restart(bench, tmp_path, HOUR + 20)
    assert shown(polls_until(again, at("2026-06-01T14:00"))) == ["01 13:00:00"]
    again.database.close()


@pytest.mark.parametrize(("missed", "expected"), [("once", ["02 08:00:00"]), ("skip", [])])
def test_times_that_passed_while_a_charm_was_disabled(
    bench: Bench, missed: str, expected: list[str]
) -> None:
    """They count as missed ones do; what passed before that does not."""
    charm = add(bench, cron="0 8 * * *", missed=missed)
    health = bench.store.health.get(charm.charm_key)
    disabled_at = bench.clock.now()
    with bench.database.transaction():
        bench.planner.drop(charm.charm_key)
        bench.store.health.put(
            charm.charm_key,
            type(health)(disabled_at=disabled_at, disabled_by=DisabledBy.HAND),
        )
    assert polls_until(bench, at("2026-06-03T12:00")) == []
    with bench.database.transaction():
        bench.store.health.put(charm.charm_key, health)
        bench.planner.begin(charm.charm_key, charm.ref.space, missed_since=disabled_at)
    assert shown(polls_until(bench, at("2026-06-04T07:00"))) == expected
    assert shown(polls_until(bench, at("2026-06-04T09:00"))) == ["04 08:00:00"]


@pytest.mark.parametrize(("missed", "runs"), [("once", 1), ("skip", 0)])
def test_an_interval_that_passed_while_a_charm_was_disabled(
    bench: Bench, missed: str, runs: int
) -> None:
    """It is polled at once, or at its next place in its interval."""
    charm = add(bench, every="6h", missed=missed)
    polls_until(bench, bench.clock.seconds + 60)
    before = bench.store.health.get(charm.charm_key).executions
    disabled_at = bench.clock.now()
    with bench.database.transaction():
        bench.planner.drop(charm.charm_key)
    bench.clock.seconds += 48 * HOUR
    with bench.database.transaction():
        bench.planner.begin(charm.charm_key, charm.ref.space, missed_since=disabled_at)
    polls_until(bench, bench.clock.seconds + 1)
    assert bench.store.health.get(charm.charm_key).executions == before + runs
    polls_until(bench, bench.clock.seconds + 9 * HOUR)
    assert bench.store.health.get(charm.charm_key).executions > before + runs


def test_a_machine_that_slept_runs_once_what_is_due(bench: Bench) -> None:
    """The steady clock has gone on meanwhile: hourly polls of a night are one."""
    add(bench, cron="0 * * * *")
    skipping = add(bench, cron="30 3 * * *", missed="skip")
    polls_until(bench, at("2026-06-01T22:30"))
    bench.clock.seconds = at("2026-06-02T07:10")
    assert shown(polls_until(bench, at("2026-06-02T08:30"))) == ["01 23:00:00", "02 08:00:00"]
    assert bench.store.health.get(skipping.charm_key).executions == 0


def test_quiet_hours_hold_for_times_and_intervals(bench: Bench) -> None:
    """What falls into them comes at their end, once."""
    bench.clock.seconds = at("2026-06-01T19:00", OSLO)
    add(bench, cron="0 */2 * * *", quiet="22:00-07:30", time_zone=OSLO)
    found = shown(polls_until(bench, at("2026-06-02T10:30", OSLO)), OSLO)
    assert found == ["01 20:00:00", "02 07:30:00", "02 08:00:00", "02 10:00:00"]


def test_the_end_of_quiet_hours_is_over_however_it_is_rounded() -> None:
    """A moment kept by one clock lies a hair before what it stood for by another: it has come."""
    end = at("2026-09-22T07:00", "Europe/Berlin")

    class Clocks:
        """Two seconds past the end; the wall clock is a little behind the steady one."""

        def now(self) -> float:
            return end + 2

        def steady(self) -> float:
            return end + 2.0023

        awake = steady

    schedule = Schedule(every_seconds=12 * HOUR, time_zone="Europe/Berlin", quiet=(22 * 60, 7 * 60))
    due = end + 0.0023 - 1e-6
    turn = Timetable(Clocks()).turn_of_interval(schedule, due, due, end + 2.0023, end + 9999)
    assert turn.is_polled


def test_no_poll_begins_in_quiet_hours_also_not_a_first_or_a_missed_one(
    bench: Bench, tmp_path: Path
) -> None:
    """Nor one that comes from before a restart."""
    bench.clock.seconds = at("2026-06-01T23:00")
    new = add(bench, every="1h", quiet="22:00-07:00")
    bench.clock.seconds = at("2026-06-02T00:00")
    assert polls_until(bench, at("2026-06-02T06:59")) == []
    first = polls_until(bench, at("2026-06-02T07:01"))
    assert first == [at("2026-06-02T07:00")]
    missed = add(bench, cron="0 21 * * *", quiet="22:00-07:00")
    again = restart(bench, tmp_path, 16 * HOUR)
    assert polls_until(again, at("2026-06-03T06:59")) == []
    polls_until(again, at("2026-06-03T07:01"))
    assert again.store.health.get(missed.charm_key).executions == 1
    assert again.store.health.get(new.charm_key).executions == 2
    again.database.close()


def test_times_follow_the_wall_clock_when_it_is_set(bench: Bench) -> None:
    """A machine without a battery starts in the past, and its clock is set a moment later."""
    add(bench, cron="0 8 * * *")
    plain = add(bench, every="10m", quiet="01:00-01:10")
    polls_until(bench, bench.clock.seconds + 60)
    ran = bench.store.health.get(plain.charm_key).executions
    bench.clock.ahead = 19 * HOUR + 30 * 60
    found = polls_until(bench, at("2026-06-02T08:00:30"), look_seconds=5)
    assert at("2026-06-02T08:00") in found
    # Intervals go on as if nothing had happened.
    assert bench.store.health.get(plain.charm_key).executions - ran <= 4


def test_a_clock_that_is_set_back_a_little_repeats_nothing(bench: Bench) -> None:
    """As with cron: what has run today does not run again."""
    add(bench, cron="0 13 * * *")
    assert len(polls_until(bench, at("2026-06-01T13:10"))) == 1
    bench.clock.ahead = -0.5 * HOUR
    assert polls_until(bench, at("2026-06-01T15:00"), look_seconds=60) == []
    assert shown(polls_until(bench, at("2026-06-02T13:01"))) == ["02 13:00:00"]


def test_a_clock_that_was_wrong_by_days_does_not_hold_a_charm_back(bench: Bench) -> None:
    """Its time was worked out from a day that has not come yet."""
    add(bench, cron="0 8 * * *")
    bench.clock.ahead = 96 * HOUR
    polls_until(bench, at("2026-06-05T12:10"), look_seconds=5)
    bench.clock.ahead = 0.0
    assert shown(polls_until(bench, at("2026-06-02T09:00"), look_seconds=60)) == ["02 08:00:00"]


def test_a_time_is_not_lost_when_planning_fails(bench: Bench) -> None:
    """What a transaction that failed had decided did not happen."""
    charm = add(bench, cron="0 13 * * *")
    bench.clock.seconds = at("2026-06-01T13:00")
    with broken(bench.database):
        bench.step()
    entry = bench.store.health.entry(charm.charm_key)
    assert bench.planner.next_poll_at(charm, entry) == at("2026-06-01T13:00")
    bench.clock.seconds += 5
    assert shown(polls_until(bench, at("2026-06-01T14:00"))) == ["01 13:00:00"]


def test_a_poll_that_is_under_way_is_not_started_again(bench: Bench) -> None:
    """A time that comes while the last run is still at it is skipped and counted."""
    charm = add(bench, cron="* * * * *")
    bench.clock.seconds += 60
    bench.step()
    (run,) = bench.pool.out
    for _ in range(3):
        bench.clock.seconds += 60
        assert [run.charm_id] == bench.step()
    assert bench.store.health.get(charm.charm_key).skipped_polls == 3


def test_what_the_operator_says_counts_from_then_on(bench: Bench) -> None:
    """Against the class, and back again."""
    charm = add(bench, cron="0 8 * * *")
    words = read_words(cron="30 12 * * *")
    with bench.database.transaction():
        bench.store.schedules.put(charm.charm_key, words)
        counts = bench.planner.schedules.joined(charm.schema.schedule, words, None)
        bench.planner.begin_by(counts, charm.charm_key, charm.ref.space)
    assert shown(polls_until(bench, at("2026-06-02T07:00"))) == ["01 12:30:00"]


def test_charms_without_a_schedule_have_none(bench: Bench) -> None:
    """So a plain poll costs what it did."""
    plain, timed = bench.charm(), add(bench, cron="0 8 * * *")
    assert bench.planner.schedules.of(plain, None) is None
    assert bench.planner.schedules.of(plain, 5.0) is None
    found = bench.store.charms.find(timed.ref)
    assert found is not None
    assert bench.planner.schedules.of(found, None) is not None


def test_a_zone_that_is_gone_is_told_and_utc_counts(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zone data changes under a charm that is stored; its polls go on."""
    charm = bench.charm()
    words = replace(read_class_words({"cron": "0 8 * * *"}), time_zone="Europe/Atlantis")
    schema = replace(charm.schema, schedule=words)
    with bench.database.transaction():
        bench.store.charms.replace_source(
            charm.charm_key, file_name="some.py", source="", schema=schema, now=0
        )
        bench.planner.begin(charm.charm_key, charm.ref.space)
    assert bench.planner.due_at(charm.charm_key) == at("2026-06-02T08:00")
    found = bench.store.charms.find(charm.ref)
    assert found is not None
    (told,) = bench.planner.schedules.unmet(found)
    assert (
        told == "The time zone Europe/Atlantis is not known on this machine any more: UTC counts."
    )

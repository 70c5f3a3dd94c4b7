"""Charms that wait, beside what else says when they run: schedules, pauses, reminders, people."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.model import SIGNED_IN_STATUS, DisabledBy, Failure
from bg_charm_service.domain.outcomes.policy import RunStatus
from bg_charm_service.domain.outcomes.run_endings import Ending, EndingKind
from bg_charm_service.domain.schedules.words import Missed, ScheduleWords
from bg_charm_service.storage.records import CharmRecord
from bg_charm_service.workers.protocol.messages import Answer
from tests.unit.test_loop import Bench, pause, resume
from tests.unit.test_waiting_charms import DOWN, SIGN_IN, WAIT, end, polled

HOUR = 3600.0
#: What looks like a credential, in a text that a charm wrote.
TOKEN = "token=abcdef0123456789"


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """The place of a database; the benches on it are closed after the test."""
    yield tmp_path / "test.db"
    Bench.close_all()


@pytest.fixture
def bench(path: Path) -> Bench:
    """A supervisor on an empty database, a minute before eight."""
    made = Bench(path, workers=100)
    eight = datetime.fromtimestamp(made.clock.seconds, UTC).replace(hour=8, minute=0, second=0)
    made.clock.seconds = eight.timestamp() - 60
    # The two clocks differ, as they do on any machine.
    made.clock.ahead = 5 * HOUR
    made.clock.seconds -= made.clock.ahead
    return made


def daily(bench: Bench, missed: Missed = Missed.ONCE) -> CharmRecord:
    """Add a charm that is polled each day at eight."""
    charm = bench.charm()
    with bench.database.transaction():
        bench.store.registrations.put(charm.charm_key, "manual", 0)
        words = ScheduleWords(cron="0 8 * * *", missed=missed)
        bench.store.schedules.put(charm.charm_key, words)
    with bench.database.transaction():
        bench.planner.begin(charm.charm_key, charm.ref.space)
    bench.supervisor.parts.completer._polled_charms.register(charm.charm_key, "manual")
    return charm


def next_time(bench: Bench, charm: CharmRecord) -> float:
    """When a charm is looked at next, by the wall clock, from now on."""
    due = bench.planner.due_at(charm.charm_key)
    assert due is not None
    return due - bench.clock.steady()


def test_a_time_of_its_own_is_made_up_for_after_waiting(bench: Bench) -> None:
    """Asked to wait at eight, it runs an hour later, and then at eight the next day."""
    charm = daily(bench)
    bench.clock.seconds += 60
    end(bench, WAIT)
    assert HOUR == next_time(bench, charm)
    bench.clock.seconds += HOUR - 1
    assert [] == bench.step()
    bench.clock.seconds += 1
    end(bench, None)
    assert RunStatus.SUCCESS == bench.told[-1].record.status
    assert 23 * HOUR == next_time(bench, charm)


@pytest.mark.parametrize("hours", [-2.0, 7.0])
def test_set_clock_moves_nobody_that_waits(bench: Bench, hours: float) -> None:
    """What is waited for is by the steady clock, whatever times of its own a charm has."""
    charm = daily(bench)
    bench.clock.seconds += 60
    end(bench, WAIT)
    bench.clock.ahead += hours * HOUR
    assert [] == bench.step()
    assert HOUR == next_time(bench, charm)
    bench.clock.seconds += HOUR
    assert [charm.ref.charm_id] == bench.step()


@pytest.mark.parametrize("is_over", [False, True])
def test_waiting_of_a_daily_charm_outlasts_a_restart(
    bench: Bench, path: Path, *, is_over: bool
) -> None:
    """It runs once its time has come, and not at once, nor a day later."""
    charm = daily(bench)
    bench.clock.seconds += 60
    end(bench, WAIT)
    bench.database.close()
    again = Bench(path, workers=100)
    again.clock.ahead = bench.clock.ahead
    again.clock.seconds = bench.clock.seconds + (2 * HOUR if is_over else 0.0)
    again.supervisor.parts.waiting.recover()
    again.planner.load()
    assert [] == again.step()
    if is_over:
        # What was missed while no service ran is spread over an interval.
        again.clock.seconds += 60
    else:
        assert HOUR == next_time(again, charm)
        again.clock.seconds += HOUR
    assert [charm.ref.charm_id] == again.step()


def test_success_by_hand_gives_a_time_of_its_own_back(bench: Bench) -> None:
    """Waiting for nothing any more, it is due at the next of its times."""
    charm = daily(bench)
    bench.clock.seconds += 60
    end(bench, WAIT)
    waiting = bench.supervisor.parts.waiting
    with bench.database.transaction():
        waiting.forget(charm.ref, charm.charm_key, charm.space_key)
    assert 24 * HOUR == next_time(bench, charm)


def test_again_in_a_row_ends_at_a_time_of_its_own(bench: Bench) -> None:
    """A thousand runs at its own wish, and then it waits for its schedule."""
    charm = daily(bench)
    bench.clock.seconds += 60
    for _ in range(1000):
        bench.step()
        (run,) = bench.pool.out
        again = Ending(EndingKind.AGAIN, 0.0)
        bench.pool.answer(run, Answer(run.run_id, 0.01, ending=again))
        # Settled in one step, and polled in the next.
        bench.step()
    bench.step()
    assert [] == bench.pool.out
    assert 24 * HOUR == next_time(bench, charm)


@pytest.mark.parametrize(("missed", "is_due"), [(Missed.ONCE, True), (Missed.SKIP, False)])
def test_sign_in_makes_up_for_missed_times(bench: Bench, missed: Missed, *, is_due: bool) -> None:
    """Signed in two days later, a daily charm runs at once, unless it skips what it missed."""
    charm = daily(bench, missed)
    bench.clock.seconds += 60
    end(bench, SIGN_IN)
    assert bench.planner.due_at(charm.charm_key) is None
    bench.clock.seconds += 47 * HOUR
    with bench.database.transaction():
        bench.supervisor.parts.switch.sign_in(charm.charm_key, ["token"])
    assert SIGNED_IN_STATUS == bench.store.health.get(charm.charm_key).status
    bench.step()
    assert is_due == bool(bench.pool.out)
    assert is_due or next_time(bench, charm) == HOUR


def test_pause_of_a_daily_charm_outlasts_a_restart(bench: Bench, path: Path) -> None:
    """What is paused at eight is not made up for, also not after a restart."""
    charm = daily(bench)
    pause(bench, charm.space_key, charm.charm_key)
    bench.clock.seconds += 60
    assert [] == bench.step()
    bench.database.close()
    again = Bench(path, workers=100)
    again.clock.seconds, again.clock.ahead = bench.clock.seconds, bench.clock.ahead
    again.supervisor.parts.waiting.recover()
    again.planner.load()
    resume(again, charm.space_key, charm.charm_key)
    again.clock.seconds += 60
    assert [] == again.step()


def test_reminder_waits_with_its_charm(bench: Bench) -> None:
    """An event that was to come while its charm waits comes after that."""
    charm = polled(bench, bench.charm())
    end(bench, WAIT)
    with bench.database.transaction():
        now = bench.clock.now()
        bench.store.reminders.put(
            charm.charm_key, name="a", stream="bgUpdater", event=b"{}", remind_at=now, now=now
        )
    bench.step()
    assert [] == bench.step()
    assert 1 == bench.queue.pending
    bench.clock.seconds += HOUR
    assert [charm.ref.charm_id] == bench.step()


def test_reminder_of_a_charm_that_takes_no_more_events_is_not_lost(bench: Bench) -> None:
    """It was accepted when it was asked for: it is queued, and holds up nobody."""
    charm = bench.charm()
    now = bench.clock.now()
    bench.queue.has_room_for_dead = lambda charm_key: False  # type: ignore[method-assign]
    with bench.database.transaction():
        bench.store.reminders.put(
            charm.charm_key, name="a", stream="bgUpdater", event=b"{}", remind_at=now, now=now
        )
    bench.step()
    assert [charm.ref.charm_id] == bench.step()


def test_texts_of_an_ending_are_masked(bench: Bench) -> None:
    """What looks like a credential in why, url or host is stored nowhere."""
    wait, down, sign_in = (polled(bench, bench.charm()) for _ in range(3))
    said = {
        wait.ref.charm_id: Ending(EndingKind.WAIT, HOUR, f"slow down {TOKEN}"),
        down.ref.charm_id: Ending(EndingKind.DOWN, None, TOKEN, DOWN.host),
        sign_in.ref.charm_id: Ending(
            EndingKind.SIGN_IN, None, TOKEN, url=f"https://example.org/in?client_id=7&{TOKEN}"
        ),
    }
    causes = {
        EndingKind.WAIT: FailureCause.WAIT,
        EndingKind.DOWN: FailureCause.DOWN,
        EndingKind.SIGN_IN: FailureCause.SIGN_IN,
    }
    bench.step()
    for run in list(bench.pool.out):
        ending = said[run.charm_id]
        failure = Failure(causes[ending.kind], ending.why)
        bench.pool.answer(run, Answer(run.run_id, 0.01, failure, ending=ending))
    bench.step()
    views = [bench.supervisor.parts.waiting.view(one.charm_key) for one in (wait, down, sign_in)]
    assert ["slow down token=[secret]", "token=[secret]", "token=[secret]"] == [
        view.why for view in views if view is not None
    ]
    assert views[2] is not None
    assert views[2].url == "https://example.org/in"
    statuses = [bench.store.health.get(one.charm_key).status for one in (wait, down, sign_in)]
    assert not any("abcdef" in text for text in statuses)
    assert DisabledBy.SIGN_IN == bench.store.health.get(sign_in.charm_key).disabled_by


def test_host_that_looks_like_a_credential_is_an_ordinary_failure(bench: Bench) -> None:
    """A host is shown to anybody: what may be no host is none."""
    secret = "bgc_" + "a1" * 18
    charm = polled(bench, bench.charm())
    end(bench, Ending(EndingKind.DOWN, None, "refused", secret))
    assert bench.supervisor.parts.waiting.get(charm.charm_key) is None
    assert 1 == bench.store.health.get(charm.charm_key).failures

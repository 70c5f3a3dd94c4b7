"""Charms that wait: kept over restarts, each by itself, woken by what they wait for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.model import CharmRef, DisabledBy, Failure, FieldKind, Origin
from bg_charm_service.domain.outcomes.run_endings import Ending, EndingKind, Waiting
from bg_charm_service.storage.records import CharmRecord, Link
from bg_charm_service.supervisor.waiting_charms import MOST_AT_ONCE
from bg_charm_service.workers.protocol.messages import Answer
from tests.unit.test_loop import Bench

HOST = "api.example.org"
HOUR = 3600.0
CAUSES = {
    EndingKind.WAIT: FailureCause.WAIT,
    EndingKind.DOWN: FailureCause.DOWN,
    EndingKind.SIGN_IN: FailureCause.SIGN_IN,
    EndingKind.STOP: FailureCause.STOP,
}
WAIT = Ending(EndingKind.WAIT, HOUR, "later")
DOWN = Ending(EndingKind.DOWN, None, "refused", HOST)
SIGN_IN = Ending(EndingKind.SIGN_IN, None, "revoked", url="/login")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A supervisor on an empty database."""
    made = Bench(tmp_path / "test.db", workers=100)
    yield made
    made.database.close()


def polled(bench: Bench, charm: CharmRecord) -> CharmRecord:
    """Have a charm polled, now."""
    with bench.database.transaction():
        bench.store.registrations.put(charm.charm_key, "manual", 0)
        bench.planner.poll_now(charm.charm_key, charm.ref.space)
    bench.supervisor.parts.completer._polled_charms.register(charm.charm_key, "manual")
    return charm


def end(bench: Bench, ending: Ending | None, **writes: bytes) -> None:
    """Let every run that is out end so."""
    bench.step()
    for run in list(bench.pool.out):
        if ending is None:
            bench.pool.answer(run, Answer(run.run_id, 0.01, writes=writes))
        else:
            failure = Failure(CAUSES[ending.kind], ending.why)
            bench.pool.answer(run, Answer(run.run_id, 0.01, failure, ending=ending))
    bench.pool.unbound = 100
    bench.step()


def test_waiting_is_kept_over_a_restart(bench: Bench, tmp_path: Path) -> None:
    """Poll and event wait for the same moment in the next life, though it is further away."""
    charm = polled(bench, bench.charm())
    end(bench, WAIT)
    until = bench.clock.steady() + HOUR
    assert until == bench.planner.due_at(charm.charm_key)
    bench.database.close()
    again = Bench(tmp_path / "test.db")
    with again.database.transaction():
        again.queue.bring_near(again.clock.steady(), again.clock.steady() + 30)
    again.supervisor.parts.waiting.recover()
    again.planner.load()
    assert until == again.planner.due_at(charm.charm_key)
    assert until == again.supervisor.parts.waiting.not_before(charm.charm_key)
    again.database.close()


def test_clock_that_was_set_back_lets_nobody_wait_longer(bench: Bench, tmp_path: Path) -> None:
    """A time that another clock wrote is brought near: a day at most."""
    charm = polled(bench, bench.charm())
    end(bench, WAIT)
    bench.database.close()
    again = Bench(tmp_path / "test.db")
    again.clock.seconds -= 48 * HOUR
    again.supervisor.parts.waiting.recover()
    again.planner.load()
    latest = again.clock.steady() + 24 * HOUR
    assert latest == again.planner.due_at(charm.charm_key)
    again.database.close()


def test_host_is_told_once_and_once_more_when_it_answers(bench: Bench) -> None:
    """However many charms wait for it, and in however many spaces."""
    told: list[tuple[str, str]] = []
    waiting = bench.supervisor.parts.waiting
    waiting.on_down.append(lambda host, why: told.append((host, why)))
    waiting.on_up.append(lambda host, seconds: told.append((host, f"{seconds:.0f}")))
    for number in range(6):
        polled(bench, bench.charm(f"did:key:space{number % 3}"))
    end(bench, DOWN)
    assert [(HOST, "refused")] == told
    (shown,) = waiting.hosts()
    assert (HOST, bench.clock.now(), 6) == (shown.host, shown.since, shown.charms)
    bench.clock.seconds += 31
    end(bench, None)
    assert [(HOST, "refused"), (HOST, "31")] == told
    assert ([], 0) == (waiting.hosts(), waiting.of_kind(EndingKind.DOWN))


def test_host_that_nobody_waits_for_any_more_is_told_anew(bench: Bench) -> None:
    """It answered badly, and is down again later: that is another outage, since then."""
    told: list[tuple[str, float]] = []
    waiting = bench.supervisor.parts.waiting
    waiting.on_down.append(lambda host, why: told.append((host, bench.clock.now())))
    waiting.on_up.append(lambda host, seconds: told.append((host, seconds)))
    charm = polled(bench, bench.charm())
    first = bench.clock.now()
    end(bench, DOWN)
    bench.clock.seconds += 31
    bench.step()
    (run,) = bench.pool.out
    bench.pool.answer(run, Answer(run.run_id, 0.01, Failure(FailureCause.ERROR, "no")))
    bench.pool.unbound = 100
    bench.step()
    assert charm.charm_key not in waiting
    bench.clock.seconds += HOUR
    second = bench.clock.now()
    end(bench, DOWN)
    assert [(HOST, first), (HOST, second)] == told
    bench.clock.seconds += 31
    end(bench, None)
    assert (HOST, 31.0) == told[-1]


def test_host_is_not_down_for_ever_by_who_is_not_polled(bench: Bench) -> None:
    """A charm that was unregistered while it waited does not ask again: its word grows old."""
    charm, other = polled(bench, bench.charm()), polled(bench, bench.charm("did:key:other"))
    end(bench, DOWN)
    waiting = bench.supervisor.parts.waiting
    with bench.database.transaction():
        bench.planner.drop(charm.charm_key)
    assert [2] == [one.charms for one in waiting.hosts()]
    bench.clock.seconds += 31
    assert [1] == [one.charms for one in waiting.hosts()]
    with bench.database.transaction():
        bench.planner.drop(other.charm_key)
    assert [] == waiting.hosts()


def test_time_that_a_charm_named_by_another_clock_comes(bench: Bench, tmp_path: Path) -> None:
    """One that is further away than any may be is brought near."""
    charm = polled(bench, bench.charm())
    bench.step()
    (run,) = bench.pool.out
    again = Ending(EndingKind.AGAIN, 30 * 24 * HOUR)
    bench.pool.answer(run, Answer(run.run_id, 0.01, ending=again))
    bench.step()
    bench.database.close()
    later = Bench(tmp_path / "test.db")
    later.clock.seconds -= 3 * 366 * 24 * HOUR
    later.supervisor.parts.waiting.recover()
    later.planner.load()
    latest = later.clock.steady() + 366 * 24 * HOUR
    assert latest == later.planner.due_at(charm.charm_key)
    later.database.close()


def test_many_that_wait_for_a_host_come_in_portions(bench: Bench) -> None:
    """One success brings forward so many, the next one others; those that come anyway stay."""
    waiting = bench.supervisor.parts.waiting
    charm = bench.charm()
    steady = bench.clock.steady()
    with bench.database.transaction():
        for number in range(MOST_AT_ONCE + 50):
            key = bench.store.charms.add(
                CharmRef(charm.ref.space, f"other{number}"),
                charm.space_key,
                cause=f"other{number}",
                file_name="some.py",
                source="",
                schema=charm.schema,
                now=0,
            ).charm_key
            bench.store.health.create(key)
            said = Waiting(EndingKind.DOWN, steady + 61 + number, 0.0, host=HOST)
            waiting.settle(charm.ref, key, charm.space_key, None, said)

    def far() -> int:
        return sum(one.waiting.until > steady + 60 for one in bench.store.waits.all())

    for left in (50, 0, 0):
        before = {one.charm_key: one.waiting.until for one in bench.store.waits.all()}
        with bench.database.transaction():
            waiting.host_answered(charm.space_key, HOST)
        after = {one.charm_key: one.waiting.until for one in bench.store.waits.all()}
        assert left == far()
        assert all(after[key] == until for key, until in before.items() if until <= steady + 60)


def test_success_by_hand_ends_the_waiting(bench: Bench) -> None:
    """The charm is polled in its place again, and its event need not wait any longer."""
    charm = polled(bench, bench.charm())
    end(bench, WAIT)
    key = charm.charm_key
    job = (charm.space_key, key, charm.ref, "bgUpdater", b"{}")
    steady = bench.clock.steady()
    waiting = bench.supervisor.parts.waiting
    with bench.database.transaction():
        bench.queue.put_send(
            *job, run_at=steady, now=steady, is_held=False, not_before=waiting.not_before(key)
        )
    assert [] == bench.step()
    bench.put(charm)
    end(bench, None)
    assert key not in waiting
    assert steady < (bench.planner.due_at(key) or 0.0) <= steady + 60
    # The event, which is out now.
    assert [charm.ref.charm_id] == bench.step()


def test_run_by_hand_leaves_what_is_waited_for(bench: Bench) -> None:
    """It says once more that a sign-in is needed: the credential counts as it did before."""
    charm = polled(bench, bench.charm(token=FieldKind.VALUE))
    end(bench, SIGN_IN)
    waiting = bench.supervisor.parts.waiting
    shown = waiting.view(charm.charm_key)
    bench.put(charm)
    end(bench, SIGN_IN)
    assert shown == waiting.view(charm.charm_key)
    with bench.database.transaction():
        assert [charm.charm_key] == waiting.signed_in_by(charm.charm_key, ["token"])


@pytest.mark.parametrize("is_attached", [False, True])
def test_run_by_hand_does_not_wait(bench: Bench, *, is_attached: bool) -> None:
    """It comes behind an event that is under way, and has to wait itself."""
    charm = polled(bench, bench.charm())
    end(bench, None)
    job = (charm.space_key, charm.charm_key, charm.ref, "bgUpdater", b"{}")
    steady = bench.clock.steady()
    with bench.database.transaction():
        bench.queue.put_send(*job, run_at=steady, now=steady, is_held=False)
    bench.step()
    assert 1 == len(bench.pool.out)
    origin = Origin.POLL if is_attached else Origin.RUN_NOW
    with bench.database.transaction():
        job_id = bench.queue.put_poll(*job, origin=origin, run_at=steady, now=steady)
    assert job_id is not None
    bench.supervisor.run_job(job_id, charm.space_key)
    end(bench, WAIT)
    bench.step()
    assert [str(job_id)] == [run.run_id.partition(".")[0] for run in bench.pool.out]


def test_time_that_has_passed_moves_nobody(bench: Bench) -> None:
    """What a charm waited for while it was paused, say, is over: it is polled in its place."""
    charm, other = polled(bench, bench.charm()), polled(bench, bench.charm("did:key:other"))
    end(bench, None)
    key = charm.charm_key
    over = Waiting(EndingKind.AGAIN, bench.clock.steady() - 10, bench.clock.now())
    with bench.database.transaction():
        bench.store.waits.put(key, charm.space_key, over)
    due = bench.planner.due_at(key)
    assert due is not None
    bench.put(other)
    bench.step()
    (run,) = bench.pool.out
    # In the step in which it is due, another one is moved.
    bench.clock.seconds = due + 1
    failure = Failure(FailureCause.WAIT, "later")
    bench.pool.answer(run, Answer(run.run_id, 0.01, failure, ending=WAIT))
    bench.pool.unbound = 100
    bench.step()
    assert [(key, due)] == [
        (claim.charm_key, claim.job.scheduled_at) for claim in bench.queue.claimed_jobs()
    ]


def test_sign_in_waits_for_its_credential(bench: Bench) -> None:
    """A change of the very field that it has a link to lets it run; another one does not."""
    account = bench.charm(token=FieldKind.VALUE, other=FieldKind.VALUE)
    reader = bench.charm(link=FieldKind.CELL)
    with bench.database.transaction():
        link = Link("link", account.charm_key, ("token",), is_writable=False)
        bench.store.links.put(reader.charm_key, link)
    polled(bench, reader)
    end(bench, SIGN_IN)

    def off_by() -> DisabledBy | None:
        return bench.store.health.get(reader.charm_key).disabled_by

    assert (DisabledBy.SIGN_IN, False) == (off_by(), bench.planner.is_polled(reader.charm_key))
    polled(bench, account)
    end(bench, None, other=b"1")
    assert DisabledBy.SIGN_IN is off_by()
    bench.clock.seconds += 120
    end(bench, None, token=b"1")
    assert (None, True) == (off_by(), bench.planner.is_polled(reader.charm_key))
    assert not bench.supervisor.parts.waiting.needs_sign_in


def test_waiting_that_is_undone_never_was(bench: Bench) -> None:
    """What a transaction that fails has said is forgotten with it."""
    charm = polled(bench, bench.charm())
    waiting = bench.supervisor.parts.waiting
    due = bench.planner.due_at(charm.charm_key)
    after = waiting.get(charm.charm_key)
    until = bench.clock.steady() + HOUR
    said = Waiting(EndingKind.WAIT, until, bench.clock.now())

    def settle_in_vain() -> None:
        with bench.database.transaction():
            waiting.settle(charm.ref, charm.charm_key, charm.space_key, after, said)
            raise KeyError

    with pytest.raises(KeyError):
        settle_in_vain()
    assert (None, due) == (waiting.view(charm.charm_key), bench.planner.due_at(charm.charm_key))
    assert [charm.ref.charm_id] == bench.step()

"""Settling: what an outcome does to store, queue and schedule, all of it in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.model import Failure, FieldKind
from bg_charm_service.domain.outcomes.policy import RunStatus, Step
from bg_charm_service.domain.outcomes.refusals import Refusal, RefusalKind
from bg_charm_service.domain.web.requests import HttpRequest
from bg_charm_service.storage.records import Link
from bg_charm_service.supervisor.in_flight import InFlight
from bg_charm_service.workers.pool.events import RunFinished
from bg_charm_service.workers.protocol.messages import Answer
from tests.unit.completing import ELSEWHERE, NOW, Bench
from tests.unit.plain_run import RUN


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """An empty bench."""
    made = Bench(tmp_path / "test.db")
    yield made
    made.database.close()


def failed(run: InFlight) -> Answer:
    """An answer that tells of a failure."""
    return Answer(run.run_id, 0.1, Failure(FailureCause.ERROR, "ValueError: no"))


def test_writes_and_end_of_the_job_come_together(bench: Bench) -> None:
    """A success writes its fields, records its run and ends its job."""
    charm = bench.charm(count=FieldKind.VALUE)
    run = bench.claim(charm)
    settled = bench.settle(run, Answer(run.run_id, 0.1, writes={"count": b"1"}))
    assert settled is not None
    assert (Step.DONE, RunStatus.SUCCESS) == (settled.decision.step, settled.decision.status)
    assert b"1" == bench.value(charm, "count")
    assert 0 == bench.queue.waiting(charm.charm_key)
    (recorded,) = bench.store.runs.of(charm.charm_key)
    assert ("a line", ("count",)) == (recorded.log, recorded.writes)


def test_second_answer_to_a_claim_changes_nothing(bench: Bench) -> None:
    """An answer that comes after the job was settled is refused, and counted."""
    charm = bench.charm(count=FieldKind.VALUE)
    run = bench.claim(charm)
    bench.settle(run, Answer(run.run_id, 0.1, writes={"count": b"1"}))
    assert bench.settle(run, Answer(run.run_id, 0.1, writes={"count": b"2"})) is None
    assert b"1" == bench.value(charm, "count")
    assert 1 == bench.store.totals.get("late_answers")


def test_value_that_moved_makes_the_run_stale(bench: Bench) -> None:
    """Writes that stand on old values are refused, and the same attempt runs again at once."""
    charm = bench.charm(count=FieldKind.VALUE)
    run = bench.claim(charm)
    with bench.database.transaction():
        bench.store.cells.write(charm, "count", b"40")
    answer = Answer(run.run_id, 0.1, reads=("count",), writes={"count": b"1"})
    settled = bench.settle(run, answer)
    assert settled is not None
    assert Step.RERUN is settled.decision.step
    assert b"40" == bench.value(charm, "count")
    again = bench.claim(charm)
    assert run.run_id == again.run_id


def test_run_that_may_not_write_one_thing_writes_none(bench: Bench) -> None:
    """A write through a read-only link fails the run, and takes its other writes along."""
    target = bench.charm(ELSEWHERE, shared=FieldKind.VALUE)
    charm = bench.charm(count=FieldKind.VALUE, link=FieldKind.CELL)
    with bench.database.transaction():
        link = Link("link", target.charm_key, ("shared",), is_writable=False)
        bench.store.links.put(charm.charm_key, link)
    run = bench.claim(charm)
    settled = bench.settle(run, Answer(run.run_id, 0.1, writes={"count": b"1", "link": b"2"}))
    assert settled is not None
    assert settled.outcome.failure is not None
    assert FailureCause.STATE is settled.outcome.failure.cause
    assert (b"0", b"0") == (bench.value(charm, "count"), bench.value(target, "shared"))


def test_forged_fields_are_refused(bench: Bench) -> None:
    """A worker cannot make fields that the charm does not declare."""
    charm = bench.charm(count=FieldKind.VALUE)
    run = bench.claim(charm)
    settled = bench.settle(run, Answer(run.run_id, 0.1, writes={"forged": b"1"}))
    assert settled is not None
    assert RunStatus.FAILURE is settled.decision.status
    assert bench.value(charm, "forged") is None


def test_disabled_charm_is_due_no_more(bench: Bench) -> None:
    """The failure that disables a charm takes it out of the schedule, now and after a restart."""
    charm = bench.charm(count=FieldKind.VALUE)
    with bench.database.transaction():
        bench.planner.poll_now(charm.charm_key, charm.ref.space)
    first = bench.claim(charm)
    bench.settle(first, failed(first))
    second = bench.claim(charm)
    settled = bench.settle(second, failed(second))
    assert settled is not None
    assert settled.decision.disables
    assert not bench.planner.is_polled(charm.charm_key)
    assert bench.planner.next_due is None
    assert bench.store.health.entry(charm.charm_key).due_at is None
    assert 1 == bench.queue.dead


def test_removed_charm_ends_as_cancelled(bench: Bench) -> None:
    """What a run of a removed charm wrote is refused, and the run recorded as cancelled."""
    charm = bench.charm(count=FieldKind.VALUE)
    run = bench.claim(charm)
    with bench.database.transaction():
        bench.store.charms.mark_removed(charm.charm_key, NOW)
    settled = bench.settle(run, Answer(run.run_id, 0.1, writes={"count": b"1"}))
    assert settled is not None
    assert RunStatus.CANCELLED is settled.decision.status
    assert bench.value(charm, "count") is None
    assert 0 == bench.queue.waiting(charm.charm_key)


@pytest.mark.parametrize(
    ("said", "counted"),
    [(0.5, 0.5), (3600.0, 2.0), (float("inf"), 2.0), (-5.0, 0.0), (float("nan"), 0.0)],
)
def test_worker_cannot_say_what_time_it_took(bench: Bench, said: float, counted: float) -> None:
    """A run's duration stays within what was measured from outside, whatever its worker says."""
    charm = bench.charm()
    run = bench.claim(charm)
    settled = bench.settle(run, Answer(run.run_id, said))
    assert settled is not None
    assert counted == settled.outcome.duration_seconds
    assert counted * 1000 == bench.store.totals.get("total_ms")


def test_run_that_ended_with_its_worker_took_time(bench: Bench) -> None:
    """The duration of a killed run is how long it kept its worker."""
    run = bench.claim(bench.charm())
    settled = bench.settle(run, None, Failure(FailureCause.TIMEOUT, "late"))
    assert settled is not None
    assert 2000 == settled.record.duration_ms


@pytest.mark.parametrize("value", [b"", b"nope", b"[1,]", b'"\xff"', b"1 2", b"[" * 100_000])
def test_what_is_no_json_is_not_stored(bench: Bench, value: bytes) -> None:
    """A worker that answers with bytes that are no JSON has failed, and wrote nothing."""
    charm = bench.charm(count=FieldKind.VALUE, other=FieldKind.VALUE)
    run = bench.claim(charm)
    settled = bench.settle(run, Answer(run.run_id, 0.1, writes={"other": b"1", "count": value}))
    assert settled is not None
    assert settled.outcome.failure is not None
    assert FailureCause.STATE is settled.outcome.failure.cause
    assert (b"0", b"0") == (bench.value(charm, "count"), bench.value(charm, "other"))


def test_credentials_in_what_a_run_says_are_masked(bench: Bench) -> None:
    """A failure's text and traceback are kept without them, in the run and with the charm."""
    charm = bench.charm()
    run = bench.claim(charm)
    failure = Failure(
        FailureCause.ERROR,
        "OSError: https://me:pa55@h.example/?appid=abc",
        "Traceback …\nOSError: https://me:pa55@h.example/?appid=abc\nCookie: a=b",
    )
    settled = bench.settle(run, Answer(run.run_id, 0.1, failure))
    assert settled is not None
    shown = "OSError: https://[secret]@h.example/?[secret]"
    assert (shown, shown) == (settled.record.error, settled.decision.health.last_error)
    assert f"Traceback …\n{shown}\nCookie: [secret]" == settled.record.traceback
    assert settled.outcome.failure is not None
    assert shown == settled.outcome.failure.message


@pytest.mark.parametrize("is_together", [False, True])
def test_requests_of_a_run_are_kept_without_secrets(bench: Bench, *, is_together: bool) -> None:
    """Its own, and what looks like a credential; also where runs are settled together."""
    charm = bench.charm(count=FieldKind.VALUE)
    path = f"/bot4711-swordfish/{'x' * 150}/{'y' * 150}/send?token=abc"
    asked = (HttpRequest(1, "GET", "h.example", path, 200, 1.0, 10),)
    run = replace(bench.claim(charm), secrets=() if is_together else ("4711-swordfish",))
    answer = Answer(run.run_id, 0.1, requests=asked)
    if is_together:
        finished = RunFinished(RUN, 1, "", answer=answer, seconds=1.0)
        with bench.database.transaction():
            (settled,) = bench.completer.settle_together([(run, finished)])
    else:
        found = bench.settle(run, answer)
        assert found is not None
        settled = found
    (row,) = settled.record.requests
    who = "bot4711-swordfish" if is_together else "bot[secret]"
    assert f"/{who}/{'x' * 150}/…" == row.path
    (recorded,) = bench.store.runs.of(charm.charm_key)
    assert (row,) == recorded.requests


def test_what_was_refused_is_told_in_the_log(bench: Bench) -> None:
    """A success under which something was refused says so in its log, also beside other runs."""
    charm = bench.charm(count=FieldKind.VALUE)
    run = bench.claim(charm)
    refused = (Refusal(RefusalKind.PROGRAM, subject="convert"),)
    answer = Answer(run.run_id, 0.1, refused=refused)
    settled = bench.settle(run, answer)
    assert settled is not None
    assert RunStatus.SUCCESS is settled.decision.status
    (recorded,) = bench.store.runs.of(charm.charm_key)
    assert recorded.log.startswith(
        "a line\n[refused] starting programs is not possible here (convert)"
    )


def test_refusal_is_told_with_what_to_do(bench: Bench) -> None:
    """A failure names the port, and the command that opens it to this space."""
    charm = bench.charm(count=FieldKind.VALUE)
    run = bench.claim(charm)
    failure = Failure(FailureCause.FORBIDDEN, "no", refusal=Refusal(RefusalKind.PORT, 5432))
    bench.settle(run, Answer(run.run_id, 0.1, failure))
    (recorded,) = bench.store.runs.of(charm.charm_key)
    expected = f"bg-charm-service limits {charm.ref.space} --network=53,80,443,5432"
    assert f"no (port 5432 is not open to it: `{expected}`)" == recorded.error

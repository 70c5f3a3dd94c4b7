"""Settling what cannot be true: a worker may say anything, and gains nothing by it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.limits import LimitChanges, Limits
from bg_charm_service.domain.model import Failure, FieldKind, Send
from bg_charm_service.domain.outcomes.policy import RunStatus, Step
from bg_charm_service.domain.outcomes.run_endings import Ending, EndingKind
from bg_charm_service.storage.records import CharmRecord, Link
from bg_charm_service.supervisor.in_flight import InFlight
from bg_charm_service.workers.protocol.messages import Answer
from tests.unit.completing import ELSEWHERE, SPACE, Bench

SMALL = Limits(state_bytes=1024)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """An empty bench."""
    made = Bench(tmp_path / "test.db")
    yield made
    made.database.close()


def failure_of(
    bench: Bench, run: InFlight, answer: Answer, limits: Limits | None = None
) -> Failure:
    """Settle a run that fails; gives why."""
    settled = bench.settle(run, answer, limits=limits)
    assert settled is not None
    assert settled.outcome.failure is not None
    return settled.outcome.failure


def linked(
    bench: Bench, kind: FieldKind, *path: str, space: str = SPACE
) -> tuple[CharmRecord, CharmRecord]:
    """Add a charm whose field `link` leads into another; gives both."""
    target = bench.charm(space, shared=FieldKind.VALUE)
    charm = bench.charm(count=FieldKind.VALUE, link=kind)
    with bench.database.transaction():
        link = Link("link", target.charm_key, path, is_writable=True)
        bench.store.links.put(charm.charm_key, link)
    return charm, target


@pytest.mark.parametrize(
    "cause",
    [FailureCause.EXIT, FailureCause.SIGNAL, FailureCause.SUPERVISOR, FailureCause.PROTOCOL],
)
def test_worker_cannot_tell_of_its_own_end(bench: Bench, cause: FailureCause) -> None:
    """Who says that it is dead, or that the service died, broke the protocol."""
    run = bench.claim(bench.charm())
    answer = Answer(run.run_id, 0.1, Failure(cause, "trust me"))
    assert FailureCause.PROTOCOL is failure_of(bench, run, answer).cause


def test_time_that_was_not_up_is_an_error(bench: Bench) -> None:
    """A run of 2 s did not run into its limit of 30 s, whatever its worker says."""
    run = bench.claim(bench.charm())
    answer = Answer(run.run_id, 30.0, Failure(FailureCause.TIMEOUT, "Timed out after 30 s."))
    assert FailureCause.ERROR is failure_of(bench, run, answer).cause
    assert 0 == bench.store.totals.get("timeouts")


def test_time_that_was_up_is_believed(bench: Bench) -> None:
    """A run of 2 s with a limit of 2 s has timed out."""
    run = bench.claim(bench.charm())
    answer = Answer(run.run_id, 2.0, Failure(FailureCause.TIMEOUT, "Timed out after 2 s."))
    limits = Limits(timeout_seconds=2.0)
    assert FailureCause.TIMEOUT is failure_of(bench, run, answer, limits).cause


def test_value_that_did_not_move_makes_no_run_stale(bench: Bench) -> None:
    """A stale run costs nothing and comes again at once: a made-up one is a failure."""
    run = bench.claim(bench.charm(count=FieldKind.VALUE))
    assert (
        FailureCause.PROTOCOL is failure_of(bench, run, Answer(run.run_id, 0.1, stale=True)).cause
    )


def test_value_that_moved_makes_a_run_stale(bench: Bench) -> None:
    """A run that could not fetch a value because it moved is run again."""
    charm = bench.charm(count=FieldKind.VALUE)
    run = bench.claim(charm)
    with bench.database.transaction():
        bench.store.cells.write(charm, "count", b"1")
    settled = bench.settle(run, Answer(run.run_id, 0.1, stale=True))
    assert settled is not None
    assert Step.RERUN is settled.decision.step


def test_reads_of_what_is_not_there_change_nothing(bench: Bench) -> None:
    """Only fields that the run was given count as read."""
    run = bench.claim(bench.charm(count=FieldKind.VALUE))
    settled = bench.settle(run, Answer(run.run_id, 0.1, reads=("count", "other", "x" * 10_000)))
    assert settled is not None
    assert RunStatus.SUCCESS is settled.decision.status


def test_names_that_are_made_up_are_shown_cut(bench: Bench) -> None:
    """A name of any length makes no record of any length."""
    run = bench.claim(bench.charm())
    failure = failure_of(bench, run, Answer(run.run_id, 0.1, writes={"x" * 100_000: b"1"}))
    assert FailureCause.STATE is failure.cause
    assert len(failure.message) < 200


def test_texts_are_cut(bench: Bench) -> None:
    """What is stored of an error has a length."""
    run = bench.claim(bench.charm())
    spec = Failure(FailureCause.ERROR, "x" * 100_000, "y" * 100_000)
    failure = failure_of(bench, run, Answer(run.run_id, 0.1, spec))
    assert (2_000, 20_000) == (len(failure.message), len(failure.traceback))


def test_state_has_a_size(bench: Bench) -> None:
    """Values that are together larger than the state may be are not stored."""
    charm = bench.charm(one=FieldKind.VALUE, two=FieldKind.VALUE)
    first = bench.claim(charm)
    settled = bench.settle(
        first, Answer(first.run_id, 0.1, writes={"one": b"1" * 600}), None, SMALL
    )
    assert settled is not None
    assert settled.outcome.success
    second = bench.claim(charm)
    answer = Answer(second.run_id, 0.1, writes={"two": b"1" * 600})
    failure = failure_of(bench, second, answer, SMALL)
    assert FailureCause.STATE_SIZE is failure.cause
    assert "would be 1,200 bytes, and may be 1K" in failure.message
    assert b"0" == bench.value(charm, "two")


def test_state_that_is_too_large_may_shrink(bench: Bench) -> None:
    """After an operator allowed less, a charm can still make its state smaller."""
    charm = bench.charm(one=FieldKind.VALUE, two=FieldKind.VALUE)
    with bench.database.transaction():
        bench.store.cells.write(charm, "one", b"1" * 3000)
    run = bench.claim(charm)
    answer = Answer(run.run_id, 0.1, writes={"two": b"1" * 100, "one": b"1" * 1000})
    assert FailureCause.STATE_SIZE is failure_of(bench, run, answer, SMALL).cause

    again = bench.claim(charm)
    settled = bench.settle(again, Answer(again.run_id, 0.1, writes={"one": b"1"}), None, SMALL)
    assert settled is not None
    assert settled.outcome.success


def test_state_of_another_charm_has_the_size_of_its_own(bench: Bench) -> None:
    """Through a link, a charm can fill another only as far as that one may be filled."""
    charm, target = linked(bench, FieldKind.CELL, "shared")
    with bench.database.transaction():
        bench.store.limits.put_charm(target.charm_key, LimitChanges(state_bytes=1024))
    run = bench.claim(charm)
    failure = failure_of(bench, run, Answer(run.run_id, 0.1, writes={"link": b"1" * 2000}))
    assert FailureCause.STATE_SIZE is failure.cause
    assert b"0" == bench.value(target, "shared")


def test_events_have_a_number(bench: Bench) -> None:
    """A run cannot fill the queue: with too many events none is sent."""
    charm, target = linked(bench, FieldKind.STREAM, "bgUpdater")
    run = bench.claim(charm)
    sends = tuple(Send("link", b"{}") for _ in range(1001))
    failure = failure_of(bench, run, Answer(run.run_id, 0.1, sends=sends))
    assert FailureCause.STATE_SIZE is failure.cause
    assert 0 == bench.queue.waiting(target.charm_key)


@pytest.mark.parametrize("value", [b"", b"nope", b'"\xff"', b"[" * 101 + b"]" * 101])
def test_events_and_linked_values_are_json(bench: Bench, value: bytes) -> None:
    """What goes to another charm is checked like what a charm keeps."""
    charm, target = linked(bench, FieldKind.STREAM, "bgUpdater")
    run = bench.claim(charm)
    answer = Answer(run.run_id, 0.1, sends=(Send("link", value),))
    assert FailureCause.STATE is failure_of(bench, run, answer).cause
    assert 0 == bench.queue.waiting(target.charm_key)


@pytest.mark.parametrize("path", [("shared",), ("shared", "deep")])
@pytest.mark.parametrize("value", [b"", b"nope", b"[" * 101 + b"]" * 101])
def test_values_through_links_are_json(bench: Bench, path: tuple[str, ...], value: bytes) -> None:
    """What is written through a link is checked before anything is made of it."""
    charm, _ = linked(bench, FieldKind.CELL, *path)
    run = bench.claim(charm)
    answer = Answer(run.run_id, 0.1, writes={"link": value})
    assert FailureCause.STATE is failure_of(bench, run, answer).cause


def test_event_through_a_link_to_a_value_is_refused(bench: Bench) -> None:
    """A link to a whole charm, or to one of its fields, is no way to its streams."""
    for path in ((), ("shared",)):
        charm, _ = linked(bench, FieldKind.CELL, *path, space=f"{ELSEWHERE}{len(path)}")
        run = bench.claim(charm)
        answer = Answer(run.run_id, 0.1, sends=(Send("link", b"{}"),))
        assert FailureCause.STATE is failure_of(bench, run, answer).cause


def test_value_through_a_link_to_a_stream_is_refused(bench: Bench) -> None:
    """What may send events may not make fields of their names."""
    charm, target = linked(bench, FieldKind.STREAM, "bgUpdater")
    run = bench.claim(charm)
    answer = Answer(run.run_id, 0.1, writes={"link": b"1"})
    assert FailureCause.STATE is failure_of(bench, run, answer).cause
    assert bench.value(target, "bgUpdater") is None


def test_value_through_a_link_to_a_field_that_is_gone_is_refused(bench: Bench) -> None:
    """A link outlives the field that it leads to, and brings it not back."""
    charm, target = linked(bench, FieldKind.CELL, "former")
    run = bench.claim(charm)
    answer = Answer(run.run_id, 0.1, writes={"link": b"1"})
    assert FailureCause.STATE is failure_of(bench, run, answer).cause
    assert bench.value(target, "former") is None


DOWN = Ending(EndingKind.DOWN, None, "refused", "API.example.org")
REFUSED = Failure(FailureCause.DOWN, "ConnectError: refused")


def ending_of(bench: Bench, failure: Failure | None, ending: Ending) -> tuple[str, Ending | None]:
    """Settle a run whose worker says that it ended so; gives as what it is recorded, and why."""
    run = bench.claim(bench.charm())
    settled = bench.settle(run, Answer(run.run_id, 0.1, failure, ending=ending))
    assert settled is not None
    return settled.decision.status, settled.outcome.ending


def test_ending_is_taken_as_it_may_be(bench: Bench) -> None:
    """Its host is a host, and its reason no longer than what is stored."""
    status, ending = ending_of(bench, REFUSED, replace(DOWN, why="x" * 10_000))
    assert RunStatus.DOWN == status
    assert ending is not None
    assert ("api.example.org", 2_000) == (ending.host, len(ending.why))


@pytest.mark.parametrize(
    ("failure", "ending", "cause"),
    [
        (REFUSED, replace(DOWN, host=""), FailureCause.ERROR),
        (REFUSED, replace(DOWN, host="<b>"), FailureCause.ERROR),
        (REFUSED, replace(DOWN, kind=EndingKind.STOP), FailureCause.ERROR),
        (Failure(FailureCause.MEMORY, "no"), DOWN, FailureCause.MEMORY),
        (Failure(FailureCause.TLS, "no"), replace(DOWN, host=""), FailureCause.TLS),
        (REFUSED, Ending(EndingKind.AGAIN, 0.0), FailureCause.ERROR),
        (None, DOWN, FailureCause.PROTOCOL),
        (None, Ending(EndingKind.STOP), FailureCause.PROTOCOL),
    ],
)
def test_ending_that_cannot_be_is_a_failure(
    bench: Bench, failure: Failure | None, ending: Ending, cause: FailureCause
) -> None:
    """Nobody is told of a host that is none, and no other failure is talked away."""
    run = bench.claim(bench.charm())
    settled = bench.settle(run, Answer(run.run_id, 0.1, failure, ending=ending))
    assert settled is not None
    assert settled.outcome.failure is not None
    assert (RunStatus.FAILURE, None, cause) == (
        settled.decision.status,
        settled.outcome.ending,
        settled.outcome.failure.cause,
    )


def test_nobody_is_led_astray(bench: Bench) -> None:
    """An address that is none to sign in at is left out; a time that is none names none."""
    failure = Failure(FailureCause.SIGN_IN, "revoked")
    said = Ending(EndingKind.SIGN_IN, None, "revoked", url="javascript:alert(1)")
    _, ending = ending_of(bench, failure, said)
    assert ending is not None
    assert "" == ending.url
    status, ending = ending_of(bench, None, Ending(EndingKind.AGAIN, float("inf")))
    assert RunStatus.SUCCESS == status
    assert ending is not None
    assert ending.seconds is None


def test_secrets_stand_in_no_ending(bench: Bench) -> None:
    """A reason is redacted as any other text, and an address with a secret in it leads nowhere."""
    charm = bench.charm(token=FieldKind.SECRET)
    run = replace(bench.claim(charm), secrets=("hunter2hunter2",))
    failure = Failure(FailureCause.SIGN_IN, "hunter2hunter2 was revoked")
    said = Ending(
        EndingKind.SIGN_IN,
        None,
        "hunter2hunter2 was revoked",
        url="https://example.org/?t=hunter2hunter2",
    )
    settled = bench.settle(run, Answer(run.run_id, 0.1, failure, ending=said))
    assert settled is not None
    assert "Sign in again: [secret] was revoked" == settled.decision.health.status
    waiting = bench.store.waits.get(charm.charm_key)
    assert waiting is not None
    assert ("[secret] was revoked", "") == (waiting.why, waiting.url)

"""Collections on behalf of runs: what may be written; nothing that a worker says is believed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.items import RUN_ITEMS_BYTES, SeenRange, TouchedItems
from bg_charm_service.domain.limits import Limits
from bg_charm_service.domain.model import FieldKind
from bg_charm_service.domain.outcomes.policy import RunStatus
from bg_charm_service.storage.records import CharmRecord, Link
from bg_charm_service.supervisor.completer import Settled
from bg_charm_service.supervisor.in_flight import InFlight
from bg_charm_service.workers.protocol.messages import Answer, FoundItems, WantItems
from tests.unit.completing import ELSEWHERE, Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """An empty bench."""
    made = Bench(tmp_path / "test.db")
    yield made
    made.database.close()


def settle(
    bench: Bench, run: InFlight, *items: TouchedItems, limits: Limits | None = None
) -> Settled:
    """Settle a success that wrote a field beside its items."""
    answer = Answer(run.run_id, 0.1, writes={"count": b"1"})
    settled = bench.settle(run, answer, items=items, limits=limits)
    assert settled is not None
    return settled


def keys(bench: Bench, charm: CharmRecord) -> list[str]:
    """The keys of a charm's collection."""
    page = bench.store.items.page(charm.charm_key, "box", "", 100, has_values=False)
    return [item.key for item in page.items]


def test_items_come_with_the_fields_of_their_run(bench: Bench) -> None:
    """All parts of what a run wrote are stored with its fields, and named in its record."""
    charm = bench.charm(count=FieldKind.VALUE, box=FieldKind.ITEMS)
    parts = (TouchedItems("box", writes={"a": b"1"}), TouchedItems("box", writes={"b": b"2"}))
    settled = settle(bench, bench.claim(charm), *parts)
    assert RunStatus.SUCCESS is settled.decision.status
    assert (["a", "b"], b"1") == (keys(bench, charm), bench.value(charm, "count"))
    assert ("box", "count") == settled.record.writes


BAD = {
    "what is no collection": TouchedItems("count", writes={"a": b"1"}),
    "a field that there is not": TouchedItems("nothing", writes={"a": b"1"}),
    "what is no JSON": TouchedItems("box", writes={"a": b"{"}),
    "a key that is none": TouchedItems("box", writes={"": b"1"}),
    "a key with a zero": TouchedItems("box", writes={"a\0": None}),
    "an item that is too large": TouchedItems("box", writes={"a": b'"' + b"x" * 2**20 + b'"'}),
    "too much in all": TouchedItems(
        "box", writes={f"{n}": b'"' + b"x" * 1_000_000 + b'"' for n in range(5)}
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_run_that_may_not_write_its_items_writes_nothing(bench: Bench, what: str) -> None:
    """It fails by its own fault, whatever its worker says, and its other writes go with it."""
    charm = bench.charm(count=FieldKind.VALUE, box=FieldKind.ITEMS)
    good = TouchedItems("box", writes={"good": b"1"})
    settled = settle(bench, bench.claim(charm), good, BAD[what])
    failure = settled.outcome.failure
    assert failure is not None
    assert failure.cause in (FailureCause.STATE, FailureCause.STATE_SIZE)
    assert ([], b"0") == (keys(bench, charm), bench.value(charm, "count"))


def test_a_run_writes_no_more_than_its_state_may_have(bench: Bench) -> None:
    """A lower limit of the state bounds the items of one run too."""
    charm = bench.charm(count=FieldKind.VALUE, box=FieldKind.ITEMS)
    large = TouchedItems("box", writes={"a": b'"' + b"x" * 2000 + b'"'})
    limits = Limits(state_bytes=1000)
    settled = settle(bench, bench.claim(charm), large, limits=limits)
    assert settled.outcome.failure is not None
    assert "and may write 1000" in settled.outcome.failure.message
    assert limits.state_bytes < RUN_ITEMS_BYTES


def linked(bench: Bench, *, space: str = ELSEWHERE, path: str = "box") -> tuple[CharmRecord, ...]:
    """A charm with a link that may only be read, and the one with the collection."""
    target = bench.charm(space, box=FieldKind.ITEMS, plain=FieldKind.VALUE)
    charm = bench.charm(count=FieldKind.VALUE, far=FieldKind.ITEMS_CELL, more=FieldKind.VALUE)
    with bench.database.transaction():
        link = Link("far", target.charm_key, (path,), is_writable=False)
        bench.store.links.put(charm.charm_key, link)
    return charm, target


def test_a_link_into_another_space_is_not_written_through(bench: Bench) -> None:
    """Whatever the worker says: the run fails, and nothing of it is stored."""
    charm, target = linked(bench)
    settled = settle(bench, bench.claim(charm), TouchedItems("far", writes={"a": b"1"}))
    assert settled.outcome.failure is not None
    assert "may only be read" in settled.outcome.failure.message
    assert ([], b"0") == (keys(bench, target), bench.value(charm, "count"))


@pytest.mark.parametrize("field", ["nothing", "count", "far"])
def test_a_question_that_cannot_be_answered_says_why(bench: Bench, field: str) -> None:
    """What is no collection, and a link that leads to none any more, are the charm's to know."""
    charm, target = linked(bench)
    run = bench.claim(charm)
    with bench.database.transaction():
        bench.store.charms.mark_removed(target.charm_key, 1)
    found = bench.items.answer(run, WantItems(run.run_id, field))
    assert (True, ()) == (bool(found.problem), found.items)


def test_questions_are_answered_as_it_is_now(bench: Bench) -> None:
    """Keys, a page and the length, with the versions that they have."""
    charm = bench.charm(count=FieldKind.VALUE, box=FieldKind.ITEMS)
    run = bench.claim(charm)
    bench.store.items.write(charm.charm_key, "box", {"a": b"1", "b": b"2"})
    version = bench.store.items.get(charm.charm_key, "box").version

    def ask(**wanted: object) -> FoundItems:
        return bench.items.answer(run, WantItems(run.run_id, "box", **wanted))  # type: ignore[arg-type]

    (item,) = ask(keys=("a", "x"), has_values=True).items
    assert ("a", version, b"1") == (item.key, item.version, item.value)
    page = ask(after="a", limit=5)
    assert (["b"], True, version) == ([one.key for one in page.items], page.is_end, page.version)
    assert 2 == ask().count


def test_a_run_sees_its_charm_removed_and_made_anew(bench: Bench) -> None:
    """Versions of a collection that was dropped are never those of the next one."""
    charm = bench.charm(count=FieldKind.VALUE, box=FieldKind.ITEMS)
    bench.store.items.write(charm.charm_key, "box", {"a": b"1"})
    run = bench.claim(charm)
    seen = bench.store.items.find(charm.charm_key, "box", ["a"], has_values=False)[0].version
    with bench.database.transaction():
        bench.store.items.drop(charm.charm_key, "box")
    bench.store.items.write(charm.charm_key, "box", {"a": b"1"})
    touched = TouchedItems("box", seen={"a": seen})
    assert RunStatus.STALE is settle(bench, run, touched).decision.status


def test_ranges_of_very_many_are_not_looked_at_again(bench: Bench) -> None:
    """Where looking again would take too long, any write of others makes the run stale."""
    charm = bench.charm(count=FieldKind.VALUE, box=FieldKind.ITEMS)
    bench.store.items.write(charm.charm_key, "box", {"a": b"1"})
    version = bench.store.items.get(charm.charm_key, "box").version
    run = bench.claim(charm)
    bench.store.items.write(charm.charm_key, "box", {"z": b"1"})
    huge = TouchedItems("box", ranges=(SeenRange("", "a", 30_000, version),))
    small = TouchedItems("box", ranges=(SeenRange("", "a", 1, version),))
    assert bench.items.have_moved(run, [huge])
    assert not bench.items.have_moved(run, [small])

"""A run's effects and the end of its job: on disk together, or not at all, and once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bg_charm_service.domain.errors import ClaimLost
from bg_charm_service.domain.model import CharmHealth, Origin
from bg_charm_service.storage.contract import JobQueue, Store
from bg_charm_service.storage.records import CharmRecord, Claim, NewJob
from tests.contract.engine import Engine
from tests.contract.test_store import add_charm, run

NOW = 1000.0


@pytest.fixture
def charm(engine: Engine) -> CharmRecord:
    """A charm that has a value, and a poll that waits."""
    with engine.transaction():
        added = add_charm(engine.store, "counter")
        engine.store.cells.write(added, "count", b"1")
        put(engine.queue, added)
    return added


def put(queue: JobQueue, charm: CharmRecord) -> int:
    """Queue a poll."""
    job_id = queue.put_poll(
        charm.space_key,
        charm.charm_key,
        charm.ref,
        "bgUpdater",
        b"{}",
        origin=Origin.POLL,
        run_at=NOW,
        now=NOW,
    )
    assert job_id is not None
    return job_id


def claim_of(engine: Engine, charm: CharmRecord) -> Claim:
    """Take the charm's job."""
    with engine.transaction():
        (claim,) = engine.queue.claim(charm.space_key, 1, NOW)
    return claim


def settle(engine: Engine, charm: CharmRecord, claim: Claim) -> None:
    """Write all that a success leaves."""
    store = engine.store
    assert engine.queue.ack(claim)
    store.cells.write(charm, "count", b"2")
    store.health.put(charm.charm_key, CharmHealth(status="Success", executions=1))
    store.runs.record(charm.charm_key, run(1), keep=10)
    store.totals.add("executions")
    store.totals.flush()


def effects(store: Store, charm: CharmRecord) -> tuple[bytes | None, int, int, int]:
    """Give what shows of a run: the value, executions, recorded runs, the service's count."""
    cell = store.cells.read(charm, "count")
    return (
        cell.value if cell else None,
        store.health.get(charm.charm_key).executions,
        len(store.runs.of(charm.charm_key)),
        store.totals.get("executions"),
    )


NONE, ALL = (b"1", 0, 0, 0), (b"2", 1, 1, 1)


def test_effects_survive_with_the_end_of_the_job(engine: Engine, charm: CharmRecord) -> None:
    """What is committed together is there together, after a kill too."""
    claim = claim_of(engine, charm)
    with engine.transaction():
        settle(engine, charm, claim)
    engine.crash()
    assert ALL == effects(engine.store, charm)
    assert (0, 0, False) == (
        engine.queue.pending,
        engine.queue.claimed,
        engine.queue.is_live(claim.job.job_id),
    )


def test_killed_settlement_leaves_nothing(engine: Engine, charm: CharmRecord) -> None:
    """Before the commit nothing of it is there, and the job is still claimed, for its rescue."""
    claim = claim_of(engine, charm)
    engine.crash(during=lambda: settle(engine, charm, claim))
    assert NONE == effects(engine.store, charm)
    assert [claim] == engine.queue.claimed_jobs()


def test_late_settlement_is_refused(engine: Engine, charm: CharmRecord) -> None:
    """After the job was rescued and claimed anew, the first claim ends nothing."""
    late = claim_of(engine, charm)
    engine.crash()
    with engine.transaction():
        assert engine.queue.rescue(late, NOW)
    newest = claim_of(engine, charm)
    with engine.transaction():
        assert not engine.queue.ack(late)
        settle(engine, charm, newest)
    assert ALL == effects(engine.store, charm)


def test_late_one_among_many_is_told(engine: Engine, charm: CharmRecord) -> None:
    """Claims that end together are all the newest, or the caller undoes the whole."""
    other = add_charm(engine.store, "other")
    late = claim_of(engine, charm)
    with engine.transaction():
        engine.queue.release(late, NOW)
        put(engine.queue, other)
    claims = {}
    with engine.transaction():
        for claim in engine.queue.claim(charm.space_key, 2, NOW):
            claims[claim.charm_key] = claim

    def end_all() -> None:
        with engine.database.savepoint():
            engine.queue.ack_all([claims[other.charm_key], late])

    with engine.transaction():
        with pytest.raises(ClaimLost):
            end_all()
        assert engine.queue.holds(claims[other.charm_key].job)
    assert 2 == engine.queue.claimed
    with engine.transaction():
        engine.queue.ack_all(list(claims.values()))
    assert (0, 0) == (engine.queue.pending, engine.queue.claimed)


GIVEN_BACK: dict[str, Callable[[JobQueue, Claim], bool]] = {
    "release": lambda queue, claim: queue.release(claim, NOW + 5),
    "rescue": lambda queue, claim: queue.rescue(claim, NOW + 5),
    "retry": lambda queue, claim: queue.retry(claim, NOW + 5),
}


@pytest.mark.parametrize(
    ("ending", "attempt", "deliveries"), [("release", 1, 1), ("rescue", 1, 2), ("retry", 2, 1)]
)
def test_job_that_is_given_back_comes_again(
    engine: Engine, charm: CharmRecord, ending: str, attempt: int, deliveries: int
) -> None:
    """At its time, as the same job: a release costs nothing, a rescue the delivery, only a retry
    the attempt.
    """
    claim = claim_of(engine, charm)
    with engine.transaction():
        assert GIVEN_BACK[ending](engine.queue, claim)
    engine.crash()
    with engine.transaction():
        assert [] == list(engine.queue.claim(charm.space_key, 1, NOW + 4))
        (again,) = engine.queue.claim(charm.space_key, 1, NOW + 5)
    assert (claim.job.job_id, attempt, deliveries) == (
        again.job.job_id,
        again.job.attempt,
        again.job.deliveries,
    )
    assert again.job.fence > claim.job.fence


def test_polls_and_due_times_commit_together(engine: Engine, charm: CharmRecord) -> None:
    """A poll that is queued has its charm's next due time stored with it, or neither is."""
    claim = claim_of(engine, charm)
    with engine.transaction():
        engine.queue.ack(claim)

    def plan() -> None:
        poll = NewJob(charm.space_key, charm.charm_key, charm.ref, "bgUpdater", b"{}", NOW)
        assert set() == engine.queue.live_polls([charm.charm_key])
        engine.queue.put_polls([poll], now=NOW)
        engine.store.health.set_due_all([(NOW + 60, charm.charm_key)])

    engine.crash(during=plan)
    assert (0, None) == (engine.queue.pending, engine.store.health.entry(charm.charm_key).due_at)
    with engine.transaction():
        plan()
    engine.crash()
    assert (1, NOW + 60) == (
        engine.queue.pending,
        engine.store.health.entry(charm.charm_key).due_at,
    )
    assert {charm.charm_key} == engine.queue.live_polls([charm.charm_key])

"""What an operator said of when a charm runs, and for when its polls were due: kept as said."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from bg_charm_service.domain.model import CharmRef, CharmSchema, Origin
from bg_charm_service.domain.schedules.words import NO_WORDS, Missed, ScheduleWords
from bg_charm_service.storage.records import CharmRecord, NewJob
from tests.contract.engine import Engine

DAILY = ScheduleWords(cron="0 8 * * *", time_zone="Europe/Oslo", missed=Missed.SKIP)
QUIET = ScheduleWords(quiet="22:00-07:00")
OF_CLASS = ScheduleWords(every_seconds=300.0, quiet="none")
NOW = 1_790_000_000.0


@pytest.fixture
def charm(engine: Engine) -> CharmRecord:
    """One charm, whose class says when it runs."""
    with engine.transaction():
        space = engine.store.spaces.ensure("did:key:here", name="", owner="did:key:me", now=0)
        added = engine.store.charms.add(
            CharmRef("did:key:here", "baedreicharm"),
            space.space_key,
            cause="c",
            file_name="c.py",
            source="",
            schema=CharmSchema("C", "C", "", (), ("bgUpdater",), schedule=OF_CLASS),
            now=0,
        )
        engine.store.health.create(added.charm_key)
    return added


def test_what_is_said_is_kept(engine: Engine, charm: CharmRecord) -> None:
    """After a restart too, by the class and by the operator; nothing said is the one object."""
    with engine.transaction():
        engine.store.schedules.put(charm.charm_key, DAILY)
    engine.reopen()
    assert engine.store.schedules.of_charm(charm.charm_key) == DAILY
    assert engine.store.schedules.of_charm(charm.charm_key + 1) is NO_WORDS
    found = engine.store.charms.find(charm.ref)
    assert found is not None
    assert found.schema.schedule == OF_CLASS


def test_it_is_said_anew_as_a_whole(engine: Engine, charm: CharmRecord) -> None:
    """Nothing of what was said before is left, and nothing said leaves nothing."""
    schedules = engine.store.schedules
    for words in (DAILY, QUIET, NO_WORDS):
        with engine.transaction():
            schedules.put(charm.charm_key, words)
        assert schedules.of_charm(charm.charm_key) == words
    assert schedules.of_charm(charm.charm_key) is NO_WORDS
    engine.reopen()
    assert engine.store.schedules.of_charm(charm.charm_key) is NO_WORDS


def test_what_a_failed_transaction_said_never_counts(engine: Engine, charm: CharmRecord) -> None:
    """What was not committed shows nowhere."""
    engine.crash(lambda: engine.store.schedules.put(charm.charm_key, DAILY))
    assert engine.store.schedules.of_charm(charm.charm_key) is NO_WORDS


def test_it_goes_with_its_charm(engine: Engine, charm: CharmRecord) -> None:
    """A charm that comes back in its place runs as its class says."""
    with engine.transaction():
        engine.store.schedules.put(charm.charm_key, DAILY)
    with engine.transaction():
        engine.store.charms.mark_removed(charm.charm_key, 1)
    engine.reopen()
    assert engine.store.schedules.of_charm(charm.charm_key) is NO_WORDS


def test_a_poll_keeps_for_when_it_was_due(engine: Engine, charm: CharmRecord) -> None:
    """Through retries, being given back, death and requeueing; an event has no such time."""
    queue = engine.queue
    due = NewJob(
        charm.space_key, charm.charm_key, charm.ref, "bgUpdater", b"{}", NOW, scheduled_at=NOW - 5
    )
    with engine.transaction():
        queue.put_polls([due], now=NOW)
        queue.put_send(
            charm.space_key, 8, charm.ref, "add", b"{}", run_at=NOW, now=NOW, is_held=False
        )
    with engine.transaction():
        claims = queue.claim(charm.space_key, 10, NOW)
    by_origin = {claim.job.origin: claim for claim in claims}
    assert by_origin[Origin.SEND].job.scheduled_at is None
    poll = by_origin[Origin.POLL]
    assert poll.job.scheduled_at == NOW - 5
    for put_back in (queue.retry, queue.release, queue.rescue):
        with engine.transaction():
            assert put_back(poll, NOW + 1)
        with engine.transaction():
            (poll,) = queue.claim(charm.space_key, 10, NOW + 10)
        assert poll.job.scheduled_at == NOW - 5
    with engine.transaction():
        queue.bury(poll)
    with engine.transaction():
        assert queue.requeue(charm.charm_key, NOW + 20)
    with engine.transaction():
        (again,) = queue.claim(charm.space_key, 10, NOW + 20)
    assert again.job.scheduled_at == NOW - 5


def test_the_last_time_that_succeeded_is_kept(engine: Engine, charm: CharmRecord) -> None:
    """Beside what else is known of a charm's runs."""
    health = engine.store.health
    with engine.transaction():
        before = health.get(charm.charm_key)
        assert before.last_scheduled == 0.0
        health.put(charm.charm_key, replace(before, last_scheduled=NOW))
    engine.reopen()
    assert engine.store.health.get(charm.charm_key).last_scheduled == NOW

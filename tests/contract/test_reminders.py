"""Reminders: kept, replaced by name, given when they are due, and gone with their charm."""

from __future__ import annotations

import pytest

from bg_charm_service.domain.model import CharmRef, CharmSchema
from bg_charm_service.storage.records import CharmRecord, Reminder
from tests.contract.engine import Engine

NOW = 1000.0


@pytest.fixture
def charm(engine: Engine) -> CharmRecord:
    """One charm in a space."""
    with engine.transaction():
        space = engine.store.spaces.ensure("did:key:here", name="", owner="did:key:me", now=0)
        return engine.store.charms.add(
            CharmRef("did:key:here", "baedreicharm"),
            space.space_key,
            cause="c",
            file_name="c.py",
            source="",
            schema=CharmSchema("C", "C", "", (), ("bgUpdater", "wake")),
            now=0,
        )


def put(
    engine: Engine, charm: CharmRecord, at: float, name: str | None = None, stream: str = "wake"
) -> Reminder:
    """Add a reminder, and have it on disk."""
    with engine.transaction():
        return engine.store.reminders.put(
            charm.charm_key, name=name, stream=stream, event=b'{"n":1}', remind_at=at, now=NOW
        )


def test_reminders_are_given_in_the_order_of_their_times(
    engine: Engine, charm: CharmRecord
) -> None:
    """Those that are due come, the oldest first, and not one before its time."""
    late, early = put(engine, charm, NOW + 20), put(engine, charm, NOW + 10)
    reminders = engine.store.reminders
    assert NOW + 10 == reminders.next_at()
    assert [early, late] == reminders.of(charm.charm_key)
    with engine.transaction():
        assert [] == reminders.due(NOW + 9, 10)
        assert [early] == reminders.due(NOW + 10, 10)
        assert [early] == reminders.due(NOW + 30, 1)
        assert [early, late] == reminders.due(NOW + 30, 10)
        reminders.take([early])
    assert NOW + 20 == reminders.next_at()
    assert [late] == reminders.of(charm.charm_key)


def test_named_reminder_replaces_the_one_of_its_name(engine: Engine, charm: CharmRecord) -> None:
    """One of the same name is the same reminder at another time; those without a name are not."""
    put(engine, charm, NOW + 10, "a")
    again = put(engine, charm, NOW + 30, "a")
    nameless = [put(engine, charm, NOW + 40), put(engine, charm, NOW + 40)]
    assert [again, *nameless] == engine.store.reminders.of(charm.charm_key)
    assert (3, 3 * len(b'{"n":1}')) == engine.store.reminders.size(charm.charm_key)
    assert ["a", f"#{nameless[0].reminder_id}"] == [again.shown_name, nameless[0].shown_name]


def test_reminder_is_dropped_by_the_name_that_is_shown(engine: Engine, charm: CharmRecord) -> None:
    """By its name, or by its number where it has none; a name that there is not drops nothing."""
    named, nameless = put(engine, charm, NOW, "a"), put(engine, charm, NOW)
    reminders = engine.store.reminders
    with engine.transaction():
        wrong = ["b", "#", "#x", "#²", f"#{named.reminder_id}", "#" + "9" * 30]
        assert [False] * len(wrong) == [reminders.drop(charm.charm_key, each) for each in wrong]
        assert not reminders.drop(charm.charm_key + 1, "a")
        assert reminders.drop(charm.charm_key, "a")
        assert reminders.drop(charm.charm_key, nameless.shown_name)
    assert [] == reminders.of(charm.charm_key)


def test_reminders_of_a_stream_are_dropped_together(engine: Engine, charm: CharmRecord) -> None:
    """Those to other streams stay."""
    put(engine, charm, NOW), put(engine, charm, NOW, "a")
    other = put(engine, charm, NOW, stream="bgUpdater")
    with engine.transaction():
        assert 2 == engine.store.reminders.drop_stream(charm.charm_key, "wake")
    assert [other] == engine.store.reminders.of(charm.charm_key)


def test_reminders_outlast_restart_and_crash(engine: Engine, charm: CharmRecord) -> None:
    """The next life knows them, and when the first of them is due."""
    kept = put(engine, charm, NOW + 10, "a")
    engine.reopen()
    assert [kept] == engine.store.reminders.of(charm.charm_key)
    assert NOW + 10 == engine.store.reminders.next_at()

    def take() -> None:
        engine.store.reminders.take(engine.store.reminders.due(NOW + 99, 9))

    engine.crash(take)
    assert [kept] == engine.store.reminders.of(charm.charm_key)
    assert NOW + 10 == engine.store.reminders.next_at()


def test_reminders_go_with_their_charm(engine: Engine, charm: CharmRecord) -> None:
    """A charm that was removed is reminded of nothing."""
    put(engine, charm, NOW)
    with engine.transaction():
        engine.store.charms.mark_removed(charm.charm_key, NOW)
    assert [] == engine.store.reminders.of(charm.charm_key)
    with engine.transaction():
        assert [] == engine.store.reminders.due(NOW, 10)
        engine.store.reminders.take([])
    assert engine.store.reminders.next_at() is None

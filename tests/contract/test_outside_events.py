"""What is kept of events from outside: addresses, ids of deliveries, keys; sealed, and bounded."""

from __future__ import annotations

import pytest

from bg_charm_service.domain.events.hooks import ADDRESS, hash_of, new_address
from bg_charm_service.domain.identity import Identity
from bg_charm_service.domain.model import CharmRef, CharmSchema
from bg_charm_service.storage.contract import Store
from bg_charm_service.storage.records import CharmRecord, Delivery, SentBefore
from bg_charm_service.storage.sql.store.events import deliveries, idempotency
from tests.contract.engine import Engine

OWNER = Identity.from_passphrase("the owner")
NOW, DAY = 1_000_000.0, 86400.0

ONE, OTHER = new_address(b"1" * 32), new_address(b"2" * 32)


@pytest.fixture
def store(engine: Engine) -> Store:
    """A store whose data key is there."""
    engine.store.secrets.create(OWNER.did())
    return engine.store


def add_charm(store: Store, name: str = "one") -> CharmRecord:
    """Add a charm."""
    home = store.spaces.ensure("did:key:space", name="", owner=OWNER.did(), now=NOW)
    return store.charms.add(
        CharmRef("did:key:space", name),
        home.space_key,
        cause=name,
        file_name="one.py",
        source="",
        schema=CharmSchema("One", "One", "", (), ("bgUpdater", "pushed")),
        now=NOW,
    )


def test_an_address_is_found_and_shown_nowhere(engine: Engine, store: Store) -> None:
    """By its hash, and by its owner; on disk it is encrypted, and another one replaces it."""
    assert ADDRESS.fullmatch(ONE)
    with engine.transaction():
        charm = add_charm(store)
        store.hooks.put(charm, "pushed", ONE, NOW)
    found = store.hooks.find(hash_of(ONE))
    assert found is not None
    assert (charm.charm_key, "pushed", "") == (found.charm_key, found.stream, found.address)
    assert [ONE] == [one.address for one in store.hooks.of(charm)]
    assert ONE.encode() not in engine.stored_bytes()
    with engine.transaction():
        store.hooks.lease(found.hook_key, NOW + 10)
        store.hooks.put(charm, "pushed", OTHER, NOW)
    assert store.hooks.find(hash_of(ONE)) is None
    again = store.hooks.find(hash_of(OTHER))
    # Its key stays, and what a hub has promised was for the address before.
    assert again is not None
    assert (found.hook_key, 0.0) == (again.hook_key, again.leased_until)


def test_it_goes_with_its_charm(engine: Engine, store: Store) -> None:
    """Nothing leads to a charm that was removed, nor is its key known any more."""
    with engine.transaction():
        charm = add_charm(store)
        store.hooks.put(charm, "pushed", ONE, NOW)
        store.idempotency_keys.put(charm.charm_key, b"key", b"request", 1, NOW)
        store.charms.mark_removed(charm.charm_key, NOW)
    assert store.hooks.find(hash_of(ONE)) is None
    assert store.idempotency_keys.find(charm.charm_key, b"key", NOW) is None


def test_a_poke_outlasts_a_crash(engine: Engine, store: Store) -> None:
    """Until it is said that the charm will be polled."""
    with engine.transaction():
        charm = add_charm(store)
        store.hooks.put(charm, "bgUpdater", ONE, NOW)
        store.hooks.poke(charm.charm_key, "bgUpdater", is_poked=True)
    engine.crash()
    assert [(charm.charm_key, "bgUpdater")] == engine.store.hooks.poked()
    with engine.transaction():
        engine.store.hooks.poke(charm.charm_key, "bgUpdater", is_poked=False)
    assert [] == engine.store.hooks.poked()


def test_an_id_counts_for_its_address_and_for_a_day(engine: Engine, store: Store) -> None:
    """What was given up may come again; what is tried again may not."""
    found = store.deliveries
    with engine.transaction():
        found.put(1, b"id", 7, NOW)
    assert Delivery(7, is_dead=False) == found.find(1, b"id", NOW + DAY - 1)
    assert [None, None] == [found.find(1, b"id", NOW + DAY), found.find(2, b"id", NOW)]
    with engine.transaction():
        found.note_dead(7)
    assert Delivery(7, is_dead=True) == found.find(1, b"id", NOW)
    with engine.transaction():
        found.note_requeued(7, 8)
    assert Delivery(8, is_dead=False) == found.find(1, b"id", NOW)


def test_what_is_remembered_is_bounded(
    engine: Engine, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By number, each address and each charm for itself, and by age."""
    monkeypatch.setattr(deliveries, "MOST_DELIVERIES_OF_A_HOOK", 3)
    monkeypatch.setattr(idempotency, "MOST_KEYS_OF_A_CHARM", 3)
    ids = [bytes([number]) for number in range(5)]
    with engine.transaction():
        charm, other = add_charm(store), add_charm(store, "other")
        for number, one in enumerate(ids):
            store.deliveries.put(1, one, number, NOW)
            store.idempotency_keys.put(charm.charm_key, one, b"request", number, NOW)
        store.deliveries.put(2, b"x", 9, NOW)
        store.idempotency_keys.put(other.charm_key, b"x", b"request", 9, NOW)
    kept = [store.deliveries.find(1, one, NOW) is not None for one in ids]
    keys = [store.idempotency_keys.find(charm.charm_key, one, NOW) is not None for one in ids]
    assert [False, False, True, True, True] == kept == keys
    known = store.idempotency_keys.find(other.charm_key, b"x", NOW)
    assert SentBefore(9, b"request") == known
    with engine.transaction():
        store.deliveries.put(3, b"y", 10, NOW + DAY)
        store.idempotency_keys.put(other.charm_key, b"y", b"request", 10, NOW + DAY)
    # They are gone, and not only passed over.
    assert [None, None] == [
        store.deliveries.find(1, ids[4], NOW),
        store.deliveries.find(2, b"x", NOW),
    ]
    assert store.idempotency_keys.find(charm.charm_key, ids[4], NOW) is None

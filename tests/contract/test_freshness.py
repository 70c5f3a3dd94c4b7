"""Until when the state of charms is fresh: kept by field, found when it is over."""

from __future__ import annotations

from bg_charm_service.domain.model import CharmRef, CharmSchema
from bg_charm_service.storage.records import CharmFilter, CharmOrder, CharmRecord, Standing
from tests.contract.engine import Engine


def add(engine: Engine, cause: str, **stale_at: float) -> CharmRecord:
    """Add a charm whose fields are stale then."""
    with engine.transaction():
        home = engine.store.spaces.ensure("did:key:a", name="", owner="did:key:me", now=0)
        charm = engine.store.charms.add(
            CharmRef("did:key:a", f"baedrei{cause}"),
            home.space_key,
            cause=cause,
            file_name="c.py",
            source="",
            schema=CharmSchema("C", "C", "", (), ("bgUpdater",)),
            now=0,
        )
        engine.store.health.create(charm.charm_key)
        engine.store.freshness.put(charm.charm_key, stale_at)
        return charm


def stale(engine: Engine, now: float) -> list[str]:
    """The causes of the charms that are listed as stale."""
    wanted = CharmFilter(standing=Standing.STALE, now=now)
    found, _ = engine.store.charm_lists.page(wanted, CharmOrder.NAME, "", 10)
    return [charm.cause for charm in found]


def test_charm_is_stale_when_one_of_its_fields_is(engine: Engine) -> None:
    """It is listed and counted once; one that says nothing never is."""
    both, one = add(engine, "both", a=10, b=20), add(engine, "one", a=15)
    silent = add(engine, "silent")
    keys = [both.charm_key, one.charm_key, silent.charm_key]
    freshness = engine.store.freshness
    assert {both.charm_key: 10, one.charm_key: 15} == freshness.first(keys)
    assert (0, []) == (freshness.count_stale(10), stale(engine, 10))
    assert (1, ["both"]) == (freshness.count_stale(11), stale(engine, 11))
    assert (2, ["both", "one"]) == (freshness.count_stale(30), stale(engine, 30))


def test_field_that_changed_is_fresh_again(engine: Engine) -> None:
    """The others keep their time; it is the same after a restart."""
    charm = add(engine, "both", a=10, b=20)
    with engine.transaction():
        engine.store.freshness.renew([(charm.charm_key, "a", 50.0)])
    engine.reopen()
    assert {"a": 50, "b": 20} == engine.store.freshness.of(charm.charm_key)
    assert [] == stale(engine, 15)


def test_what_is_expected_is_replaced_and_removed(engine: Engine) -> None:
    """New source says anew what should change; a charm that was removed is not stale."""
    charm, other = add(engine, "charm", a=10), add(engine, "other", a=10)
    with engine.transaction():
        engine.store.freshness.put(charm.charm_key, {"b": 90.0})
        engine.store.charms.mark_removed(other.charm_key, 0)
    assert {"b": 90} == engine.store.freshness.of(charm.charm_key)
    assert (0, []) == (engine.store.freshness.count_stale(50), stale(engine, 50))

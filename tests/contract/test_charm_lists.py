"""Promises of lists of charms: each order pages through every charm once, each filter holds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.identity import space_did
from bg_charm_service.domain.merkle import refer
from bg_charm_service.domain.model import CharmHealth, CharmRef, CharmSchema, DisabledBy
from bg_charm_service.storage.contract import Store
from bg_charm_service.storage.records import CharmFilter, CharmOrder, Standing
from tests.contract.engine import ENGINES, Engine

SPACES = [space_did(name) for name in ("one", "two")]
COUNT = 40


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine with forty charms in two spaces, of every standing."""
    opened = ENGINES[request.param]()
    fill(opened)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def store(engine: Engine) -> Store:
    """Its store."""
    return engine.store


def fill(engine: Engine) -> None:
    """Add forty charms, of which the first one is removed."""
    store = engine.store
    with engine.transaction():
        keys = [store.spaces.ensure(did, name="", owner="did:o", now=1.0) for did in SPACES]
        for number in range(COUNT):
            space = keys[number % 2]
            name = ("Mail", "news", "Clock 100%", "under_score")[number % 4]
            charm = store.charms.add(
                CharmRef(space.did, refer({"number": number})),
                space.space_key,
                cause=f"cause {number}",
                file_name="x.py",
                source="x",
                schema=CharmSchema("X", name, "", (), ("bgUpdater",)),
                now=1.0,
            )
            store.health.create(charm.charm_key)
            health = CharmHealth(
                last_run=float(number % 5),
                last_ms=float(number * 100),
                consecutive_failures=number % 3,
                disabled_by=DisabledBy.HAND if number % 7 == 0 else None,
            )
            store.health.put(charm.charm_key, health)
            if number % 4:
                store.registrations.put(charm.charm_key, "mail" if number % 2 else "news", 1.0)
        removed = store.charms.page(space=None, after=0, limit=1)[0]
        store.charms.mark_removed(removed.charm_key, 2.0)


def causes(store: Store, wanted: CharmFilter, order: CharmOrder, limit: int = 7) -> list[str]:
    """Read a list to its end, page by page."""
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page, cursor = store.charm_lists.page(wanted, order, cursor, limit)
        assert len(page) <= limit
        found += [charm.cause for charm in page]
    return found


@pytest.mark.parametrize("order", CharmOrder)
@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (CharmFilter(), range(COUNT)),
        (CharmFilter(standing=Standing.FAILING), [n for n in range(COUNT) if n % 3]),
        (CharmFilter(standing=Standing.DISABLED), range(0, COUNT, 7)),
        (CharmFilter(standing=Standing.SLOW), range(10, COUNT)),
        (CharmFilter(standing=Standing.UNREGISTERED), range(0, COUNT, 4)),
        (CharmFilter(integration="mail"), range(1, COUNT, 2)),
        (CharmFilter(integration="none"), []),
        (CharmFilter(integration="mail", listed=frozenset([3, 5])), [2, 4, *range(1, COUNT, 2)]),
        (CharmFilter(space_key=2), range(1, COUNT, 2)),
        (CharmFilter(text="MAIL"), range(0, COUNT, 4)),
        (CharmFilter(text="ma"), range(0, COUNT, 4)),
        (CharmFilter(text="100%"), range(2, COUNT, 4)),
        (CharmFilter(text="r_s"), range(3, COUNT, 4)),
        (CharmFilter(text="cause 1"), [1, *range(10, 20)]),
        (CharmFilter(text=' "quoted" OR '), []),
        (CharmFilter(text="mail", standing=Standing.FAILING), [4, 8, 16, 20, 28, 32]),
        (CharmFilter(text=refer({"number": 5})), [5]),
        (CharmFilter(text=f"{SPACES[1]}/{refer({'number': 5})}"), [5]),
        (CharmFilter(text=f"#abcd/#{refer({'number': 5})[-4:]}"), [5]),
    ],
    ids=repr,
)
def test_every_charm_once(
    engine: Engine, order: CharmOrder, wanted: CharmFilter, numbers: range | list[int]
) -> None:
    """Page by page, a list holds each charm that it should hold once, and no removed one.

    In whichever way the engine finds them.
    """
    expected = sorted(f"cause {number}" for number in set(numbers) - {0})
    for way in engine.ways_to_list():
        with way:
            assert expected == sorted(causes(engine.store, wanted, order))


@pytest.mark.parametrize(
    ("order", "first", "last"),
    [
        (CharmOrder.ADDED, "cause 1", "cause 39"),
        (CharmOrder.NAME, "cause 2", "cause 39"),
        (CharmOrder.LAST_RUN, "cause 39", "cause 5"),
        (CharmOrder.DURATION, "cause 39", "cause 1"),
        (CharmOrder.FAILURES, "cause 38", "cause 3"),
    ],
)
def test_orders(store: Store, order: CharmOrder, first: str, last: str) -> None:
    """Each order begins and ends where it should; ties are broken by age."""
    found = causes(store, CharmFilter(), order)
    assert (first, last) == (found[0], found[-1])


@given(cursor=st.text(max_size=30), order=st.sampled_from(CharmOrder))
@settings(max_examples=200, deadline=None)
def test_any_cursor_is_read_or_refused(store: Store, cursor: str, order: CharmOrder) -> None:
    """A cursor that no page gave is refused, or gives a page; never another error."""
    with contextlib.suppress(InvalidInput):
        store.charm_lists.page(CharmFilter(), order, cursor, 5)


@given(text=st.text(max_size=20))
@settings(max_examples=200, deadline=None)
def test_any_text_is_looked_for(store: Store, text: str) -> None:
    """Whatever is typed into the search is text."""
    store.charm_lists.page(CharmFilter(text=text), CharmOrder.NAME, "", 5)


def test_a_renamed_charm_is_found_by_its_new_name(store: Store) -> None:
    """New source changes the name that the search finds."""
    charm = store.charms.page(space=None, after=0, limit=1)[0]
    schema = CharmSchema("Y", "Renamed lately", "", (), ("bgUpdater",))
    store.charms.replace_source(
        charm.charm_key, file_name="y.py", source="y", schema=schema, now=3.0
    )
    assert [charm.cause] == causes(store, CharmFilter(text="med lat"), CharmOrder.ADDED)

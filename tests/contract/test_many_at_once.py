"""What reads or writes for many charms at once gives and leaves what one by one would."""

from __future__ import annotations

from contextlib import closing

import pytest
from hypothesis import strategies as st

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.identity import Identity
from bg_charm_service.domain.model import (
    CharmHealth,
    CharmRef,
    CharmSchema,
    DisabledBy,
    FieldKind,
    FieldSchema,
    RunRecord,
)
from bg_charm_service.storage.contract import Store
from bg_charm_service.storage.records import INLINE_BYTES, CharmRecord, ScheduleEntry
from tests.contract.engine import ENGINES
from tests.contract.examples import on_each_engine

OWNER = Identity.from_passphrase("the owner").did()
SPACE = "did:key:space"
UNKNOWN = 999_999
SCHEMA = CharmSchema(
    "Counter",
    "Counter",
    "",
    (FieldSchema("count", FieldKind.VALUE, b"0"), FieldSchema("token", FieldKind.SECRET, b'""')),
    ("bgUpdater",),
)

moments = st.floats(0, 1e9)
healths = st.builds(
    CharmHealth,
    status=st.sampled_from(["", "Success", "Disabled: no"]),
    disabled_by=st.none() | st.sampled_from(DisabledBy),
    last_error_cause=st.none() | st.sampled_from(FailureCause),
    consecutive_failures=st.integers(0, 5),
    executions=st.integers(0, 2**40),
    runs_recorded=st.integers(0, 9),
    last_run=moments,
    last_ms=moments,
)


@pytest.fixture
def charms(store: Store) -> list[CharmRecord]:
    """Five charms, each with a record of its runs."""
    store.secrets.create(OWNER)
    return [add_charm(store, f"charm {number}") for number in range(5)]


def add_charm(store: Store, cause: str) -> CharmRecord:
    """Add a charm with an empty record."""
    space = store.spaces.ensure(SPACE, name="", owner=OWNER, now=1.0)
    charm = store.charms.add(
        CharmRef(SPACE, cause),
        space.space_key,
        cause=cause,
        file_name="x.py",
        source="x",
        schema=SCHEMA,
        now=1.0,
    )
    store.health.create(charm.charm_key)
    return charm


def run(number: int) -> RunRecord:
    """A recorded run."""
    return RunRecord(
        number=number,
        run_id=f"{number}.1",
        job_id=number,
        attempt=1,
        stream="bgUpdater",
        origin="poll",
        status="success",
        cause=None,
        error="",
        traceback="",
        finished_at=1.0,
        duration_ms=2.0,
        lag_ms=3.0,
        worker=4711,
        writes=("count",),
        log="",
    )


def test_charms(store: Store, charms: list[CharmRecord]) -> None:
    """Each charm that there is comes back under its key, a removed one too."""
    store.charms.mark_removed(charms[3].charm_key, 2.0)
    keys = [charms[3].charm_key, charms[0].charm_key, UNKNOWN]
    expected = {key: store.charms.get(key) for key in keys[:2]}
    assert expected == store.charms.get_many(keys)
    assert {} == store.charms.get_many([])


def test_snapshots(store: Store, charms: list[CharmRecord]) -> None:
    """Each charm has a snapshot, with its secrets open and large values left out."""
    store.cells.write(charms[0], "count", b"1")
    store.cells.write(charms[0], "token", b'"s"')
    store.cells.write(charms[1], "count", b'"%s"' % (b"x" * INLINE_BYTES))
    found = store.cells.snapshots(charms[:3])
    assert {c.charm_key: store.cells.snapshot(c) for c in charms[:3]} == found
    values = [{name: cell.value for name, cell in one.items()} for one in found.values()]
    assert [{"count": b"1", "token": b'"s"'}, {"count": None}, {}] == values


def test_written_fields(store: Store, charms: list[CharmRecord]) -> None:
    """A field that is there gets a new value and version, one that is not is made."""
    first, second, third = (charm.charm_key for charm in charms[:3])
    store.cells.write(charms[0], "count", b"1")
    (before,) = store.cells.versions(first).values()
    store.cells.write_all([(first, "count", b"2"), (second, "count", b"3")])
    store.cells.write_all([])
    found = store.cells.snapshots(charms[:3])
    assert (b"2", before + 1) == (found[first]["count"].value, found[first]["count"].version)
    assert (b"3", {}) == (found[second]["count"].value, found[third])


@on_each_engine(50, pairs=st.lists(st.tuples(healths, healths), min_size=1, max_size=5))
def test_health_ends_as_given(name: str, pairs: list[tuple[CharmHealth, CharmHealth]]) -> None:
    """Whatever changed between two records, the charm has the second one then."""
    with closing(ENGINES[name]()) as engine:
        _check_health(engine.store, pairs)


def _check_health(store: Store, pairs: list[tuple[CharmHealth, CharmHealth]]) -> None:
    keys = [add_charm(store, f"{number}").charm_key for number in range(len(pairs))]
    for key, (before, _) in zip(keys, pairs, strict=True):
        store.health.put(key, before)
    changes = [(key, *pair) for key, pair in zip(keys, pairs, strict=True)]
    store.health.put_all(changes)
    after = {key: after for key, _, after in changes}
    assert after == {key: store.health.get(key) for key in keys}
    assert {**after, UNKNOWN: CharmHealth()} == store.health.get_many([*keys, UNKNOWN])


def test_small_and_large_numbers_go_together(store: Store, charms: list[CharmRecord]) -> None:
    """Whatever width the ones of them have by themselves."""
    new = {
        charm.charm_key: CharmHealth(consecutive_failures=1, executions=count)
        for charm, count in zip(charms, (1, 2**15, 2**31, 2**40), strict=False)
    }
    store.health.put_all([(key, CharmHealth(), health) for key, health in new.items()])
    assert new == {key: store.health.get(key) for key in new}


def test_what_is_named_twice_is_done_twice(store: Store, charms: list[CharmRecord]) -> None:
    """Many at once are as many one after the other."""
    first, second = charms[0].charm_key, charms[1].charm_key
    store.health.skip_all([(5.0, first), (6.0, second), (7.0, first)])
    skipped = [store.health.get(key).skipped_polls for key in (first, second)]
    assert ([2, 1], 7.0) == (skipped, store.health.entry(first).due_at)


def test_only_what_changed_is_written(store: Store, charms: list[CharmRecord]) -> None:
    """What somebody else has changed meanwhile stays, where the two records are alike."""
    key = charms[0].charm_key
    before = store.health.get(key)
    store.health.skip_all([(9.0, key)])
    store.health.put_all([(key, before, CharmHealth(executions=1))])
    assert CharmHealth(executions=1, skipped_polls=1) == store.health.get(key)


def test_due_times(store: Store, charms: list[CharmRecord]) -> None:
    """Each charm gets its due time, and gives it back with all of its entry."""
    keys = [charm.charm_key for charm in charms]
    store.health.set_interval(keys[0], 15.0)
    store.health.put(keys[1], CharmHealth(disabled_by=DisabledBy.HAND))
    store.health.set_due_all([(5.0, keys[0]), (None, keys[1]), (7.0, keys[2])])
    expected = {
        keys[0]: ScheduleEntry(keys[0], 5.0, 15.0),
        keys[1]: ScheduleEntry(keys[1], None, None, is_enabled=False),
        keys[2]: ScheduleEntry(keys[2], 7.0, None),
        UNKNOWN: ScheduleEntry(UNKNOWN, None, None),
    }
    assert expected == store.health.entries([*keys[:3], UNKNOWN])
    assert expected == {key: store.health.entry(key) for key in expected}


def test_runs(store: Store, charms: list[CharmRecord]) -> None:
    """Runs of several charms are stored, each charm's history cut to its newest."""
    first, second = charms[0].charm_key, charms[1].charm_key
    for number in (1, 2):
        store.runs.record_all([(first, run(number)), (second, run(number + 1))], 2)
    store.runs.record_all([(first, run(3))], 2)
    assert [3, 2] == [one.number for one in store.runs.of(first)]
    assert [run(3), run(2)] == store.runs.of(second)

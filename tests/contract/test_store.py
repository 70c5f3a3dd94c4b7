"""The store's promises: what is kept of spaces, charms, registrations, health, history, totals."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from bg_charm_service.domain.errors import FailureCause, InvalidInput
from bg_charm_service.domain.model import (
    CharmHealth,
    CharmRef,
    CharmSchema,
    DisabledBy,
    FieldKind,
    FieldSchema,
    Registration,
    RunRecord,
)
from bg_charm_service.domain.web.requests import HttpRequest
from bg_charm_service.storage.contract import Store
from bg_charm_service.storage.records import BroughtNear, CharmRecord, Pruned, ScheduleEntry
from tests.contract.engine import Engine

OWNER, OTHER = "did:key:owner", "did:key:other"
SPACE = "did:key:space"
NOW = 1000.0
SCHEMA = CharmSchema(
    class_name="Counter",
    name="Counter",
    doc="Counts.",
    fields=(FieldSchema("count", FieldKind.VALUE, b"0"),),
    streams=("bgUpdater",),
)


def add_charm(
    store: Store, name: str, *, source: str = "class Counter: ...", now: float = NOW
) -> CharmRecord:
    """Add a charm with its health record, as the service does."""
    space = store.spaces.ensure(SPACE, name="demo", owner=OWNER, now=now)
    ref = CharmRef(SPACE, name)
    record = store.charms.add(
        ref,
        space.space_key,
        cause=name,
        file_name=f"{name}.py",
        source=source,
        schema=SCHEMA,
        now=now,
    )
    store.health.create(record.charm_key)
    return record


def run(number: int, *, run_id: str = "", finished_at: float = NOW) -> RunRecord:
    """A recorded run, every value another one."""
    return RunRecord(
        number=number,
        run_id=run_id or f"{number}.1",
        job_id=number,
        attempt=1,
        stream="bgUpdater",
        origin="poll",
        status="failure",
        cause="error",
        error="ValueError: no",
        traceback="Traceback …",
        finished_at=finished_at,
        duration_ms=12.5,
        lag_ms=3.25,
        worker=4711,
        writes=("count", "error"),
        log="a line\n",
        retired="it left a thread",
    )


def test_space_is_made_once(store: Store) -> None:
    """A DID is one space, owned by whoever made it; a name given later is kept."""
    space = store.spaces.ensure(SPACE, name="", owner=OWNER, now=NOW)
    again = store.spaces.ensure(SPACE, name="demo", owner=OTHER, now=NOW + 1)
    assert space.space_key == again.space_key
    found = store.spaces.find(SPACE)
    assert found is not None
    assert ("demo", NOW, [OWNER]) == (
        found.name,
        found.created_at,
        store.spaces.owners(space.space_key),
    )
    assert [(found, [OWNER])] == store.spaces.page()
    assert store.spaces.find(OTHER) is None


def test_spaces_come_in_pages(store: Store) -> None:
    """Pages follow each other in order of creation, each space with its creator first."""
    made = [
        store.spaces.ensure(f"{SPACE}{number}", name=str(number), owner=OTHER, now=NOW)
        for number in range(3)
    ]
    store.spaces.grant(made[1].space_key, OWNER, granted_by=OTHER, now=NOW - 1)
    assert [(made[0], [OTHER]), (made[1], [OTHER, OWNER])] == store.spaces.page(limit=2)
    assert [(made[2], [OTHER])] == store.spaces.page(made[1].space_key, 2)
    assert [] == store.spaces.page(made[2].space_key, 2)
    assert {made[0].space_key: "0", made[2].space_key: "2"} == store.spaces.names(
        {made[0].space_key, made[2].space_key}
    )


def test_what_an_owner_has_is_handed_over(store: Store) -> None:
    """All spaces of one identity are another's then; others' grants, and their order, stay."""
    made = store.spaces.ensure(SPACE, name="", owner=OWNER, now=NOW)
    shared = store.spaces.ensure("did:key:shared", name="", owner="did:key:a", now=NOW)
    store.spaces.grant(made.space_key, "did:key:a", granted_by=OWNER, now=NOW - 1)
    store.spaces.grant(shared.space_key, OWNER, granted_by="did:key:a", now=NOW + 1)
    store.spaces.grant(made.space_key, "did:key:new", granted_by=OWNER, now=NOW + 2)
    store.spaces.hand_over(OWNER, "did:key:new")
    assert ["did:key:new", "did:key:a"] == store.spaces.owners(made.space_key)
    assert ["did:key:a", "did:key:new"] == store.spaces.owners(shared.space_key)
    assert not store.spaces.owned_by(OWNER)
    with pytest.raises(InvalidInput, match="DID of a space"):
        store.spaces.hand_over("did:key:new", SPACE)


def test_owners_are_granted(store: Store) -> None:
    """An owner may be added, the creator stays the first, and nobody else may act."""
    space = store.spaces.ensure(SPACE, name="", owner=OWNER, now=NOW)
    store.spaces.grant(space.space_key, "did:key:a", granted_by=OWNER, now=NOW)
    store.spaces.grant(space.space_key, "did:key:a", granted_by=OWNER, now=NOW + 1)
    assert [OWNER, "did:key:a"] == store.spaces.owners(space.space_key)
    assert store.spaces.is_owner(space.space_key, "did:key:a")
    assert not store.spaces.is_owner(space.space_key, OTHER)


def test_space_never_owns_itself(engine: Engine) -> None:
    """The key of a named space can be computed by anyone, so it gives no right."""
    store = engine.store
    space = store.spaces.ensure(SPACE, name="", owner=OWNER, now=NOW)
    with pytest.raises(InvalidInput, match="owns nothing"):
        store.spaces.grant(space.space_key, SPACE, granted_by=OWNER, now=NOW)
    with pytest.raises(InvalidInput), engine.transaction():
        store.spaces.ensure("did:key:named", name="named", owner="did:key:named", now=NOW)
    assert store.spaces.find("did:key:named") is None


def test_documents_are_kept_by_space_and_cell(store: Store) -> None:
    """A plain cell is what was written last, and nothing before that."""
    assert store.spaces.document(SPACE, "cell") is None
    for value in (b"[]", b'[{"space":1}]'):
        store.spaces.write_document(SPACE, "cell", value, NOW)
    assert b'[{"space":1}]' == store.spaces.document(SPACE, "cell")
    assert store.spaces.document(OTHER, "cell") is None


def test_charm_is_found_by_ref_key_and_cause(store: Store) -> None:
    """What was added comes back whole, its schema and source with it."""
    charm = add_charm(store, "counter")
    assert (SCHEMA, "bgUpdater", "counter.py") == (charm.schema, charm.updater, charm.file_name)
    assert charm == store.charms.find(charm.ref)
    assert charm == store.charms.get(charm.charm_key)
    assert charm == store.charms.find_by_cause(charm.space_key, "counter")
    assert "class Counter: ..." == store.charms.source(charm.source_hash)
    assert store.charms.find(CharmRef(SPACE, "other")) is None


def test_charms_are_listed_in_pages(store: Store) -> None:
    """Pages follow each other without gap or overlap, and removed charms are left out."""
    charms = [add_charm(store, f"charm{n}") for n in range(5)]
    store.charms.mark_removed(charms[2].charm_key, NOW)
    first = store.charms.page(space=None, after=0, limit=2)
    second = store.charms.page(space=SPACE, after=first[-1].charm_key, limit=9)
    names = [charm.ref.charm_id for charm in (*first, *second)]
    assert (["charm0", "charm1", "charm3", "charm4"], 4) == (names, store.charms.count_outside(""))
    assert [] == store.charms.page(space=OTHER, after=0, limit=9)


def test_new_source_keeps_the_charm(store: Store) -> None:
    """An update changes source and description; key, id and time of birth stay."""
    charm = add_charm(store, "counter")
    schema = replace(SCHEMA, name="Better", streams=("updater",))
    store.charms.replace_source(
        charm.charm_key, file_name="new.py", source="better", schema=schema, now=NOW + 5
    )
    found = store.charms.find(charm.ref)
    assert found is not None
    assert (charm.charm_key, NOW, NOW + 5) == (
        found.charm_key,
        found.created_at,
        found.updated_at,
    )
    assert ("Better", "updater", "new.py") == (found.name, found.updater, found.file_name)
    assert "better" == store.charms.source(found.source_hash)


def test_adding_again_is_the_same_charm(store: Store) -> None:
    """A charm that lives keeps its key and its birthday."""
    charm = add_charm(store, "counter")
    again = add_charm(store, "counter", now=NOW + 9)
    assert (charm.charm_key, NOW) == (again.charm_key, again.created_at)
    assert 1 == store.charms.count_outside("")


def test_removed_charm_is_gone_but_for_its_history(store: Store) -> None:
    """State, links and registration end with it; its runs can still be read."""
    charm = add_charm(store, "counter")
    store.cells.write(charm, "count", b"7")
    store.registrations.put(charm.charm_key, "gmail", NOW)
    store.runs.record(charm.charm_key, run(1), keep=10)
    store.charms.mark_removed(charm.charm_key, NOW + 1)
    assert store.charms.find(charm.ref) is None
    removed = store.charms.find_removed(charm.ref)
    assert removed is not None
    assert NOW + 1 == removed.removed_at
    assert ({}, {}) == (store.cells.snapshot(removed), store.registrations.labels())
    assert [run(1)] == store.runs.of(charm.charm_key)


def test_removed_charm_comes_back_empty(store: Store) -> None:
    """Added again it has its key and the numbers of its runs go on, but nothing else."""
    charm = add_charm(store, "counter")
    store.cells.write(charm, "count", b"7")
    health = CharmHealth(status="Success", executions=3, runs_recorded=3)
    store.health.put(charm.charm_key, health)
    store.charms.mark_removed(charm.charm_key, NOW + 1)
    again = add_charm(store, "counter", now=NOW + 2)
    assert (charm.charm_key, NOW + 2, None) == (
        again.charm_key,
        again.created_at,
        again.removed_at,
    )
    assert {} == store.cells.snapshot(again)
    assert CharmHealth(runs_recorded=3) == store.health.get(again.charm_key)


def test_purge_takes_what_nobody_needs(store: Store) -> None:
    """Charms removed long ago go in slices, and sources once no charm has them."""
    old = [add_charm(store, f"old{n}", source=f"source {n}") for n in range(3)]
    kept = add_charm(store, "kept", source="source 0")
    for charm in old:
        store.charms.mark_removed(charm.charm_key, NOW)
    assert 0 == store.charms.purge_removed(NOW, limit=10)
    assert [2, 1, 0] == [store.charms.purge_removed(NOW + 1, limit=2) for _ in range(3)]
    assert [None] * 3 == [store.charms.get(charm.charm_key) for charm in old]
    assert "source 0" == store.charms.source(kept.source_hash)
    with pytest.raises(TypeError):
        store.charms.source(old[1].source_hash)


def test_replaced_sources_are_purged(store: Store) -> None:
    """A charm that is updated again and again does not fill the store with its past."""
    charm = add_charm(store, "counter", source="first")
    store.charms.purge_removed(NOW, limit=1)
    store.charms.replace_source(
        charm.charm_key, file_name="f.py", source="second", schema=SCHEMA, now=NOW
    )
    store.charms.purge_removed(NOW, limit=1)
    with pytest.raises(TypeError):
        store.charms.source(charm.source_hash)


def test_last_registration_wins(store: Store) -> None:
    """A charm has one entry; another label replaces the first, its beginning stays."""
    charm = add_charm(store, "counter")
    assert store.registrations.put(charm.charm_key, "gmail", NOW)
    assert not store.registrations.put(charm.charm_key, "my-test", NOW + 1)
    assert Registration(charm.ref, "my-test", NOW, NOW + 1) == store.registrations.find(
        charm.charm_key, charm.ref
    )
    assert {charm.charm_key: "my-test"} == store.registrations.labels()
    assert store.registrations.drop(charm.charm_key)
    assert not store.registrations.drop(charm.charm_key)
    assert store.registrations.find(charm.charm_key, charm.ref) is None


def test_health_comes_back_whole(engine: Engine) -> None:
    """Every value of a record survives a restart."""
    charm = add_charm(engine.store, "counter")
    health = CharmHealth(
        status="Disabled: no",
        disabled_at=NOW,
        disabled_by=DisabledBy.FAILURES,
        last_run=1.5,
        last_success=2.5,
        consecutive_failures=5,
        last_error="no",
        last_error_cause=FailureCause.TIMEOUT,
        last_error_at=3.5,
        executions=9,
        successes=4,
        failures=5,
        stale_streak=1,
        skipped_polls=2,
        runs_recorded=10,
        total_ms=100.5,
        min_ms=0.5,
        max_ms=50.25,
        last_ms=7.0,
    )
    engine.store.health.put(charm.charm_key, health)
    engine.reopen()
    assert health == engine.store.health.get(charm.charm_key)
    assert CharmHealth() == engine.store.health.get(charm.charm_key + 1)


def test_schedule_is_kept(engine: Engine) -> None:
    """When a charm is due, and how often, is known after a crash."""
    charm = add_charm(engine.store, "counter")
    key = charm.charm_key
    assert ScheduleEntry(key, None, None) == engine.store.health.entry(key)
    engine.store.health.set_due(key, NOW + 60)
    engine.store.health.set_interval(key, 15.0)
    engine.store.health.skip_all([(NOW + 60, key)])
    engine.store.registrations.put(key, "gmail", NOW)
    engine.crash(during=lambda: engine.store.health.set_due(key, None))
    health = engine.store.health
    assert ScheduleEntry(key, NOW + 60, 15.0) == health.entry(key)
    assert [(key, SPACE, NOW + 60, 15.0, None, 0)] == health.scheduled()
    assert 1 == health.get(key).skipped_polls


def test_reports_leave_removed_charms_out(store: Store) -> None:
    """Who is disabled by failures and who fails most is told of charms that are there."""
    keys = [add_charm(store, f"charm{n}").charm_key for n in range(4)]
    for number, key in enumerate(keys):
        failing = CharmHealth(
            consecutive_failures=number,
            last_error=f"error {number}",
            last_error_cause=FailureCause.ERROR,
            disabled_by=DisabledBy.HAND if number == 1 else DisabledBy.FAILURES,
            disabled_at=NOW + number,
        )
        store.health.put(key, failing)
        store.registrations.put(key, "gmail", NOW)
    store.charms.mark_removed(keys[3], NOW)
    most = [(keys[2], 2, "error 2", "error"), (keys[1], 1, "error 1", "error")]
    assert most == store.health.most_failing(limit=9)
    assert most[:1] == store.health.most_failing(limit=1)
    assert [keys[0], keys[2]] == store.health.disabled_before(NOW + 9, limit=9)
    assert [keys[0]] == store.health.disabled_before(NOW + 2, limit=9)
    assert keys[:3] == [entry.charm_key for entry in store.health.scheduled()]


def test_newest_runs_are_kept(store: Store) -> None:
    """Each charm keeps its newest runs, newest first, whatever its neighbours do."""
    first, second = add_charm(store, "one").charm_key, add_charm(store, "two").charm_key
    for number in range(1, 8):
        store.runs.record(first, run(number), keep=3)
    store.runs.record(second, run(1), keep=3)
    assert [run(7), run(6), run(5)] == store.runs.of(first)
    assert [run(6)] == store.runs.of(first, before=7, limit=1)
    assert [run(1)] == store.runs.of(second)


def test_run_is_found_by_its_id(store: Store) -> None:
    """The newest record of an id is given: a run repeated as stale has several."""
    key = add_charm(store, "one").charm_key
    for number in (1, 2, 3):
        store.runs.record(key, run(number, run_id="5.1" if number < 3 else "6.1"), keep=9)
    assert run(2, run_id="5.1") == store.runs.find(key, "5.1")
    assert store.runs.find(key, "7.1") is None


def test_what_a_run_cost_can_be_noted_later(store: Store) -> None:
    """Why its worker was replaced is noted with the newest record of that id, of that charm."""
    key, other = add_charm(store, "one").charm_key, add_charm(store, "two").charm_key
    for number in (1, 2, 3):
        store.runs.record(key, run(number, run_id="5.1" if number < 3 else "6.1"), keep=9)
    store.runs.record(other, run(1, run_id="5.1"), keep=9)
    store.runs.note_retired(key, "5.1", "it held too much")
    store.runs.note_retired(key, "7.1", "there is no such run")
    noted = {one.number: one.retired for one in store.runs.of(key)}
    left = "it left a thread"
    assert {1: left, 2: "it held too much", 3: left} == noted
    assert [left] == [one.retired for one in store.runs.of(other)]


def test_requests_of_a_run_are_kept_with_it(store: Store) -> None:
    """All of them, beside the fields that it wrote, whatever is in their paths."""
    key = add_charm(store, "one").charm_key
    asked = tuple(
        HttpRequest(number, "GET", "h.example", path, 200, 1.5, 10, attempt=2, fault="ReadError")
        for number, path in enumerate(("/a", '/","\\n', "/ä☃"), start=1)
    )
    runs = [
        run(1),
        structs.replace(run(2), requests=asked),
        structs.replace(run(3), requests=asked[:1], writes=()),
    ]
    store.runs.record_all([(key, one) for one in runs], keep=9)
    store.runs.note_retired(key, "2.1", "later")
    assert [runs[2], structs.replace(runs[1], retired="later"), runs[0]] == store.runs.of(key)


def test_old_runs_are_pruned_in_slices(store: Store) -> None:
    """What finished before a moment goes, the oldest first, no more at once than asked for."""
    key = add_charm(store, "one").charm_key
    for number in range(1, 13):
        store.runs.record(key, run(number, finished_at=NOW + number), keep=100)
    slices = [store.runs.prune(NOW + 4, 2, keep=8) for _ in range(2)]
    assert [Pruned(2, is_over=False), Pruned(1, is_over=True)] == slices
    assert [*range(12, 3, -1)] == [found.number for found in store.runs.of(key)]


def test_newest_runs_are_kept_whatever_their_age(store: Store) -> None:
    """A clock that is ahead for a moment costs no charm the end of its history."""
    busy, idle = (add_charm(store, cause).charm_key for cause in ("busy", "idle"))
    for number in range(1, 31):
        store.runs.record(busy, run(number, finished_at=NOW), keep=100)
    for number in range(1, 8):
        store.runs.record(idle, run(number, finished_at=NOW), keep=100)
    deleted = 0
    while not (pruned := store.runs.prune(NOW + 86400, 4, keep=10)).is_over:
        deleted += pruned.deleted
    assert (20, Pruned(0, is_over=True)) == (deleted, store.runs.prune(NOW + 86400, 99, keep=10))
    assert list(range(30, 20, -1)) == [found.number for found in store.runs.of(busy, limit=99)]
    assert list(range(7, 0, -1)) == [found.number for found in store.runs.of(idle, limit=99)]


def test_pruning_begins_anew(store: Store) -> None:
    """What was kept once goes later, when it is among the newest no more."""
    key = add_charm(store, "one").charm_key
    for number in range(1, 9):
        store.runs.record(key, run(number, finished_at=NOW), keep=100)
    assert Pruned(0, is_over=True) == store.runs.prune(NOW + 1, 10, keep=8)
    store.runs.record(key, run(9, finished_at=NOW + 9), keep=100)
    assert Pruned(1, is_over=True) == store.runs.prune(NOW + 1, 10, keep=8)
    assert [*range(9, 1, -1)] == [found.number for found in store.runs.of(key)]


def test_history_of_a_charm_that_is_gone_is_not_kept(store: Store) -> None:
    """The last runs stay as long as somebody can look at them."""
    key = add_charm(store, "one").charm_key
    store.runs.record(key, run(1, finished_at=NOW), keep=100)
    store.charms.mark_removed(key, NOW)
    assert Pruned(0, is_over=True) == store.runs.prune(NOW + 1, 10, keep=8)
    store.charms.purge_removed(NOW + 1, 10)
    assert Pruned(1, is_over=True) == store.runs.prune(NOW + 1, 10, keep=8)


def test_times_in_the_future_are_brought_near(store: Store) -> None:
    """After the clock was set back, what was written before comes of age like anything else."""
    ahead = NOW + 86400
    disabled, by_hand, removed = (add_charm(store, name).charm_key for name in "abc")
    health = CharmHealth(disabled_at=ahead, disabled_by=DisabledBy.FAILURES)
    store.health.put(disabled, health)
    store.health.put(by_hand, CharmHealth(disabled_at=ahead, disabled_by=DisabledBy.HAND))
    store.charms.mark_removed(removed, ahead)
    for number in range(1, 4):
        store.runs.record(disabled, run(number, finished_at=ahead), keep=100)
    store.health.bring_near(NOW)
    store.charms.bring_near(NOW)
    moved = []
    while not (near := store.runs.bring_near(NOW, 2)).is_over:
        moved.append(near.moved)
    assert [2, 1] == [count for count in [*moved, near.moved] if count]
    assert [disabled] == store.health.disabled_before(NOW + 1, 10)
    assert ahead == store.health.get(by_hand).disabled_at
    assert {NOW} == {found.finished_at for found in store.runs.of(disabled)}
    assert 1 == store.charms.purge_removed(NOW + 1, 10)


def test_times_in_the_past_stay(store: Store) -> None:
    """Only what lies in the future is changed."""
    key = add_charm(store, "one").charm_key
    health = CharmHealth(disabled_at=NOW - 5, disabled_by=DisabledBy.FAILURES)
    store.health.put(key, health)
    store.runs.record(key, run(1, finished_at=NOW - 5), keep=100)
    store.health.bring_near(NOW)
    assert BroughtNear(0, is_over=True) == store.runs.bring_near(NOW, 2)
    assert NOW - 5 == store.health.get(key).disabled_at
    assert NOW - 5 == store.runs.of(key)[0].finished_at


def test_totals_are_counted_with_their_transaction(engine: Engine) -> None:
    """A counter shows what is on disk: nothing before its commit, nothing of a lost one."""
    totals = engine.store.totals
    with engine.transaction():
        totals.add("runs")
        totals.add("runs", 2)
        totals.add("runs.gmail")
        totals.flush()
        assert 0 == totals.get("runs")
    assert (3, {"gmail": 1}) == (totals.get("runs"), totals.with_prefix("runs."))
    totals.add("runs")
    totals.discard()

    def count() -> None:
        totals.add("runs")
        totals.flush()

    engine.crash(during=count)
    assert (3, 0) == (engine.store.totals.get("runs"), engine.store.totals.get("unknown"))

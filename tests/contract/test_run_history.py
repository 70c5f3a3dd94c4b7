"""The history of runs: whatever kinds of runs follow each other, what is kept is what was recorded.

An engine may keep plain runs otherwise than others. Nobody who asks can tell.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import pytest
from hypothesis import strategies as st
from msgspec import structs

from bg_charm_service.domain.model import CharmHealth, RunRecord
from bg_charm_service.domain.web.requests import HttpRequest
from bg_charm_service.storage.contract import Store
from bg_charm_service.storage.records import BroughtNear, Pruned, RunOutcome
from tests.contract.engine import ENGINES, Engine
from tests.contract.examples import on_each_engine
from tests.contract.test_store import NOW, add_charm

ASKED = HttpRequest(1, "GET", "h.example", "/a", 200, 1.5, 10, attempt=1, fault="")


def plain(number: int, *, finished_at: float = NOW, job_id: int = 0) -> RunRecord:
    """A run that succeeded, and of which nothing is to be said."""
    job_id = job_id or 1000 + number
    return RunRecord(
        number=number,
        run_id=f"{job_id}.1",
        job_id=job_id,
        attempt=1,
        stream="bgUpdater",
        origin="poll",
        status="success",
        cause=None,
        error="",
        traceback="",
        finished_at=finished_at,
        duration_ms=number / 7,
        lag_ms=number / 3,
        worker=4711 + number,
        writes=("count",),
        log="",
    )


#: What makes a run another one, in all or in part of what is told of it.
DIFFERENCES: dict[str, dict[str, object]] = {
    "plain": {},
    "no writes": {"writes": ()},
    "odd writes": {"writes": ('"', "a\\", "ä☃")},
    "many writes": {"writes": tuple(f"field_{number}" for number in range(50))},
    "a send": {"origin": "send", "stream": "add"},
    "by hand": {"origin": "run_now"},
    "a failure": {"status": "failure", "cause": "error", "error": "no", "traceback": "T"},
    "cancelled": {"status": "cancelled"},
    "stale": {"status": "stale"},
    "waits": {"status": "waiting"},
    "logged": {"log": "a line\n"},
    "retired": {"retired": "it left a thread"},
    "asked": {"requests": (ASKED,)},
    "a long stream": {"stream": "s" * 500},
    "no worker": {"worker": 0},
    "a far job": {"job_id": 2**62, "run_id": f"{2**62}.1"},
    "another id": {"run_id": "7.1"},
}

differences = st.sampled_from([*["plain"] * 20, *DIFFERENCES])


def run_of(kind: str, number: int, finished_at: float = NOW) -> RunRecord:
    """A run of one of these kinds."""
    return structs.replace(plain(number, finished_at=finished_at), **DIFFERENCES[kind])


@dataclass
class Model:
    """What has to be there."""

    runs: list[RunRecord] = field(default_factory=list)
    number: int = 0

    def record(self, run: RunRecord, keep: int) -> None:
        """Add one, and drop what is not kept."""
        self.number = run.number
        self.runs.append(run)
        self.runs = [one for one in self.runs if one.number > run.number - keep]

    def prune(self, before: float, keep: int) -> int:
        """Drop what is old, and say how many those are."""
        kept = [
            one for one in self.runs if one.finished_at >= before or one.number > self.number - keep
        ]
        gone = len(self.runs) - len(kept)
        self.runs = kept
        return gone


def assert_same(store: Store, key: int, model: Model) -> None:
    """Hold everything that can be asked against the model."""
    newest_first = model.runs[::-1]
    assert newest_first == store.runs.of(key, limit=1000)
    assert newest_first[:3] == store.runs.of(key, limit=3)
    told = [
        RunOutcome(str(one.status), one.duration_ms)
        for one in model.runs
        if one.status != "cancelled"
    ]
    assert told == store.runs.outcomes(key, 1000)
    assert told[-5:] == store.runs.outcomes(key, 5)
    for number in (1, model.number // 2, model.number - 8, model.number, model.number + 1):
        expected = next((one for one in model.runs if one.number == number), None)
        assert expected == store.runs.numbered(key, number)
        before = [one for one in newest_first if one.number < number]
        assert before[:9] == store.runs.of(key, before=number, limit=9)
        assert before[:1] == store.runs.of(key, before=number, limit=1)
    for one in model.runs[::5]:
        found = [other for other in newest_first if other.run_id == one.run_id]
        assert found[0] == store.runs.find(key, one.run_id)
    assert store.runs.find(key, "77.7") is None


@pytest.mark.parametrize("kind", DIFFERENCES)
def test_each_kind_comes_back_as_it_was(store: Store, kind: str) -> None:
    """Between plain ones, as the newest one, and behind many others."""
    key, model = add_charm(store, "one").charm_key, Model()
    for number in range(1, 30):
        run = run_of(kind if number in (1, 6, 8, 16, 17) else "plain", number)
        store.runs.record(key, run, keep=100)
        model.record(run, keep=100)
        if number in (1, 6, 7, 8, 9, 15, 16, 17, 29):
            assert_same(store, key, model)


steps = st.one_of(
    st.tuples(st.just("record"), st.lists(differences, min_size=1, max_size=9)),
    st.tuples(st.just("together"), st.lists(differences, min_size=1, max_size=9)),
    st.tuples(st.just("undone"), differences),
    st.tuples(st.just("undone inside"), differences),
    st.tuples(st.just("retire"), st.integers(0, 40)),
    st.tuples(st.just("prune"), st.integers(8, 12)),
    st.tuples(st.just("set back"), st.integers(1, 30)),
    st.tuples(st.sampled_from(["crash", "reopen", "rename", "change"]), st.none()),
)


class Undo(Exception):
    """Raised to undo what was done."""


@on_each_engine(40, keep=st.sampled_from([1, 3, 8, 11, 30]), done=st.lists(steps, max_size=10))
def test_history_is_what_was_recorded(name: str, keep: int, done: list[tuple[str, object]]) -> None:
    """Whatever is done in between; runs of another charm stay what they are."""
    engine = ENGINES[name]()
    try:
        key = add_charm(engine.store, "one").charm_key
        other, others = add_charm(engine.store, "other").charm_key, Model()
        with engine.transaction():
            for number in range(1, 21):
                engine.store.runs.record(other, plain(number), keep=100)
                others.record(plain(number), keep=100)
        model, now = Model(), NOW
        for what, how in done:
            now = _do(engine, key, [model, others], what, how, keep, now)
            assert_same(engine.store, key, model)
        assert_same(engine.store, other, others)
    finally:
        engine.close()


def _do(
    engine: Engine, key: int, models: list[Model], what: str, how: object, keep: int, now: float
) -> float:
    """Do one of the steps, and give what the time is then."""
    store, model = engine.store, models[0]
    kinds = how if isinstance(how, list) else [how]
    if what in ("record", "together"):
        for kind in kinds:
            now += 1.0
            run = run_of(str(kind), model.number + 1, now)
            if what == "record":
                store.runs.record(key, run, keep)
            else:
                with engine.transaction():
                    health = store.health.get(key)
                    after = structs.replace(health, executions=health.executions + 1)
                    store.health.put_all([(key, health, after)], runs=[(key, run)], keep=keep)
            model.record(run, keep)
    elif what == "undone":
        with suppress(Undo), engine.transaction():
            store.runs.record(key, run_of(str(how), model.number + 1, now), keep)
            raise Undo
    elif what == "undone inside":
        with engine.transaction(), suppress(Undo), engine.database.savepoint():
            store.runs.record(key, run_of(str(how), model.number + 1, now), keep)
            raise Undo
    elif what == "retire" and model.runs:
        run_id = model.runs[int(str(how)) % len(model.runs)].run_id
        store.runs.note_retired(key, run_id, "it grew")
        place = max(at for at, one in enumerate(model.runs) if one.run_id == run_id)
        model.runs[place] = structs.replace(model.runs[place], retired="it grew")
    elif what == "prune":
        _prune(store, models, now - 10, int(str(how)))
    elif what == "set back":
        now -= float(str(how))
        ahead = sum(one.finished_at > now for each in models for one in each.runs)
        # More where some are not deleted yet that nobody sees any more.
        assert ahead <= _bring_near(store, now)
        for each in models:
            each.runs = [
                structs.replace(one, finished_at=min(one.finished_at, now)) for one in each.runs
            ]
    elif what == "crash":
        engine.crash(lambda: None)
    elif what == "reopen":
        engine.reopen()
    elif what == "rename":
        store.health.create(key)
    elif what == "change":
        store.health.put(key, CharmHealth(failures=3))
    return now


def _prune(store: Store, models: list[Model], before: float, keep: int) -> None:
    deleted, is_over = 0, False
    while not is_over:
        pruned = store.runs.prune(before, 2, keep=keep)
        deleted, is_over = deleted + pruned.deleted, pruned.is_over
    assert sum(model.prune(before, keep) for model in models) <= deleted


def _bring_near(store: Store, now: float) -> int:
    moved, is_over = 0, False
    while not is_over:
        near = store.runs.bring_near(now, 2)
        moved, is_over = moved + near.moved, near.is_over
    return moved


def test_recorded_runs_survive_a_kill(engine: Engine) -> None:
    """What was committed is there, what was not is not, and numbers go on."""
    key, model = add_charm(engine.store, "one").charm_key, Model()
    for number in range(1, 12):
        engine.store.runs.record(key, plain(number), keep=100)
        model.record(plain(number), keep=100)
    for number in range(12, 20):
        engine.crash(partial(engine.store.runs.record, key, plain(number), keep=100))
        assert_same(engine.store, key, model)
        engine.store.runs.record(key, plain(number), keep=100)
        model.record(plain(number), keep=100)
    assert_same(engine.store, key, model)


def test_a_run_is_recorded_once(store: Store) -> None:
    """A number that is there already is refused, and the history stays as it is."""
    key, model = add_charm(store, "one").charm_key, Model()
    for number in range(1, 11):
        store.runs.record(key, plain(number), keep=100)
        model.record(plain(number), keep=100)
    for number in (10, 9, 3):
        with pytest.raises(ValueError, match="is recorded"):
            store.runs.record(key, plain(number, job_id=7), keep=100)
    assert_same(store, key, model)


def test_history_of_a_charm_that_is_gone_goes_with_age(store: Store) -> None:
    """All of it, also what was the newest; that of a charm which was only removed stays."""
    key = add_charm(store, "one").charm_key
    for number in range(1, 12):
        store.runs.record(key, plain(number), keep=100)
    store.charms.mark_removed(key, NOW)
    assert Pruned(1, is_over=True) == store.runs.prune(NOW + 1, 10, keep=10)
    assert 10 == len(store.runs.of(key))
    store.charms.purge_removed(NOW + 1, 10)
    assert Pruned(10, is_over=True) == store.runs.prune(NOW + 1, 10, keep=10)
    assert [] == store.runs.of(key)


def test_nothing_that_ends_in_the_future_is_overlooked(engine: Engine) -> None:
    """Of many charms, those that had no run since the service began are seen too."""
    ahead = NOW + 86400
    keys = [add_charm(engine.store, f"charm {number}").charm_key for number in range(5)]
    for key in keys:
        for number in range(1, 12):
            engine.store.runs.record(key, plain(number, finished_at=ahead), keep=100)
    engine.reopen()
    assert 55 == _bring_near(engine.store, NOW)
    found = [run for key in keys for run in engine.store.runs.of(key, limit=99)]
    assert {NOW} == {run.finished_at for run in found}
    assert BroughtNear(0, is_over=True) == engine.store.runs.bring_near(NOW, 9)
    engine.store.runs.record(keys[0], plain(12, finished_at=NOW + 5), keep=100)
    assert 1 == _bring_near(engine.store, NOW + 1)

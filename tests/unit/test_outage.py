"""An outage of many hosts: nobody is switched off, nobody asks too often, all come back soon.

The real loop, planner, policy, queue and storage, on a clock that goes on in steps, with workers
that answer at once. A whole day takes a minute for a thousand charms: there are 300 of them where
`CI` is set, and 100 elsewhere.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.model import CharmRef, CharmSchema, Failure, Origin
from bg_charm_service.domain.outcomes.run_endings import Ending, EndingKind, Waiting, next_waiting
from bg_charm_service.storage.records import CharmRecord
from bg_charm_service.workers.protocol.messages import Answer, RunSpec
from tests.unit.test_loop import Bench

DAY, HOUR, MINUTE = 86400.0, 3600.0, 60.0

#: How far the clock goes on at a time, in seconds.
TICK_SECONDS = 10.0

#: The world of the promise; a whole day of the real parts has fewer charms.
CHARMS, HOSTS, SPACES = 1000, 20, 50
CHARMS_OF_A_DAY = 300 if "CI" in os.environ else 100

#: So often a charm may ask on a day that its provider is down.
MOST_ASKED = 200

#: All have run again so long after their providers are back, in seconds.
BACK_WITHIN_SECONDS = 11 * MINUTE


class World(Bench):
    """Charms that ask a provider each; `down` are the hosts that do not answer."""

    def __init__(self, path: Path, charms: int) -> None:
        super().__init__(path, workers=0)
        # Nothing of this has to survive the machine.
        self.database.connection.execute("PRAGMA synchronous = OFF")
        self.down: set[str] = set()
        self.asked: Counter[str] = Counter()
        self.succeeded_at: dict[str, float] = {}
        with self.database.transaction():
            self.charms = [self._add(number) for number in range(charms)]
        self.host_of = {
            charm.ref.charm_id: f"api{number % HOSTS}.example.org"
            for number, charm in enumerate(self.charms)
        }
        self.hosts = set(self.host_of.values())

    def _add(self, number: int) -> CharmRecord:
        did = f"did:key:space{number % SPACES}"
        space = self.store.spaces.ensure(did, name="", owner="did:key:me", now=0)
        charm = self.store.charms.add(
            CharmRef(did, f"charm{number}"),
            space.space_key,
            cause=f"charm{number}",
            file_name="some.py",
            source="",
            schema=CharmSchema("Some", "Some", "", (), ("bgUpdater", "add")),
            now=0,
        )
        self.store.health.create(charm.charm_key)
        self.store.registrations.put(charm.charm_key, "manual", 0)
        self.planner.poll_now(charm.charm_key, charm.ref.space)
        return charm

    def live(self, seconds: float) -> None:
        """Let everything happen that is due in so many seconds."""
        until = self.clock.seconds + seconds
        while self.clock.seconds < until:
            self.pool.unbound = len(self.charms)
            self.step()
            for run in list(self.pool.out):
                self._answer(run)
            self.clock.seconds += TICK_SECONDS

    def _answer(self, run: RunSpec) -> None:
        host = self.host_of[run.charm_id]
        self.asked[run.charm_id] += 1
        if host not in self.down:
            self.succeeded_at[run.charm_id] = self.clock.seconds
            self.pool.answer(run, Answer(run.run_id, 0.01))
            return
        failure = Failure(FailureCause.DOWN, "ConnectError: refused")
        ending = Ending(EndingKind.DOWN, None, "refused", host)
        self.pool.answer(run, Answer(run.run_id, 0.01, failure, ending=ending))

    def check_nobody_pays(self) -> None:
        """Nobody is disabled, has failed, or has a dead letter."""
        for charm in self.charms:
            health = self.store.health.get(charm.charm_key)
            assert health.is_enabled
            assert (0, 0) == (health.failures, health.consecutive_failures)
        assert 0 == self.queue.dead


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[[int], World]]:
    """Makes a world of so many charms, all of which have run."""
    made: list[World] = []

    def make(charms: int) -> World:
        made.append(World(tmp_path / "test.db", charms))
        made[-1].live(2 * MINUTE)
        assert charms == len(made[-1].succeeded_at)
        return made[-1]

    yield make
    for world in made:
        world.database.close()


@contextmanager
def down(world: World) -> Iterator[None]:
    """Let all hosts be down, and count from then on who asks how often."""
    world.asked.clear()
    world.down = set(world.hosts)
    yield
    world.down = set()


def test_outage_of_a_day(make_world: Callable[[int], World]) -> None:
    """Nobody is switched off, nobody asks more than 200 times, all are back in 11 minutes."""
    world = make_world(CHARMS_OF_A_DAY)
    with down(world):
        world.live(DAY)
    world.check_nobody_pays()
    assert 100 < min(world.asked.values()) <= max(world.asked.values()) <= MOST_ASKED
    back = world.clock.seconds
    world.live(BACK_WITHIN_SECONDS)
    assert min(world.succeeded_at.values()) >= back
    assert 0 == world.supervisor.parts.waiting.of_kind(EndingKind.DOWN)


def test_outage_of_a_thousand_charms(make_world: Callable[[int], World]) -> None:
    """One line a host, however many wait; the first success brings the others of a space back."""
    world = make_world(CHARMS)
    began = world.clock.now()
    with down(world):
        world.live(HOUR / 4)
    world.check_nobody_pays()
    shown = world.supervisor.parts.waiting.hosts()
    assert sorted(world.hosts) == sorted(one.host for one in shown)
    assert {CHARMS // HOSTS} == {one.charms for one in shown}
    assert all(one.since <= began + 2 * MINUTE for one in shown)
    back = world.clock.seconds
    world.live(BACK_WITHIN_SECONDS)
    assert min(world.succeeded_at.values()) >= back
    world.check_nobody_pays()


def test_first_success_brings_only_its_own_space_back(make_world: Callable[[int], World]) -> None:
    """Those who wait for that host in that space are asked within a minute; others wait on."""
    world = make_world(2 * HOSTS * SPACES // 10)
    with down(world):
        world.live(HOUR)
    host = world.host_of[world.charms[0].ref.charm_id]
    same = [
        charm
        for charm in world.charms
        if charm.ref.space == world.charms[0].ref.space
        and world.host_of[charm.ref.charm_id] == host
    ]
    others = [charm for charm in world.charms if charm not in same]
    assert len(same) > 1
    before = {charm.charm_key: world.planner.due_at(charm.charm_key) for charm in others}
    with world.database.transaction():
        world.supervisor.parts.waiting.host_answered(same[0].space_key, host)
    now = world.clock.steady()
    assert all((world.planner.due_at(charm.charm_key) or 0) < now + MINUTE for charm in same)
    assert before == {charm.charm_key: world.planner.due_at(charm.charm_key) for charm in others}


def test_events_keep_their_place_in_an_outage(make_world: Callable[[int], World]) -> None:
    """They wait in order, cost no attempt, and run when the provider is back."""
    world = make_world(1)
    (charm,) = world.charms
    with down(world):
        world.live(HOUR)
        for _ in range(3):
            with world.database.transaction():
                world.queue.put_send(
                    charm.space_key,
                    charm.charm_key,
                    charm.ref,
                    "add",
                    b"{}",
                    run_at=world.clock.steady(),
                    now=world.clock.now(),
                    is_held=False,
                    not_before=world.supervisor.parts.waiting.not_before(charm.charm_key),
                )
        world.live(5 * HOUR)
        # A poll waits with them, and only the first of them asks.
        assert 3 + 1 == world.queue.waiting(charm.charm_key)
        assert world.asked[charm.ref.charm_id] <= 6 * HOUR / 480 + 6
    world.live(BACK_WITHIN_SECONDS)
    world.check_nobody_pays()
    assert 0 == world.queue.waiting(charm.charm_key)
    sends = [
        run
        for run in world.store.runs.of(charm.charm_key, limit=100)
        if run.origin == Origin.SEND and run.status == "success"
    ]
    assert 3 == len(sends)
    assert [1, 1, 1] == [run.attempt for run in sends]
    assert sorted(run.job_id for run in sends) == [run.job_id for run in reversed(sends)]


def test_thousand_charms_ask_seldom_on_a_whole_day() -> None:
    """Whatever chance says, a charm whose provider is down all day asks 200 times at most."""
    random = Random(15)
    ending = Ending(EndingKind.DOWN, None, "refused", "api.example.org")
    for _ in range(CHARMS):
        asked, steady = 0, 0.0
        waiting: Waiting | None = None
        while steady < DAY:
            waiting = next_waiting(
                ending,
                waiting,
                now=steady,
                steady=steady,
                chance=random.random(),
                interval_seconds=5.0,
            )
            assert waiting is not None
            asked, steady = asked + 1, waiting.until
        assert asked <= MOST_ASKED

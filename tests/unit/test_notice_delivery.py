"""Watching and delivering, step by step: what is told when, and what is tried again.

The clock is set by hand, and targets are no processes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.identity import Identity
from bg_charm_service.domain.model import Failure
from bg_charm_service.domain.notices import MessageStatus, NoticeKind, Target
from bg_charm_service.domain.outcomes.policy import FailurePolicy
from bg_charm_service.domain.outcomes.run_endings import Ending, EndingKind
from bg_charm_service.notices.messages import Deed, Deliver, Report, ReportKind
from bg_charm_service.service.notices.delivery import NoticeDelivery
from bg_charm_service.service.notices.heartbeat import Heartbeat
from bg_charm_service.service.notices.watch import NoticeWatch
from bg_charm_service.service.status.views import Problem, ProblemKind
from bg_charm_service.storage.records import CharmRecord
from bg_charm_service.workers.protocol.messages import Answer
from tests.unit.completing import StillClock
from tests.unit.test_loop import Bench

OWNER = Identity.from_passphrase("the owner")
HOST = "api.example.org"
GATHER, TIMEOUT, HOUR = 10.0, 30.0, 3600.0
DOWN = (Failure(FailureCause.DOWN, "refused"), Ending(EndingKind.DOWN, None, "refused", HOST))
FAILED = (Failure(FailureCause.ERROR, "it broke"), None)


class Sender:
    """Answers as it is told, and keeps what it was given."""

    timeout_seconds = TIMEOUT
    may_be_local = False
    closed_ports: frozenset[int] = frozenset()

    def __init__(self) -> None:
        self.sent: list[Deliver] = []
        self.report = Report(ReportKind.DONE)
        self.hangs = False

    async def do(self, deed: Deed) -> Report:
        if self.hangs:
            await asyncio.Event().wait()
        if isinstance(deed, Deliver):
            self.sent.append(deed)
        return self.report

    @property
    def titles(self) -> list[str]:
        """What each message was about."""
        return [one.title.partition(" [")[0] for one in self.sent]


class Office:
    """A service whose notices are delivered by hand."""

    def __init__(self, path: Path) -> None:
        self.bench = Bench(path, policy=FailurePolicy(max_retries=0, max_failures=1))
        self.store = self.bench.store
        if not self.store.secrets.exist():
            self.store.secrets.create(OWNER.did())
        self.store.secrets.unlock(OWNER)
        self.book, self.sender = self.bench.notices, Sender()
        self.problems: list[Problem] = []
        health = self.bench.supervisor.storage_health
        parts = self.bench.supervisor.parts
        self.delivery = NoticeDelivery(
            parts.storage, self.bench.clock, lambda: 0.0, self.book, self.sender, health, GATHER
        )
        self.watch = NoticeWatch(parts, self.book, lambda: self.problems, health)

    def add_target(self, **more: Any) -> Target:
        """Have somebody told."""
        target = Target(0, f"target {len(self.book.targets)}", "json://example.org/…", **more)
        with self.bench.database.transaction():
            added = self.store.notice_targets.add(target, "json://example.org/secret")
            self.book.reload()
        return added

    def polled(self) -> CharmRecord:
        """A charm that is polled."""
        charm = self.bench.charm()
        with self.bench.database.transaction():
            self.store.registrations.put(charm.charm_key, "manual", 0)
            self.bench.planner.poll_now(charm.charm_key, charm.ref.space)
        self.bench.supervisor.parts.completer._polled_charms.register(charm.charm_key, "manual")
        return charm

    def run(self, how: tuple[Failure, Ending | None] | None = None, **more: Any) -> None:
        """Let every run end so."""
        self.bench.step()
        for run in list(self.bench.pool.out):
            failure, ending = how or (None, None)
            answer = Answer(run.run_id, 0.01, failure, ending=ending, **more)
            self.bench.pool.answer(run, answer)
        self.bench.step()

    def deliver(self, seconds: float = GATHER) -> float | None:
        """Let time pass, and do what is due then; gives when there is more."""
        self.bench.clock.seconds += seconds
        return asyncio.run(self._deliver())

    async def _deliver(self) -> float | None:
        # Notices become messages, and messages are sent.
        for _ in range(3):
            self.delivery.step()
            await asyncio.gather(*self.delivery._under_way.values())
        return self.delivery.step()


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """One with an empty database."""
    made = Office(tmp_path / "test.db")
    yield made
    made.bench.database.close()


def test_a_charm_that_fails_and_recovers_is_told(office: Office) -> None:
    """Once each, when what happened was gathered for a while."""
    office.add_target()
    charm = office.polled()
    office.run(FAILED)
    assert charm.charm_key in office.book
    office.deliver(GATHER / 2)
    assert [] == office.sender.sent
    office.deliver()
    with office.bench.database.transaction():
        office.bench.supervisor.parts.switch.enable(charm, "Re-enabled", is_polled=True)
    office.run()
    assert charm.charm_key not in office.book
    office.deliver()
    disabled, recovered = office.sender.titles
    assert disabled.endswith("was disabled: it broke")
    assert recovered.endswith("works again.")
    assert ["failure", "success"] == [one.severity for one in office.sender.sent]


def test_what_happens_again_within_the_hour_waits_for_its_end(office: Office) -> None:
    """A charm that flaps is told once an hour, with the count, and in the order it happened."""
    office.add_target()
    charm = office.polled()
    for _ in range(3):
        office.run(FAILED)
        with office.bench.database.transaction():
            office.bench.supervisor.parts.switch.enable(charm, "Re-enabled", is_polled=True)
        office.run()
        # Until it is polled again.
        office.deliver(60.0)
    assert 1 == len(office.sender.sent)
    office.deliver(HOUR)
    assert "4 notices: 2 disabled, 2 recovered" == office.sender.titles[-1]
    assert 2 == office.sender.sent[-1].body.count("(2 times)")


def test_what_a_run_says_comes_with_its_success(office: Office) -> None:
    """A run that fails says nothing; one that succeeds as often as a charm may."""
    office.add_target(kinds=frozenset({NoticeKind.CHARM}))
    charm = office.polled()
    office.run(FAILED, notices=("never",))
    with office.bench.database.transaction():
        office.bench.supervisor.parts.switch.enable(charm, "Re-enabled", is_polled=True)
    office.run(None, notices=tuple(f"thing {number}" for number in range(15)))
    office.deliver()
    (sent,) = office.sender.sent
    assert "never" not in sent.body
    assert sent.title.startswith("15 notices: 15 said by charms")
    assert "thing 9" in sent.body
    # Beyond ten an hour they are one, with the newest words.
    assert "thing 10" not in sent.body
    assert "thing 14 (5 times)" in sent.body


def test_a_provider_is_told_once_it_is_down_for_long(office: Office) -> None:
    """One notice for a host, however many charms wait; one more when it is back."""
    office.add_target(down_after_seconds=60.0)
    office.add_target(down_after_seconds=600.0)
    office.polled()
    office.run(DOWN)
    office.watch.look()
    office.deliver(59.0)
    assert [] == office.sender.sent
    office.bench.clock.seconds += 1.0
    for _ in range(2):
        office.watch.look()
    office.deliver()
    (down,) = office.sender.titles
    assert down.startswith(f"{HOST} is down since")
    assert "1 charm waits for it" in down
    office.run()
    for _ in range(2):
        office.watch.look()
    office.deliver()
    assert (
        f"{HOST} is back, after 1 min: no charm waits for it any more." == office.sender.titles[1]
    )
    assert 2 == len(office.sender.sent), "who waits longer is told nothing of a short one"


def test_an_outage_is_over_also_after_a_restart(office: Office, tmp_path: Path) -> None:
    """What was told is remembered, so that its end is told by another life, and it not again."""
    office.add_target(down_after_seconds=60.0)
    office.polled()
    office.run(DOWN)
    office.bench.clock.seconds += 60.0
    office.watch.look()
    office.deliver()
    now = office.bench.clock.seconds
    office.bench.database.close()
    again = Office(tmp_path / "test.db")
    again.bench.clock.seconds = now
    again.watch.look()
    again.delivery.recover()
    again.deliver()
    # A charm that is not polled waits for nobody once its time has come.
    again.bench.clock.seconds += HOUR
    again.watch.look()
    again.deliver()
    assert ["is back"] == [one[len(HOST) + 1 :][:7] for one in again.sender.titles]
    again.bench.database.close()


def test_stale_charms_and_an_unhealthy_service_are_told(office: Office) -> None:
    """Once each, also when it is looked again and again; that it is healthy again, too."""
    office.add_target()
    charm = office.polled()
    with office.bench.database.transaction():
        office.store.freshness.put(charm.charm_key, {"items": office.bench.clock.now() - 1})
    office.problems = [
        Problem(ProblemKind.STUCK, "Jobs wait."),
        Problem(ProblemKind.BACKUP, "The last backup failed: no room."),
    ]
    for _ in range(3):
        office.watch.look()
    office.deliver()
    (sent,) = office.sender.sent
    assert sent.title.startswith("3 notices: 1 stale, 1 unhealthy, 1 backup failed")
    office.problems = []
    with office.bench.database.transaction():
        office.store.freshness.put(charm.charm_key, {"items": office.bench.clock.now() + HOUR})
    for _ in range(2):
        office.watch.look()
    office.deliver()
    assert "The service is healthy again, after 0 min." == office.sender.titles[1]
    assert [] == office.store.notices.incidents()


def test_what_nobody_wants_to_know_is_not_written(office: Office) -> None:
    """A target that chose its kinds makes no row of others."""
    office.add_target(kinds=frozenset({NoticeKind.DOWN}))
    office.polled()
    office.problems = [Problem(ProblemKind.STUCK, "Jobs wait.")]
    office.watch.look()
    office.run(FAILED)
    assert office.store.notices.next_due() is None


def test_what_is_not_taken_is_tried_again_later_and_later(office: Office) -> None:
    """With delays that are on disk; what may have come is not sent again at once."""
    office.add_target()
    office.polled()
    office.run(FAILED)
    office.sender.report = Report(ReportKind.REFUSED, "It answered 500.")
    start = office.bench.clock.seconds + GATHER
    assert start + GATHER == office.deliver()
    assert start + 3 * GATHER == office.deliver(GATHER)
    office.sender.report = Report(ReportKind.UNKNOWN, "There was no answer.")
    (message,) = office.store.notice_messages.open()
    assert (MessageStatus.WAITING, 2) == (message.status, message.tries)
    assert start + 3 * GATHER + 2 * TIMEOUT == office.deliver(2 * GATHER)
    office.sender.report = Report(ReportKind.DONE)
    office.deliver(2 * TIMEOUT)
    (sent,) = office.store.notice_messages.newest(0, 10)
    assert (MessageStatus.SENT, 4, "") == (sent.status, sent.tries, sent.problem)
    assert {"failed": 3, "sent": 1} == office.delivery.results


async def begin_to_send(office: Office) -> None:
    """Let a message be on its way when its life ends."""
    office.sender.hangs = True
    office.delivery.step()
    tasks = list(office.delivery._under_way.values())
    await asyncio.sleep(0)
    (message,) = office.store.notice_messages.open()
    assert MessageStatus.SENDING is message.status
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_a_death_while_sending_is_told_and_sent_again(office: Office, tmp_path: Path) -> None:
    """Only what was being sent, and its row says that it may have come twice."""
    office.add_target()
    office.polled()
    office.run(FAILED)
    office.bench.clock.seconds += GATHER
    asyncio.run(begin_to_send(office))
    office.bench.database.close()
    again = Office(tmp_path / "test.db")
    again.delivery.recover()
    (message,) = again.store.notice_messages.open()
    assert (MessageStatus.WAITING, 1) == (message.status, message.tries)
    assert "may have come twice" in message.problem
    again.deliver()
    assert 1 == len(again.sender.sent)
    again.bench.database.close()


def test_the_heart_beats_only_while_the_service_is_well() -> None:
    """Silence is what tells."""
    asked: list[Deed] = []
    is_well = True

    class Beats(Sender):
        async def do(self, deed: Deed) -> Report:
            asked.append(deed)
            return self.report

    sender = Beats()
    heart = Heartbeat("https://example.org/ping", sender, lambda: is_well, StillClock(), 60.0)
    asyncio.run(heart.beat())
    is_well = False
    asyncio.run(heart.beat())
    assert 1 == len(asked)
    is_well, sender.report = True, Report(ReportKind.REFUSED, "It answered 404.")
    asyncio.run(heart.beat())
    assert "It answered 404." == heart.problem
    assert {"answered": 1, "skipped": 1, "failed": 1} == heart.results

"""The queue against a plain model of it, through commits, rollbacks, crashes and restarts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bg_charm_service.domain.model import CharmRef, CharmSchema, Origin
from bg_charm_service.storage.contract import JobQueue
from bg_charm_service.storage.records import SUSPECT_DELIVERIES, Claim, NewJob, Pausing
from tests.contract.engine import ENGINES, Engine

Result = TypeVar("Result")

#: Charm -> space. Few, so that what happens to one charm adds up.
SPACES = {1: 1, 2: 1, 3: 1, 4: 2}

charms = st.sampled_from([1, 1, 2, 2, 3, 4])
delays = st.sampled_from([0.0, 0.0, 0.0, 1.0])
picks = st.integers(0, 50)
#: What becomes of the transaction around an operation.
fates = st.sampled_from(["commit"] * 12 + ["rollback", "crash"])


class Rollback(Exception):
    """Undoes a transaction."""


@dataclass
class Row:
    """What a person would write down about a job."""

    job_id: int
    charm: int
    origin: Origin
    run_at: float
    status: str = "ready"
    attempt: int = 1
    deliveries: int = 0
    #: A poll under way while its charm was disabled: it must not come back.
    is_unwanted: bool = False
    #: A plain poll that nothing has happened to: its charm's due time, or its batch, stands for it.
    is_plain: bool = False

    @property
    def is_live(self) -> bool:
        return self.status in ("ready", "claimed")


class QueueMachine(RuleBasedStateMachine):
    """Puts, claims and settles at random, and compares with the list of rows."""

    open_engine: Callable[[], Engine]

    def __init__(self) -> None:
        super().__init__()
        self.engine = type(self).open_engine()
        self.now = 1000.0
        self.rows: dict[int, Row] = {}
        self.disabled: set[int] = set()
        self.claims: list[Claim] = []
        self.old_claims: list[Claim] = []
        for space in sorted(set(SPACES.values())):
            did = f"did:key:space{space}"
            found = self.engine.store.spaces.ensure(did, name="", owner="did:key:owner", now=1.0)
            assert found.space_key == space
        for charm, space in SPACES.items():
            record = self.engine.store.charms.add(
                ref(charm),
                space,
                cause=f"{charm}",
                file_name="x.py",
                source="x",
                schema=CharmSchema("X", "X", "", (), ("bgUpdater",)),
                now=1.0,
            )
            assert record.charm_key == charm
            self.engine.store.health.create(charm)

    def teardown(self) -> None:
        self.engine.close()

    @property
    def queue(self) -> JobQueue:
        return self.engine.queue

    def attempted(self, fate: str, operation: Callable[[], Result]) -> tuple[Result] | None:
        """Do it in a transaction; None when nothing of it may remain."""
        if fate == "crash":
            self.engine.crash(operation)
            self.forget_plain()
            return None
        with suppress(Rollback), self.engine.transaction():
            result = operation()
            if fate == "rollback":
                raise Rollback
            return (result,)
        return None

    def live(self, charm: int) -> list[Row]:
        return [row for row in self.rows.values() if row.charm == charm and row.is_live]

    def poll_of(self, charm: int) -> Row | None:
        return next((row for row in self.live(charm) if row.origin is not Origin.SEND), None)

    def dead_of(self, charm: int) -> list[Row]:
        return [row for row in self.rows.values() if row.status == "dead" and row.charm == charm]

    def may_run(self, row: Row) -> bool:
        """Whether a row may be claimed but for its time."""
        live = self.live(row.charm)
        if row.status != "ready" or any(other.status == "claimed" for other in live):
            return False
        if row.origin is not Origin.SEND:
            return True
        sends = [other for other in live if other.origin is Origin.SEND]
        return sends[0] is row and row.charm not in self.disabled

    def ready(self, *, suspects: bool) -> list[Row]:
        return [
            row
            for row in self.rows.values()
            if self.may_run(row)
            and row.run_at <= self.now
            and (row.deliveries >= SUSPECT_DELIVERIES) == suspects
        ]

    def add(self, job_id: int, charm: int, origin: Origin, run_at: float) -> None:
        assert job_id > max(self.rows, default=0)
        self.rows[job_id] = Row(job_id, charm, origin, run_at)

    def drop_dead_of_poll(self, charm: int) -> None:
        for row in self.dead_of(charm):
            if row.origin is not Origin.SEND:
                del self.rows[row.job_id]

    @initialize(sends=st.lists(charms, max_size=4), polls=st.lists(charms, max_size=3))
    def begin(self, sends: list[int], polls: list[int]) -> None:
        """Some jobs wait at first."""
        for charm in sends:
            self.put_send(charm, 0.0, "commit")
        for charm in polls:
            self.put_poll(charm, 0.0, Origin.POLL, "commit")

    @rule(
        name=st.sampled_from(
            [
                *("restart", "drop_poll", "hasten", "discard", "bring_near", "put_off"),
                "write_out",
                *("drop_dead_poll", "drop_dead_letter", "drop_some_polls", "list_all"),
            ]
        ),
        charm=charms,
        fate=fates,
    )
    def do_what_is_rare(self, name: str, charm: int, fate: str) -> None:
        """One rule for all that is rare, so that most steps are puts, claims and their ends."""
        getattr(self, name)(charm, fate)

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0]))
    def let_time_pass(self, seconds: float) -> None:
        """The clock moves on."""
        self.now += seconds

    def restart(self, charm: int, fate: str) -> None:
        """The service is stopped in good order and started again."""
        self.engine.reopen()
        self.forget_plain()

    def forget_plain(self) -> None:
        """Plain polls that waited are not begun: their charms are due again."""
        for row in list(self.rows.values()):
            if row.is_plain and row.status == "ready":
                entry = self.engine.store.health.entry(row.charm)
                assert entry.due_at is not None
                assert entry.due_at <= row.run_at
                del self.rows[row.job_id]

    @rule(charm=charms, fate=fates)
    def put_plain(self, charm: int, fate: str) -> None:
        """A charm is due that has an interval, and is polled."""
        if charm in self.disabled or self.poll_of(charm) is not None:
            return
        self.engine.store.health.set_due(charm, self.now)
        poll = NewJob(
            SPACES[charm],
            charm,
            ref(charm),
            "bgUpdater",
            b"{}",
            self.now,
            scheduled_at=self.now + 0.1,
            next_due=self.now + 60,
            is_plain=True,
        )

        def put() -> int:
            self.queue.put_polls([poll], now=1000.0)
            return self.queue.page(0, 1000, charm_key=charm)[-1].job_id

        done = self.attempted(fate, put)
        if done is not None:
            self.add(done[0], charm, Origin.POLL, self.now)
            self.rows[done[0]].is_plain = True

    @rule(
        charm=charms,
        delay=delays,
        origin=st.sampled_from([Origin.POLL, Origin.RUN_NOW]),
        fate=fates,
    )
    def put_poll(self, charm: int, delay: float, origin: Origin, fate: str) -> None:
        """A poll falls due, or a person asks for one."""
        if charm in self.disabled and origin is Origin.POLL:
            return
        run_at = self.now + delay
        done = self.attempted(
            fate,
            lambda: self.queue.put_poll(
                SPACES[charm],
                charm,
                ref(charm),
                "bgUpdater",
                b"{}",
                origin=origin,
                run_at=run_at,
                now=self.now,
            ),
        )
        if done is None:
            return
        (job_id,) = done
        assert (job_id is None) == (self.poll_of(charm) is not None)
        if job_id is not None:
            self.add(job_id, charm, origin, run_at)

    @rule(charm=charms, delay=delays, fate=fates)
    def put_send(self, charm: int, delay: float, fate: str) -> None:
        """Somebody sends an event."""
        run_at = self.now + delay
        done = self.attempted(
            fate,
            lambda: self.queue.put_send(
                SPACES[charm],
                charm,
                ref(charm),
                "add",
                b'{"n":1}',
                run_at=run_at,
                now=self.now,
                is_held=charm in self.disabled,
            ),
        )
        if done is not None:
            self.add(done[0], charm, Origin.SEND, run_at)

    @rule(space=st.sampled_from([1, 1, 1, 2]), limit=st.integers(1, 3), fate=fates)
    def claim(self, space: int, limit: int, fate: str) -> None:
        """A batch is claimed: the oldest ready jobs of the space, one a charm."""
        done = self.attempted(fate, lambda: self.queue.claim(space, limit, self.now))
        if done is None:
            return
        expected: dict[int, Row] = {}
        for row in self.ready(suspects=False):
            if SPACES[row.charm] == space:
                expected.setdefault(row.charm, row)
        rows = list(expected.values())[:limit]
        assert [row.job_id for row in rows] == [claim.job.job_id for claim in done[0]]
        self.take(done[0])

    @rule(
        space=st.sampled_from([1, 1, 2]),
        limit=st.integers(1, 3),
        pausing=st.builds(Pausing, st.booleans(), st.frozensets(charms, max_size=2)),
        fate=fates,
    )
    def claim_what_is_not_paused(self, space: int, limit: int, pausing: Pausing, fate: str) -> None:
        """A batch is claimed while something is paused, which is resumed at once."""

        def claim_and_resume() -> Sequence[Claim]:
            claims = self.queue.claim(space, limit, self.now, pausing=pausing)
            self.queue.look_again(space)
            return claims

        done = self.attempted(fate, claim_and_resume)
        if done is None:
            return
        expected: dict[int, Row] = {}
        for row in self.ready(suspects=False):
            is_paused = pausing.is_whole or row.charm in pausing.charm_keys
            if SPACES[row.charm] == space and (row.origin is Origin.RUN_NOW or not is_paused):
                expected.setdefault(row.charm, row)
        rows = list(expected.values())[:limit]
        assert [row.job_id for row in rows] == [claim.job.job_id for claim in done[0]]
        self.take(done[0])

    @precondition(lambda self: self.rows)
    @rule(first=picks, second=picks, fate=fates)
    def withdraw(self, first: int, second: int, fate: str) -> None:
        """Somebody takes back jobs of a charm; those that do not wait are left alone."""
        rows = list(self.rows.values())
        charm = rows[first % len(rows)].charm
        own = [row for row in rows if row.charm == charm]
        chosen = {own[pick % len(own)].job_id for pick in (first, second)}

        def withdraw() -> int:
            self.queue.look_again(SPACES[charm])
            return self.queue.withdraw(charm, sorted(chosen))

        done = self.attempted(fate, withdraw)
        if done is None:
            return
        waiting = [job_id for job_id in chosen if self.rows[job_id].status == "ready"]
        assert [len(waiting)] == [*done]
        for job_id in waiting:
            del self.rows[job_id]

    def drop_some_polls(self, charm: int, fate: str) -> None:
        """A space is resumed: what was due before it was paused is not made up for."""
        space = SPACES[charm]
        if self.attempted(fate, lambda: self.queue.drop_some_polls(space, 1000)) is None:
            return
        for row in list(self.rows.values()):
            is_poll = row.origin is Origin.POLL and row.status == "ready"
            if is_poll and SPACES[row.charm] == space:
                del self.rows[row.job_id]

    def list_all(self, charm: int, fate: str) -> None:
        """Somebody looks: every job is listed once, in order, of all charms and of each."""
        shown = {"ready": "pending", "claimed": "processing", "dead": "failed"}
        for charm_key in (None, charm):
            expected = [
                (row.job_id, row.charm, shown[row.status], row.attempt)
                for row in self.rows.values()
                if row.status in shown and charm_key in (None, row.charm)
            ]
            found, after = [], 0
            while page := self.queue.page(after, 2, charm_key=charm_key):
                found += page
                after = page[-1].job_id
            assert expected == [
                (job.job_id, job.charm_key, job.status, job.attempt)
                for job in found
                if job.status != "completed"
            ]

    @precondition(lambda self: self.rows)
    @rule(pick=picks, fate=fates)
    def claim_job(self, pick: int, fate: str) -> None:
        """A person wants one job now, whatever its time."""
        row = list(self.rows.values())[pick % len(self.rows)]
        done = self.attempted(fate, lambda: self.queue.claim_job(row.job_id))
        if done is None:
            return
        may_run = self.may_run(row) and row.deliveries < SUSPECT_DELIVERIES
        assert may_run == (done[0] is not None)
        self.take([done[0]] if done[0] else [])

    @rule(fate=fates)
    def claim_suspect(self, fate: str) -> None:
        """The oldest job that several supervisors died with is claimed."""
        done = self.attempted(fate, lambda: self.queue.claim_suspect(self.now))
        if done is None:
            return
        suspects = self.ready(suspects=True)
        assert (suspects[0].job_id if suspects else None) == (
            done[0].job.job_id if done[0] else None
        )
        self.take([done[0]] if done[0] else [])

    def take(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            row = self.rows[claim.job.job_id]
            row.status = "claimed"
            row.deliveries += 1
            self.claims.append(claim)

    def end(self, how: str, pick: int, fate: str) -> Row | None:
        """End one claim, and check that it cannot be ended again; None when that was undone."""
        claim = self.claims[pick % len(self.claims)]
        endings: dict[str, Callable[[], bool]] = {
            "ack": lambda: self.queue.ack(claim),
            "bury": lambda: self.queue.bury(claim),
            "retry": lambda: self.queue.retry(claim, self.now + 2),
            "release": lambda: self.queue.release(claim, self.now),
            "rescue": lambda: self.queue.rescue(claim, self.now),
        }
        done = self.attempted(fate, endings[how])
        if done is None:
            return None
        assert done[0]
        self.claims.remove(claim)
        self.old_claims.append(claim)
        return self.rows[claim.job.job_id]

    @precondition(lambda self: self.claims)
    @rule(pick=picks, fate=fates)
    def ack(self, pick: int, fate: str) -> None:
        """A job is done."""
        row = self.end("ack", pick, fate)
        if row:
            row.status = "done"

    @precondition(lambda self: self.claims)
    @rule()
    def ack_all(self) -> None:
        """Everything under way is done, in one commit."""
        with self.engine.transaction():
            for claim in self.claims:
                assert self.queue.ack(claim)
        for claim in self.claims:
            self.rows[claim.job.job_id].status = "done"
        self.old_claims += self.claims
        self.claims = []

    @precondition(lambda self: self.claims)
    @rule(pick=picks, fate=fates)
    def bury(self, pick: int, fate: str) -> None:
        """A job is given up on; the older dead letter of a charm's poll goes with a newer one."""
        row = self.end("bury", pick, fate)
        if row:
            if row.origin is not Origin.SEND:
                self.drop_dead_of_poll(row.charm)
            row.status, row.is_plain = "dead", False

    @precondition(lambda self: self.claims)
    @rule(how=st.sampled_from(["retry", "release", "rescue"]), pick=picks, fate=fates)
    def put_back(self, how: str, pick: int, fate: str) -> None:
        """A job comes back: as its next attempt, unharmed, or from a dead supervisor."""
        row = self.end(how, pick, fate)
        if not row:
            return
        if row.is_unwanted:
            del self.rows[row.job_id]
            return
        row.status, row.run_at, row.is_plain = "ready", self.now, False
        if how == "retry":
            row.run_at, row.attempt, row.deliveries = self.now + 2, row.attempt + 1, 0
        elif how == "release":
            row.deliveries -= 1

    @precondition(lambda self: self.old_claims)
    @rule(how=st.sampled_from(["ack", "bury", "retry", "release", "rescue"]), pick=picks)
    def answer_too_late(self, how: str, pick: int) -> None:
        """A claim that is over, or was taken anew, changes nothing."""
        claim = self.old_claims[pick % len(self.old_claims)]
        with self.engine.transaction():
            assert not self.queue.holds(claim.job)
            if how in ("ack", "bury"):
                assert not getattr(self.queue, how)(claim)
            else:
                assert not getattr(self.queue, how)(claim, self.now)

    @precondition(lambda self: self.rows)
    @rule(pick=picks, fate=fates)
    def requeue(self, pick: int, fate: str) -> None:
        """A person brings a dead letter back: a new job, unless a poll is live."""
        row = list(self.rows.values())[pick % len(self.rows)]
        done = self.attempted(fate, lambda: self.queue.requeue(row.job_id, self.now))
        if done is None:
            return
        is_blocked = row.status != "dead" or (
            row.origin is not Origin.SEND and self.poll_of(row.charm) is not None
        )
        assert is_blocked == (done[0] is None)
        if done[0] is not None:
            del self.rows[row.job_id]
            self.add(done[0], row.charm, row.origin, self.now)

    def drop_dead_poll(self, charm: int, fate: str) -> None:
        """A success makes the dead letter of a poll pointless; those of sends stay."""
        if self.attempted(fate, lambda: self.queue.drop_dead_poll(charm)):
            self.drop_dead_of_poll(charm)

    def drop_dead_letter(self, charm: int, fate: str) -> None:
        """A person drops the oldest dead letter of a charm, or what is none."""
        job_id = next(iter(self.dead_of(charm)), Row(0, charm, Origin.SEND, 0.0)).job_id
        done = self.attempted(fate, lambda: self.queue.drop_dead_letter(job_id))
        if done is not None:
            assert done[0] == (job_id in self.rows)
            self.rows.pop(job_id, None)

    def put_off(self, charm: int, fate: str) -> None:
        """The charm waits: its poll and the first of its sends with it; and then a little less.

        What a person has asked for does not.
        """
        until = self.now + 2
        if not self.attempted(fate, lambda: self.queue.put_off(SPACES[charm], charm, until)):
            return
        for row in self.live(charm):
            is_asked = row.origin is Origin.RUN_NOW
            row.is_plain = False
            if row.status == "ready" and self.is_first(row) and not is_asked:
                row.run_at = max(row.run_at, until)
        space = SPACES[charm]
        if self.attempted(fate, lambda: self.queue.bring_on(space, charm, until, self.now + 1)):
            for row in self.live(charm):
                if row.status == "ready" and row.run_at == until and self.is_first(row):
                    row.run_at = self.now + 1

    def is_first(self, row: Row) -> bool:
        """Whether nothing holds a row back but its time, or another run of its charm."""
        if row.origin is not Origin.SEND:
            return True
        sends = [other for other in self.live(row.charm) if other.origin is Origin.SEND]
        return sends[0] is row and row.charm not in self.disabled

    @rule(charm=charms, fate=fates)
    def hold(self, charm: int, fate: str) -> None:
        """The charm is disabled."""
        if not self.attempted(fate, lambda: self.queue.hold(charm)):
            return
        self.disabled.add(charm)
        self.unwant_poll(charm)

    def drop_poll(self, charm: int, fate: str) -> None:
        """The charm is unregistered."""
        if self.attempted(fate, lambda: self.queue.drop_poll(charm)):
            self.unwant_poll(charm)

    def unwant_poll(self, charm: int) -> None:
        for row in self.live(charm):
            if row.origin is Origin.POLL and row.status == "ready":
                del self.rows[row.job_id]
            elif row.origin is Origin.POLL:
                row.is_unwanted, row.is_plain = True, False

    def write_out(self, charm: int, fate: str) -> None:
        """Its due time is about to move."""
        if self.attempted(fate, lambda: self.queue.write_out(charm)):
            for row in self.live(charm):
                row.is_plain = False

    @rule(charm=charms, fate=fates)
    def unhold(self, charm: int, fate: str) -> None:
        """The charm is enabled."""
        if not self.attempted(fate, lambda: self.queue.unhold(SPACES[charm], charm, self.now)):
            return
        self.disabled.discard(charm)
        for row in self.live(charm):
            row.is_unwanted = False

    def hasten(self, charm: int, fate: str) -> None:
        """A person wants the live poll now."""
        done = self.attempted(fate, lambda: self.queue.hasten(charm, self.now))
        if done is None:
            return
        poll = self.poll_of(charm)
        assert (poll.job_id if poll else None) == done[0]
        if poll and poll.status == "ready":
            poll.run_at, poll.is_plain = min(poll.run_at, self.now), False

    def discard(self, charm: int, fate: str) -> None:
        """The charm is removed."""
        if not self.attempted(fate, lambda: self.queue.discard(charm)):
            return
        for row in [*self.dead_of(charm), *self.live(charm)]:
            if row.status != "claimed":
                del self.rows[row.job_id]

    def bring_near(self, charm: int, fate: str) -> None:
        """The clock was set back."""
        latest = self.now + 1
        if not self.attempted(fate, lambda: self.queue.bring_near(self.now, latest)):
            return
        for row in self.rows.values():
            if row.status == "ready":
                row.run_at = min(row.run_at, latest if row.attempt > 1 else self.now)

    @invariant()
    def rows_are_the_same(self) -> None:
        """Each job is as the model says, and so are the counts."""
        for row in self.rows.values():
            found = self.queue.find(row.job_id)
            if row.is_plain and row.status == "done":
                # Its run is in the history, and a list does not show it any more.
                assert found is None
                continue
            assert found is not None
            job = found.job
            assert (row.charm, row.origin) == (found.charm_key, job.origin)
            assert (row.attempt, row.deliveries) == (job.attempt, job.deliveries)
            if row.is_live:
                assert row.run_at == job.run_at
        statuses = [row.status for row in self.rows.values()]
        counted = (self.queue.pending, self.queue.claimed, self.queue.dead)
        assert tuple(map(statuses.count, ("ready", "claimed", "dead"))) == counted
        for charm in SPACES:
            assert len(self.live(charm)) == self.queue.waiting(charm)

    @invariant()
    def claims_are_the_same(self) -> None:
        """What is claimed is known to a supervisor that starts now, one job a charm."""
        known = sorted(self.claims, key=lambda claim: claim.job.job_id)
        assert [claim.job for claim in known] == [c.job for c in self.queue.claimed_jobs()]
        assert all(self.queue.holds(claim.job) for claim in known)
        assert len(known) == len({claim.charm_key for claim in known})

    @invariant()
    def due_times_stand_for_polls(self) -> None:
        """A charm whose plain poll is not over is due; one whose poll is over is not."""
        for row in self.rows.values():
            if row.is_plain and row.is_live:
                due_at = self.engine.store.health.entry(row.charm).due_at
                assert due_at is not None
                assert due_at <= row.run_at

    @invariant()
    def dead_letters_are_the_same(self) -> None:
        """At most one of a charm's polls, each of its sends, listed in order."""
        dead = [row.job_id for row in self.rows.values() if row.status == "dead"]
        assert dead == [letter.job.job_id for letter in self.queue.dead_letters()]
        for charm in SPACES:
            mine = [row.job_id for row in self.dead_of(charm)]
            assert mine == [one.job.job_id for one in self.queue.dead_letters_of(charm)]
            assert len(mine) == self.queue.count_dead_letters(charm)
            polls = [row for row in self.dead_of(charm) if row.origin is not Origin.SEND]
            assert len(polls) <= 1

    @invariant()
    def no_ready_job_is_overlooked(self) -> None:
        """A space with a ready job is hot, and the next one's time is known."""
        spaces = {SPACES[row.charm] for row in self.ready(suspects=False)}
        assert spaces <= self.queue.hot_spaces(self.now)
        later = [
            row.run_at for row in self.rows.values() if self.may_run(row) and row.run_at > self.now
        ]
        if later:
            wakes_at = self.queue.next_run_at()
            assert wakes_at is not None
            assert wakes_at <= min(later)


def ref(charm: int) -> CharmRef:
    """Name a charm of the model."""
    return CharmRef(f"did:key:space{SPACES[charm]}", f"charm{charm}")


class OnSQLite(QueueMachine):
    """The queue in a SQLite file."""

    open_engine = ENGINES["sqlite"]


TestQueueOnSQLite = OnSQLite.TestCase
TestQueueOnSQLite.settings = settings(max_examples=120, stateful_step_count=40)


class OnPostgres(QueueMachine):
    """The queue on a server."""

    open_engine = ENGINES["postgres"]


TestQueueOnPostgres = OnPostgres.TestCase
TestQueueOnPostgres.settings = settings(max_examples=15, stateful_step_count=40, deadline=None)

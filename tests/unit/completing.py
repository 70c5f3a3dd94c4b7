"""A completer on an empty database, for the tests of what becomes of runs."""

from __future__ import annotations

from pathlib import Path

from bg_charm_service.domain.items import TouchedItems
from bg_charm_service.domain.limits import Limits
from bg_charm_service.domain.model import (
    POLL_EVENT,
    CharmRef,
    CharmSchema,
    Failure,
    FieldKind,
    FieldSchema,
    Origin,
)
from bg_charm_service.domain.outcomes.policy import FailurePolicy
from bg_charm_service.storage.contract import Storage
from bg_charm_service.storage.records import CharmRecord
from bg_charm_service.storage.sql.store import open_store
from bg_charm_service.storage.sqlite.checks.examination import Doctor
from bg_charm_service.storage.sqlite.database import Database
from bg_charm_service.storage.sqlite.job_queue import JobQueue
from bg_charm_service.supervisor.charm_switch import CharmSwitch
from bg_charm_service.supervisor.completer import Completer, CompletionRules, Settled
from bg_charm_service.supervisor.in_flight import InFlight, RunsInFlight
from bg_charm_service.supervisor.limit_resolver import LimitResolver
from bg_charm_service.supervisor.notices import NoticeBook
from bg_charm_service.supervisor.planning.poll_planner import PollPlanner
from bg_charm_service.supervisor.planning.polled_charms import PolledCharms
from bg_charm_service.supervisor.run_items import ItemQuotas, RunItems
from bg_charm_service.supervisor.waiting_charms import WaitingCharms
from bg_charm_service.workers.pool.events import RunFinished
from bg_charm_service.workers.protocol.messages import Answer, RunSpec

NOW = 1_790_000_000.0
SPACE, ELSEWHERE = "did:key:here", "did:key:elsewhere"


class StillClock:
    """A clock that stands."""

    def now(self) -> float:
        return NOW

    def steady(self) -> float:
        return NOW

    def awake(self) -> float:
        return self.steady()


class Bench:
    """A store, a queue, a schedule and a completer on an empty database."""

    def __init__(self, path: Path) -> None:
        self.database = Database.open(path)
        self.store = open_store(self.database)
        self.queue = JobQueue(self.database)
        doctor = Doctor(self.database, self.queue)
        storage = Storage(self.database, self.store, self.queue, doctor)
        clock = StillClock()
        self.planner = PollPlanner(storage, clock, interval_seconds=60, max_concurrent=1)
        self.limits = LimitResolver(Limits(), self.store.limits)
        policy = FailurePolicy(max_retries=0, max_failures=2)
        polled = PolledCharms(self.store)
        self.waiting = WaitingCharms(storage, clock, self.planner)
        self.items = RunItems(self.store, ItemQuotas())
        self.completer = Completer(
            storage,
            clock,
            lambda: 0.5,
            RunsInFlight(),
            self.planner,
            polled,
            self.waiting,
            CharmSwitch(storage, clock, self.planner, polled, self.waiting),
            CompletionRules(policy, self.limits, history_runs=10),
            self.items,
            NoticeBook(storage, clock),
        )

    def charm(self, space: str = SPACE, **kinds: FieldKind) -> CharmRecord:
        """Add a charm whose fields all hold 0."""
        fields = tuple(FieldSchema(name, kind, b"0") for name, kind in kinds.items())
        schema = CharmSchema("Some", "Some", "", fields, ("bgUpdater",))
        with self.database.transaction():
            home = self.store.spaces.ensure(space, name="", owner="did:key:me", now=NOW)
            charm = self.store.charms.add(
                CharmRef(space, f"charm{len(kinds)}"),
                home.space_key,
                cause=f"cause{len(kinds)}",
                file_name="some.py",
                source="",
                schema=schema,
                now=NOW,
            )
            self.store.health.create(charm.charm_key)
            for field in fields:
                if field.kind is FieldKind.VALUE:
                    self.store.cells.write(charm, field.name, b"0")
        return charm

    def claim(self, charm: CharmRecord) -> InFlight:
        """Queue a poll and hand it out, with the charm's values as they are."""
        with self.database.transaction():
            self.queue.put_poll(
                charm.space_key,
                charm.charm_key,
                charm.ref,
                "bgUpdater",
                POLL_EVENT,
                origin=Origin.POLL,
                run_at=NOW,
                now=NOW,
            )
        with self.database.transaction():
            (claim,) = self.queue.claim(charm.space_key, 1, NOW + 100)
        links = {link.field: link for link in self.store.links.of(charm.charm_key)}
        versions = self.store.cells.versions(charm.charm_key)
        for name, link in links.items():
            field = charm.schema.field(name)
            if field is None or field.kind is not FieldKind.CELL:
                continue
            target = self.store.charms.get(link.target_key)
            assert target is not None
            versions[name] = self.store.links.version(target, link)
        cells = self.store.cells.snapshot(charm)
        sizes = {name: cell.size_bytes for name, cell in cells.items()}
        collections = self.items.records(charm, links)
        return InFlight(
            claim, charm, versions, links, lag_seconds=0.0, sizes=sizes, collections=collections
        )

    def settle(
        self,
        run: InFlight,
        answer: Answer | None,
        death: Failure | None = None,
        limits: Limits | None = None,
        items: tuple[TouchedItems, ...] = (),
    ) -> Settled | None:
        """Settle a run that kept its worker for 2 s: it was answered, or ended with its worker."""
        spec = RunSpec(
            run_id=run.run_id,
            job_id=run.claim.job.job_id,
            attempt=1,
            space=SPACE,
            charm_id="charm",
            source_hash="",
            source=None,
            file_name="some.py",
            class_name="Some",
            stream="bgUpdater",
            event=POLL_EVENT,
            values={},
            large=(),
            links={},
            last_success=None,
            limits=limits or Limits(),
        )
        with self.database.transaction():
            finished = RunFinished(
                spec, 1, "a line", answer=answer, death=death, seconds=2.0, items=items
            )
            settled = self.completer.settle(run, finished)
            self.store.totals.flush()
        return settled

    def value(self, charm: CharmRecord, field: str) -> bytes | None:
        """The stored value of a field."""
        cell = self.store.cells.read(charm, field)
        return cell.value if cell else None

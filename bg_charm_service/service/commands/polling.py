"""Commands about running: register, enable, disable, send, run now, requeue."""

from __future__ import annotations

import msgspec

from bg_charm_service.domain.errors import Conflict, InvalidInput, NotFound, ServiceStopping
from bg_charm_service.domain.model import (
    POLL_EVENT,
    UPDATER_STREAMS,
    CharmRef,
    DisabledBy,
    FieldKind,
    Origin,
)
from bg_charm_service.domain.outcome_policy import disabled_by_hand, enabled_again
from bg_charm_service.domain.views import RunReport
from bg_charm_service.scanning.scanner import Scanner
from bg_charm_service.service.commands.context import CommandContext
from bg_charm_service.service.state_reader import StateReader
from bg_charm_service.storage.records import REDACTED, CharmRecord
from bg_charm_service.supervisor.polled_charms import PolledCharms

#: The shortest interval that a charm may be given, in seconds.
MIN_INTERVAL_SECONDS = 1.0

#: An integration label may be this long, in characters.
_LABEL_LIMIT = 200


class PollingCommands:
    """What decides whether and when a charm runs."""

    def __init__(
        self,
        context: CommandContext,
        polled_charms: PolledCharms,
        scanner: Scanner,
        states: StateReader,
    ) -> None:
        self._context = context
        self._supervisor = context.supervisor
        self._parts = context.parts
        self._store = context.store
        self._polled_charms = polled_charms
        self._scanner = scanner
        self._states = states

    async def register(self, ref: CharmRef, integration: str) -> None:
        """Have a charm polled, at once and from then on; registering again re-enables it."""
        charm = self._context.owned_charm(ref)
        _need_updater(charm)
        label = integration.strip()
        if not label or len(label) > _LABEL_LIMIT or not label.isprintable():
            raise InvalidInput(f"Not an integration label: {integration!r}. Give a short name.")
        await self._check_for_integration(charm, label)
        with self._context.change("register", ref, detail=label):
            self.put_registration(self._context.charm(ref), label)
        self._supervisor.wake()

    def put_registration(self, charm: CharmRecord, label: str) -> None:
        """Register a charm, inside a transaction."""
        key = charm.charm_key
        is_new = self._store.registrations.put(key, label, self._parts.clock.now())
        self._parts.database.after_commit(lambda: self._polled_charms.register(key, label))
        if self._store.health.get(key).disabled_by is not DisabledBy.SERVICE:
            self._enable(charm, "Initializing" if is_new else "Re-initializing")
        self._context.tell(charm.ref, "registered")

    def unregister(self, ref: CharmRef) -> None:
        """Have a charm polled no more; a run under way ends and is settled."""
        charm = self._context.owned_charm(ref)
        key = charm.charm_key
        with self._context.change("unregister", ref):
            if not self._store.registrations.drop(key):
                raise NotFound(f"{ref} is not registered.")
            if not self._polled_charms.listed_by(key):
                self._parts.planner.drop(key)
                self._parts.queue.drop_poll(key)
        self._polled_charms.unregister(key)
        self._context.tell(ref, "unregistered")

    def enable(self, ref: CharmRef) -> None:
        """Poll a disabled charm again, at once; its failures start from 0."""
        charm = self._context.owned_charm(ref)
        self._check_polled(charm)
        with self._context.change("enable", ref):
            self._enable(charm, "Re-enabled")
        self._context.tell(ref, "enabled")
        self._supervisor.wake()

    def disable(self, ref: CharmRef, status: str = "Disabled by hand") -> None:
        """Stop polling a charm until it is enabled; events sent to it wait."""
        charm = self._context.owned_charm(ref)
        self._check_polled(charm)
        key = charm.charm_key
        with self._context.change("disable", ref):
            health = self._store.health.get(key)
            self._store.health.put(key, disabled_by_hand(health, self._parts.clock.now(), status))
            self._parts.planner.drop(key)
            self._parts.queue.hold(key)
        self._polled_charms.disabled.add(key)
        self._context.tell(ref, "disabled")

    def set_interval(self, ref: CharmRef, seconds: float | None) -> None:
        """Give a charm its own polling interval, in seconds; None for the service's."""
        charm = self._context.owned_charm(ref)
        if seconds is not None and not MIN_INTERVAL_SECONDS <= seconds <= 366 * 86400:
            raise InvalidInput("An interval is between 1 second and 366 days.")
        with self._context.change(
            "set interval", ref, detail=f"{seconds:g} s" if seconds else "default"
        ):
            self._store.health.set_interval(charm.charm_key, seconds)
            if self._parts.planner.is_polled(charm.charm_key):
                self._parts.planner.poll_now(charm.charm_key, ref.space)
        self._context.tell(ref, "interval")
        self._supervisor.wake()

    def send(self, ref: CharmRef, stream: str | None, event: bytes) -> int:
        """Queue an event for a stream, behind earlier ones; gives the job's id."""
        self._context.check_open()
        charm = self._context.owned_charm(ref)
        name = stream or _need_updater(charm)
        if name not in charm.schema.streams:
            there = ", ".join(charm.schema.streams)
            raise NotFound(f"{charm.name} has no stream {name}; it has {there}.")
        with self._context.change("send", ref, detail=name):
            job_id = self._parts.queue.put_send(
                charm.space_key,
                charm.charm_key,
                ref,
                name,
                event,
                run_at=self._parts.clock.steady(),
                now=self._parts.clock.now(),
                is_held=not self._store.health.get(charm.charm_key).is_enabled,
            )
        self._supervisor.wake()
        return job_id

    async def run_now(self, ref: CharmRef) -> RunReport:
        """Poll a charm now and wait for the end; joins a live poll where there is one.

        Runs a disabled charm without enabling it. Its failure is recorded, not counted.
        """
        self._context.check_open()
        charm = self._context.owned_charm(ref)
        updater = _need_updater(charm)
        steady = self._parts.clock.steady()
        with self._context.change("run", ref):
            job_id = self._parts.queue.hasten(charm.charm_key, steady)
            is_attached = job_id is not None
            if job_id is None:
                job_id = self._parts.queue.put_poll(
                    charm.space_key,
                    charm.charm_key,
                    ref,
                    updater,
                    POLL_EVENT,
                    origin=Origin.RUN_NOW,
                    run_at=steady,
                    now=self._parts.clock.now(),
                )
        assert job_id is not None
        settlement = self._supervisor.settlement_of(job_id)
        self._supervisor.run_job(job_id)
        settled = await settlement
        if settled is None:
            ended_by = self._supervisor.ended_by
            if isinstance(ended_by, ServiceStopping):
                raise ServiceStopping("The service stopped before the run ended; it runs later.")
            raise ended_by or Conflict(
                f"The poll of {ref} was dropped before it ran: meanwhile the charm was disabled, "
                "unregistered or removed."
            )
        secrets = {f.name for f in charm.schema.fields if f.kind is FieldKind.SECRET}
        writes = {
            # As it is: to read and write a large value takes longer than the run.
            name: REDACTED if name in secrets else msgspec.Raw(value)
            for name, value in settled.outcome.writes.items()
        }
        return RunReport(settled.record, writes, is_attached)

    def requeue(self, ref: CharmRef) -> int:
        """Bring a charm's dead letter back; raises Conflict while a poll is live."""
        charm = self._context.owned_charm(ref)
        has_letter = self._parts.queue.dead_letter(charm.charm_key) is not None
        with self._parts.database.transaction():
            job_id = self._parts.queue.requeue(charm.charm_key, self._parts.clock.steady())
            if job_id is not None:
                self._context.record("requeue", ref)
        if job_id is None:
            if has_letter:
                raise Conflict(f"A poll of {ref} is live already; its dead letter stays.")
            raise NotFound(f"{ref} has no dead letter.")
        self._context.tell(ref, "requeued")
        self._supervisor.wake()
        return job_id

    def _enable(self, charm: CharmRecord, status: str) -> None:
        key = charm.charm_key
        self._store.health.put(key, enabled_again(self._store.health.get(key), status))
        self._parts.queue.unhold(charm.space_key, key, self._parts.clock.steady())
        self._parts.planner.poll_now(key, charm.ref.space)

        def note() -> None:
            self._polled_charms.disabled.discard(key)
            self._polled_charms.failing.discard(key)

        self._parts.database.after_commit(note)

    def _check_polled(self, charm: CharmRecord) -> None:
        if charm.charm_key not in self._polled_charms:
            raise Conflict(
                f"{charm.ref} is not registered: `bg-charm-service register {charm.ref} "
                "--integration manual` has it polled."
            )

    async def _check_for_integration(self, charm: CharmRecord, label: str) -> None:
        catalogue = await self._scanner.describe()
        info = next((one for one in catalogue.integrations if one.id == label), None)
        if info is None or not info.checks_charms:
            return
        checked = await self._scanner.check(label, [self._states.redacted_state(charm)])
        if not all(checked.valid):
            why = f": {checked.problems[0]}" if checked.problems else "."
            raise InvalidInput(f"{charm.ref} is no valid charm for integration {label}{why}")


def _need_updater(charm: CharmRecord) -> str:
    if charm.updater is None:
        raise InvalidInput(
            f"{charm.name} has no updater stream. A charm that is polled has one of: "
            f"{', '.join(UPDATER_STREAMS)}."
        )
    return charm.updater

"""Commands about running: register, enable, disable, send, run now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import msgspec

from bg_charm_service.domain.errors import Conflict, InvalidInput, NotFound, ServiceStopping
from bg_charm_service.domain.model import (
    ADDED_AGAIN_STATUS,
    ADDED_STATUS,
    DISABLED_STATUS,
    ENABLED_STATUS,
    POLL_EVENT,
    UPDATER_STREAMS,
    CharmHealth,
    CharmRef,
    DisabledBy,
    FieldKind,
    Origin,
)
from bg_charm_service.domain.outcomes.policy import (
    disabled_by_hand,
    enabled_again,
    registered_again,
)
from bg_charm_service.domain.outcomes.run_endings import EndingKind
from bg_charm_service.domain.schedules.schedule import LONGEST_INTERVAL_SECONDS, read_words
from bg_charm_service.domain.schedules.words import NO_WORDS, ScheduleWords
from bg_charm_service.domain.views import Registered, RunReport
from bg_charm_service.scanning.scanner import Scanner
from bg_charm_service.service.charm_packages import CharmPackages
from bg_charm_service.service.commands.context import CommandContext
from bg_charm_service.service.state_reader import StateReader
from bg_charm_service.storage.records import REDACTED, CharmRecord
from bg_charm_service.supervisor.events.seals import EventSeals
from bg_charm_service.supervisor.planning.polled_charms import PolledCharms

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
        packages: CharmPackages,
    ) -> None:
        self._context = context
        self._supervisor = context.supervisor
        self._parts = context.parts
        self._store = context.store
        self._polled_charms = polled_charms
        self._scanner = scanner
        self._states = states
        self._packages = packages

    async def register(
        self, ref: CharmRef, integration: str, *, is_vouched_for: bool = True
    ) -> Registered:
        """Have a charm polled from now on; registering again re-enables it.

        One with an interval is polled at once, one with times of its own at the next of them.

        Where no credential vouches for it, what an operator has said stays: that the charm is
        disabled, and the integration that it belongs to. The answer names what was not done.
        """
        charm = self._context.owned_charm(ref)
        _need_updater(charm)
        label = integration.strip()
        if not label or len(label) > _LABEL_LIMIT or not label.isprintable():
            raise InvalidInput(f"Not an integration label: {integration!r}. Give a short name.")
        not_done: list[str] = []
        known = self._polled_charms.label(charm.charm_key)
        if not is_vouched_for and known not in (None, label):
            not_done.append(
                f"Its integration stays {known}: `bg-charm-service register {ref} --integration "
                f"{label}` changes it."
            )
            label = known or label
        await self._check_for_integration(charm, label, tells_why=is_vouched_for)
        with self._context.change("register", ref, detail=label):
            not_done += self.put_registration(
                self._context.charm(ref), label, is_vouched_for=is_vouched_for
            )
        self._supervisor.wake()
        return Registered(not_done=tuple(not_done) or None)

    def put_registration(
        self, charm: CharmRecord, label: str, *, is_vouched_for: bool = True
    ) -> list[str]:
        """Register a charm, inside a transaction; gives sentences about what was not done."""
        key = charm.charm_key
        is_new = self._store.registrations.put(key, label, self._parts.clock.now())
        self._parts.database.after_commit(lambda: self._polled_charms.register(key, label))
        self._context.tell(charm.ref, "registered")
        health = self._store.health.get(key)
        enables = f"`bg-charm-service charm enable {charm.ref}` has it polled again."
        kept = ""
        if health.disabled_by is DisabledBy.SERVICE:
            kept = f"It stays held, because it ended the service twice: {enables}"
        elif health.disabled_by is DisabledBy.HAND and not is_vouched_for:
            kept = f"It stays disabled, because an operator disabled it: {enables}"
        if kept:
            # A charm that is polled by nobody is in no list of those that are disabled.
            self._parts.database.after_commit(lambda: self._polled_charms.note_health(key, health))
            return [kept]
        enabled = enabled_again if is_vouched_for else registered_again
        self._poll(charm, health, enabled(health, ADDED_STATUS if is_new else ADDED_AGAIN_STATUS))
        return []

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
            health = self._store.health.get(charm.charm_key)
            self._poll(charm, health, enabled_again(health, ENABLED_STATUS))
        self._context.tell(ref, "enabled")
        self._supervisor.wake()

    def disable(self, ref: CharmRef, status: str = DISABLED_STATUS) -> None:
        """Stop polling a charm until it is enabled; events sent to it wait."""
        charm = self._context.owned_charm(ref)
        self._check_polled(charm)
        key = charm.charm_key
        with self._context.change("disable", ref):
            health = self._store.health.get(key)
            self._store.health.put(key, disabled_by_hand(health, self._parts.clock.now(), status))
            self._parts.waiting.forget(ref, key, charm.space_key)
            self._parts.planner.drop(key)
            self._parts.queue.hold(key)
        self._polled_charms.disabled.add(key)
        self._context.tell(ref, "disabled")

    def set_interval(self, ref: CharmRef, seconds: float | None) -> None:
        """Give a charm its own polling interval, in seconds; None for the service's."""
        charm = self._context.owned_charm(ref)
        _check_interval(seconds)
        said = self._store.schedules.of_charm(charm.charm_key)
        with self._context.change(
            "set interval", ref, detail=f"{seconds:g} s" if seconds else "default"
        ):
            # The one or the other: an interval takes the place of times that were set before.
            self._say(charm, replace(said, cron=None, time_zone=None), seconds)
        self._context.tell(ref, "interval")
        self._supervisor.wake()

    def set_schedule(
        self,
        ref: CharmRef,
        *,
        cron: str | None = None,
        time_zone: str | None = None,
        quiet: str | None = None,
        missed: str | None = None,
    ) -> None:
        """Say when a charm runs, against what its class says; None leaves a word as it was.

        An expression of cron takes the place of an interval that was set before.
        """
        charm = self._context.owned_charm(ref)
        given = {"cron": cron, "time_zone": time_zone, "quiet": quiet, "missed": missed}
        words = {name: word for name, word in given.items() if word is not None}
        if not words:
            raise InvalidInput("Give a schedule such as '0 8 * * *', or what else is to change.")
        read = read_words(**given)
        before = self._store.schedules.of_charm(charm.charm_key)
        said = replace(before, **{name: getattr(read, name) for name in words})
        seconds = None
        if read.cron is None:
            seconds = self._store.health.entry(charm.charm_key).interval_seconds
        detail = " ".join(f"{name}={word}" for name, word in words.items())
        with self._context.change("set schedule", ref, detail=detail):
            self._say(charm, said, seconds)
        self._context.tell(ref, "interval")
        self._supervisor.wake()

    def reset_schedule(self, ref: CharmRef) -> None:
        """Let a charm run as its class says, or else in the service's interval."""
        charm = self._context.owned_charm(ref)
        with self._context.change("reset schedule", ref):
            self._say(charm, NO_WORDS, None)
        self._context.tell(ref, "interval")
        self._supervisor.wake()

    def put_schedule(
        self, charm: CharmRecord, words: Mapping[str, str], seconds: float | None
    ) -> None:
        """Say when a charm runs that is just being added, inside the transaction that adds it.

        Raises InvalidInput.
        """
        _check_interval(seconds)
        said = read_words(**words)
        if said.cron is not None and seconds is not None:
            raise InvalidInput("interval and cron are two schedules: give one of them.")
        detail = " ".join(f"{name}={word}" for name, word in words.items())
        if seconds is not None:
            detail = f"interval={seconds:g} {detail}".rstrip()
        self._context.record("set schedule", charm.ref, detail=detail)
        self._say(charm, said, seconds)

    def _say(self, charm: CharmRecord, said: ScheduleWords, seconds: float | None) -> None:
        """Keep what the operator says of a charm, and let it count from now on."""
        key, planner = charm.charm_key, self._parts.planner
        self._store.schedules.put(key, said)
        self._store.health.set_interval(key, seconds)
        waiting = self._parts.waiting.get(key)
        if waiting is not None and waiting.kind is EndingKind.AGAIN:
            # The charm's own word about its next run is that of before.
            self._parts.waiting.forget(charm.ref, key, charm.space_key)
        # Where no service runs, it is stored for the next one.
        if self._store.health.entry(key).due_at is not None:
            counts = planner.schedules.joined(charm.schema.schedule, said, seconds)
            if waiting is not None and waiting.holds_events:
                planner.move_by(counts, key, waiting.until)
            else:
                planner.begin_by(counts, key, charm.ref.space)

    def send(self, ref: CharmRef, stream: str | None, event: bytes) -> int:
        """Queue an event for a stream, behind earlier ones; gives the job's id."""
        self._context.check_open()
        charm = self._context.owned_charm(ref)
        name = need_stream(charm, stream)
        kept = EventSeals(self._store).kept(charm, name, event)
        with self._context.change("send", ref, detail=name):
            job_id = self._parts.queue.put_send(
                charm.space_key,
                charm.charm_key,
                ref,
                name,
                kept,
                run_at=self._parts.clock.steady(),
                now=self._parts.clock.now(),
                is_held=not self._store.health.get(charm.charm_key).is_enabled,
                not_before=self._parts.waiting.not_before(charm.charm_key),
            )
        self._supervisor.wake()
        return job_id

    async def run_now(self, ref: CharmRef) -> RunReport:
        """Poll a charm now and wait for the end; joins a live poll where there is one.

        Runs a disabled charm without enabling it, and a paused one without resuming it. Its failure
        is recorded, not counted. Raises Conflict while its packages are not there, which are then
        fetched at once.
        """
        self._context.check_open()
        charm = self._context.owned_charm(ref)
        self._packages.check(charm.charm_key)
        updater = _need_updater(charm)
        steady = self._parts.clock.steady()
        with self._context.change("run", ref):
            if self._store.pauses.over(charm.space_key, charm.charm_key) is not None:
                # One that waits would wait until it is resumed, and be dropped then.
                self._parts.queue.drop_waiting_poll(charm.charm_key)
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
        self._supervisor.run_job(job_id, charm.space_key)
        settled = await settlement
        if settled is None:
            ended_by = self._supervisor.ended_by
            if isinstance(ended_by, ServiceStopping):
                raise ServiceStopping("The service stopped before the run ended; it runs later.")
            raise ended_by or Conflict(
                f"The poll of {ref} was dropped before it ran: meanwhile the charm was disabled, "
                "unregistered or removed, or the job was cancelled."
            )
        secrets = {f.name for f in charm.schema.fields if f.kind is FieldKind.SECRET}
        writes = {
            # As it is: to read and write a large value takes longer than the run.
            name: REDACTED if name in secrets else msgspec.Raw(value)
            for name, value in settled.outcome.writes.items()
        }
        return RunReport(settled.record, writes, is_attached)

    def _poll(self, charm: CharmRecord, before: CharmHealth, health: CharmHealth) -> None:
        """Poll a charm that is enabled now: it is polled, or is about to be."""
        self._parts.switch.put(charm, before, health, is_polled=True)

    def _check_polled(self, charm: CharmRecord) -> None:
        if charm.charm_key not in self._polled_charms:
            raise Conflict(
                f"{charm.ref} is not registered: `bg-charm-service register {charm.ref} "
                "--integration manual` has it polled."
            )

    async def _check_for_integration(
        self, charm: CharmRecord, label: str, *, tells_why: bool
    ) -> None:
        catalogue = await self._scanner.describe()
        info = next((one for one in catalogue.integrations if one.id == label), None)
        if info is None or not info.checks_charms:
            return
        checked = await self._scanner.check(label, [self._states.redacted_state(charm)])
        if not all(checked.valid):
            why = f": {checked.problems[0]}" if checked.problems and tells_why else "."
            raise InvalidInput(f"{charm.ref} is no valid charm for integration {label}{why}")


def _check_interval(seconds: float | None) -> None:
    if seconds is not None and not MIN_INTERVAL_SECONDS <= seconds <= LONGEST_INTERVAL_SECONDS:
        raise InvalidInput("An interval is between 1 second and 366 days.")


def need_stream(charm: CharmRecord, stream: str | None) -> str:
    """Give the stream that is meant, by default the one that polls use; raises NotFound."""
    name = stream or _need_updater(charm)
    if name not in charm.schema.streams:
        there = ", ".join(charm.schema.streams)
        raise NotFound(f"{charm.name} has no stream {name}; it has {there}.")
    return name


def _need_updater(charm: CharmRecord) -> str:
    if charm.updater is None:
        raise InvalidInput(
            f"{charm.name} has no updater stream. A charm that is polled has one of: "
            f"{', '.join(UPDATER_STREAMS)}."
        )
    return charm.updater

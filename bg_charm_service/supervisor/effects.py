"""Applies what a successful run wrote and sent, all of it or nothing, after the last checks.

A run may write the fields that its charm declares and what its links allow, as JSON, up to its
limits. Called by the completer, inside its transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.errors import FailureCause, InvalidInput, StateTooLarge
from bg_charm_service.domain.json_values import check_json, is_json
from bg_charm_service.domain.limits import Limits
from bg_charm_service.domain.model import Failure, FieldKind, Outcome, Remind, Send
from bg_charm_service.domain.size_limits import check_run_size, check_state_size
from bg_charm_service.storage.contract import Storage
from bg_charm_service.storage.records import CharmRecord, Link
from bg_charm_service.supervisor.answers.answer_validation import short_message
from bg_charm_service.supervisor.events.seals import EventSeals
from bg_charm_service.supervisor.in_flight import InFlight
from bg_charm_service.supervisor.limit_resolver import LimitResolver
from bg_charm_service.supervisor.notices import NoticeBook, checked_texts
from bg_charm_service.supervisor.reminders import Reminding
from bg_charm_service.supervisor.run_items import RunItems
from bg_charm_service.supervisor.waiting_charms import WaitingCharms

#: Asked of its enum, a member takes many times as long (Python 3.11), and these are for each run.
_VALUE: Final = FieldKind.VALUE

#: Kinds of fields whose values lie in the charm itself.
_OWN = (_VALUE, FieldKind.SECRET)


class Effects:
    """Writes to the store and sends to the queue, on behalf of runs."""

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        limits: LimitResolver,
        waiting: WaitingCharms,
        items: RunItems,
        notices: NoticeBook,
    ) -> None:
        self._notices = notices
        self._items = items
        self._database = storage.database
        self._store = storage.store
        self._queue = storage.queue
        self._clock = clock
        self._limits = limits
        self._waiting = waiting
        self._seals = EventSeals(storage.store)

    def are_plain(self, run: InFlight, writes: Mapping[str, bytes], limits: Limits) -> bool:
        """Whether a run wrote nothing but values of its own charm's fields, and may do so."""
        schema = run.charm.schema
        for name, value in writes.items():
            field = schema.field(name)
            if field is None or field.kind is not _VALUE or not is_json(value):
                return False
        total = sum(map(len, writes.values()))
        return sum(run.sizes.values()) + total <= limits.state_bytes

    def apply(self, run: InFlight, outcome: Outcome, limits: Limits) -> Outcome:
        """Write what a run wrote and sent; gives an outcome with a failure when it may not."""
        try:
            _check_sizes(run, outcome, limits.state_bytes)
            if outcome.items:
                self._items.check(run, outcome.items, limits)
            # All of it or nothing: a run that may not write one thing writes none.
            with self._database.savepoint():
                for name, value in outcome.writes.items():
                    self._write(run, name, value)
                if outcome.items:
                    self._items.write(run, outcome.items)
                for send in outcome.sends:
                    self._send(run, send)
                if outcome.reminds:
                    self._remind(run, outcome.reminds, limits)
                if outcome.notices:
                    self._notices.say(run.charm, checked_texts(outcome.notices))
        except InvalidInput as error:
            is_size = isinstance(error, StateTooLarge)
            cause = FailureCause.STATE_SIZE if is_size else FailureCause.STATE
            failure = Failure(cause, short_message(str(error)))
            return Outcome(outcome.duration_seconds, failure=failure)
        return outcome

    def _write(self, run: InFlight, name: str, value: bytes) -> None:
        link = run.links.get(name)
        field = run.charm.schema.field(name)
        if field is not None and field.kind is FieldKind.CELL and link is not None:
            target = self._store.charms.get(link.target_key)
            if target is None or not self._may_write(run, name):
                raise InvalidInput(f"Field {name!r} is a link that may only be read.")
            self._write_through(target, link, value)
            return
        if field is None or field.kind not in _OWN:
            raise InvalidInput(f"{name!r:.100} is no field that a run can write.")
        now_declared = self._store.charms.get(run.claim.charm_key)
        # A field that an update took away meanwhile has no place any more.
        if now_declared is not None and now_declared.schema.field(name) is not None:
            self._store.cells.write(now_declared, name, value)

    def _write_through(self, target: CharmRecord, link: Link, value: bytes) -> None:
        """Write into the state of another charm, within the limit of that one."""
        _check_json(link.field, value)
        field = target.schema.field(link.path[0]) if link.path else None
        if field is None or field.kind not in _OWN or target.removed_at is not None:
            raise InvalidInput(f"Field {link.field!r} links to nothing that can be written.")
        before = self._store.cells.total_bytes(target.charm_key)
        self._store.links.write(target, link, value)
        after = self._store.cells.total_bytes(target.charm_key)
        check_state_size(after, before, self._limits.of(target).state_bytes)

    def _send(self, run: InFlight, send: Send) -> None:
        _check_json(send.field, send.event)
        link = run.links.get(send.field)
        target = self._store.charms.get(link.target_key) if link else None
        if link is None or target is None or target.removed_at is not None:
            raise InvalidInput(f"Field {send.field!r:.100} is no link to a stream of a charm.")
        if not self._may_write(run, send.field):
            raise InvalidInput(f"Field {send.field!r} is a link that may only be read.")
        stream = "/".join(link.path)
        if stream not in target.schema.streams:
            raise InvalidInput(f"{target.ref} has no stream {stream!r} any more.")
        self._queue.put_send(
            target.space_key,
            target.charm_key,
            target.ref,
            stream,
            self._seals.kept(target, stream, send.event),
            run_at=self._clock.steady(),
            now=self._clock.now(),
            is_held=not self._store.health.get(target.charm_key).is_enabled,
            not_before=self._waiting.not_before(target.charm_key),
        )

    def _remind(self, run: InFlight, reminds: Sequence[Remind], limits: Limits) -> None:
        """Add, replace and take back reminders, in the order in which the run asked for it."""
        charm = self._store.charms.get(run.claim.charm_key)
        assert charm is not None
        reminders = Reminding(self._store, charm, self._clock.now(), limits.state_bytes)
        for one in reminds:
            if one.stream:
                _check_json(one.name or one.stream, one.event)
                reminders.put(one)
            else:
                reminders.forget(one.name)
        reminders.check_room()

    def _may_write(self, run: InFlight, name: str) -> bool:
        link = run.links[name]
        target = self._store.charms.get(link.target_key)
        return link.is_writable or (target is not None and target.space_key == run.claim.space_key)


def _check_sizes(run: InFlight, outcome: Outcome, most_bytes: int) -> None:
    """Raise StateTooLarge for more than a run may leave, or than its charm may hold."""
    events = [send.event for send in outcome.sends] + [one.event for one in outcome.reminds]
    check_run_size(outcome.writes, events, most_bytes)
    before = sum(run.sizes.values())
    grown = sum(
        len(value) - run.sizes.get(name, 0)
        for name, value in outcome.writes.items()
        if name not in run.links
    )
    check_state_size(before + grown, before, most_bytes)


def _check_json(name: str, value: bytes) -> None:
    try:
        check_json(value)
    except ValueError as error:
        raise InvalidInput(f"What it left for {name!r:.100}: {error}.") from None

"""Commands about events that are sent later: a person's own, and taking back anybody's."""

from __future__ import annotations

from bg_charm_service.domain.errors import InvalidInput, NotFound
from bg_charm_service.domain.model import CharmRef, Remind
from bg_charm_service.domain.views import ReminderView
from bg_charm_service.service.commands.context import CommandContext
from bg_charm_service.service.commands.polling import need_stream
from bg_charm_service.storage.records import Reminder
from bg_charm_service.supervisor.limit_resolver import LimitResolver
from bg_charm_service.supervisor.reminders import Reminding


class ReminderCommands:
    """What is to be sent when its time comes."""

    def __init__(self, context: CommandContext, limits: LimitResolver) -> None:
        self._context = context
        self._supervisor = context.supervisor
        self._parts = context.parts
        self._store = context.store
        self._limits = limits

    def send_later(
        self, ref: CharmRef, stream: str | None, event: bytes, *, at: float | None, after: float
    ) -> ReminderView:
        """Have an event sent at a moment, or after so many seconds; outlasts restarts."""
        self._context.check_open()
        charm = self._context.owned_charm(ref)
        name = need_stream(charm, stream)
        now = self._parts.clock.now()
        if at is not None and at < now:
            raise InvalidInput("at: That moment has passed.")
        with self._context.change("send later", ref, detail=name):
            reminding = Reminding(self._store, charm, now, self._limits.of(charm).state_bytes)
            made = reminding.put(Remind("", name, event, at, after))
            reminding.check_room()
        self._context.tell(ref, "reminder")
        self._supervisor.wake()
        return reminder_view(made)

    def of(self, ref: CharmRef) -> list[ReminderView]:
        """The reminders of a charm, the next one first."""
        charm = self._context.charm(ref)
        return [reminder_view(one) for one in self._store.reminders.of(charm.charm_key)]

    def forget(self, ref: CharmRef, name: str) -> None:
        """Take a reminder back; raises NotFound."""
        charm = self._context.owned_charm(ref)
        with self._context.change("forget", ref, detail=name):
            if not self._store.reminders.drop(charm.charm_key, name):
                raise NotFound(
                    f"{charm.name} has no reminder {name:.100}; `charm show` names them."
                )
        self._context.tell(ref, "reminder")


def reminder_view(reminder: Reminder) -> ReminderView:
    """Show a reminder."""
    return ReminderView(
        name=reminder.shown_name,
        stream=reminder.stream,
        remind_at=reminder.remind_at,
        created_at=reminder.created_at,
        size_bytes=len(reminder.event),
    )

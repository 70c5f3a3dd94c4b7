"""Commands about notices: where they go, trying that, and what was sent.

Only the operator gives targets, also those of a space. Their addresses are secrets: they come in,
and never go out again.
"""

from __future__ import annotations

import time

from bg_charm_service.domain.errors import Conflict, InvalidInput
from bg_charm_service.domain.notice_urls import (
    check_target_url,
    masked_target,
    note_about,
    scheme_of,
)
from bg_charm_service.domain.notices import (
    OF_A_SPACE,
    OF_THE_SERVICE,
    Message,
    MessageStatus,
    Target,
    body_of,
    read_kinds,
)
from bg_charm_service.domain.views import AddedTarget, MessageView, TargetView
from bg_charm_service.notices.messages import Check, ReportKind
from bg_charm_service.service.commands.context import CommandContext
from bg_charm_service.service.notices.delivery import find_target
from bg_charm_service.service.notices.telling import Telling

#: There are so many targets at most.
MOST_TARGETS = 100

#: For how a target does, so many of the newest messages are looked through.
_LOOKED_THROUGH = 300

_MOST_NAME = 60


class NoticeCommands:
    """Who is told, and what was told."""

    def __init__(self, context: CommandContext, telling: Telling) -> None:
        self._context = context
        self._parts = context.parts
        self._store = context.store
        self._telling = telling
        self._book = telling.book

    async def add(
        self, url: str, *, name: str, space: str, kinds: list[str], down_after_seconds: float
    ) -> AddedTarget:
        """Have notices sent to an address from now on, of one space or of none.

        Without kinds it gets all that there are for it. Raises InvalidInput, Conflict, NotFound.
        """
        self._context.check_open()
        sender, url = self._telling.sender, url.strip()
        check_target_url(url, sender.closed_ports, may_be_local=sender.may_be_local)
        targets = self._book.targets
        if len(targets) >= MOST_TARGETS:
            raise Conflict(f"There are {MOST_TARGETS} targets; remove one first.")
        name = name or _free_name(scheme_of(url), {one.name for one in targets})
        if len(name) > _MOST_NAME or not name.isprintable() or not name.strip() or "/" in name:
            raise InvalidInput(f"name: {name!r:.80} is no name of a target.")
        if any(one.name == name for one in targets):
            raise Conflict(f"There is a target {name} already; remove it, or choose another name.")
        try:
            wanted = read_kinds(kinds, is_of_space=bool(space))
        except ValueError as error:
            raise InvalidInput(f"kinds: {error}.") from None
        report = await sender.do(Check(url))
        if report.kind is not ReportKind.DONE:
            raise InvalidInput(f"url: {report.why}")
        home = self._context.known_space(space) if space else None
        with self._context.change("add target", space=home.did if home else "", detail=name):
            target = Target(
                0,
                name,
                masked_target(url),
                home.space_key if home is not None else 0,
                wanted,
                down_after_seconds,
                created_at=self._parts.clock.now(),
            )
            added = self._store.notice_targets.add(target, url)
            self._book.reload()
        return AddedTarget(self._view(added, []), note_about(url))

    def targets(self) -> list[TargetView]:
        """Give every target, and how it does."""
        newest = self._store.notice_messages.newest(0, _LOOKED_THROUGH)
        return [self._view(one, newest) for one in self._book.targets]

    def remove(self, name: str) -> None:
        """Send nothing more to a target; raises NotFound, Conflict for one of the settings."""
        target = find_target(self._book.targets, name)
        if target.is_given:
            raise Conflict(f"{name} is one of --notify or NOTIFY_URLS: take it out there.")
        with self._context.change("remove target", detail=name):
            self._store.notice_targets.drop(target.target_id)
            self._book.reload()

    async def test(self, name: str) -> MessageView:
        """Send a message to a target now, and tell what came of it; raises NotFound."""
        self._context.check_open()
        target = find_target(self._book.targets, name)
        with self._context.change("test target", detail=name):
            pass
        return _message_view(await self._telling.delivery.test(target))

    def messages(self, before: int, limit: int) -> list[MessageView]:
        """Give the newest messages, from before an id; 0 for the newest of all."""
        return [_message_view(one) for one in self._store.notice_messages.newest(before, limit)]

    def _view(self, target: Target, newest: list[Message]) -> TargetView:
        own = [one for one in newest if one.target_id == target.target_id]
        sent = next((one for one in own if one.status is MessageStatus.SENT), None)
        problem = own[0].problem if own and own[0].status is not MessageStatus.SENT else ""
        space = self._store.spaces.get(target.space_key) if target.space_key else None
        of_all = OF_A_SPACE if target.space_key else OF_THE_SERVICE
        return TargetView(
            name=target.name,
            shown=target.shown,
            space=space.did if space is not None else "",
            space_name=space.name if space is not None else "",
            kinds=tuple(sorted(target.kinds or of_all)),
            down_after_seconds=target.down_after_seconds,
            is_given=target.is_given,
            last_sent_at=sent.tried_at if sent is not None else 0.0,
            waiting=sum(
                one.status in (MessageStatus.WAITING, MessageStatus.SENDING) for one in own
            ),
            problem=problem,
        )


def _message_view(message: Message) -> MessageView:
    moments = [time.strftime("%H:%M:%S", time.localtime(line.at)) for line in message.lines]
    return MessageView(
        message_id=message.message_id,
        target=message.target_name,
        shown=message.shown,
        title=message.title,
        text=body_of(message, moments),
        count=message.count,
        status=message.status,
        tries=message.tries,
        created_at=message.created_at,
        tried_at=message.tried_at,
        problem=message.problem,
    )


def _free_name(scheme: str, taken: set[str]) -> str:
    number = 1
    while f"{scheme}-{number}" in taken:
        number += 1
    return f"{scheme}-{number}"

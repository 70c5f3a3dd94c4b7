"""Delivers notices: puts those that wait into messages, and sends each of these to its target.

Each target is one for itself: one that fails holds nobody up. That a message is about to be sent is
on disk before it is, so that after a death of the service the one that was under way, and no other,
may come twice. What fails is tried again with growing delays that outlast restarts. A target that
cannot be reached has one message, which what happens meanwhile is added to. Run by the service.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

from loguru import logger
from msgspec.structs import replace

from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.errors import NotFound, StorageError
from bg_charm_service.domain.notices import (
    LONGEST_DELAY_SECONDS,
    MOST_TRIES,
    Line,
    Message,
    MessageStatus,
    NoticeKind,
    Target,
    body_of,
    merged,
)
from bg_charm_service.domain.outcomes.backoff import notice_delay_seconds
from bg_charm_service.notices.messages import Deliver, Report, ReportKind
from bg_charm_service.notices.notice_client import SendsNotices
from bg_charm_service.storage.contract import Storage
from bg_charm_service.storage.records import WaitingNotice
from bg_charm_service.supervisor.notices import NoticeBook
from bg_charm_service.supervisor.storage_health import StorageHealth

#: So many notices are put into messages in one transaction.
_SLICE = 500

#: Messages are shown for so long, in seconds, and so many of them.
_KEPT_SECONDS = 30 * 86400.0
_KEPT = 1000

#: Charms that are gone are looked for so often at most, in seconds.
_TIDY_SECONDS = 3600.0

#: How often it is tried to store what came of a message where a disk would not take it, in seconds.
_STORE_SECONDS = 1.0

#: How long a stop waits for what is being sent, in seconds.
_STOP_SECONDS = 5.0

#: What is told of a message that was being sent when the service died.
_CUT_OFF = "The service ended while it was being sent: it may have come twice."


class NoticeDelivery:
    """Messages on their way."""

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        random: Callable[[], float],
        book: NoticeBook,
        sender: SendsNotices,
        storage_health: StorageHealth,
        gather_seconds: float,
    ) -> None:
        self._database = storage.database
        self._store = storage.store
        self._clock = clock
        self._random = random
        self._book = book
        self._sender = sender
        self._storage_health = storage_health
        #: So long what happens is gathered before it is sent as one message.
        self._gather_seconds = gather_seconds
        self._stirred = asyncio.Event()
        #: By target, what is being sent to it.
        self._under_way: dict[int, asyncio.Task[None]] = {}
        #: The targets that did not take their last message.
        self._failing: set[int] = set()
        self._is_stopped = False
        self._tidy_at = 0.0
        #: How many messages no target has taken, as of the last step.
        self.waiting = 0
        #: How messages ended since the start: sent, failed (and tried again), given up.
        self.results: Counter[str] = Counter()
        book.on_notice.append(self._stirred.set)

    def recover(self) -> None:
        """Go on where an earlier life ended; inside no transaction."""
        if not self._book.targets:
            return
        steady = self._clock.steady()
        with self._database.transaction():
            self._store.notices.bring_near(steady)
            self._store.notice_messages.bring_near(steady)
            for message in self._store.notice_messages.open():
                if message.status is MessageStatus.SENDING:
                    self._store.notice_messages.put(
                        replace(message, status=MessageStatus.WAITING, problem=_CUT_OFF)
                    )

    async def run(self) -> None:
        """Deliver until cancelled; asleep while there is nothing to tell."""
        while True:
            self._stirred.clear()
            next_at: float | None = self._clock.steady() + _STORE_SECONDS
            with self._storage_health.noting():
                next_at = self.step()
            left = None if next_at is None else max(0.0, next_at - self._clock.steady())
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._stirred.wait()

    def step(self) -> float | None:
        """Do what is due now; gives when there is more, by the steady clock. None for never.

        Raises StorageError, with nothing done that is not on disk.
        """
        if not self._book.targets or self._is_stopped:
            return None
        moments = [self._gather(), *self._begin_due()]
        known = [moment for moment in moments if moment is not None]
        return min(known) if known else None

    async def stop(self) -> None:
        """Begin nothing more, and wait a little for what is being sent; twice is fine."""
        self._is_stopped = True
        tasks = list(self._under_way.values())
        if tasks:
            await asyncio.wait(tasks, timeout=_STOP_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def test(self, target: Target) -> Message:
        """Send a message to a target now, whatever waits; gives what came of it."""
        text = "This is a test: notices of this service arrive here."
        line = Line(NoticeKind.TEST, text, self._clock.now())
        with self._database.transaction():
            message = self._store.notice_messages.add(
                target, [line], {NoticeKind.TEST.value: 1}, self._clock.now()
            )
            message = self._begun(message)
        report = await self._send(message)
        with self._database.transaction():
            # Somebody looks: it is not tried again.
            return self._settled(message, report, is_last=True)

    # What happened becomes messages.

    def _gather(self) -> float | None:
        """Put notices into messages once they were gathered for a while; gives when that is."""
        first = self._store.notices.next_due()
        if first is None:
            return None
        steady = self._clock.steady()
        if steady < first + self._gather_seconds:
            return first + self._gather_seconds
        with self._database.transaction():
            due = self._store.notices.due(steady, _SLICE)
            self._put_into_messages(due)
            self._store.notices.take(due, steady)
            self._tidy(steady)
        return steady if len(due) == _SLICE else self._store.notices.next_due()

    def _put_into_messages(self, due: Sequence[WaitingNotice]) -> None:
        due = sorted(due, key=lambda one: one.happened_at)
        messages = self._store.notice_messages
        for target in self._book.targets:
            lines = [
                Line(one.notice.kind, one.notice.text, one.happened_at, one.times)
                for one in due
                if target.takes(one.notice)
            ]
            if not lines:
                continue
            waiting = next(
                (
                    one
                    for one in messages.open()
                    if one.target_id == target.target_id and one.status is MessageStatus.WAITING
                ),
                None,
            )
            if waiting is None:
                first, counts = merged((), {}, lines)
                messages.add(target, first, counts, self._clock.now())
            else:
                first, counts = merged(waiting.lines, waiting.counts, lines)
                messages.put(replace(waiting, lines=first, counts=counts))

    def _tidy(self, steady: float) -> None:
        """Forget what was told long ago, and now and then what concerns charms that are gone."""
        self._store.notices.prune(steady, _SLICE)
        self._store.notice_messages.prune(self._clock.now() - _KEPT_SECONDS, _KEPT)
        if steady >= self._tidy_at:
            self._tidy_at = steady + _TIDY_SECONDS
            self._book.forget_removed()

    # Messages are sent.

    def _begin_due(self) -> list[float]:
        """Begin to send what is due, one message for each target; gives when others are."""
        steady = self._clock.steady()
        later = []
        seen = set(self._under_way)
        messages = self._store.notice_messages.open()
        self.waiting = len(messages)
        for message in messages:
            if message.target_id in seen or message.status is not MessageStatus.WAITING:
                continue
            # Those of one target keep their order.
            seen.add(message.target_id)
            if message.next_at > steady:
                later.append(message.next_at)
                continue
            with self._database.transaction():
                begun = self._begun(message)
            task = asyncio.create_task(self._deliver(begun))
            self._under_way[message.target_id] = task
        return later

    def _begun(self, message: Message) -> Message:
        """Note that a message is about to be sent, before it is."""
        begun = replace(
            message,
            status=MessageStatus.SENDING,
            tries=message.tries + 1,
            tried_at=self._clock.now(),
        )
        self._store.notice_messages.put(begun)
        return begun

    async def _deliver(self, message: Message) -> None:
        try:
            try:
                report = await self._send(message)
            except Exception:
                logger.bind(event="notice_fault").exception("A notice could not be sent")
                report = Report(ReportKind.FAULT, "It could not be sent; the log says why.")
            while True:
                try:
                    with self._database.transaction():
                        self._settled(message, report)
                    return
                except StorageError as error:
                    # It would be sent again.
                    self._storage_health.note(error)
                    await asyncio.sleep(_STORE_SECONDS)
        finally:
            del self._under_way[message.target_id]
            self._stirred.set()

    async def _send(self, message: Message) -> Report:
        url = self._store.notice_targets.url(message.target_id)
        if url is None:
            return Report(ReportKind.REFUSED, "The target was removed.")
        moments = [
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(line.at)) for line in message.lines
        ]
        title = f"{message.title} [{socket.gethostname()}]"
        return await self._sender.do(
            Deliver(url, title, body_of(message, moments), message.severity)
        )

    def _settled(self, message: Message, report: Report, *, is_last: bool = False) -> Message:
        """Store what came of a message; inside a transaction."""
        is_sent = report.kind is ReportKind.DONE
        found = replace(message, status=MessageStatus.SENT, problem="")
        if not is_sent:
            is_last = is_last or message.tries >= MOST_TRIES
            delay = notice_delay_seconds(message.tries, self._random(), self._gather_seconds)
            if report.kind is ReportKind.UNKNOWN:
                # It may have come: who is only slow is not sent it again at once.
                delay = max(delay, 2 * self._sender.timeout_seconds)
            found = replace(
                message,
                status=MessageStatus.FAILED if is_last else MessageStatus.WAITING,
                next_at=self._clock.steady() + min(delay, LONGEST_DELAY_SECONDS),
                problem=report.why,
            )
        stored = self._store.notice_messages.get(message.message_id)
        if stored is None or stored.status is not MessageStatus.SENDING:
            # Its target was removed meanwhile.
            return stored or found
        self._store.notice_messages.put(found)
        self._database.after_commit(lambda: self._tell(found))
        return found

    def _tell(self, message: Message) -> None:
        """Count what came of a message, and log it: a target that fails once, until it does not."""
        target = message.target_id
        bound = logger.bind(event="notice", target=message.target_name, notices=message.count)
        if message.status is MessageStatus.SENT:
            self.results["sent"] += 1
            self._failing.discard(target)
            bound.info("Notice sent to {}: {}", message.target_name, message.title)
            return
        is_given_up = message.status is MessageStatus.FAILED
        self.results["given up" if is_given_up else "failed"] += 1
        if target not in self._failing or is_given_up:
            self._failing.add(target)
            how = "given up" if is_given_up else "tried again"
            bound.warning(
                "A notice was not sent to {}, and is {}: {}",
                message.target_name,
                how,
                message.problem,
            )


def find_target(targets: Sequence[Target], name: str) -> Target:
    """Give a target by its name; raises NotFound."""
    found = next((one for one in targets if one.name == name), None)
    if found is None:
        raise NotFound(f"There is no target {name!r:.60}. See `bg-charm-service notify list`.")
    return found

"""A simulated receiver of notices: it takes them, refuses them, and its answers are lost.

It outlives the service. What the service has on disk is held against what it knows: nothing that
was caused is untold, and nothing comes twice but what was being sent when a life ended.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from bg_charm_service.domain.notice_urls import GivenTarget
from bg_charm_service.domain.notices import OF_THE_SERVICE, NoticeKind
from bg_charm_service.notices.messages import Deed, Deliver, Report, ReportKind
from bg_charm_service.service.notices.telling import NoticeRules
from tests.simulation.disk import FaultyConnection

#: How long sending may take, and how long notices are gathered, in seconds.
TIMEOUT_SECONDS = 10.0
_GATHER_SECONDS = 1.0

#: Who is told of everything.
RULES = NoticeRules(
    targets=(
        GivenTarget(
            "jsons://example.org/told",
            kinds=tuple(sorted(OF_THE_SERVICE | {NoticeKind.CHARM})),
        ),
    ),
    gather_seconds=_GATHER_SECONDS,
    timeout_seconds=TIMEOUT_SECONDS,
)

_SENDING = "SELECT message_id FROM notice_messages WHERE status = 'sending'"
_NOTICES = "SELECT notice_id, kind, charm_key, count, taken_at IS NOT NULL FROM notices"
_MESSAGES = "SELECT message_id, counts, status FROM notice_messages"
_UNTOLD = """SELECT charm_key, disabled_by FROM health JOIN charms USING (charm_key)
    WHERE removed_at IS NULL AND disabled_by IN ('failures', 'service', 'sign_in')
    AND CAST(charm_key AS TEXT) NOT IN
        (SELECT subject FROM incidents WHERE kind IN ('disabled', 'sign_in'))"""
_OPEN = """SELECT message_id FROM notice_messages
    WHERE status IN ('waiting', 'sending') AND created_at < ?"""


class Fate(StrEnum):
    """What becomes of one message."""

    TAKEN = "takes it"
    REFUSED = "refuses it"
    UNHEARD = "never hears of it"
    LOST = "takes it, and its answer is lost"


_ODDS = {Fate.TAKEN: 6, Fate.REFUSED: 3, Fate.UNHEARD: 1, Fate.LOST: 1}


@dataclass(slots=True)
class SimulatedReceiver:
    """Takes what the service sends, in all of its lives."""

    random: random.Random
    problems: list[str]
    note: Callable[[str], None]
    connection: Callable[[], FaultyConnection | None]
    is_calm: Callable[[], bool]
    timeout_seconds: float = TIMEOUT_SECONDS
    may_be_local: bool = False
    closed_ports: frozenset[int] = frozenset()
    life: int = 0
    #: Lives that ended badly, or with a disk that failed: what was under way may come twice.
    excused: set[int] = field(default_factory=set)
    #: Told when a message is on its way, and when it was taken.
    on_stage: Callable[[], None] = lambda: None
    #: How often each message was taken; in which life the service was told so last.
    taken: Counter[int] = field(default_factory=Counter)
    told_in: dict[int, int] = field(default_factory=dict)
    #: By notice: of which charm it is where one said it, how often, and whether it is in a message.
    notices: dict[int, tuple[int, int, bool]] = field(default_factory=dict)
    #: How many notices each message has.
    messages: dict[int, int] = field(default_factory=dict)
    #: How often each charm that says something with each success has succeeded.
    successes: Counter[int] = field(default_factory=Counter)

    async def do(self, deed: Deed) -> Report:
        """Take a message, or not, in its time."""
        if not isinstance(deed, Deliver):
            return Report(ReportKind.DONE)
        connection = self.connection()
        assert connection is not None
        sending = connection.bare(_SENDING).fetchall()
        if connection.in_transaction or len(sending) != 1:
            self.problems.append("a message is sent, and that is not on disk")
            return Report(ReportKind.DONE)
        ((message_id,),) = sending
        told_in = self.told_in.get(message_id)
        if told_in is not None and told_in not in self.excused:
            self.problems.append(f"message {message_id} is sent again, and was taken")
        fate = Fate.TAKEN
        if not self.is_calm():
            (fate,) = self.random.choices(list(_ODDS), list(_ODDS.values()))
        self.note(f"receiver: {fate}: message {message_id}")
        self.on_stage()
        await asyncio.sleep(self.random.choice([0.01, 1.0, 4.0]))
        if fate is Fate.REFUSED:
            return Report(ReportKind.REFUSED, "It answered 500.")
        if fate is not Fate.UNHEARD:
            self.taken[message_id] += 1
            self.on_stage()
        if fate is not Fate.TAKEN:
            await asyncio.sleep(TIMEOUT_SECONDS)
            return Report(ReportKind.UNKNOWN, "There was no answer.")
        self.told_in[message_id] = self.life
        return Report(ReportKind.DONE)

    def broken(self, connection: FaultyConnection) -> Iterator[str]:
        """Name what was caused and is untold, and what was told and never caused."""
        for charm_key, how in connection.bare(_UNTOLD).fetchall():
            yield f"charm {charm_key} was disabled by {how}, and that is not told"
        for notice_id, kind, charm_key, count, is_taken in connection.bare(_NOTICES).fetchall():
            said_by = charm_key if kind == "charm" else 0
            self.notices[notice_id] = (said_by, count, bool(is_taken))
        said: Counter[int] = Counter()
        for charm_key, count, _ in self.notices.values():
            said[charm_key] += count
        for charm_key, count in self.successes.items():
            if said[charm_key] != count:
                yield f"charm {charm_key} has said {count} things, and {said[charm_key]} are told"
        for message_id, counts, status in connection.bare(_MESSAGES).fetchall():
            self.messages[message_id] = sum(json.loads(counts).values())
            if status == "sent" and not self.taken[message_id]:
                yield f"message {message_id} counts as sent, and nobody took it"
        in_messages = sum(self.messages.values())
        gathered = sum(count for _, count, is_taken in self.notices.values() if is_taken)
        if in_messages != gathered:
            yield f"{gathered} notices were put into messages, which have {in_messages}"

    def unsent(self, connection: FaultyConnection, before: float) -> Iterator[str]:
        """Name the messages from before a moment that are still to be sent."""
        for (message_id,) in connection.bare(_OPEN, (before,)):
            yield f"message {message_id} was never sent"

"""What operators are told of without asking: the kinds of notices, who gets which, how they read.

Pure: values, and the texts of notices and messages. Addresses of targets are in `notice_urls`.
Used by whoever causes a notice, by the service that delivers it, and by the commands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from bg_charm_service.domain.disclosure import OpenText
from bg_charm_service.domain.text_limits import NOTICE_CHARACTERS, cut

#: A provider is down for so long before anybody is told, unless the target says otherwise.
DOWN_AFTER_SECONDS: Final = 600.0

#: The same thing is told so often at most, in seconds.
SAME_THING_SECONDS: Final = 3600.0

#: So long a message waits at most before it is tried again, in seconds; so often it is tried.
LONGEST_DELAY_SECONDS: Final = 3600.0
MOST_TRIES: Final = 80

#: A charm says so many different things in an hour; what else it says is told as one, later.
MOST_OF_A_CHARM: Final = 10

#: So many notices wait for themselves; others of their kind and space are one, with the count.
MOST_WAITING: Final = 1000

#: So many notices of a message are written out; the others are counted.
MOST_LINES: Final = 25


class NoticeKind(StrEnum):
    """What happened."""

    DISABLED = "disabled"  #: failures, or deaths of the service, switched a charm off
    RECOVERED = "recovered"  #: one that was, or that needed a sign-in, has succeeded
    SIGN_IN = "sign_in"  #: a person has to sign in again
    STOPPED = "stopped"  #: a charm said that it is done
    DOWN = "down"  #: a provider answers nobody, for longer than a while
    UP = "up"  #: it does again
    STALE = "stale"  #: a charm's state does not change as its class expects
    UNHEALTHY = "unhealthy"  #: the service is not as it should be
    HEALTHY = "healthy"  #: it is again
    BACKUP = "backup_failed"  #: a backup was not made, or not carried away
    DEAD_LETTER = "dead_letter"  #: an event was given up
    CHARM = "charm"  #: a charm said so: `self.notify`
    TEST = "test"  #: somebody tries a target


#: What a target without a space gets that names no kinds: what charms say is their spaces'.
OF_THE_SERVICE: Final = frozenset(NoticeKind) - {NoticeKind.CHARM, NoticeKind.TEST}

#: What a target of a space can get.
OF_A_SPACE: Final = OF_THE_SERVICE - {
    NoticeKind.UNHEALTHY,
    NoticeKind.HEALTHY,
    NoticeKind.BACKUP,
} | {NoticeKind.CHARM}

#: How bad a message is, as those say that show colours: the worst of its notices.
_BAD: Final = {
    NoticeKind.DISABLED: "failure",
    NoticeKind.UNHEALTHY: "failure",
    NoticeKind.BACKUP: "failure",
    NoticeKind.SIGN_IN: "warning",
    NoticeKind.DOWN: "warning",
    NoticeKind.STALE: "warning",
    NoticeKind.DEAD_LETTER: "warning",
}
_GOOD: Final = {NoticeKind.RECOVERED, NoticeKind.UP, NoticeKind.HEALTHY}

#: What each kind is called when it is counted.
_COUNTED: Final = {
    NoticeKind.DISABLED: "disabled",
    NoticeKind.RECOVERED: "recovered",
    NoticeKind.SIGN_IN: "to sign in again",
    NoticeKind.STOPPED: "stopped",
    NoticeKind.DOWN: "down",
    NoticeKind.UP: "back",
    NoticeKind.STALE: "stale",
    NoticeKind.UNHEALTHY: "unhealthy",
    NoticeKind.HEALTHY: "healthy again",
    NoticeKind.BACKUP: "backup failed",
    NoticeKind.DEAD_LETTER: "dead letters",
    NoticeKind.CHARM: "said by charms",
    NoticeKind.TEST: "tests",
}


class Notice(msgspec.Struct, frozen=True):
    """One thing that happened, about which somebody is to be told.

    `subject` says which thing, for the same kind: what is the same is told once an hour.
    `space_key` and `charm_key` are 0 where it concerns none. `is_for_space` for what only the
    targets of that space are told; `after_seconds` is how long they wait for it, where that is
    chosen.
    """

    kind: NoticeKind
    subject: str
    text: str
    space_key: int = 0
    charm_key: int = 0
    is_for_space: bool = False
    after_seconds: float = 0.0


class Incident(msgspec.Struct, frozen=True):
    """Something that was told, and whose end is to be told, or at least seen.

    `since` is by the wall clock.
    """

    kind: NoticeKind
    subject: str
    since: float
    space_key: int = 0
    charm_key: int = 0
    after_seconds: float = 0.0


class Target(msgspec.Struct, frozen=True):
    """Where notices go, but for its address; `space_key` is 0 for what is of no single space.

    `shown` is the masked address. Without `kinds` it gets those that there are for it.
    `is_given` for one of the settings, which no command removes.
    """

    target_id: int
    name: str
    shown: str
    space_key: int = 0
    kinds: frozenset[NoticeKind] = frozenset()
    down_after_seconds: float = DOWN_AFTER_SECONDS
    is_given: bool = False
    created_at: float = 0.0

    def takes(self, notice: Notice) -> bool:
        """Whether it is told of something."""
        if not self.takes_kind(notice.kind):
            return False
        if notice.after_seconds and notice.after_seconds != self.down_after_seconds:
            return False
        if self.space_key:
            return notice.space_key == self.space_key
        return not notice.is_for_space

    def takes_kind(self, kind: NoticeKind) -> bool:
        """Whether it is told of things of a kind."""
        of_all = OF_A_SPACE if self.space_key else OF_THE_SERVICE
        return kind in (self.kinds or of_all)


class Line(msgspec.Struct, frozen=True):
    """A notice as a message has it: what, when for the last time, and how often since the last."""

    kind: NoticeKind
    text: str
    at: float
    count: int = 1


class MessageStatus(StrEnum):
    """What became of a message."""

    WAITING = "waiting"  #: it is to be sent, for the first time or again
    SENDING = "sending"  #: being sent: after a death nobody knows whether it was
    SENT = "sent"
    FAILED = "failed"  #: given up


class Message(msgspec.Struct, frozen=True):
    """What is sent to one target in one go; `counts` says how many notices of each kind it has.

    `next_at` is when it is to be sent, by the steady clock; the others are by the wall clock.
    """

    message_id: int
    target_id: int
    target_name: OpenText
    shown: OpenText
    lines: tuple[Line, ...]
    counts: dict[str, int]
    created_at: float
    status: MessageStatus = MessageStatus.WAITING
    tries: int = 0
    next_at: float = 0.0
    tried_at: float = 0.0
    problem: str = ""

    @property
    def count(self) -> int:
        """How many notices it has, those with it that are only counted."""
        return sum(self.counts.values())

    @property
    def title(self) -> str:
        """What it is about, on one line."""
        if self.count == 1 and self.lines:
            return cut(self.lines[0].text.partition("\n")[0], 120)
        kinds = [NoticeKind(kind) for kind in self.counts]
        parts = [f"{self.counts[kind]} {_COUNTED[kind]}" for kind in NoticeKind if kind in kinds]
        return f"{self.count} notices: {', '.join(parts)}"

    @property
    def severity(self) -> str:
        """How bad it is: failure, warning, success or info."""
        kinds = {NoticeKind(kind) for kind in self.counts}
        found = {_BAD[kind] for kind in kinds if kind in _BAD}
        if found:
            return min(found)
        return "success" if kinds & _GOOD else "info"


def body_of(message: Message, moment_text: Sequence[str]) -> str:
    """Give the text of a message; each line's moment as text comes along."""
    written = [
        f"{moment}  {line.text}" + (f" ({line.count} times)" if line.count > 1 else "")
        for line, moment in zip(message.lines, moment_text, strict=True)
    ]
    left = message.count - sum(line.count for line in message.lines)
    if left > 0:
        written.append(f"… and {left} more; `bg-charm-service status` and the page have them all.")
    return "\n".join(written)


def merged(
    lines: Sequence[Line], counts: dict[str, int], more: Sequence[Line]
) -> tuple[tuple[Line, ...], dict[str, int]]:
    """Add notices to those of a message: the oldest are written out, all are counted."""
    added = Counter(counts)
    for line in more:
        added[line.kind.value] += line.count
    return (*lines, *more)[:MOST_LINES], dict(added)


def read_kinds(names: Collection[str], *, is_of_space: bool) -> frozenset[NoticeKind]:
    """Read the kinds that a target is to get; raises ValueError naming those that there are."""
    there = OF_A_SPACE if is_of_space else OF_THE_SERVICE | {NoticeKind.CHARM}
    for name in names:
        if name not in there:
            known = ", ".join(kind for kind in NoticeKind if kind in there)
            raise ValueError(f"{name!r:.40} is no kind of notice; there are {known}")
    return frozenset(map(NoticeKind, names))


def about_charm(kind: NoticeKind, name: str, place: str, why: str) -> str:
    """Say what became of a charm; `place` is its address, as commands take it."""
    if kind is NoticeKind.CHARM:
        # Its own words, as it has arranged them.
        return cut(f"{name} ({place}): {why}", NOTICE_CHARACTERS)
    said = {
        NoticeKind.DISABLED: "was disabled",
        NoticeKind.RECOVERED: "works again",
        NoticeKind.SIGN_IN: "needs a person to sign in",
        NoticeKind.STOPPED: "has stopped itself",
        NoticeKind.STALE: "is stale",
        NoticeKind.DEAD_LETTER: "gave up an event, which is kept",
    }[kind]
    reason = " ".join(why.split())
    head = f"Charm {name} ({place}) {said}"
    return cut(f"{head}: {reason}" if reason else f"{head}.", NOTICE_CHARACTERS)

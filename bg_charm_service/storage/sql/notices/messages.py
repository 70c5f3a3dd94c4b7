"""Where notices are sent, and the messages: one row for each that goes to one target.

The address of a target is encrypted, as secrets are. A message keeps the name of its target, so
that what was sent can be shown after that was removed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from bg_charm_service.domain.notices import (
    LONGEST_DELAY_SECONDS,
    Line,
    Message,
    MessageStatus,
    NoticeKind,
    Target,
)
from bg_charm_service.storage.sql.database import Database
from bg_charm_service.storage.sql.store.data_keys import Secrets

_TARGET = "target_id, name, shown, space_key, kinds, down_after_seconds, is_given, created_at"
_MESSAGE = (
    "message_id, target_id, target_name, shown, lines, counts, created_at, status, tries, next_at,"
    " tried_at, problem"
)


def _target(row: Any) -> Target:
    target_id, name, shown, space_key, kinds, after, is_given, created_at = row
    return Target(
        target_id,
        name,
        shown,
        space_key,
        frozenset(map(NoticeKind, filter(None, kinds.split(",")))),
        after,
        bool(is_given),
        created_at,
    )


def _message(row: Any) -> Message:
    message_id, target_id, name, shown, lines, counts, created_at, status, *rest = row
    return Message(
        message_id,
        target_id,
        name,
        shown,
        msgspec.json.decode(lines, type=tuple[Line, ...]),
        msgspec.json.decode(counts, type=dict[str, int]),
        created_at,
        MessageStatus(status),
        *rest,
    )


class NoticeTargets:
    """The table `notice_targets`."""

    def __init__(self, database: Database, secrets: Secrets) -> None:
        self._database = database
        self._secrets = secrets

    def all(self) -> list[Target]:
        """Every target, the oldest first."""
        rows = self._database.rows(f"SELECT {_TARGET} FROM notice_targets ORDER BY target_id")
        return [_target(row) for row in rows]

    def url(self, target_id: int) -> str | None:
        """The address of a target; None where there is no such target any more."""
        row = self._database.row(
            "SELECT sealed FROM notice_targets WHERE target_id = ?", (target_id,)
        )
        return None if row is None else self._secrets.decrypt(row[0], _place(target_id)).decode()

    def add(self, target: Target, url: str) -> Target:
        """Add a target, which is given its id; its name is nobody else's."""
        cursor = self._database.execute(
            "INSERT INTO notice_targets (name, shown, space_key, kinds, down_after_seconds,"
            " is_given, created_at, sealed) VALUES (?, ?, ?, ?, ?, ?, ?, x'')",
            (
                target.name,
                target.shown,
                target.space_key,
                _kinds(target),
                target.down_after_seconds,
                target.is_given,
                target.created_at,
            ),
        )
        assert cursor.lastrowid is not None
        added = msgspec.structs.replace(target, target_id=cursor.lastrowid)
        self._database.execute(
            "UPDATE notice_targets SET sealed = ? WHERE target_id = ?",
            (self._secrets.encrypt(url.encode(), _place(added.target_id)), added.target_id),
        )
        return added

    def change(self, target: Target) -> None:
        """Say anew what a target is called, and what it gets; its address stays."""
        self._database.execute(
            "UPDATE notice_targets SET name = ?, space_key = ?, kinds = ?, down_after_seconds = ?"
            " WHERE target_id = ?",
            (
                target.name,
                target.space_key,
                _kinds(target),
                target.down_after_seconds,
                target.target_id,
            ),
        )

    def drop(self, target_id: int) -> None:
        """Forget a target, and with it what was to be sent to it."""
        self._database.execute("DELETE FROM notice_targets WHERE target_id = ?", (target_id,))
        self._database.execute(
            "UPDATE notice_messages SET status = 'failed', problem = ? WHERE target_id = ?"
            " AND status IN ('waiting', 'sending')",
            ("The target was removed.", target_id),
        )


class NoticeMessages:
    """The table `notice_messages`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self, target: Target, lines: Sequence[Line], counts: Mapping[str, int], now: float
    ) -> Message:
        """Have something sent to a target, at once."""
        cursor = self._database.execute(
            "INSERT INTO notice_messages (target_id, target_name, shown, lines, counts, created_at,"
            " status, tries, next_at, tried_at, problem) VALUES (?, ?, ?, ?, ?, ?, 'waiting', 0, 0,"
            " 0, '')",
            (
                target.target_id,
                target.name,
                target.shown,
                msgspec.json.encode(lines),
                msgspec.json.encode(counts),
                now,
            ),
        )
        assert cursor.lastrowid is not None
        return Message(
            cursor.lastrowid,
            target.target_id,
            target.name,
            target.shown,
            tuple(lines),
            dict(counts),
            now,
        )

    def put(self, message: Message) -> None:
        """Say what became of a message, or what else is in it."""
        self._database.execute(
            "UPDATE notice_messages SET lines = ?, counts = ?, status = ?, tries = ?, next_at = ?,"
            " tried_at = ?, problem = ? WHERE message_id = ?",
            (
                msgspec.json.encode(message.lines),
                msgspec.json.encode(message.counts),
                message.status.value,
                message.tries,
                message.next_at,
                message.tried_at,
                message.problem,
                message.message_id,
            ),
        )

    def get(self, message_id: int) -> Message | None:
        """One message; None where it is not kept any more."""
        row = self._database.row(
            f"SELECT {_MESSAGE} FROM notice_messages WHERE message_id = ?", (message_id,)
        )
        return _message(row) if row else None

    def open(self) -> list[Message]:
        """All that are to be sent or are being sent, the oldest first: a few for each target."""
        rows = self._database.rows(
            f"SELECT {_MESSAGE} FROM notice_messages INDEXED BY notice_messages_open"
            " WHERE status IN ('waiting', 'sending') ORDER BY message_id"
        )
        return [_message(row) for row in rows]

    def bring_near(self, steady: float) -> None:
        """Let nothing be sent much later than a moment, which may be of another clock."""
        self._database.execute(
            "UPDATE notice_messages SET next_at = ?1"
            " WHERE status IN ('waiting', 'sending') AND next_at > ?1",
            (steady + LONGEST_DELAY_SECONDS,),
        )

    def newest(self, before: int, limit: int) -> list[Message]:
        """The newest messages, from before an id; 0 for from the newest."""
        rows = self._database.rows(
            f"SELECT {_MESSAGE} FROM notice_messages WHERE message_id < ?"
            " ORDER BY message_id DESC LIMIT ?",
            (before or 2**62, limit),
        )
        return [_message(row) for row in rows]

    def prune(self, before: float, keep: int) -> None:
        """Delete what is older than a moment, and all but the newest `keep`; not what is open."""
        self._database.execute(
            "DELETE FROM notice_messages WHERE status IN ('sent', 'failed') AND (created_at < ?1"
            " OR message_id <= (SELECT max(message_id) FROM notice_messages) - ?2)",
            (before, keep),
        )


def _kinds(target: Target) -> str:
    return ",".join(sorted(target.kinds))


def _place(target_id: int) -> str:
    """Name where an address is kept, as no cell is named."""
    return f"notice target {target_id}"

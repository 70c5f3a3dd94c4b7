"""What somebody is to be told, until it is put into messages; and what was told and is not over.

A notice is written in the transaction that causes it. The same thing is one row while it waits,
and waits until it was not told for an hour.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bg_charm_service.domain.notices import (
    MOST_WAITING,
    SAME_THING_SECONDS,
    Incident,
    Notice,
    NoticeKind,
)
from bg_charm_service.domain.text_limits import NOTICE_CHARACTERS, cut
from bg_charm_service.storage.records import WaitingNotice
from bg_charm_service.storage.sql.database import Database

_NOTICE = "kind, subject, text, space_key, charm_key, is_for_space, after_seconds"
_INCIDENT = "kind, subject, since, space_key, charm_key, after_seconds"

#: The subject of notices that are only counted.
_OTHERS = "*"


def _waiting(row: Any) -> WaitingNotice:
    notice_id, at, count, kind, subject, text, space_key, charm_key, is_for_space, after = row
    notice = Notice(
        NoticeKind(kind), subject, text, space_key, charm_key, bool(is_for_space), after
    )
    return WaitingNotice(notice_id, notice, at, count)


def _incident(row: Any) -> Incident:
    kind, *rest = row
    return Incident(NoticeKind(kind), *rest)


class Notices:
    """The tables `notices` and `incidents`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(
        self,
        notice: Notice,
        *,
        now: float,
        steady: float,
        again_seconds: float = SAME_THING_SECONDS,
    ) -> None:
        """Have something told, unless the same waits: then it is counted there."""
        if self._counted(notice, notice.subject, now):
            return
        if self._are_many():
            notice = Notice(
                notice.kind,
                f"{_OTHERS}{notice.space_key}",
                notice.text,
                notice.space_key,
                is_for_space=notice.is_for_space,
                after_seconds=notice.after_seconds,
            )
            if self._counted(notice, notice.subject, now):
                return
        (told_at,) = self._database.row(
            "SELECT max(taken_at) FROM notices WHERE kind = ? AND subject = ?",
            (notice.kind.value, notice.subject),
        )
        due_at = steady if told_at is None else max(steady, told_at + again_seconds)
        self._database.execute(
            f"INSERT INTO notices ({_NOTICE}, count, happened_at, noted_at, due_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?)",
            (
                notice.kind.value,
                notice.subject,
                cut(notice.text, NOTICE_CHARACTERS),
                notice.space_key,
                notice.charm_key,
                notice.is_for_space,
                notice.after_seconds,
                now,
                steady,
                due_at,
            ),
        )

    def said_since(self, charm_key: int, steady: float, limit: int) -> int:
        """How many different things a charm has said since a moment; `limit` for as many."""
        (count,) = self._database.row(
            "SELECT count(*) FROM (SELECT 1 FROM notices WHERE kind = 'charm' AND charm_key = ?"
            " AND noted_at > ? LIMIT ?) AS few",
            (charm_key, steady, limit),
        )
        return int(count)

    def next_due(self) -> float | None:
        """When the next notice is to be told, by the steady clock; None without any."""
        (due_at,) = self._database.row("SELECT min(due_at) FROM notices WHERE taken_at IS NULL")
        return None if due_at is None else float(due_at)

    def due(self, steady: float, limit: int) -> list[WaitingNotice]:
        """Up to so many notices that are to be told, those first that wait the longest."""
        rows = self._database.rows(
            f"SELECT notice_id, happened_at, count, {_NOTICE} FROM notices"
            " WHERE taken_at IS NULL AND due_at <= ? ORDER BY due_at, notice_id LIMIT ?",
            (steady, limit),
        )
        return [_waiting(row) for row in rows]

    def take(self, notices: Sequence[WaitingNotice], steady: float) -> None:
        """Note that notices are in messages, which the same transaction writes."""
        self._database.executemany(
            "UPDATE notices SET taken_at = ? WHERE notice_id = ?",
            [(steady, one.notice_id) for one in notices],
        )

    def prune(self, steady: float, limit: int) -> int:
        """Delete up to so many that were told long enough ago; gives how many these were."""
        return self._database.execute(
            "DELETE FROM notices WHERE notice_id IN (SELECT notice_id FROM notices"
            " WHERE taken_at < ? LIMIT ?)",
            (steady - SAME_THING_SECONDS, limit),
        ).rowcount

    def bring_near(self, steady: float) -> None:
        """Let nothing have been told after `steady`, nor be told much later than that."""
        latest = steady + SAME_THING_SECONDS
        self._database.execute(
            "UPDATE notices SET due_at = ?1 WHERE taken_at IS NULL AND due_at > ?1", (latest,)
        )
        self._database.execute("UPDATE notices SET taken_at = ?1 WHERE taken_at > ?1", (steady,))

    def incidents(self) -> list[Incident]:
        """All that was told and is not over."""
        rows = self._database.rows(f"SELECT {_INCIDENT} FROM incidents")
        return [_incident(row) for row in rows]

    def open(self, incident: Incident) -> None:
        """Remember that something is told whose end matters."""
        self._database.execute(
            f"INSERT OR REPLACE INTO incidents ({_INCIDENT}) VALUES (?, ?, ?, ?, ?, ?)",
            (
                incident.kind.value,
                incident.subject,
                incident.since,
                incident.space_key,
                incident.charm_key,
                incident.after_seconds,
            ),
        )

    def close(self, kind: NoticeKind, subject: str) -> None:
        """Forget it: it is over."""
        self._database.execute(
            "DELETE FROM incidents WHERE kind = ? AND subject = ?", (kind.value, subject)
        )

    def _counted(self, notice: Notice, subject: str, now: float) -> bool:
        """Count something where the same waits; says whether it does."""
        return bool(
            self._database.execute(
                "UPDATE notices SET count = count + 1, text = ?, happened_at = ?"
                " WHERE taken_at IS NULL AND kind = ? AND subject = ?",
                (cut(notice.text, NOTICE_CHARACTERS), now, notice.kind.value, subject),
            ).rowcount
        )

    def _are_many(self) -> bool:
        (count,) = self._database.row(
            "SELECT count(*) FROM (SELECT 1 FROM notices WHERE taken_at IS NULL LIMIT ?) AS few",
            (MOST_WAITING,),
        )
        return int(count) >= MOST_WAITING

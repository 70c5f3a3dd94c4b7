"""Which ready jobs of a space are next: by priority, then age, one a charm. Used by the queue."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from bg_charm_service.storage.sqlite.database import Database
from bg_charm_service.storage.sqlite.job_queue import sql


def next_ready(
    database: Database, space_key: int, limit: int, now: float, without: Set[str]
) -> tuple[list[Any], bool]:
    """Give up to `limit` rows, and whether these were all; jobs of some integrations are left out.

    However many those are, none of them is looked at.
    """
    # A charm has at most two jobs that may run, a poll and a send.
    most = limit * 2
    if without:
        names = [name for (name,) in database.rows(sql.READY_INTEGRATIONS, {"space": space_key})]
        found = [
            row
            for name in names
            if name not in without
            for row in database.rows(sql.FIND_READY_OF, (space_key, name, now, most))
        ]
        found = sorted(found, key=lambda row: (-row[4], row[0]))[:most]
    else:
        found = database.rows(sql.FIND_READY, (space_key, now, most))
    by_charm: dict[int, Any] = {}
    for row in found:
        by_charm.setdefault(row[10], row)
    return list(by_charm.values())[:limit], len(found) < most and len(by_charm) <= limit

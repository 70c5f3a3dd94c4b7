"""Which jobs of a space may run now, with rows and without: by priority, then age.

Reads only; the queue takes what it wants of them. Knows of which charms a job is out, since none
may overlap itself. Used by the queue alone.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from functools import partial
from operator import itemgetter
from typing import Any

import msgspec

from bg_charm_service.domain.model import Origin, Priority
from bg_charm_service.storage.records import Claim, IsPaused, Pausing
from bg_charm_service.storage.sql.database import Database
from bg_charm_service.storage.sql.job_queue import sql
from bg_charm_service.storage.sql.keys import json_keys
from bg_charm_service.storage.sql.plain_polls import PlainPoll

_PRIORITY = int(Priority.EXECUTE_CHARM)


class ReadyJobs:
    """The jobs that may run."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._plain = database.sole_writer.plain_polls
        #: Charms of which a job with a row is claimed, in the transaction that is open too.
        self._busy: set[int] = set()

    def recount(self) -> None:
        """Find out anew of which charms a job with a row is claimed."""
        self._busy = {charm_key for (charm_key,) in self._database.rows(sql.FIND_BUSY)}

    def is_busy(self, charm_key: int) -> bool:
        """Whether a job of a charm that has a row is claimed."""
        return charm_key in self._busy

    def is_out(self, charm_key: int) -> bool:
        """Whether a poll of a charm is out that has no row."""
        poll = self._plain.by_charm.get(charm_key)
        return poll is not None and poll.batch != 0

    def set_busy(self, charm_keys: Sequence[int], *, is_busy: bool) -> None:
        """Note that jobs of these charms with rows are claimed, or are no more."""
        busy = self._busy
        if is_busy:
            changed = set(charm_keys) - busy
            busy |= changed
            self._database.on_rollback(partial(busy.difference_update, changed))
        else:
            changed = busy.intersection(charm_keys)
            busy -= changed
            self._database.on_rollback(partial(busy.update, changed))

    def in_space(
        self, space_key: int, limit: int, now: float, without: Set[str], pausing: Pausing
    ) -> tuple[list[Claim], bool, float]:
        """Give up to `limit` of a space, one for each charm, and whether these are all.

        Each is given as it is once it is claimed. The third is since when the oldest that was seen
        has been ready. However many jobs of the integrations `without` which it is there are, none
        is looked at.
        """
        # A charm has at most two jobs that may run, a poll and a send.
        most = limit * 2 + self._plain.out
        rows = self._rows(space_key, most, now, without, pausing)
        polls = [] if pausing.is_whole else self._polls(space_key, limit, pausing)
        is_all = len(rows) < most and len(polls) <= limit
        found: Sequence[Any] = polls
        if rows:
            by_charm: dict[int, Any] = {}
            keyed = [(-row[4], row[0], row[10], row) for row in rows]
            keyed += [(-_PRIORITY, poll.job_id, poll.charm_key, poll) for poll in polls]
            for _, _, charm_key, one in sorted(keyed, key=itemgetter(0, 1)):
                if not self.is_out(charm_key):
                    by_charm.setdefault(charm_key, one)
            found = list(by_charm.values())
        is_all = is_all and len(found) <= limit
        claims = [
            one.claim() if isinstance(one, PlainPoll) else sql.claim_of(one, deliveries=1)
            for one in found[:limit]
        ]
        if is_all:
            return claims, True, now
        since = [row[5] for row in rows] + [poll.run_at for poll in polls]
        return claims, False, min(since, default=now)

    def suspect(self, now: float, is_paused: IsPaused | None) -> list[Any]:
        """Give the row of the first suspect that may run, or nothing."""
        for row in self._database.rows(sql.FIND_SUSPECTS, (now,)):
            is_kept = is_paused is not None and is_paused(row[9], row[10])
            if not self.is_out(row[10]) and (row[3] == Origin.RUN_NOW or not is_kept):
                return [row]
        return []

    def _rows(
        self, space_key: int, most: int, now: float, without: Set[str], pausing: Pausing
    ) -> Sequence[Any]:
        if pausing:
            asked = {
                "space": space_key,
                "now": now,
                "without": msgspec.json.encode(sorted(without)).decode(),
                "is_whole": pausing.is_whole,
                "paused": json_keys(sorted(pausing.charm_keys)),
                "limit": most,
            }
            return self._database.rows(sql.FIND_READY_BUT, asked)
        if without:
            names = [
                name
                for (name,) in self._database.rows(sql.READY_INTEGRATIONS, {"space": space_key})
            ]
            found = [
                row
                for name in names
                if name not in without
                for row in self._database.rows(sql.FIND_READY_OF, (space_key, name, now, most))
            ]
            return sorted(found, key=lambda row: (-row[4], row[0]))[:most]
        return self._database.rows(sql.FIND_READY, (space_key, now, most))

    def _polls(self, space_key: int, limit: int, pausing: Pausing) -> list[PlainPoll]:
        """Give the oldest plain polls of a space that may run, `limit` and one at the most."""
        found: list[PlainPoll] = []
        busy, paused = self._busy, pausing.charm_keys
        for charm_key, poll in self._plain.in_space(space_key).items():
            if charm_key not in busy and charm_key not in paused:
                found.append(poll)
                if len(found) > limit:
                    break
        return found

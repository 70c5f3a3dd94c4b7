"""Whether the service can do its work now, and why not, for those who send it work or watch it.

Narrower than its health: late runs or a failed backup make nobody wait for another start. The
reasons are fixed words, so that everybody may see them. Asked by the monitoring commands.
"""

from __future__ import annotations

from enum import StrEnum

from bg_charm_service.supervisor.loop import Supervisor
from bg_charm_service.workers.pool.pool import Pool

#: A write that is older says nothing of the disk as it is now, in seconds.
_PROVEN_SECONDS = 10.0

#: All workers may be in the middle of being replaced; without any for longer they are down.
_REPLACING_SECONDS = 5.0


class Obstacle(StrEnum):
    """What keeps the service from its work."""

    DATABASE = "the database cannot be written"
    SCHEMA = "the schema of the database is not that of this version"
    WORKERS = "no worker is ready"
    STOPPING = "the service is stopping"


class Readiness:
    """Tells the obstacles."""

    def __init__(self, supervisor: Supervisor, pool: Pool) -> None:
        self._supervisor = supervisor
        self._database = supervisor.parts.database
        self._clock = supervisor.parts.clock
        self._pool = pool
        self._proven_at = self._clock.steady()
        self._commits = self._database.commits

    def obstacles(self, *, is_probing: bool) -> list[Obstacle]:
        """Give what stands in the way now; a probe writes, if nothing was written for a while."""
        found = []
        if is_probing:
            self._prove()
        health = self._supervisor.storage_health
        with health.noting():
            if self._database.schema_version != self._database.newest_schema:
                found.append(Obstacle.SCHEMA)
        if health.problem:
            found.insert(0, Obstacle.DATABASE)
        if self._is_without_workers():
            found.append(Obstacle.WORKERS)
        if self._supervisor.is_draining:
            found.append(Obstacle.STOPPING)
        return found

    def _prove(self) -> None:
        """See to it that something was written lately; a failure is noted like any other."""
        now, health = self._clock.steady(), self._supervisor.storage_health
        if self._database.commits == self._commits:
            # While there is a problem, the loop itself tries again every second.
            if health.problem or now - self._proven_at < _PROVEN_SECONDS:
                return
            with health.noting():
                self._database.probe(write=True)
        self._commits, self._proven_at = self._database.commits, now

    def _is_without_workers(self) -> bool:
        since = self._pool.without_workers_since
        return since is not None and self._clock.steady() - since > _REPLACING_SECONDS

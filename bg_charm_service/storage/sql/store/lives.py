"""The lives of the service since its last good end: what its deaths say about suspects."""

from __future__ import annotations

from bg_charm_service.domain.outcomes.suspicion import Life, LifeKind
from bg_charm_service.storage.records import KEPT_LIVES
from bg_charm_service.storage.sql.database import Database


class Lives:
    """The table `service_lives`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[Life]:
        """Every life that is remembered, the oldest first."""
        rows = self._database.rows(
            "SELECT kind, target_seconds, lived_seconds FROM service_lives ORDER BY life"
        )
        return [Life(LifeKind(kind), target, lived) for kind, target, lived in rows]

    def begin(self, life: Life) -> None:
        """Add a life, which is the newest then."""
        self._database.execute(
            "INSERT INTO service_lives (kind, target_seconds, lived_seconds) VALUES (?, ?, ?)",
            (life.kind.value, life.target_seconds, life.lived_seconds),
        )
        self._database.execute(
            "DELETE FROM service_lives WHERE life <= (SELECT max(life) FROM service_lives) - ?",
            (KEPT_LIVES,),
        )

    def note(self, lived_seconds: float) -> None:
        """Say how long the newest life has lasted."""
        self._database.execute(
            "UPDATE service_lives SET lived_seconds = ?"
            " WHERE life = (SELECT max(life) FROM service_lives)",
            (lived_seconds,),
        )

    def forget(self) -> None:
        """Forget all of them."""
        self._database.execute("DELETE FROM service_lives")

"""All checks one after the other, and the mending of what they found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bg_charm_service.domain.errors import StorageError
from bg_charm_service.storage.contract import Running
from bg_charm_service.storage.records import Severity, Trouble
from bg_charm_service.storage.sql.checks import charm_checks, item_checks, job_checks
from bg_charm_service.storage.sql.checks.findings import Check, Scope
from bg_charm_service.storage.sql.database import Database
from bg_charm_service.storage.sql.job_queue import JobQueue

#: The cheap ones, in the order in which they are told, behind those of the engine itself.
CHECKS: tuple[Check, ...] = (
    job_checks.claims,
    job_checks.batches,
    job_checks.stuck_jobs,
    job_checks.live_polls,
    job_checks.held_jobs,
    job_checks.dead_letters,
    job_checks.reminders,
    job_checks.waits,
    charm_checks.next_runs,
    charm_checks.parts_of_charms,
    charm_checks.leftovers,
    charm_checks.counts,
    charm_checks.histories,
    item_checks.collections,
)

#: So many things are mended in one transaction.
_MENDED_AT_ONCE = 50


class Doctor:
    """The checks of one database.

    Those of its engine come first. One that finds the schema wrong is the last: the others would
    ask for what is not there.
    """

    def __init__(
        self, database: Database, queue: JobQueue, of_the_engine: Sequence[Check] = ()
    ) -> None:
        self._checks = (*of_the_engine, *CHECKS)
        self._database = database
        self._queue = queue

    def examine(self, now: float, running: Running | None) -> Iterator[Trouble | None]:
        """Make every check: None after each slice of 20 ms at most, and what is found."""
        scope = Scope(self._database, self._queue, now, running)
        for check in self._checks:
            try:
                for found in check(scope):
                    yield found
                    if found is not None and found.check == "schema" and found.mend is None:
                        return
            except StorageError as error:
                yield Trouble("database", Severity.ERROR, f"{error}".rstrip("."))

    def mend(self, trouble: Trouble, now: float, running: Running | None) -> Iterator[None]:
        """Put right what a check found, a few things in one transaction; None after each."""
        if trouble.amend is not None:
            trouble.amend()
            return
        assert trouble.mend is not None
        scope = Scope(self._database, self._queue, now, running)
        keys = trouble.keys or (None,)
        for start in range(0, len(keys), _MENDED_AT_ONCE):
            with self._database.transaction():
                for key in keys[start : start + _MENDED_AT_ONCE]:
                    trouble.mend(scope, key)
            # Before anybody else's turn: what is mended goes past the store.
            self._database.sole_writer.changes.mark_all()
            yield None

"""Ends the runs that came in since the last step: plain successes together, others one by one.

A fault of ours over one run holds up no other. Called by the supervisor, inside its transaction.
"""

from __future__ import annotations

from collections.abc import Sequence

from loguru import logger

from bg_charm_service.domain.errors import ClaimLost, FailureCause, StorageError
from bg_charm_service.domain.model import Failure, Outcome
from bg_charm_service.storage.contract import Database, Store
from bg_charm_service.supervisor.completer import Completer, Settled
from bg_charm_service.supervisor.dispatcher import Dispatcher
from bg_charm_service.supervisor.in_flight import InFlight
from bg_charm_service.workers.pool.events import PoolEvent, RunFinished


class RunEndings:
    """Settles whatever the pool reports."""

    def __init__(
        self, database: Database, store: Store, dispatcher: Dispatcher, completer: Completer
    ) -> None:
        self._database = database
        self._store = store
        self._dispatcher = dispatcher
        self._completer = completer

    def settle(self, events: Sequence[PoolEvent]) -> list[Settled]:
        """Settle what ended; gives what became of each run that was not given back."""
        dispatcher, totals = self._dispatcher, self._store.totals
        ended: list[tuple[InFlight, RunFinished]] = []
        for event in events:
            assert isinstance(event, RunFinished)
            run = dispatcher.runs.find(event.run.job_id, event.run.attempt)
            if run is None:
                totals.add("late_answers")
            else:
                ended.append((run, event))
        if not ended:
            return []
        self._database.after_commit(lambda: dispatcher.finished(ended))
        plain: list[tuple[InFlight, RunFinished]] = []
        others: list[tuple[InFlight, RunFinished]] = []
        for each in ended:
            (plain if self._completer.is_plain(*each) else others).append(each)
        settled = self._settle_together(plain) if len(plain) > 1 else []
        for run, event in others if settled else ended:
            one = self._settle_one(run, event)
            settled += [] if one is None else [one]
        return settled

    def _settle_together(self, plain: list[tuple[InFlight, RunFinished]]) -> list[Settled]:
        """Settle plain successes at once; none of them, where that does not work out."""
        counted = self._store.totals.mark()
        try:
            with self._database.savepoint():
                return self._completer.settle_together(plain)
        except StorageError:
            raise
        except Exception as error:
            self._store.totals.undo(counted)
            if not isinstance(error, ClaimLost):
                logger.bind(event="settle_failed").exception(
                    "Runs could not be settled together; they are settled one by one"
                )
        return []

    def _settle_one(self, run: InFlight, event: RunFinished) -> Settled | None:
        """Settle one run so that a fault of ours over it cannot hold up the others."""
        counted = self._store.totals.mark()
        try:
            with self._database.savepoint():
                return self._completer.settle(run, event)
        except StorageError:
            raise
        except Exception:
            self._store.totals.undo(counted)
            logger.bind(event="settle_failed", job=run.claim.job.job_id).exception(
                "A run could not be settled; it counts as failed"
            )
        failure = Failure(FailureCause.ERROR, "The service could not settle this run; see its log.")
        outcome = Outcome(0.0, failure=failure)
        return self._completer.conclude(run, outcome, worker=event.worker_pid, log=event.log)

"""Completes runs: applies one decision of the policy to store and queue, inside one transaction.

Checks everything that a worker answered. Exactly once: a claim that is not the newest changes
nothing. Plain successes are settled together, others one by one, and a fault of ours over one run
holds up no other. Called by the loop, which owns the transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec
from loguru import logger
from msgspec.structs import replace

from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.errors import ClaimLost, FailureCause, StorageError
from bg_charm_service.domain.model import Failure, FieldKind, Job, Origin, Outcome, RunRecord
from bg_charm_service.domain.outcome_policy import (
    Decision,
    FailurePolicy,
    RunStatus,
    Step,
    decide_outcome,
)
from bg_charm_service.domain.redaction import redact, secret_texts
from bg_charm_service.storage.contract import Storage
from bg_charm_service.supervisor.answer_validation import outcome_of, plain_success
from bg_charm_service.supervisor.effects import Effects
from bg_charm_service.supervisor.in_flight import InFlight, RunsInFlight
from bg_charm_service.supervisor.limit_resolver import LimitResolver
from bg_charm_service.supervisor.poll_planner import PollPlanner
from bg_charm_service.supervisor.polled_charms import PolledCharms
from bg_charm_service.workers.pool.events import RunFinished


class Settled(msgspec.Struct, frozen=True):
    """What became of a run, for those who tell about it once it is on disk."""

    run: InFlight
    outcome: Outcome
    decision: Decision
    record: RunRecord
    was_failing: bool


@dataclass(frozen=True, slots=True)
class CompletionRules:
    """What the operator and the charms' classes say about how runs are completed."""

    policy: FailurePolicy
    limits: LimitResolver
    #: So many runs of a charm are kept.
    history_runs: int


class Completer:
    """Applies outcomes."""

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        random: Callable[[], float],
        runs: RunsInFlight,
        planner: PollPlanner,
        polled_charms: PolledCharms,
        rules: CompletionRules,
    ) -> None:
        self._database = storage.database
        self._store = storage.store
        self._changes = storage.database.sole_writer.changes
        self._queue = storage.queue
        self._clock = clock
        self._random = random
        self._runs = runs
        self._planner = planner
        self._polled_charms = polled_charms
        self._policy = rules.policy
        self._history_runs = rules.history_runs
        self._effects = Effects(storage, clock, rules.limits)

    def complete(self, answers: Sequence[RunFinished]) -> list[Settled]:
        """Settle what ended; gives what became of each run that was not given back."""
        ended: list[tuple[InFlight, RunFinished]] = []
        for finished in answers:
            run = self._runs.find(finished.run.job_id, finished.run.attempt)
            if run is None:
                self._store.totals.add("late_answers")
            else:
                ended.append((run, finished))
        if not ended:
            return []
        self._database.after_commit(lambda: self._runs.end(ended, self._clock.steady()))
        plain: list[tuple[InFlight, RunFinished]] = []
        others: list[tuple[InFlight, RunFinished]] = []
        for each in ended:
            (plain if self.is_plain(*each) else others).append(each)
        settled = self._try_together(plain) if len(plain) > 1 else []
        for run, finished in others if settled else ended:
            one = self._try_one(run, finished)
            settled += [] if one is None else [one]
        return settled

    def note_settled(self, settled: Sequence[Settled]) -> None:
        """Remember which charms fail and which are disabled now, once that is on disk."""
        for one in settled:
            self._polled_charms.note_health(one.run.claim.charm_key, one.decision.health)

    def settle(self, run: InFlight, finished: RunFinished) -> Settled | None:
        """Settle one run; None when it was given back, or its answer came too late."""
        if not self._queue.holds(run.claim.job):
            self._store.totals.add("late_answers")
            return None
        is_over = finished.is_cancelled or self._is_removed(run)
        is_blameless = finished.answer is None and finished.death is None
        # A removed charm's job never comes back, whatever ended its run.
        if is_blameless and not is_over and not self._is_to_blame(run, finished):
            put_back = self._queue.rescue if finished.is_orphaned else self._queue.release
            put_back(run.claim, self._clock.steady())
            self._store.totals.add("released")
            return None
        outcome = self._outcome(run, finished)
        if outcome.success:
            outcome = self._effects.apply(run, outcome, finished.run.limits)
        secrets = self._secrets(run, outcome)
        outcome = _redacted(outcome, secrets)
        log = redact(finished.log, secrets)
        return self.conclude(run, outcome, worker=finished.worker_pid, log=log)

    def is_plain(self, run: InFlight, finished: RunFinished) -> bool:
        """Whether a run is a success that may be settled together with others.

        That of a poll that wrote nothing but fields of its own charm, which nobody else has
        touched since it went out: what was read then still holds.
        """
        answer = finished.answer
        return (
            answer is not None
            and answer.failure is None
            and not (answer.stale or answer.sends or finished.is_cancelled)
            and run.claim.job.origin is not Origin.SEND
            and not (run.links or run.secrets or run.is_alone)
            and self._changes.since(run.claim.charm_key) == run.mark
            and self._effects.are_plain(run, answer.writes, finished.run.limits)
        )

    def _try_together(self, plain: list[tuple[InFlight, RunFinished]]) -> list[Settled]:
        """Settle plain successes at once; none of them, where that does not work out."""
        counted = self._store.totals.mark()
        try:
            with self._database.savepoint():
                return self.settle_together(plain)
        except StorageError:
            raise
        except Exception as error:
            self._store.totals.undo(counted)
            if not isinstance(error, ClaimLost):
                logger.bind(event="settle_failed").exception(
                    "Runs could not be settled together; they are settled one by one"
                )
        return []

    def _try_one(self, run: InFlight, finished: RunFinished) -> Settled | None:
        """Settle one run so that a fault of ours over it cannot hold up the others."""
        counted = self._store.totals.mark()
        try:
            with self._database.savepoint():
                return self.settle(run, finished)
        except StorageError:
            raise
        except Exception:
            self._store.totals.undo(counted)
            logger.bind(event="settle_failed", job=run.claim.job.job_id).exception(
                "A run could not be settled; it counts as failed"
            )
        failure = Failure(FailureCause.ERROR, "The service could not settle this run; see its log.")
        outcome = Outcome(0.0, failure=failure)
        return self.conclude(run, outcome, worker=finished.worker_pid, log=finished.log)

    def settle_together(self, ended: Sequence[tuple[InFlight, RunFinished]]) -> list[Settled]:
        """Settle plain successes, a statement for each kind of row.

        Raises ClaimLost, with some of it written, when an answer came too late: the caller undoes
        it, and settles them one by one.
        """
        now, steady = self._clock.now(), self._clock.steady()
        settled = []
        for run, finished in ended:
            assert finished.answer is not None
            outcome = plain_success(finished.answer, finished.seconds)
            job, known = run.claim.job, run.health
            decision = decide_outcome(
                job, outcome, known, self._policy, now=now, steady=steady, chance=0.0
            )
            record = self._record(
                run, outcome, decision, now, worker=finished.worker_pid, log=finished.log
            )
            was_failing = run.health.consecutive_failures > 0
            settled.append(Settled(run, outcome, decision, record, was_failing))
        self._write_together(settled)
        return settled

    def _write_together(self, settled: Sequence[Settled]) -> None:
        claims = [one.run.claim for one in settled]
        self._queue.ack_all(claims)
        keys = [claim.charm_key for claim in claims]
        self._store.cells.write_all(
            (key, name, value)
            for key, one in zip(keys, settled, strict=True)
            for name, value in one.outcome.writes.items()
        )
        records = [(key, one.record) for key, one in zip(keys, settled, strict=True)]
        self._store.runs.record_all(records, self._history_runs)
        self._store.health.put_all(
            [
                (key, one.run.health, one.decision.health)
                for key, one in zip(keys, settled, strict=True)
            ]
        )
        self._queue.drop_dead_letters(keys)
        for one in settled:
            self._count(one.run, one.outcome, one.decision)

    def conclude(self, run: InFlight, outcome: Outcome, *, worker: int, log: str) -> Settled:
        """Record an outcome and end the claim as the policy says."""
        charm_key = run.claim.charm_key
        before = self._store.health.get(charm_key)
        decision = decide_outcome(
            run.claim.job,
            outcome,
            before,
            self._policy,
            now=self._clock.now(),
            steady=self._clock.steady(),
            chance=self._random(),
        )
        record = self._record(run, outcome, decision, self._clock.now(), worker=worker, log=log)
        self._store.runs.record(charm_key, record, self._history_runs)
        self._store.health.put(charm_key, decision.health)
        self._end_claim(run, decision)
        self._count(run, outcome, decision)
        return Settled(run, outcome, decision, record, before.consecutive_failures > 0)

    def _is_removed(self, run: InFlight) -> bool:
        charm = self._store.charms.get(run.claim.charm_key)
        return charm is None or charm.removed_at is not None

    def _is_to_blame(self, run: InFlight, finished: RunFinished) -> bool:
        """Whether a run was alone, as a suspect, when the workers' parent died once more."""
        return finished.is_orphaned and run.is_alone

    def _outcome(self, run: InFlight, finished: RunFinished) -> Outcome:
        """Turn what the pool reported into the one result type."""
        if finished.is_cancelled or self._is_removed(run):
            return Outcome(0.0, cancelled=True)
        answer = finished.answer
        if answer is None:
            failure = finished.death or repeated_death(run.claim.job)
            return Outcome(finished.seconds, failure=failure)
        has_moved = partial(self._has_moved, run)
        return outcome_of(answer, run, finished.run.limits, finished.seconds, has_moved)

    def _secrets(self, run: InFlight, outcome: Outcome) -> tuple[str, ...]:
        """The texts to keep out of what is shown: secrets given to the run, and those it wrote."""
        written = [
            value
            for name, value in outcome.writes.items()
            if (field := run.charm.schema.field(name)) and field.kind is FieldKind.SECRET
        ]
        return tuple(sorted({*secret_texts(written), *run.secrets}, key=len, reverse=True))

    def _has_moved(self, run: InFlight, touched: set[str]) -> bool:
        """Whether a value that the run read or wrote was changed since it was given out."""
        if not touched:
            return False
        current = self._store.cells.versions(run.claim.charm_key)
        for name in touched:
            link = run.links.get(name)
            if link is not None:
                target = self._store.charms.get(link.target_key)
                version = self._store.links.version(target, link) if target else 0
            else:
                version = current.get(name, 0)
            if version != run.versions.get(name, 0):
                return True
        return False

    def _record(
        self,
        run: InFlight,
        outcome: Outcome,
        decision: Decision,
        now: float,
        *,
        worker: int,
        log: str,
    ) -> RunRecord:
        job, failure = run.claim.job, outcome.failure
        return RunRecord(
            number=decision.health.runs_recorded,
            run_id=job.run_id,
            job_id=job.job_id,
            attempt=job.attempt,
            stream=job.stream,
            origin=job.origin,
            status=decision.status,
            cause=failure.cause if failure else None,
            error=failure.message if failure else "",
            traceback=failure.traceback if failure else "",
            finished_at=now,
            duration_ms=outcome.duration_seconds * 1000,
            lag_ms=run.lag_seconds * 1000,
            worker=worker,
            writes=tuple(sorted(outcome.writes)),
            log=log,
        )

    def _end_claim(self, run: InFlight, decision: Decision) -> None:
        claim = run.claim
        if decision.step is Step.RETRY:
            self._queue.retry(claim, decision.run_at)
        elif decision.step is Step.RERUN:
            self._queue.release(claim, decision.run_at)
        elif decision.step is Step.BURY:
            self._queue.bury(claim)
        else:
            self._queue.ack(claim)
        if decision.status is RunStatus.SUCCESS:
            self._queue.drop_dead_letter(claim.charm_key)
        if decision.disables:
            self._queue.hold(claim.charm_key)
            self._planner.drop(claim.charm_key)

    def _count(self, run: InFlight, outcome: Outcome, decision: Decision) -> None:
        totals = self._store.totals
        if decision.status in (RunStatus.STALE, RunStatus.CANCELLED):
            totals.add(f"{decision.status}_runs")
            return
        totals.add("executions")
        totals.add("total_ms", outcome.duration_seconds * 1000)
        is_success = decision.status is RunStatus.SUCCESS
        totals.add("successes" if is_success else "failures")
        label = self._polled_charms.label(run.claim.charm_key)
        if label is not None:
            totals.add(f"executions/{label}")
            totals.add(f"successes/{label}", int(is_success))
        if outcome.failure is not None and outcome.failure.cause is FailureCause.TIMEOUT:
            totals.add("timeouts")


def repeated_death(job: Job) -> Failure:
    """The failure of a job that ran alone when the service, or its workers' parent, died again."""
    text = f"The service died {job.deliveries} times while this ran, the last time alone."
    return Failure(FailureCause.SUPERVISOR, text)


def _redacted(outcome: Outcome, secrets: tuple[str, ...]) -> Outcome:
    failure = outcome.failure
    if failure is None or not secrets:
        return outcome
    message, traceback = redact(failure.message, secrets), redact(failure.traceback, secrets)
    return replace(outcome, failure=Failure(failure.cause, message, traceback))

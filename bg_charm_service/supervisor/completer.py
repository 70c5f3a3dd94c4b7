"""Completes runs: applies one decision of the policy to store and queue, inside one transaction.

Checks everything that a worker answered. Exactly once: a claim that is not the newest changes
nothing. Plain successes are settled together, others one by one, and a fault of ours over one run
holds up no other. Called by the loop, which owns the transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec
from loguru import logger
from msgspec.structs import replace

from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.errors import ClaimLost, FailureCause, StorageError
from bg_charm_service.domain.model import (
    CharmHealth,
    CharmRef,
    Failure,
    FieldKind,
    Job,
    Origin,
    Outcome,
    RunRecord,
)
from bg_charm_service.domain.outcomes.policy import (
    Decision,
    FailurePolicy,
    RunStatus,
    Step,
    decide_outcome,
    kept_in_line,
)
from bg_charm_service.domain.outcomes.run_endings import Ending, EndingKind, Waiting
from bg_charm_service.domain.redaction import mask, redact, secret_texts
from bg_charm_service.domain.text_limits import LINE_ERROR_CHARACTERS, cut
from bg_charm_service.domain.web.requests import HttpRequest, shown_requests
from bg_charm_service.storage.contract import Storage
from bg_charm_service.supervisor.answers.answer_validation import outcome_of, plain_success
from bg_charm_service.supervisor.charm_switch import CharmSwitch
from bg_charm_service.supervisor.effects import Effects
from bg_charm_service.supervisor.held_writers import HeldWriters
from bg_charm_service.supervisor.in_flight import InFlight, RunsInFlight
from bg_charm_service.supervisor.limit_resolver import LimitResolver
from bg_charm_service.supervisor.notices import NoticeBook
from bg_charm_service.supervisor.planning.poll_planner import PollPlanner
from bg_charm_service.supervisor.planning.polled_charms import PolledCharms
from bg_charm_service.supervisor.refusal_advice import RefusalAdvice
from bg_charm_service.supervisor.run_items import RunItems
from bg_charm_service.supervisor.waiting_charms import WaitingCharms
from bg_charm_service.workers.pool.events import RunFinished, WorkerSpent

#: Asked of its enum, a member takes many times as long (Python 3.11), and these are for each run.
_SEND: Final = Origin.SEND
_SUCCESS: Final = RunStatus.SUCCESS


class Settled(msgspec.Struct, frozen=True, gc=False):
    """What became of a run, for those who tell about it once it is on disk."""

    run: InFlight
    outcome: Outcome
    decision: Decision
    record: RunRecord


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
        waiting: WaitingCharms,
        switch: CharmSwitch,
        rules: CompletionRules,
        items: RunItems,
        notices: NoticeBook,
        held: HeldWriters | None = None,
    ) -> None:
        self._items = items
        self._notices = notices
        self._held = held
        self._database = storage.database
        self._store = storage.store
        self._changes = storage.database.sole_writer.changes
        self._queue = storage.queue
        self._clock = clock
        self._random = random
        self._runs = runs
        self._planner = planner
        self._polled_charms = polled_charms
        self._waiting = waiting
        self._switch = switch
        self._policy = rules.policy
        self._limits = rules.limits
        self._history_runs = rules.history_runs
        self._effects = Effects(storage, clock, rules.limits, waiting, items, notices)
        self._advice = RefusalAdvice(storage.store, rules.limits)

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
        if self._held is not None and self._held.has_turns:
            for one in settled:
                if not one.outcome.stale:
                    self._held.end(one.run.claim.charm_key)

    def settle(self, run: InFlight, finished: RunFinished) -> Settled | None:
        """Settle one run; None when it was given back, or its answer came too late."""
        if not self._queue.holds(run.claim.job):
            self._store.totals.add("late_answers")
            return None
        is_over = self._is_withdrawn(run, finished) or self._is_removed(run)
        is_blameless = finished.answer is None and finished.death is None
        # A removed charm's job never comes back, whatever ended its run.
        if is_blameless and not is_over and not self._is_to_blame(run, finished):
            put_back = self._queue.rescue if finished.is_orphaned else self._queue.release
            put_back(run.claim, self._clock.steady())
            self._store.totals.add("released")
            return None
        outcome = self._outcome(run, finished)
        if outcome.success:
            if outcome.notices:
                outcome = self._without_secrets(run, outcome)
            outcome = self._effects.apply(run, outcome, finished.run.limits)
        secrets = self._secrets(run, outcome)
        outcome = _redacted(outcome, secrets)
        log = finished.log
        if finished.answer is not None and finished.answer.refused and not outcome.cancelled:
            between = "" if not log or log.endswith("\n") else "\n"
            log += between + self._advice.of_hidden(run.charm, finished.answer.refused)
        log = mask(redact(log, secrets))
        retired = cut(mask(redact(finished.retired, secrets)), LINE_ERROR_CHARACTERS)
        return self.conclude(
            run,
            outcome,
            worker=finished.worker_pid,
            log=log,
            retired=retired,
            requests=_shown(finished.requests, secrets),
        )

    def _without_secrets(self, run: InFlight, outcome: Outcome) -> Outcome:
        """Take out of what a run says to people what nobody may read."""
        secrets = self._secrets(run, outcome)
        return replace(
            outcome, notices=tuple(mask(redact(text, secrets)) for text in outcome.notices)
        )

    def note_spent(self, spent: Sequence[WorkerSpent]) -> None:
        """Note in the records of runs why their workers were replaced after all."""
        for one in spent:
            charm = self._store.charms.find(CharmRef(one.run.space, one.run.charm_id))
            if charm is not None:
                self._store.runs.note_retired(charm.charm_key, one.run.run_id, one.why)

    def is_plain(self, run: InFlight, finished: RunFinished) -> bool:
        """Whether a run is a success that may be settled together with others.

        That of a poll that wrote nothing but fields of its own charm, which nobody else has
        touched since it went out: what was read then still holds. One whose charm waited, or says
        when it runs next, is looked at by itself.
        """
        answer = finished.answer
        return (
            answer is not None
            and answer.failure is None
            and answer.ending is None
            and not answer.refused
            and not finished.items
            and run.claim.charm_key not in self._waiting
            and run.claim.charm_key not in self._notices
            and not (answer.stale or answer.sends or answer.reminds or answer.notices)
            and not finished.is_cancelled
            and not finished.retired
            and not (self._runs.withdrawn and self._is_withdrawn(run, finished))
            and run.claim.job.origin is not _SEND
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
        log = mask(redact(finished.log, run.hidden_texts))
        requests = _shown(finished.requests, run.hidden_texts)
        return self.conclude(run, outcome, worker=finished.worker_pid, log=log, requests=requests)

    def settle_together(self, ended: Sequence[tuple[InFlight, RunFinished]]) -> list[Settled]:
        """Settle plain successes, a statement for each kind of row.

        Raises ClaimLost, with some of it written, when an answer came too late: the caller undoes
        it, and settles them one by one.
        """
        now, steady = self._clock.now(), self._clock.steady()
        settled = []
        for run, finished in ended:
            answer = finished.answer
            assert answer is not None
            outcome = plain_success(answer, finished.seconds)
            job, known = run.claim.job, run.health
            decision = decide_outcome(
                job, outcome, known, self._policy, now=now, steady=steady, chance=0.0
            )
            record = self._record(
                run,
                outcome,
                decision,
                now,
                worker=finished.worker_pid,
                log=mask(finished.log),
                requests=_shown(answer.requests, ()) if answer.requests else (),
            )
            settled.append(Settled(run, outcome, decision, record))
        self._write_together(settled, now)
        return settled

    def _write_together(self, settled: Sequence[Settled], now: float) -> None:
        claims, keys, written, records, healths = [], [], [], [], []
        for one in settled:
            run = one.run
            claims.append(run.claim)
            key = run.claim.charm_key
            keys.append(key)
            for name, value in one.outcome.writes.items():
                written.append((key, name, value))
            records.append((key, one.record))
            healths.append((key, run.health, one.decision.health))
        ends = self._queue.ack_all(claims)
        self._store.cells.write_all(written)
        self._store.health.put_all(healths, ends, records, keep=self._history_runs)
        self._renew(settled, now)
        self._queue.drop_dead_polls(keys)
        self._count_successes(settled)
        if self._waiting.needs_sign_in:
            for one in settled:
                self._note_sign_ins(one.run, one.outcome)

    def conclude(
        self,
        run: InFlight,
        outcome: Outcome,
        *,
        worker: int,
        log: str,
        retired: str = "",
        requests: tuple[HttpRequest, ...] = (),
    ) -> Settled:
        """Record an outcome and end the claim as the policy says."""
        charm_key = run.claim.charm_key
        waiting = self._waiting.get(charm_key)
        before = self._store.health.get(charm_key)
        decision = self._decide(run, outcome, before, waiting)
        record = self._record(
            run,
            outcome,
            decision,
            self._clock.now(),
            worker=worker,
            log=log,
            retired=retired,
            requests=requests,
        )
        self._store.runs.record(charm_key, record, self._history_runs)
        self._store.health.put(charm_key, decision.health)
        self._end_claim(run, decision, record)
        self._let_wait(run, decision, waiting)
        if decision.enables:
            self._switch.release(
                run.charm,
                decision.health,
                is_polled=charm_key in self._polled_charms,
                missed_since=before.disabled_at,
            )
        self._count(run, outcome, decision)
        self._notices.note_end(run.charm, run.claim.job.origin, before, decision)
        if outcome.stale and self._held is not None:
            self._hold_writers(self._held, run, decision.health)
        if self._waiting.needs_sign_in:
            self._note_sign_ins(run, outcome)
        settled = Settled(run, outcome, decision, record)
        self._renew([settled], record.finished_at)
        return settled

    def _hold_writers(self, held: HeldWriters, run: InFlight, health: CharmHealth) -> None:
        """Let nobody write what a charm reads for a while, if it was stale again and again."""
        writers = held.writers_for(run, health)
        if writers:
            timeout_seconds = self._limits.of(run.charm).timeout_seconds
            self._database.after_commit(partial(held.begin, run, writers, timeout_seconds))

    def _decide(
        self, run: InFlight, outcome: Outcome, health: CharmHealth, waiting: Waiting | None
    ) -> Decision:
        claim, ending = run.claim, outcome.ending
        is_next_named = ending is not None and ending.kind is EndingKind.AGAIN
        interval = self._planner.interval_seconds(claim.charm_key) if is_next_named else 0.0
        steady = self._clock.steady()
        decision = decide_outcome(
            claim.job,
            outcome,
            health,
            self._policy,
            now=self._clock.now(),
            steady=steady,
            chance=self._random(),
            before=waiting,
            interval_seconds=interval,
        )
        is_dead_send = decision.step is Step.BURY and claim.job.origin is _SEND
        if is_dead_send and not self._queue.has_room_for_dead(claim.charm_key):
            return kept_in_line(decision, steady=steady)
        return decision

    def _let_wait(self, run: InFlight, decision: Decision, before: Waiting | None) -> None:
        """Let the charm wait as was decided, and those ask that waited for what it has reached."""
        claim, after = run.claim, decision.waiting
        if after is not before:
            self._waiting.settle(claim.job.ref, claim.charm_key, claim.space_key, before, after)
        has_reached = before is not None and before.kind is EndingKind.DOWN
        if has_reached and before is not None and decision.status is _SUCCESS:
            self._waiting.host_answered(claim.space_key, before.host)

    def _note_sign_ins(self, run: InFlight, outcome: Outcome) -> None:
        """Let charms run again whose credential this run may have renewed."""
        own = [name for name in outcome.writes if name not in run.links]
        if own:
            self._switch.sign_in(run.claim.charm_key, own)
        for name in outcome.writes.keys() & run.links.keys():
            link = run.links[name]
            self._switch.sign_in(link.target_key, link.path[:1])

    def _renew(self, settled: Sequence[Settled], now: float) -> None:
        """Note which fields changed of those that are expected to."""
        rows = [
            (one.run.claim.charm_key, field, now + seconds)
            for one in settled
            if one.outcome.written and one.run.charm.schema.expects
            for field, seconds in one.run.charm.schema.expects.items()
            if has_changed(field, one)
        ]
        if rows:
            self._store.freshness.renew(rows)

    def _is_withdrawn(self, run: InFlight, finished: RunFinished) -> bool:
        """Whether a person took a run back, before or after its worker had answered."""
        return finished.is_cancelled or run.claim.job.job_id in self._runs.withdrawn

    def _is_removed(self, run: InFlight) -> bool:
        charm = self._store.charms.get(run.claim.charm_key)
        return charm is None or charm.removed_at is not None

    def _is_to_blame(self, run: InFlight, finished: RunFinished) -> bool:
        """Whether a run was alone, as a suspect, when the workers' parent died once more."""
        return finished.is_orphaned and run.is_alone

    def _outcome(self, run: InFlight, finished: RunFinished) -> Outcome:
        """Turn what the pool reported into the one result type."""
        if self._is_withdrawn(run, finished) or self._is_removed(run):
            return Outcome(0.0, cancelled=True)
        answer = finished.answer
        if answer is None:
            failure = finished.death or repeated_death(run.claim.job)
            return Outcome(finished.seconds, failure=failure, ending=finished.ending)
        if answer.stale and run.claim.job.job_id in self._runs.unserved:
            return Outcome(finished.seconds, stale=True)
        has_moved = partial(self._has_moved, run)
        outcome = outcome_of(answer, run, finished.run.limits, finished.seconds, has_moved)
        if outcome.success and finished.items:
            if self._items.have_moved(run, finished.items):
                return Outcome(outcome.duration_seconds, stale=True)
            outcome = replace(outcome, items=finished.items)
        if outcome.failure is None:
            return outcome
        return replace(outcome, failure=self._advice.of_run(run.charm, outcome.failure))

    def _secrets(self, run: InFlight, outcome: Outcome) -> tuple[str, ...]:
        """The texts to keep out of what is shown: secrets given to the run, and those it wrote."""
        written = [
            value
            for name, value in outcome.writes.items()
            if (field := run.charm.schema.field(name)) and field.kind is FieldKind.SECRET
        ]
        return tuple(sorted({*secret_texts(written), *run.hidden_texts}, key=len, reverse=True))

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
        retired: str = "",
        requests: tuple[HttpRequest, ...] = (),
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
            writes=tuple(sorted(outcome.written)),
            log=log,
            retired=retired,
            requests=requests,
        )

    def _end_claim(self, run: InFlight, decision: Decision, record: RunRecord) -> None:
        claim = run.claim
        if decision.step is Step.RETRY:
            self._queue.retry(claim, decision.run_at)
        elif decision.step in (Step.RERUN, Step.WAIT):
            self._queue.release(claim, decision.run_at)
        elif decision.step is Step.BURY:
            self._queue.bury(claim, record.error, record.cause or "")
            if claim.job.origin is _SEND:
                self._store.deliveries.note_dead(claim.job.job_id)
        else:
            self._queue.ack(claim)
        if decision.status is _SUCCESS:
            self._queue.drop_dead_poll(claim.charm_key)
        if decision.disables:
            self._queue.hold(claim.charm_key)
            self._planner.drop(claim.charm_key)

    def _count_successes(self, settled: Sequence[Settled]) -> None:
        label_of = self._polled_charms.label
        labels = Counter([label_of(one.run.claim.charm_key) for one in settled])
        totals = self._store.totals
        totals.add("executions", len(settled))
        totals.add("successes", len(settled))
        totals.add("total_ms", sum([one.outcome.duration_seconds * 1000 for one in settled]))
        for label, count in labels.items():
            if label is not None:
                totals.add(f"executions/{label}", count)
                totals.add(f"successes/{label}", count)

    def _count(self, run: InFlight, outcome: Outcome, decision: Decision) -> None:
        totals = self._store.totals
        if decision.status not in (_SUCCESS, RunStatus.FAILURE):
            totals.add(f"{decision.status}_runs")
            return
        totals.add("executions")
        totals.add("total_ms", outcome.duration_seconds * 1000)
        is_success = decision.status is _SUCCESS
        totals.add("successes" if is_success else "failures")
        label = self._polled_charms.label(run.claim.charm_key)
        if label is not None:
            totals.add(f"executions/{label}")
            totals.add(f"successes/{label}", int(is_success))
        if outcome.failure is not None and outcome.failure.cause is FailureCause.TIMEOUT:
            totals.add("timeouts")


def has_changed(field: str, settled: Settled) -> bool:
    """Whether a run that succeeded wrote a field of its own charm; any, where none is named."""
    if settled.decision.status is not _SUCCESS:
        return False
    writes, links = settled.outcome.written, settled.run.links
    return field in writes if field else any(name not in links for name in writes)


def repeated_death(job: Job) -> Failure:
    """The failure of a job that ran alone when the service, or its workers' parent, died again."""
    text = f"The service died {job.deliveries} times while this ran, the last time alone."
    return Failure(FailureCause.SUPERVISOR, text)


def _shown(requests: tuple[HttpRequest, ...], secrets: tuple[str, ...]) -> tuple[HttpRequest, ...]:
    """The requests of a run, without what nobody may read."""
    return shown_requests(requests, lambda text: mask(redact(text, secrets)))


def _redacted(outcome: Outcome, secrets: tuple[str, ...]) -> Outcome:
    failure, ending = outcome.failure, outcome.ending
    if failure is None and ending is None:
        return outcome
    if failure is not None:
        message = mask(redact(failure.message, secrets))
        traceback = mask(redact(failure.traceback, secrets))
        failure = Failure(failure.cause, message, traceback)
    return replace(outcome, failure=failure, ending=ending and _redacted_ending(ending, secrets))


def _redacted_ending(ending: Ending, secrets: tuple[str, ...]) -> Ending | None:
    """Take out of an ending what nobody may read; None where it says nothing any more."""

    def shown(text: str) -> str:
        return mask(redact(text, secrets))

    if shown(ending.host) != ending.host:
        # What has no host that can be named is an ordinary failure.
        return None
    # What a secret stood in leads nowhere any more.
    url = ending.url if redact(ending.url, secrets) == ending.url else ""
    # Names such as `client_id` belong to a sign-in, and are kept: as a whole, a query is masked.
    query = url.partition("?")[2]
    if mask(query) != query:
        url = url.partition("?")[0]
    return replace(ending, why=shown(ending.why), url=url)

"""The failure policy: what each outcome does to its job and its charm, against a plain model."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.model import (
    CharmHealth,
    CharmRef,
    DisabledBy,
    Failure,
    Job,
    Origin,
    Outcome,
)
from bg_charm_service.domain.outcomes.policy import (
    Decision,
    FailurePolicy,
    RunStatus,
    Step,
    decide_outcome,
    disabled_by_hand,
    enabled_again,
    kept_in_line,
    registered_again,
)

NOW, STEADY = 1_790_000_000.0, 1_790_000_100.0
POLICY = FailurePolicy()
JOB = Job(
    job_id=7,
    ref=CharmRef("did:key:space", "charm"),
    stream="bgUpdater",
    event=b"{}",
    origin=Origin.POLL,
    priority=8,
    run_at=0.0,
    attempt=1,
    deliveries=1,
    fence=1,
    created_at=0.0,
)
SUCCESS = Outcome(0.25)
FAILURE = Outcome(0.5, failure=Failure(FailureCause.ERROR, "ValueError: no"))
STALE = Outcome(0.1, stale=True)
CANCELLED = Outcome(0.0, cancelled=True)


def decide(
    outcome: Outcome,
    health: CharmHealth | None = None,
    *,
    attempt: int = 1,
    origin: Origin = Origin.POLL,
    policy: FailurePolicy = POLICY,
) -> Decision:
    """Settle one attempt, nothing left to chance."""
    job = replace(JOB, attempt=attempt, origin=origin)
    known = health or CharmHealth()
    return decide_outcome(job, outcome, known, policy, now=NOW, steady=STEADY, chance=0.0)


def test_success_ends_the_job() -> None:
    """A success is recorded with its time, and says so."""
    decision = decide(SUCCESS)
    assert (Step.DONE, RunStatus.SUCCESS) == (decision.step, decision.status)
    assert ("Success", NOW, NOW) == (
        decision.health.status,
        decision.health.last_run,
        decision.health.last_success,
    )


def test_success_sets_failures_to_zero() -> None:
    """Any success forgives the failures before it; the last error stays to be read."""
    health = decide(SUCCESS, CharmHealth(consecutive_failures=4, last_error="old")).health
    assert (0, "old") == (health.consecutive_failures, health.last_error)


def test_failure_is_tried_again_later() -> None:
    """A failed attempt waits on the clock that never jumps, and its cause is kept."""
    decision = decide(FAILURE, attempt=2)
    assert (Step.RETRY, STEADY + 2) == (decision.step, decision.run_at)
    assert ("ValueError: no", FailureCause.ERROR, NOW, 0) == (
        decision.health.last_error,
        decision.health.last_error_cause,
        decision.health.last_error_at,
        decision.health.consecutive_failures,
    )


@pytest.mark.parametrize(("retries", "attempts"), [(0, 1), (1, 2), (3, 4)])
def test_job_ends_after_its_retries(retries: int, attempts: int) -> None:
    """A job has one attempt more than retries; then it is a dead letter."""
    policy = FailurePolicy(max_retries=retries, max_failures=100)
    steps = [decide(FAILURE, attempt=n, policy=policy).step for n in range(1, attempts + 1)]
    assert [Step.RETRY] * retries + [Step.BURY] == steps


def test_charm_that_always_fails_is_disabled_by_its_fifth_poll() -> None:
    """With the defaults: four attempts of each of five polls, then it is over."""
    health, steps = CharmHealth(), []
    for attempt in 5 * (1, 2, 3, 4):
        decision = decide(FAILURE, health, attempt=attempt)
        health = decision.health
        steps.append((decision.step, decision.disables, health.consecutive_failures))
    polls = [
        [*([(Step.RETRY, False, poll)] * 3), (Step.BURY, poll == 4, poll + 1)] for poll in range(5)
    ]
    assert [step for poll in polls for step in poll] == steps
    assert (DisabledBy.FAILURES, NOW) == (health.disabled_by, health.disabled_at)
    assert "Disabled: ValueError: no" == health.status


@pytest.mark.parametrize("outcome", [SUCCESS, FAILURE])
def test_disabled_charm_stays_disabled(outcome: Outcome) -> None:
    """A run that ends after a person disabled its charm does not enable it.

    A failed send is retried once the charm is enabled: the queue holds it until then.
    """
    disabled = disabled_by_hand(CharmHealth(), NOW - 1, "Disabled by hand")
    decision = decide(outcome, disabled)
    assert (Step.DONE if outcome.success else Step.RETRY) == decision.step
    assert ("Disabled by hand", DisabledBy.HAND, NOW - 1, False) == (
        decision.health.status,
        decision.health.disabled_by,
        decision.health.disabled_at,
        decision.disables,
    )


@pytest.mark.parametrize("attempt", [1, 4])
def test_failing_events_disable_nobody(attempt: int) -> None:
    """The failure of an event is no poll's: it is tried again, and then a dead letter."""
    decision = decide(
        FAILURE, CharmHealth(consecutive_failures=4), attempt=attempt, origin=Origin.SEND
    )
    assert (Step.BURY if attempt == 4 else Step.RETRY, False, 4) == (
        decision.step,
        decision.disables,
        decision.health.consecutive_failures,
    )


def test_event_that_cannot_be_a_dead_letter_stays_in_line() -> None:
    """Where its charm has as many as are kept, it is tried again after ten minutes."""
    kept = kept_in_line(decide(FAILURE, attempt=4, origin=Origin.SEND), steady=STEADY)
    assert (Step.RETRY, STEADY + 600) == (kept.step, kept.run_at)


def test_run_asked_for_by_a_person_is_not_counted() -> None:
    """Its failure is recorded, but does not disable the charm, nor is it tried again."""
    health = CharmHealth(consecutive_failures=4)
    decision = decide(FAILURE, health, origin=Origin.RUN_NOW)
    assert (Step.DONE, RunStatus.FAILURE) == (decision.step, decision.status)
    assert (4, 1, True) == (
        decision.health.consecutive_failures,
        decision.health.failures,
        decision.health.is_enabled,
    )


def test_stale_run_is_run_again_at_once() -> None:
    """A value that moved under a run costs it nothing but the repetition."""
    health = CharmHealth(consecutive_failures=2, stale_streak=1)
    decision = decide(STALE, health, attempt=3)
    assert (Step.RERUN, STEADY, RunStatus.STALE) == (
        decision.step,
        decision.run_at,
        decision.status,
    )
    assert replace(health, stale_streak=2, runs_recorded=1) == decision.health


def test_cancelled_run_changes_nothing() -> None:
    """A removed charm's run is over, whatever it did."""
    health = CharmHealth(consecutive_failures=2)
    both = replace(FAILURE, cancelled=True)
    recorded = replace(health, runs_recorded=1)
    assert Decision(Step.CANCEL, recorded, RunStatus.CANCELLED) == decide(CANCELLED, health)
    assert Step.CANCEL == decide(both, health).step


def test_durations_are_summed_up() -> None:
    """Shortest, longest, last and total time count every recorded run, failures too."""
    health = CharmHealth()
    for outcome in (FAILURE, SUCCESS, replace(SUCCESS, duration_seconds=1.0)):
        health = decide(outcome, health).health
    assert (250.0, 1000.0, 1000.0, 1750.0) == (
        health.min_ms,
        health.max_ms,
        health.last_ms,
        health.total_ms,
    )


def test_enabling_starts_afresh() -> None:
    """An enabled charm has no failures in a row; what it did before is still counted."""
    health = disabled_by_hand(CharmHealth(consecutive_failures=5, failures=9), NOW, "off")
    assert CharmHealth(failures=9, status="on") == enabled_again(health, "on")


@dataclass
class Charm:
    """The plain model: what a person would say happened; polls that failed since a success."""

    results: list[str] = field(default_factory=list)
    since_last_success: int = 0
    disabled: DisabledBy | None = None
    stale: int = 0


class SettlementMachine(RuleBasedStateMachine):
    """One charm, its jobs one after another, whatever happens to them."""

    def __init__(self) -> None:
        super().__init__()
        self.policy = POLICY
        self.health = CharmHealth()
        self.charm = Charm()
        self.attempt = 0

    def decide_outcome(self, outcome: Outcome, origin: Origin) -> Decision:
        job = replace(JOB, attempt=max(self.attempt, 1), origin=origin)
        decision = decide_outcome(
            job, outcome, self.health, self.policy, now=NOW, steady=STEADY, chance=0.5
        )
        self.health = decision.health
        return decision

    def end(self) -> None:
        self.attempt = 0

    @precondition(lambda self: self.attempt == 0 and self.charm.disabled is None)
    @rule(retries=st.integers(0, 4), failures=st.integers(1, 7))
    def start(self, retries: int, failures: int) -> None:
        """A poll falls due; the settings may have been changed by a restart."""
        self.policy = FailurePolicy(retries, failures)
        self.attempt = 1

    @precondition(lambda self: self.attempt)
    @rule()
    def succeed(self) -> None:
        """The attempt succeeds."""
        decision = self.decide_outcome(SUCCESS, Origin.POLL)
        self.charm.results.append("success")
        self.charm.since_last_success = self.charm.stale = 0
        assert Step.DONE == decision.step
        self.end()

    @precondition(lambda self: self.attempt)
    @rule()
    def fail(self) -> None:
        """The attempt fails."""
        decision = self.decide_outcome(FAILURE, Origin.POLL)
        self.charm.results.append("failure")
        self.charm.stale = 0
        is_over = self.attempt > self.policy.max_retries
        is_enabled = self.charm.disabled is None
        if is_enabled and is_over:
            self.charm.since_last_success += 1
            if self.charm.since_last_success >= self.policy.max_failures:
                self.charm.disabled = DisabledBy.FAILURES
                assert decision.disables
        assert (Step.BURY if is_over else Step.RETRY) == decision.step
        if is_over:
            self.end()
        else:
            assert STEADY < decision.run_at <= STEADY + 30
            self.attempt += 1

    @precondition(lambda self: self.attempt)
    @rule()
    def go_stale(self) -> None:
        """A value moves under the attempt, which runs again as the same one."""
        assert Step.RERUN == self.decide_outcome(STALE, Origin.POLL).step
        self.charm.stale += 1

    @rule(outcome=st.sampled_from([SUCCESS, FAILURE]))
    def run_now(self, outcome: Outcome) -> None:
        """A person runs the charm; a success counts, a failure does not."""
        if self.attempt:
            return
        assert Step.DONE == self.decide_outcome(outcome, Origin.RUN_NOW).step
        self.charm.results.append("success" if outcome is SUCCESS else "failure")
        self.charm.stale = 0
        if outcome is SUCCESS:
            self.charm.since_last_success = 0

    @rule()
    def disable(self) -> None:
        """A person disables the charm, also in the middle of a run."""
        self.health = disabled_by_hand(self.health, NOW, "off")
        self.charm.disabled = DisabledBy.HAND

    @rule()
    def enable(self) -> None:
        """A person or time enables the charm."""
        self.health = enabled_again(self.health, "on")
        self.charm.disabled = None
        self.charm.since_last_success = 0

    @invariant()
    def health_tells_what_happened(self) -> None:
        """Every number is what the model counts."""
        health, charm = self.health, self.charm
        assert charm.disabled == health.disabled_by
        assert charm.since_last_success == health.consecutive_failures
        assert len(charm.results) == health.executions
        assert charm.results.count("success") == health.successes
        assert charm.results.count("failure") == health.failures
        assert charm.stale == health.stale_streak
        assert (charm.disabled is not None) == (health.disabled_at > 0)


TestSettlement = SettlementMachine.TestCase


def test_second_death_of_the_service_holds_the_charm() -> None:
    """What is proven to have ended the service counts as a failure; the second time it is held.

    Other failures in between change nothing, nor does who asked for the run.
    """
    death = Outcome(0.0, failure=Failure(FailureCause.SUPERVISOR, "died"))
    first = decide(death)
    assert (1, 1, None) == (
        first.health.service_deaths,
        first.health.failures,
        first.health.disabled_by,
    )
    between = decide(FAILURE, decide(SUCCESS, first.health).health)
    assert (1, None) == (between.health.service_deaths, between.health.disabled_by)
    second = first
    for origin in Origin:
        second = decide(death, between.health, origin=origin)
        assert (Step.BURY, True, DisabledBy.SERVICE) == (
            second.step,
            second.disables,
            second.health.disabled_by,
        )
        assert "charm enable" in second.health.status
    assert 0 == enabled_again(second.health, "Re-enabled").service_deaths


def test_a_registration_alone_forgives_nothing() -> None:
    """Failures are counted on, unless they had disabled the charm; deaths of the service always."""
    failing = CharmHealth(consecutive_failures=3, service_deaths=1, status="no")
    assert replace(failing, status="on") == registered_again(failing, "on")
    disabled = replace(failing, disabled_at=NOW, disabled_by=DisabledBy.FAILURES)
    assert CharmHealth(service_deaths=1, status="on") == registered_again(disabled, "on")

"""Promises of the counts of runs: every run once, told apart by few labels, whoever registers."""

from __future__ import annotations

from collections.abc import Sequence

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.outcomes.policy import RunStatus
from bg_charm_service.service.metrics.run_counters import BucketCounts, RunCounters
from bg_charm_service.supervisor.completer import Settled
from tests.unit.settling import NOW, settled

#: What the charms of these tests are registered under; the others are not.
LABELS = {1: "gmail", 2: "my own"}


def counters(**options: int) -> RunCounters:
    """Counters of a service that scans one integration."""
    return RunCounters(LABELS.get, {"gmail"}, **options)


def note(counted: RunCounters, runs: Sequence[Settled], awake_since: float = 0.0) -> None:
    """Count runs of a service that was awake all the time."""
    counted.note(runs, awake_since=awake_since)


def nonzero(counted: RunCounters) -> dict[tuple[str, RunStatus, FailureCause | None], int]:
    """What was counted."""
    return {(name, how, why): count for name, how, why, count in counted.each() if count}


def filled(buckets: BucketCounts) -> dict[float | None, int]:
    """The buckets that hold something, by their upper bound; None is the last."""
    pairs = zip((*buckets.bounds, None), buckets.counts, strict=True)
    return {bound: count for bound, count in pairs if count}


def test_runs_are_told_apart() -> None:
    """By integration, by how they ended and by the cause of a failure; each is counted once."""
    counted = counters()
    note(
        counted,
        [
            settled(),
            settled(),
            settled(charm_key=2),
            settled(charm_key=3),
            settled(RunStatus.FAILURE, FailureCause.TIMEOUT),
            settled(RunStatus.FAILURE, FailureCause.ERROR, charm_key=3),
            settled(RunStatus.STALE),
            settled(RunStatus.CANCELLED),
        ],
    )
    assert {
        ("gmail", RunStatus.SUCCESS, None): 2,
        ("my own", RunStatus.SUCCESS, None): 1,
        ("none", RunStatus.SUCCESS, None): 1,
        ("gmail", RunStatus.FAILURE, FailureCause.TIMEOUT): 1,
        ("none", RunStatus.FAILURE, FailureCause.ERROR): 1,
        ("gmail", RunStatus.STALE, None): 1,
        ("gmail", RunStatus.CANCELLED, None): 1,
    } == nonzero(counted)
    assert (4, 2) == (counted.ended(RunStatus.SUCCESS), counted.ended(RunStatus.FAILURE))


def test_every_way_to_end_is_a_label_by_itself() -> None:
    """A new status needs no change here."""
    counted = counters()
    note(counted, [settled(status) for status in RunStatus])
    assert set(RunStatus) == {status for _, status, _ in nonzero(counted)}


def test_made_up_labels_are_bounded() -> None:
    """Beyond a number all share one; integrations that are scanned have their own all the same."""
    labels = {key: f"made up {key}" for key in range(100)} | {100: "gmail"}
    counted = RunCounters(labels.get, {"gmail"}, most_labels=3)
    note(counted, [settled(charm_key=key) for key in range(101) for _ in range(2)])
    names = {name: count for (name, _, _), count in nonzero(counted).items()}
    assert {"made up 0": 2, "made up 1": 2, "made up 2": 2, "other": 194, "gmail": 2} == names


def test_nobody_can_hide_behind_the_names_of_ours() -> None:
    """Runs of a charm that was registered as `other` or `none` are added to those."""
    counted = RunCounters({1: "none", 2: "other"}.get, ())
    note(counted, [settled(charm_key=key) for key in (1, 2, 3)])
    assert {"none": 2, "other": 1} == {
        name: count for (name, _, _), count in nonzero(counted).items()
    }


def test_durations_are_in_buckets() -> None:
    """A bound belongs to its bucket; what was cancelled took no time that says anything."""
    counted = counters()
    note(counted, [settled(seconds=seconds) for seconds in (0.0, 0.001, 0.002, 1.0, 1000.0)])
    note(
        counted, [settled(RunStatus.CANCELLED, seconds=5.0), settled(RunStatus.STALE, seconds=2.0)]
    )
    assert {0.001: 2, 0.0025: 1, 1.0: 1, 2.5: 1, None: 1} == filled(counted.durations)
    assert 1003.003 == counted.durations.total


def test_lags_are_in_buckets() -> None:
    """Runs whose time came while the service did not run are not late."""
    counted = counters()
    runs = [settled(lag_seconds=0.02, run_at=NOW), settled(lag_seconds=86400.0, run_at=NOW - 1)]
    together = counted.note(runs, awake_since=NOW)
    assert {0.025: 1} == filled(counted.lags)
    assert (1, 0.02, 0.02) == (
        together.lags,
        together.lag_seconds,
        together.longest_lag_seconds,
    )
    assert (2, 0) == (together.successes, together.failures)

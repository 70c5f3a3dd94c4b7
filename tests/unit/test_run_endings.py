"""How a run can end: each row of the table of docs/charms.md, and how long a charm waits then."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.model import (
    CharmHealth,
    DisabledBy,
    Failure,
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
)
from bg_charm_service.domain.outcomes.run_endings import (
    LONGEST_HOST,
    MOST_IN_A_ROW,
    Ending,
    EndingKind,
    Waiting,
    brought_forward,
    is_host,
    is_sign_in_url,
    next_waiting,
    sign_in_host,
)
from tests.unit.test_outcome_policy import JOB as FIRST_ATTEMPT
from tests.unit.test_outcome_policy import NOW, STEADY

INTERVAL = 60.0
HOST = "api.example.org"
DAY = 86400.0
HEALTH = CharmHealth(consecutive_failures=3, successes=7, failures=5, executions=12)
JOB = replace(FIRST_ATTEMPT, attempt=2)
AGAIN = Ending(EndingKind.AGAIN, 5.0)
WAIT = Ending(EndingKind.WAIT, 3600.0, "the quota is used up")
DOWN = Ending(EndingKind.DOWN, None, "refused", HOST)
SIGN_IN = Ending(EndingKind.SIGN_IN, None, "the token was revoked", url="https://example.org/in")
STOP = Ending(EndingKind.STOP, None, "the parcel was delivered")
CAUSES = {
    EndingKind.WAIT: FailureCause.WAIT,
    EndingKind.DOWN: FailureCause.DOWN,
    EndingKind.SIGN_IN: FailureCause.SIGN_IN,
    EndingKind.STOP: FailureCause.STOP,
}


def decide(
    ending: Ending,
    health: CharmHealth = HEALTH,
    *,
    before: Waiting | None = None,
    origin: Origin = Origin.POLL,
    chance: float = 0.0,
) -> Decision:
    """Settle a run of a charm that is polled every minute, and that ended so."""
    failure = Failure(CAUSES[ending.kind], ending.why) if ending.kind in CAUSES else None
    return decide_outcome(
        replace(JOB, origin=origin),
        Outcome(0.25, failure, ending=ending),
        health,
        FailurePolicy(),
        now=NOW,
        steady=STEADY,
        chance=chance,
        before=before,
        interval_seconds=INTERVAL,
    )


def waited(ending: Ending, before: Waiting | None = None, chance: float = 0.0) -> Waiting:
    """What a charm waits for after a run that ended so."""
    waiting = decide(ending, before=before, chance=chance).waiting
    assert waiting is not None
    return waiting


def in_a_row(ending: Ending, count: int) -> list[float]:
    """How long a charm waits after each of so many runs that all end so."""
    delays: list[float] = []
    waiting = None
    for _ in range(count):
        waiting = waited(ending, waiting)
        delays.append(waiting.until - STEADY)
    return delays


def test_success_that_goes_on() -> None:
    """Row 2: a success, and the next run is at the time that the charm names."""
    decision = decide(AGAIN)
    assert (Step.DONE, RunStatus.SUCCESS, "Goes on") == (
        decision.step,
        decision.status,
        decision.health.status,
    )
    assert (8, 0) == (decision.health.successes, decision.health.consecutive_failures)
    assert decision.waiting == Waiting(EndingKind.AGAIN, STEADY + 5, NOW, 1)


def test_again_at_once_is_next_in_turn_a_thousand_times() -> None:
    """Row 2: then the interval comes in between, and it may begin anew."""
    delays = in_a_row(Ending(EndingKind.AGAIN, 0.0), 2 * MOST_IN_A_ROW)
    once = [0.0] * (MOST_IN_A_ROW - 1) + [INTERVAL]
    assert 2 * once == delays


def test_again_no_sooner_than_the_interval_is_not_counted() -> None:
    """Row 2: what leaves the interval in between may go on for ever."""
    assert [INTERVAL] * 3000 == in_a_row(Ending(EndingKind.AGAIN, INTERVAL), 3000)


@pytest.mark.parametrize(("seconds", "delay"), [(-5.0, 0.0), (1e12, 366 * DAY)])
def test_again_is_bounded(seconds: float, delay: float) -> None:
    """Row 2: a time that has passed is now, and none is further away than an interval may be."""
    assert STEADY + delay == waited(Ending(EndingKind.AGAIN, seconds)).until


@pytest.mark.parametrize(
    ("ending", "status", "text"),
    [
        (WAIT, RunStatus.WAITING, "Waiting: the quota is used up"),
        (DOWN, RunStatus.DOWN, "api.example.org is down: refused"),
        (SIGN_IN, RunStatus.SIGN_IN, "Sign in again: the token was revoked"),
        (STOP, RunStatus.STOPPED, "Stopped: the parcel was delivered"),
    ],
)
def test_neither_success_nor_failure(ending: Ending, status: RunStatus, text: str) -> None:
    """Rows 3 to 6: the poll is over with neither, whatever attempt it was; the line says why."""
    decision = decide(ending)
    assert (Step.DONE, status, text) == (decision.step, decision.status, decision.health.status)
    untouched = ("executions", "successes", "failures", "consecutive_failures", "last_success")
    for name in (*untouched, "last_error", "total_ms"):
        assert getattr(HEALTH, name) == getattr(decision.health, name)
    assert (NOW, 1) == (decision.health.last_run, decision.health.runs_recorded)


def test_figures_of_their_own() -> None:
    """Rows 3 and 4: waiting and a provider that is down are each counted."""
    assert (1, 0) == (decide(WAIT).health.waits, decide(WAIT).health.downs)
    assert (0, 1) == (decide(DOWN).health.waits, decide(DOWN).health.downs)


@pytest.mark.parametrize(
    ("seconds", "delay"), [(3600.0, 3600.0), (10 * DAY, DAY), (DAY, DAY), (0.01, 1.0)]
)
def test_waits_until_the_time_that_is_named(seconds: float, delay: float) -> None:
    """Row 3: not before then, at most a day, whatever it waited before; and no shorter than 1 s."""
    assert STEADY + delay == waited(replace(WAIT, seconds=seconds), chance=0.9).until


@pytest.mark.parametrize("seconds", [None, 0.0, -60.0])
def test_waits_longer_each_time_where_none_is_named(seconds: float | None) -> None:
    """Row 3: 30 s, doubled up to 10 minutes; a time that is not ahead is none."""
    delays = in_a_row(replace(WAIT, seconds=seconds), 7)
    assert [30.0, 60.0, 120.0, 240.0, 480.0, 600.0, 600.0] == delays


def test_provider_that_is_down_is_asked_less_and_less_often() -> None:
    """Row 4: 30 s, doubled up to 10 minutes, less up to a fifth by chance; since the first."""
    assert [30.0, 60.0, 120.0, 240.0, 480.0, 600.0, 600.0] == in_a_row(DOWN, 7)
    assert STEADY + 24.0 == pytest.approx(waited(DOWN, chance=0.999999).until, abs=0.001)
    first = replace(waited(DOWN), since=NOW - 500)
    second = waited(DOWN, first)
    assert (NOW - 500, 2, HOST) == (second.since, second.tries, second.host)


def test_another_host_is_down_since_now() -> None:
    """Row 4: what was down before is no word about another one; its delays go on."""
    elsewhere = replace(waited(DOWN), host="other.example.org", since=NOW - 500)
    found = waited(DOWN, elsewhere)
    assert (NOW, STEADY + 60) == (found.since, found.until)


def test_those_who_wait_for_a_host_are_asked_within_a_minute() -> None:
    """Row 4: evenly spread, the first at once."""
    delays = brought_forward(120)
    assert (0.0, 0.5) == (delays[0], delays[1] - delays[0])
    assert max(delays) < 60.0
    assert [] == brought_forward(0)


@pytest.mark.parametrize(
    ("ending", "by"), [(SIGN_IN, DisabledBy.SIGN_IN), (STOP, DisabledBy.STOPPED)]
)
def test_switched_off_until_somebody_does_something(ending: Ending, by: DisabledBy) -> None:
    """Rows 5 and 6: not polled, and no time brings it back."""
    decision = decide(ending)
    assert (True, by, NOW) == (
        decision.disables,
        decision.health.disabled_by,
        decision.health.disabled_at,
    )
    assert decision.waiting is not None
    assert (0.0, ending.why, ending.url) == (
        decision.waiting.until,
        decision.waiting.why,
        decision.waiting.url,
    )


@pytest.mark.parametrize("ending", [WAIT, DOWN, SIGN_IN, STOP])
def test_event_keeps_its_place(ending: Ending) -> None:
    """For events too: the job stays, as the same attempt, until its charm may run again."""
    decision = decide(ending, origin=Origin.SEND)
    assert Step.WAIT is decision.step
    waiting = decision.waiting
    assert waiting is not None
    assert (waiting.until or STEADY) == decision.run_at


def test_run_by_hand_shows_that_somebody_has_signed_in() -> None:
    """Row 5: its success enables the charm; that of a stopped one does not."""
    success = Outcome(0.25)
    off = replace(HEALTH, disabled_by=DisabledBy.SIGN_IN, disabled_at=NOW)

    def by_hand(health: CharmHealth) -> Decision:
        job = replace(JOB, origin=Origin.RUN_NOW)
        policy = FailurePolicy()
        return decide_outcome(job, success, health, policy, now=NOW, steady=STEADY, chance=0.0)

    back = by_hand(off)
    assert (True, None, 0) == (
        back.enables,
        back.health.disabled_by,
        back.health.consecutive_failures,
    )
    still = by_hand(replace(off, disabled_by=DisabledBy.STOPPED))
    assert (False, DisabledBy.STOPPED) == (still.enables, still.health.disabled_by)


@pytest.mark.parametrize("ending", [AGAIN, WAIT, DOWN, SIGN_IN, STOP])
def test_charm_that_is_disabled_stays_so(ending: Ending) -> None:
    """Who disabled a charm has the last word: a run that ends after that changes nothing."""
    decision = decide(ending, disabled_by_hand(HEALTH, NOW - 5, "off"))
    assert (DisabledBy.HAND, NOW - 5, "off", False, None) == (
        decision.health.disabled_by,
        decision.health.disabled_at,
        decision.health.status,
        decision.disables,
        decision.waiting,
    )


@pytest.mark.parametrize(("off", "by"), [(SIGN_IN, DisabledBy.SIGN_IN), (STOP, DisabledBy.STOPPED)])
@pytest.mark.parametrize("origin", [Origin.RUN_NOW, Origin.POLL])
@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(0.1),
        Outcome(0.1, ending=AGAIN),
        Outcome(0.1, failure=Failure(FailureCause.ERROR, "no")),
        *(
            Outcome(0.1, failure=Failure(FailureCause.ERROR, "no"), ending=ending)
            for ending in (WAIT, DOWN, SIGN_IN, STOP)
        ),
    ],
)
def test_what_switched_a_charm_off_is_known_until_it_is_on(
    off: Ending, by: DisabledBy, origin: Origin, outcome: Outcome
) -> None:
    """A run by hand, or a poll that was requeued, does not take away why, and where to sign in."""
    before = waited(off)
    decision = decide_outcome(
        replace(JOB, origin=origin),
        outcome,
        replace(HEALTH, disabled_by=by, disabled_at=NOW - 5, status="off"),
        FailurePolicy(),
        now=NOW,
        steady=STEADY,
        chance=0.0,
        before=before,
    )
    if decision.enables:
        assert decision.waiting is None
    else:
        assert (by, NOW - 5, before) == (
            decision.health.disabled_by,
            decision.health.disabled_at,
            decision.waiting,
        )


def test_run_by_hand_does_not_make_a_charm_wait_longer() -> None:
    """What names no time leaves what the charm waits for as it was; a time that is named counts."""
    before = waited(DOWN)
    assert before == decide(DOWN, before=before, origin=Origin.RUN_NOW).waiting
    asked = waited(WAIT)
    again = decide(replace(WAIT, seconds=60.0), before=asked, origin=Origin.RUN_NOW).waiting
    assert again is not None
    assert STEADY + 60.0 == again.until


@pytest.mark.parametrize("origin", [Origin.POLL, Origin.SEND])
def test_any_other_end_is_the_end_of_waiting(origin: Origin) -> None:
    """Success and failure of a poll or an event say that there is nothing to wait for."""
    before = waited(DOWN)
    for outcome in (Outcome(0.1), Outcome(0.1, failure=Failure(FailureCause.ERROR, "no"))):
        decision = decide_outcome(
            replace(JOB, origin=origin),
            outcome,
            HEALTH,
            FailurePolicy(),
            now=NOW,
            steady=STEADY,
            chance=0.0,
            before=before,
        )
        assert decision.waiting is None


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(0.1, stale=True),
        Outcome(0.1, cancelled=True),
        Outcome(0.1, failure=Failure(FailureCause.ERROR, "no")),
    ],
)
def test_what_says_nothing_leaves_the_waiting_as_it_is(outcome: Outcome) -> None:
    """A stale or cancelled run, and one by hand that fails, end no waiting."""
    before = waited(DOWN)
    decision = decide_outcome(
        replace(JOB, origin=Origin.RUN_NOW),
        outcome,
        HEALTH,
        FailurePolicy(),
        now=NOW,
        steady=STEADY,
        chance=0.0,
        before=before,
    )
    assert before == decision.waiting


@given(
    kinds=st.lists(st.sampled_from(["wait", "down", "again"]), min_size=1, max_size=30),
    seconds=st.one_of(st.none(), st.floats(-1e9, 1e9)),
    chance=st.floats(0, 1, exclude_max=True),
)
def test_nobody_waits_for_ever(kinds: list[str], seconds: float | None, chance: float) -> None:
    """Whatever is named, in whatever order, the next run comes: at most a day, or as asked."""
    waiting: Waiting | None = None
    for name in kinds:
        ending = Ending(EndingKind(name), seconds, host=HOST)
        waiting = next_waiting(
            ending, waiting, now=NOW, steady=STEADY, chance=chance, interval_seconds=INTERVAL
        )
        assert waiting is not None
        longest = 366 * DAY if name == "again" else DAY
        shortest = 0.0 if name == "again" else 1.0
        assert STEADY + shortest <= waiting.until <= STEADY + longest


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("api.example.org", True),
        ("10.0.0.1", True),
        ("[::1]", True),
        ("fe80::1%eth0", True),
        ("", False),
        ("a b", False),
        ("<b>", False),
        ("exämple.org", False),
        ("x" * (LONGEST_HOST + 1), False),
    ],
)
def test_host_is_a_name_and_nothing_else(text: str, *, is_one: bool) -> None:
    """No charm's text reaches a line about a host."""
    assert is_one == is_host(text)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://accounts.example.org/oauth?client=1", "accounts.example.org"),
        ("https://example.org:8443/", "example.org"),
        ("/login", ""),
        ("/login?code=1", ""),
    ],
)
def test_people_are_led_to_sign_in(url: str, host: str) -> None:
    """An https address is shown with its host; a page of ours is one of those for that."""
    assert is_sign_in_url(url)
    assert host == sign_in_host(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://example.org/",
        "javascript:alert(1)",
        "//example.org/login",
        "/charms/x/y/do/remove",
        "/login/../charms",
        "https://",
        "https://user:pass@example.org/",
        "https://example.org@evil.example/",
        "https://example.org/\n",
        "https://ex ample.org/",
        "https://example.org:port/",
        "https://[::1",
        "https://example.org/" + "x" * 2000,
        "https://exämple.org/",
    ],
)
def test_people_are_led_nowhere_else(url: str) -> None:
    """No other scheme, no name in front of the host, no other page of ours, nothing odd."""
    assert not is_sign_in_url(url)

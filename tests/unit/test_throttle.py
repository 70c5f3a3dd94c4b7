"""Those whose credentials do not hold wait longer and longer, and nobody else does."""

from __future__ import annotations

import pytest

from bg_charm_service.api.auth.login_codes import CODE_SECONDS, LoginCodes
from bg_charm_service.api.auth.registration_rate import BURST, RegistrationRate
from bg_charm_service.api.auth.throttle import FREE_ATTEMPTS, Throttle
from bg_charm_service.domain.errors import TooManyAttempts

HERE = "192.0.2.1"


class Clock:
    """A clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def steady(self) -> float:
        return self.time

    def awake(self) -> float:
        return self.steady()


@pytest.fixture
def clock() -> Clock:
    """A clock that the test moves."""
    return Clock()


@pytest.fixture
def throttle(clock: Clock) -> Throttle:
    """What counts failures, without any yet."""
    return Throttle(clock)


def fail(throttle: Throttle, times: int, host: str = HERE) -> None:
    """Let guesses from an address fail."""
    for _ in range(times):
        throttle.record_failure(host, "a reason")


def test_a_few_failures_are_free(throttle: Throttle) -> None:
    """Whoever mistypes a few times is not kept waiting."""
    fail(throttle, FREE_ATTEMPTS)
    with pytest.raises(TooManyAttempts):
        fail(throttle, 1)


def test_waits_grow_and_end(throttle: Throttle, clock: Clock) -> None:
    """Each failure more doubles the wait, up to a minute; then one may try again."""
    waits = []
    fail(throttle, FREE_ATTEMPTS - 1)
    for _ in range(9):
        fail(throttle, 1)
        with pytest.raises(TooManyAttempts) as caught:
            fail(throttle, 1)
        waits.append(caught.value.retry_after_seconds)
        clock.time += waits[-1]
    assert [1, 2, 4, 8, 16, 32, 60, 60, 60] == waits


def test_failures_are_forgotten(throttle: Throttle, clock: Clock) -> None:
    """Failures of long ago count no more."""
    fail(throttle, FREE_ATTEMPTS)
    clock.time += 601
    fail(throttle, FREE_ATTEMPTS)


def test_others_do_not_wait(throttle: Throttle) -> None:
    """Failures of one address are no other one's."""
    fail(throttle, FREE_ATTEMPTS)
    fail(throttle, FREE_ATTEMPTS, host="192.0.2.2")
    with pytest.raises(TooManyAttempts):
        fail(throttle, 1)


def test_an_ipv6_network_is_one_address(throttle: Throttle) -> None:
    """Who has a network of addresses does not get as many throttle."""
    for number in range(FREE_ATTEMPTS):
        fail(throttle, 1, host=f"2001:db8::{number:x}")
    with pytest.raises(TooManyAttempts):
        fail(throttle, 1, host="2001:db8::ffff")
    fail(throttle, 1, host="2001:db8:1::1")


def test_a_code_is_good_once_and_for_five_minutes(clock: Clock) -> None:
    """A login code is used up by its first use, and by time."""
    codes = LoginCodes(clock)
    code, late = codes.new(), codes.new()
    assert codes.redeem(code)
    assert not codes.redeem(code)
    assert not codes.redeem("made up")
    clock.time += CODE_SECONDS
    assert not codes.redeem(late)


def test_codes_that_nobody_uses_are_bounded(clock: Clock) -> None:
    """Of many codes the newest are good."""
    codes = LoginCodes(clock)
    made = [codes.new() for _ in range(101)]
    assert not codes.redeem(made[0])
    assert codes.redeem(made[-1])


def test_registrations_come_at_a_rate(clock: Clock) -> None:
    """So many at once, then one a second; each peer by itself."""
    rate = RegistrationRate(clock)
    for _ in range(BURST):
        rate.take("user 1000")
    with pytest.raises(TooManyAttempts, match="1 more each second") as refused:
        rate.take("user 1000")
    assert 1.0 == refused.value.retry_after_seconds
    rate.take("user 1001")
    clock.time += 2.5
    rate.take("user 1000")
    rate.take("user 1000")
    with pytest.raises(TooManyAttempts) as refused:
        rate.take("user 1000")
    assert 0.5 == refused.value.retry_after_seconds


def test_a_refused_registration_costs_nothing(clock: Clock) -> None:
    """Who goes on asking while it has to wait does not wait the longer."""
    rate = RegistrationRate(clock)
    for _ in range(BURST):
        rate.take("user 1000")
    for _ in range(100):
        with pytest.raises(TooManyAttempts):
            rate.take("user 1000")
    clock.time += 1.0
    rate.take("user 1000")


def test_login_codes_are_forgotten(clock: Clock) -> None:
    """When all sessions are ended, no code that was given out begins another."""
    codes = LoginCodes(clock)
    code = codes.new()
    codes.forget_all()
    assert not codes.redeem(code)

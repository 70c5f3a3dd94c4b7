"""When to try again: exponential delays with a cap and a random part.

Pure: randomness comes in as a number in [0, 1). The delays are tenacity's; the waiting is
done by the queue's `run_at`, so that it survives a restart.
"""

from __future__ import annotations

from typing import Any

import tenacity

#: The longest delay between two attempts, in seconds.
MAX_DELAY_SECONDS = 30.0

#: How much of a delay chance may take away, so that retries of many charms do not march in step.
_JITTER = 0.2

#: The longest delay between two questions to a provider that is down, in seconds.
MAX_PROVIDER_DELAY_SECONDS = 600.0

_retry_wait = tenacity.wait_exponential(multiplier=1, exp_base=2, max=MAX_DELAY_SECONDS)
_restart_wait = tenacity.wait_exponential(multiplier=0.1, exp_base=2, max=MAX_DELAY_SECONDS)
_provider_wait = tenacity.wait_exponential(
    multiplier=30, exp_base=2, max=MAX_PROVIDER_DELAY_SECONDS
)
#: In first delays: the longest is an hour where that is 10 s.
_notice_wait = tenacity.wait_exponential(multiplier=1, exp_base=2, max=360)


def _delay(wait: tenacity.wait.wait_base, attempt: int, chance: float) -> float:
    state = tenacity.RetryCallState(retry_object=_NO_RETRYING, fn=None, args=(), kwargs={})
    state.attempt_number = attempt
    return wait(state) * (1 - _JITTER * chance)


#: tenacity asks for the object that drives a loop; there is none here, only its arithmetic.
_NO_RETRYING: Any = None


def retry_delay_seconds(attempt: int, chance: float) -> float:
    """Delay after attempt `attempt` (from 1) failed: 1, 2, 4 … at most 30 s, less up to a fifth."""
    return _delay(_retry_wait, attempt, chance)


def restart_delay_seconds(deaths: int, chance: float) -> float:
    """Delay before a worker is started after `deaths` (from 1) died in a row before being ready."""
    return _delay(_restart_wait, deaths, chance)


def provider_delay_seconds(tries: int, chance: float) -> float:
    """Delay after the `tries`-th run (from 1) that a provider did not serve.

    30, 60, 120 … at most 600 s, less up to a fifth by chance.
    """
    return _delay(_provider_wait, tries, chance)


def notice_delay_seconds(tries: int, chance: float, first_seconds: float) -> float:
    """Delay after the `tries`-th time (from 1) that a target did not take a message.

    Once, twice, four times … at most 360 times the first one, less up to a fifth by chance.
    """
    return first_seconds * _delay(_notice_wait, tries, chance)

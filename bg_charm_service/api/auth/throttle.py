"""Throttles those whose credentials do not hold, by address, and writes that to the log.

Asked about a credential only once it was found not to hold: one that is good never waits, also
where it was never seen before. Bounded: the addresses that failed longest ago are forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from loguru import logger

from bg_charm_service.api.auth.peers import address_group
from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.errors import TooManyAttempts

#: So many failures are free.
FREE_ATTEMPTS = 5

#: The longest wait, in seconds.
_LONGEST_SECONDS = 60.0

#: Failures are forgotten after so many seconds without another.
_MEMORY_SECONDS = 600.0

_MOST_ADDRESSES = 10_000


@dataclass(slots=True)
class _Record:
    failures: int
    blocked_until: float
    last_at: float


class Throttle:
    """Failures by address, and what was accepted there; times are steady seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def record_failure(self, host: str, reason: str) -> None:
        """Count and log a failure; from the sixth on, the address has to wait.

        Raises TooManyAttempts while it does: what comes then is not counted.
        """
        address, now = address_group(host), self._clock.steady()
        record = self._records.get(address)
        wait = record.blocked_until - now if record else 0.0
        if wait > 0:
            raise TooManyAttempts(
                f"Too many credentials from {host or 'there'} did not hold. "
                f"Try again in {wait:.0f} s.",
                retry_after_seconds=wait,
            )
        self._records.pop(address, None)
        if record is None or now - record.last_at > _MEMORY_SECONDS:
            record = _Record(0, 0.0, now)
        record.failures += 1
        record.last_at = now
        over = record.failures - FREE_ATTEMPTS
        if over >= 0:
            record.blocked_until = now + min(2.0 ** min(over, 10), _LONGEST_SECONDS)
        self._records[address] = record
        if len(self._records) > _MOST_ADDRESSES:
            self._records.popitem(last=False)
        logger.bind(event="access.failed", address=host, failures=record.failures).warning(
            "A credential from {} did not hold: {}", host or "nowhere", reason
        )

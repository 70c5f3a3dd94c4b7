"""Throttles those whose credentials do not hold, by address, and writes that to the log.

Who came with a good credential from an address before is not kept waiting by others there.
Bounded: the addresses that failed longest ago are forgotten first.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass

from loguru import logger

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
        self._accepted: OrderedDict[tuple[str, bytes], None] = OrderedDict()

    def check(self, host: str, credential: bytes) -> None:
        """Raise TooManyAttempts while an address waits, unless this credential was good there."""
        address = _network_of(host)
        record = self._records.get(address)
        wait = record.blocked_until - self._clock.steady() if record else 0.0
        if wait > 0 and (address, credential) not in self._accepted:
            raise TooManyAttempts(
                f"Too many credentials from {host or 'there'} did not hold. "
                f"Try again in {wait:.0f} s.",
                retry_after_seconds=wait,
            )

    def record_success(self, host: str, credential: bytes) -> None:
        """Remember by its hash that a credential is good from an address."""
        key = (_network_of(host), credential)
        self._accepted[key] = None
        self._accepted.move_to_end(key)
        if len(self._accepted) > _MOST_ADDRESSES:
            self._accepted.popitem(last=False)

    def record_failure(self, host: str, credential: bytes, reason: str) -> None:
        """Count and log a failure; from the sixth on, the address has to wait."""
        address, now = _network_of(host), self._clock.steady()
        self._accepted.pop((address, credential), None)
        record = self._records.pop(address, None)
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


def _network_of(host: str) -> str:
    """Give what counts as one address: whoever has an IPv6 address has a network of them."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)

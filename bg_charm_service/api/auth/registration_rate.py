"""How often charms may be registered without a credential: so many at once, then one a second.

Each registration has a charm polled at once, and may ask an integration, so that whoever may send
any number of them decides what the service does. Counted for each peer (a user of this machine),
in memory. Asked by the authentication; with a credential nothing is counted.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from loguru import logger

from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.errors import TooManyAttempts

#: Registrations of a peer that may come at once, and how many more each second.
BURST = 60
PER_SECOND = 1.0

#: Peers that are remembered; the one that came longest ago is forgotten first.
_MOST_PEERS = 10_000


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float
    was_told: bool = False


class RegistrationRate:
    """What is left to each peer; times are steady seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, peer: str) -> None:
        """Count one registration; raises TooManyAttempts, and counts nothing, when none is left."""
        now = self._clock.steady()
        bucket = self._buckets.pop(peer, None) or _Bucket(BURST, now)
        self._buckets[peer] = bucket
        if len(self._buckets) > _MOST_PEERS:
            self._buckets.popitem(last=False)
        bucket.left = min(BURST, bucket.left + (now - bucket.at) * PER_SECOND)
        bucket.at = now
        if bucket.left >= 1:
            bucket.left -= 1
            bucket.was_told = False
            return
        if not bucket.was_told:
            bucket.was_told = True
            logger.bind(event="access.limited", peer=peer).warning(
                "Registrations without a credential from {} are refused: they come too fast", peer
            )
        wait_seconds = (1 - bucket.left) / PER_SECOND
        raise TooManyAttempts(
            f"Too many registrations without a credential from {peer}: {BURST} may come at once, "
            f"and {PER_SECOND:g} more each second. Try again in {wait_seconds:.1f} s, or send a "
            "token, with which none are counted: `bg-charm-service token new --name NAME` makes "
            "one.",
            retry_after_seconds=wait_seconds,
        )

"""One-time codes that a browser signs in with: made for `bg-charm-service open` and at a start."""

from __future__ import annotations

import secrets
from collections import OrderedDict

from bg_charm_service.domain.clock import Clock

#: A code is good for so long, in seconds.
CODE_SECONDS = 300.0

#: Codes that were made and not used; older ones are forgotten first.
_MOST_CODES = 100


class LoginCodes:
    """One-time codes; they live in memory, and for five minutes. Times are steady seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ends: OrderedDict[str, float] = OrderedDict()

    def new(self) -> str:
        """Make a code."""
        code = secrets.token_urlsafe(24)
        self._ends[code] = self._clock.steady() + CODE_SECONDS
        if len(self._ends) > _MOST_CODES:
            self._ends.popitem(last=False)
        return code

    def forget_all(self) -> None:
        """Let no code that was made be good any more."""
        self._ends.clear()

    def redeem(self, code: str) -> bool:
        """Use a code up; says whether it was good."""
        ends = self._ends.pop(code, None)
        return ends is not None and self._clock.steady() < ends

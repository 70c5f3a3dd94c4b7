"""What a charm class asks for: less than what the operator allows, by `limits` and `network`.

Reads the two attributes and says clearly what is wrong with them. What comes of it is decided
where a run is given out. Used by `class_schema`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.limits import LimitChanges, limit_names, read_changes
from bg_charm_service.domain.quantities import ports

#: Attributes of a class that are no fields, streams or constants of the author's.
LIMITS: Final = "limits"
NETWORK: Final = "network"

_PORTS_WANTED: Final = "expected False, or a tuple of ports such as (443,)"


class InvalidLimitRequest(Exception):
    """A class requests limits that cannot be read; `member` is the attribute."""

    def __init__(self, member: str, reason: str) -> None:
        super().__init__(reason)
        self.member = member


def read_requested_limits(cls: type) -> LimitChanges:
    """Give what a class asks for; raises InvalidLimitRequest."""
    requested = _limits(inspect.getattr_static(cls, LIMITS, None))
    return replace(requested, ports=_ports(inspect.getattr_static(cls, NETWORK, True)))


def _limits(wanted: Any) -> LimitChanges:
    if wanted is None:
        return LimitChanges()
    if not isinstance(wanted, Mapping) or not all(isinstance(name, str) for name in wanted):
        reason = f'expected a dict such as {{"memory": "64M"}}, not {_shown(wanted)}'
        raise InvalidLimitRequest(LIMITS, reason)
    if NETWORK in wanted:
        raise InvalidLimitRequest(
            LIMITS,
            f"ports are an attribute of their own: {NETWORK} = (443,). Here are "
            f"{limit_names(but=NETWORK)}",
        )
    if None in wanted.values():
        raise InvalidLimitRequest(LIMITS, "None is no limit: leave the name out")
    try:
        return read_changes(wanted)
    except InvalidInput as error:
        raise InvalidLimitRequest(LIMITS, str(error)) from None


def _ports(wanted: Any) -> tuple[int, ...] | None:
    if wanted is True:
        return None
    if wanted is False:
        return ()
    if not isinstance(wanted, tuple | list):
        raise InvalidLimitRequest(NETWORK, f"{_PORTS_WANTED}, not {_shown(wanted)}")
    if not all(isinstance(port, int) and not isinstance(port, bool) for port in wanted):
        raise InvalidLimitRequest(NETWORK, f"{_PORTS_WANTED}; a port is a number")
    if not wanted:
        return ()
    try:
        return ports(",".join(map(str, wanted)))
    except ValueError as error:
        raise InvalidLimitRequest(NETWORK, str(error)) from None


def _shown(value: object) -> str:
    try:
        return f"{value!r:.80}"
    except Exception:
        return f"a {type(value).__name__}"

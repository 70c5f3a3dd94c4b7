"""The limits by the names that people use: `timeout`, `memory`, `network`, and how each is written.

One table for classes of charms, commands, API and pages, so that a limit is read, bounded and
shown the same way everywhere. Knows nothing of who may set what.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bg_charm_service.errors import InvalidInput
from bg_charm_service.limits import LimitChanges, Limits
from bg_charm_service.quantities import count, ports, ports_text, seconds, size, size_text


def _seconds_text(value: float) -> str:
    return f"{value:.3f}".rstrip("0").removesuffix(".")


@dataclass(frozen=True, slots=True)
class LimitName:
    """One limit: its name, its member of `Limits`, how it is read from text and written.

    `about` says what it bounds, `unit` what a bare number means.
    """

    name: str
    member: str
    read: Callable[[str], Any]
    write: Callable[[Any], str]
    unit: str
    about: str


#: Every limit, in the order in which they are shown.
LIMIT_NAMES: Final = (
    LimitName("timeout", "timeout_seconds", seconds, _seconds_text, "s", "time of one run"),
    LimitName("cpu", "cpu_seconds", seconds, _seconds_text, "s", "processor time of one run"),
    LimitName("memory", "memory_bytes", size("32M", "1024G"), size_text, "", "memory"),
    LimitName("files", "open_files", count(32, 4096), str, "", "files and connections open"),
    LimitName("threads", "threads", count(1, 4096), str, "", "threads at a time"),
    LimitName("log", "log_bytes", size("1K", "64M"), size_text, "", "output kept of a run"),
    LimitName("state", "state_bytes", size("1K", "512M"), size_text, "", "size of the state"),
    LimitName("scratch", "scratch_bytes", size("4K", "1024G"), size_text, "", "scratch files"),
    LimitName("network", "ports", ports, ports_text, "", "ports that it may connect to"),
)

_BY_NAME: Final = {each.name: each for each in LIMIT_NAMES}


def limit_names(*, but: str = "") -> str:
    """Name all limits in a sentence, but one."""
    return ", ".join(each.name for each in LIMIT_NAMES if each.name != but)


def read_limit(name: str, value: object) -> Any:
    """Read one limit from a number or a text; raises InvalidInput naming it."""
    known = _BY_NAME.get(name)
    if known is None:
        raise InvalidInput(f"There is no limit {name!r:.100}; there are {limit_names()}.")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number or isinstance(value, str)):
        raise InvalidInput(f"{name}: expected a number or a text, not {value!r:.100}")
    try:
        return known.read(str(value))
    except ValueError as error:
        raise InvalidInput(f"{name}: {error}") from None


def read_changes(given: Mapping[str, object]) -> LimitChanges:
    """Read limits by name; None stands for one that is not set. Raises InvalidInput."""
    read = {name: read_limit(name, value) for name, value in given.items() if value is not None}
    return LimitChanges(**{_BY_NAME[name].member: value for name, value in read.items()})


def write_limits(limits: Limits | LimitChanges) -> dict[str, str]:
    """Write the limits that are set by name, each the way it is read."""
    values = {each: getattr(limits, each.member) for each in LIMIT_NAMES}
    return {each.name: each.write(value) for each, value in values.items() if value is not None}


def check_changes(changes: LimitChanges) -> None:
    """Raise InvalidInput for limits that nobody can have written, as a worker may answer them."""
    read_changes(write_limits(changes))

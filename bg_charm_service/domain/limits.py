"""What one run may use: time, memory, files, threads, processors, output, state, scratch, network.

The operator sets limits for the service, for a space and for a charm, the nearest one counting; a
charm's class may ask for less, never for more. Of processors a run has one unless its class asks.
`LIMIT_NAMES` is the one table by which classes of charms, commands, API and pages read, bound and
show them. CONTRIBUTING.md lists what a new limit takes: a member of `Limits` and `LimitChanges`, a
row there, a flag, and whoever holds it. Pure: the limit resolver joins them for each run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import msgspec

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.quantities import count, ports, ports_text, seconds, size, size_text

#: Ports that a charm may connect to unless somebody says otherwise: names, http, https.
DEFAULT_PORTS = (53, 80, 443)

#: A class may ask for so many processors unless somebody says otherwise.
DEFAULT_PROCESSORS: Final = 4

#: A run that writes so many times what is kept of its log is ended.
_FLOOD_FACTOR = 256

#: A run's limit of this many seconds or more was meant in milliseconds.
SUSPECT_SECONDS: Final = 10_000


class Walls(msgspec.Struct, frozen=True):
    """What a worker is bound to from its first request on, and until its end: it only tightens.

    `ports` are those that it may open TCP connections to. `memory_bytes` bounds its data segment,
    `file_bytes` one file of its scratch directory; 0 for no bound. `processors` is how many it may
    use, and how many threads libraries start by themselves: they look once, when they are loaded.
    `packages` names the folder of packages that it may read; empty for none.
    """

    ports: tuple[int, ...] = ()
    memory_bytes: int = 0
    open_files: int = 0
    file_bytes: int = 0
    processors: int = 1
    packages: str = ""


class Limits(msgspec.Struct, frozen=True, kw_only=True, array_like=True, cache_hash=True):
    """Every limit of one run; durations in seconds, sizes in bytes, ports sorted.

    It goes along with each run, so it is small there: its members have no names on the way.
    """

    timeout_seconds: float = 30.0
    cpu_seconds: float = 20.0
    memory_bytes: int = 512 * 1024 * 1024
    open_files: int = 128
    threads: int = 64
    log_bytes: int = 64 * 1024
    state_bytes: int = 16 * 1024 * 1024
    scratch_bytes: int = 64 * 1024 * 1024
    ports: tuple[int, ...] = DEFAULT_PORTS
    processors: int = 1
    #: Not for anybody to set: the folder of the packages that its charm's lock has.
    packages: str = ""

    def overridden(self, by: LimitChanges) -> Limits:
        """Take each limit that the other one sets: the operator's word, nearer to the charm."""
        return msgspec.structs.replace(self, **by.given())

    def narrowed(self, by: LimitChanges) -> Limits:
        """Take the lower of each two limits: what a charm's class may ask for.

        A class that asks for no processors has one.
        """
        mine = msgspec.structs.asdict(self)
        lower = {
            name: min(mine[name], value) for name, value in by.given().items() if name != "ports"
        }
        if by.ports is not None:
            lower["ports"] = tuple(port for port in self.ports if port in by.ports)
        if by.processors is None:
            lower["processors"] = 1
        return msgspec.structs.replace(self, **lower)

    def without_ports(self, closed: frozenset[int]) -> Limits:
        """Leave out ports that no charm may reach: the service's own."""
        return msgspec.structs.replace(
            self, ports=tuple(port for port in self.ports if port not in closed)
        )

    def with_packages(self, folder: str) -> Limits:
        """Let a folder of packages be read too."""
        return msgspec.structs.replace(self, packages=folder)

    @property
    def flood_bytes(self) -> int:
        """A run may write so much; what is beyond `log_bytes` is dropped."""
        return self.log_bytes * _FLOOD_FACTOR

    @property
    def walls(self) -> Walls:
        """What of it only ever tightens in a process: a worker is bound to one set of these."""
        return Walls(
            ports=self.ports,
            memory_bytes=self.memory_bytes,
            open_files=self.open_files,
            file_bytes=self.scratch_bytes,
            processors=self.processors,
            packages=self.packages,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitChanges:
    """Some limits, set for a space or a charm, or asked for by a class; None where not set."""

    timeout_seconds: float | None = None
    cpu_seconds: float | None = None
    memory_bytes: int | None = None
    open_files: int | None = None
    threads: int | None = None
    log_bytes: int | None = None
    state_bytes: int | None = None
    scratch_bytes: int | None = None
    ports: tuple[int, ...] | None = None
    processors: int | None = None

    def given(self) -> dict[str, Any]:
        """The limits that are set, by name."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


#: Stands for no limits set.
NO_CHANGES = LimitChanges()


def _run_seconds(text: str) -> float:
    value = seconds(text)
    if value >= SUSPECT_SECONDS:
        raise ValueError(f"expected seconds; were milliseconds meant? Then write {value / 1000:g}")
    return value


def _seconds_text(value: float) -> str:
    return f"{value:.3f}".rstrip("0").removesuffix(".")


@dataclass(frozen=True, slots=True)
class LimitName:
    """One limit: its name, its member of `Limits`, how it is read from text and written.

    `about` says what it bounds, `metavar` what its values look like.
    """

    name: str
    member: str
    read: Callable[[str], Any]
    write: Callable[[Any], str]
    metavar: str
    about: str


def _in_seconds(name: str, about: str) -> LimitName:
    return LimitName(name, f"{name}_seconds", _run_seconds, _seconds_text, "SECONDS", about)


def _in_bytes(name: str, least: str, most: str, about: str) -> LimitName:
    return LimitName(name, f"{name}_bytes", size(least, most), size_text, "SIZE", about)


def _counted(name: str, member: str, least: int, about: str) -> LimitName:
    return LimitName(name, member, count(least, 4096), str, "NUMBER", about)


#: Every limit, in the order in which they are shown.
LIMIT_NAMES: Final = (
    _in_seconds("timeout", "Time that one run may take."),
    _in_seconds("cpu", "Processor time that one run may use."),
    _in_bytes("memory", "32M", "1024G", "Memory that one run may use."),
    _counted("files", "open_files", 32, "Files and connections that it may have open."),
    _counted("threads", "threads", 1, "Threads that it may run."),
    _counted("processors", "processors", 1, "Processors that it may use, if its class asks."),
    _in_bytes("log", "1K", "64M", "Output that is kept of a run."),
    _in_bytes("state", "1K", "512M", "Size of the whole state."),
    _in_bytes("scratch", "4K", "1024G", "Files in its scratch directory."),
    LimitName("network", "ports", ports, ports_text, "PORTS", "Ports to connect to, or deny."),
)

_BY_NAME: Final = {each.name: each for each in LIMIT_NAMES}


def limit_names(*, but: str = "") -> str:
    """Name all limits in a sentence, but one."""
    return ", ".join(each.name for each in LIMIT_NAMES if each.name != but)


def limit_reader(name: str) -> Callable[[str], Any]:
    """Give what reads a limit from text: the settings of the service are read like all others."""
    return _BY_NAME[name].read


def read_limit(name: str, value: object) -> Any:
    """Read one limit from a number or a text; raises InvalidInput naming it."""
    known = _BY_NAME.get(name)
    if known is None:
        raise _unknown(name)
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


def change_limits(before: LimitChanges, given: Mapping[str, object]) -> LimitChanges:
    """Set limits by name over those before; None takes one back. Raises InvalidInput."""
    for name in given:
        if name not in _BY_NAME:
            raise _unknown(name)
    taken_back = {_BY_NAME[name].member: None for name, value in given.items() if value is None}
    return replace(before, **taken_back, **read_changes(given).given())


def write_given(given: Mapping[str, object]) -> str:
    """Write limits by name on one line, as the audit log has them."""
    words = {name: "default" if value is None else value for name, value in given.items()}
    return " ".join(f"{name}={value}" for name, value in words.items())


def write_limits(limits: Limits | LimitChanges) -> dict[str, str]:
    """Write the limits that are set by name, each the way it is read."""
    values = {each: getattr(limits, each.member) for each in LIMIT_NAMES}
    return {each.name: each.write(value) for each, value in values.items() if value is not None}


def check_changes(changes: LimitChanges) -> None:
    """Raise InvalidInput for limits that nobody can have written, as a worker may answer them."""
    read_changes(write_limits(changes))


def _unknown(name: str) -> InvalidInput:
    return InvalidInput(f"There is no limit {name!r:.100}; there are {limit_names()}.")

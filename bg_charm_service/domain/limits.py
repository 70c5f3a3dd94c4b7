"""What one run may use: time, memory, files, threads, output, state, scratch space, network.

The operator sets limits for the service, for a space and for a charm, the nearest one counting; a
charm's class may ask for less, never for more. Pure: the dispatcher joins them for each run.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import msgspec

#: Ports that a charm may connect to unless somebody says otherwise: names, http, https.
DEFAULT_PORTS = (53, 80, 443)

#: A run that writes so many times what is kept of its log is ended.
_FLOOD_FACTOR = 256


class Walls(msgspec.Struct, frozen=True):
    """What a worker is bound to from its first request on, and until its end: it only tightens.

    `ports` are those that it may open TCP connections to. `memory_bytes` bounds its data segment,
    `file_bytes` one file of its scratch directory; 0 for no bound.
    """

    ports: tuple[int, ...] = ()
    memory_bytes: int = 0
    open_files: int = 0
    file_bytes: int = 0


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

    def overridden(self, by: LimitChanges) -> Limits:
        """Take each limit that the other one sets: the operator's word, nearer to the charm."""
        return msgspec.structs.replace(self, **by.given())

    def narrowed(self, by: LimitChanges) -> Limits:
        """Take the lower of each two limits: what a charm's class may ask for."""
        mine = msgspec.structs.asdict(self)
        lower = {
            name: min(mine[name], value) for name, value in by.given().items() if name != "ports"
        }
        if by.ports is not None:
            lower["ports"] = tuple(port for port in self.ports if port in by.ports)
        return msgspec.structs.replace(self, **lower)

    def without_ports(self, closed: frozenset[int]) -> Limits:
        """Leave out ports that no charm may reach: the service's own."""
        return msgspec.structs.replace(
            self, ports=tuple(port for port in self.ports if port not in closed)
        )

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

    def given(self) -> dict[str, Any]:
        """The limits that are set, by name."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


#: Stands for no limits set.
NO_CHANGES = LimitChanges()

"""Whether charms run behind walls, and what a worker is shared by: asked for, and come of it.

Decides once, as the service opens: with walls, with some of them, or not at all. What a wall is,
and whether this machine has it, is the business of `sandbox`. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from bg_charm_service.domain.disclosure import OpenText
from bg_charm_service.domain.errors import ServiceError


class SandboxMode(StrEnum):
    """What the operator asks of the walls around charms."""

    REQUIRE = "require"  #: all of them, or the service does not start
    AUTO = "auto"  #: those that this machine has
    OFF = "off"  #: none


class Isolation(StrEnum):
    """What a worker process is shared by."""

    SPACE = "space"  #: the runs of one space
    SHARED = "shared"  #: the runs of all spaces
    RUN = "run"  #: nothing: each run has a process of its own


@dataclass(frozen=True, slots=True)
class WallState:
    """One wall; `missing` says why it does not stand, and is empty when it does."""

    name: OpenText
    missing: OpenText = ""


@dataclass(frozen=True, slots=True)
class Sandboxing:
    """What stands between charms and this machine, and between spaces, while the service lives."""

    mode: SandboxMode
    isolation: Isolation
    walls: tuple[WallState, ...]

    @property
    def has_walls(self) -> bool:
        """Whether any wall stands."""
        return any(not wall.missing for wall in self.walls)

    @property
    def missing(self) -> tuple[WallState, ...]:
        """The walls that do not stand."""
        return tuple(wall for wall in self.walls if wall.missing)

    @property
    def missing_text(self) -> str:
        """Name each wall that does not stand, with the reason."""
        return "; ".join(f"{wall.name} ({wall.missing})" for wall in self.missing)


def choose_walls(
    mode: SandboxMode, isolation: Isolation, names: Collection[str], missing: Mapping[str, str]
) -> Sandboxing:
    """Decide, by why this machine lacks some walls; raises ServiceError when all are required."""
    if mode is SandboxMode.OFF:
        missing = dict.fromkeys(names, "switched off by --sandbox=off")
    walls = tuple(WallState(name, missing.get(name, "")) for name in names)
    sandboxing = Sandboxing(mode, isolation, walls)
    if mode is SandboxMode.REQUIRE and sandboxing.missing:
        raise ServiceError(
            f"--sandbox=require, and not all walls can be had here: {sandboxing.missing_text}. "
            "--sandbox=auto starts with those that can."
        )
    return sandboxing

"""Whether charms run behind walls: what the operator asked for.

Named by the settings, carried by the service's configuration.
"""

from __future__ import annotations

from enum import StrEnum


class SandboxMode(StrEnum):
    """What the operator asks of the walls around charms."""

    REQUIRE = "require"  #: all of them, or the service does not start
    AUTO = "auto"  #: those that this machine has
    OFF = "off"  #: none

"""Runs charms in the background. What authors of charms and integrations import is here.

    from bg_charm_service import Cell, Charm, Secret, Stream

Names are loaded at first use, so that importing the package stays cheap for everything else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bg_charm_service.scanning.integration import CellIntegration as CellIntegration
    from bg_charm_service.scanning.integration import Integration as Integration
    from bg_charm_service.scanning.integration import IntegrationCellConfig as IntegrationCellConfig
    from bg_charm_service.scanning.integration import read_cell as read_cell
    from bg_charm_service.sdk.cells import Cell as Cell
    from bg_charm_service.sdk.cells import Secret as Secret
    from bg_charm_service.sdk.cells import Stream as Stream
    from bg_charm_service.sdk.charm import Charm as Charm
    from bg_charm_service.sdk.charm import CharmContext as CharmContext

from bg_charm_service.domain.version import VERSION

__version__ = VERSION

_HOMES = {
    "Cell": "bg_charm_service.sdk.cells",
    "CellIntegration": "bg_charm_service.scanning.integration",
    "Charm": "bg_charm_service.sdk.charm",
    "CharmContext": "bg_charm_service.sdk.charm",
    "Integration": "bg_charm_service.scanning.integration",
    "IntegrationCellConfig": "bg_charm_service.scanning.integration",
    "Secret": "bg_charm_service.sdk.cells",
    "Stream": "bg_charm_service.sdk.cells",
    "read_cell": "bg_charm_service.scanning.integration",
}

__all__ = [
    "Cell",
    "CellIntegration",
    "Charm",
    "CharmContext",
    "Integration",
    "IntegrationCellConfig",
    "Secret",
    "Stream",
    "__version__",
    "read_cell",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Runs charms in the background. What authors of charms and integrations import is here.

    from bg_charm_service import Cell, Charm, Secret, Stream

Names are loaded at first use, so that importing the package stays cheap for everything else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bg_charm_service.cells import Cell as Cell
    from bg_charm_service.cells import Secret as Secret
    from bg_charm_service.cells import Stream as Stream
    from bg_charm_service.charm import Charm as Charm
    from bg_charm_service.charm import CharmContext as CharmContext
    from bg_charm_service.integration import CellIntegration as CellIntegration
    from bg_charm_service.integration import Integration as Integration
    from bg_charm_service.integration import IntegrationCellConfig as IntegrationCellConfig
    from bg_charm_service.integration import read_cell as read_cell

__version__ = "0.1.0"

_HOMES = {
    "Cell": "bg_charm_service.cells",
    "CellIntegration": "bg_charm_service.integration",
    "Charm": "bg_charm_service.charm",
    "CharmContext": "bg_charm_service.charm",
    "Integration": "bg_charm_service.integration",
    "IntegrationCellConfig": "bg_charm_service.integration",
    "Secret": "bg_charm_service.cells",
    "Stream": "bg_charm_service.cells",
    "read_cell": "bg_charm_service.integration",
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

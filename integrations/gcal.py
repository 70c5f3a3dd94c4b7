"""Google Calendar: polls the listed charms that update a calendar and hold credentials.

`charms/gcal_importer.py` is polled under its label from when somebody has signed in for it.
"""

from __future__ import annotations

from typing import Any

from bg_charm_service import Cell
from bg_charm_service.integration import CellIntegration, has_all


class GcalIntegration(CellIntegration):
    """Charms that import calendar events."""

    id = "gcal"
    name = "Google Calendar"
    cell_cause_name = "gcal-integration-2025-03-17"

    def is_valid_charm(self, charm: Cell[Any]) -> bool:
        return has_all(charm, "calendarUpdater", "auth")


integration = GcalIntegration()

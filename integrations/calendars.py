"""Calendars: polls the listed charms that know where a calendar is."""

from __future__ import annotations

from typing import Any

from bg_charm_service import Cell
from bg_charm_service.integration import CellIntegration, has_all, has_updater


class CalendarIntegration(CellIntegration):
    """Charms that read calendars from any server: `charms/calendar_importer.py`."""

    id = "calendar"
    name = "Calendar"
    cell_cause_name = "calendar-integration-2026-11-30"

    def is_valid_charm(self, charm: Cell[Any]) -> bool:
        return has_updater(charm) and has_all(charm, "url")


integration = CalendarIntegration()

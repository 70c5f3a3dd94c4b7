"""Feeds: polls the listed charms that know where a feed is."""

from __future__ import annotations

from typing import Any

from bg_charm_service import Cell
from bg_charm_service.integration import CellIntegration, has_all, has_updater


class FeedsIntegration(CellIntegration):
    """Charms that read feeds: `charms/rss.py`."""

    id = "rss"
    name = "Feeds"
    cell_cause_name = "rss-integration-2026-11-30"

    def is_valid_charm(self, charm: Cell[Any]) -> bool:
        return has_updater(charm) and has_all(charm, "url")


integration = FeedsIntegration()

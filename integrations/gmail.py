"""Gmail: polls the charms listed in its cell that can update and hold Google credentials.

`charms/gmail_importer.py` is polled under its label from when somebody has signed in for it.
"""

from __future__ import annotations

from typing import Any

from bg_charm_service import Cell
from bg_charm_service.integration import CellIntegration, has_all, has_updater


class GmailIntegration(CellIntegration):
    """Charms that import mail."""

    id = "gmail"
    name = "Gmail"
    cell_cause_name = "gmail-integration-2025-03-17"

    def is_valid_charm(self, charm: Cell[Any]) -> bool:
        return has_updater(charm) and has_all(charm, "auth")


integration = GmailIntegration()

"""Discord: polls the charms listed in its cell that can update.

Unlike Google's, Discord charms need no `auth` cell: a bot's token or a webhook is a field of the
charm's own choosing.
"""

from __future__ import annotations

from typing import Any

from bg_charm_service import Cell
from bg_charm_service.integration import CellIntegration, has_updater


class DiscordIntegration(CellIntegration):
    """Charms that read or post Discord messages."""

    id = "discord"
    name = "Discord"
    cell_cause_name = "discord-integration-2025-03-18"

    def is_valid_charm(self, charm: Cell[Any]) -> bool:
        return has_updater(charm)


integration = DiscordIntegration()

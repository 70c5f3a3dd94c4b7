"""Mail: polls the listed charms that update a mailbox over IMAP and know how to sign in."""

from __future__ import annotations

from typing import Any

from bg_charm_service import Cell
from bg_charm_service.integration import CellIntegration, has_all, has_updater


class MailIntegration(CellIntegration):
    """Charms that import mail from any server: `charms/mail_importer.py`."""

    id = "mail"
    name = "Mail"
    cell_cause_name = "mail-integration-2026-11-30"

    def is_valid_charm(self, charm: Cell[Any]) -> bool:
        return has_updater(charm) and has_all(charm, "host", "user", "password")


integration = MailIntegration()

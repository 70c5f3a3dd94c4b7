"""The admin charm: lives in the system space, and keeps what the admin page shows on top."""

from typing import Any

from bg_charm_service import Charm


class Admin(Charm):
    """What operators tell each other: the page's title, and a notice that everybody sees."""

    title: str = "Background charms"
    notice: str = ""

    def announce(self, event: dict[str, Any]) -> None:
        """Show a notice: `{"notice": "Backups run late today"}`; an empty one removes it."""
        self.notice = str(event.get("notice", ""))

    def rename(self, event: dict[str, Any]) -> None:
        """Give the page another title: `{"title": "Charms of the lab"}`."""
        self.title = str(event["title"])

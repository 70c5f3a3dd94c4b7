"""structlog: lines in the log."""

import structlog

from bg_charm_service import Charm


class StructlogLines(Charm):
    """Writes a line."""

    lines: int = 0

    def bg_updater(self, event: dict) -> None:
        structlog.get_logger().info("counted", lines=self.lines)
        self.lines += 1

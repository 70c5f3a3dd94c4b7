"""croniter: when something comes next."""

from datetime import datetime

from croniter import croniter

from bg_charm_service import Charm


class CroniterTimes(Charm):
    """Finds the next morning."""

    next: str = ""

    def bg_updater(self, event: dict) -> None:
        self.next = croniter("0 9 * * *", datetime(2026, 11, 30)).get_next(datetime).isoformat()

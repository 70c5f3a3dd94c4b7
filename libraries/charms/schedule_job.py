"""schedule: jobs within a run.

To run every day is the charm's own business: `cron = "0 9 * * *"` in its class.
"""

import schedule

from bg_charm_service import Charm


class ScheduleJob(Charm):
    """Does what is to be done daily."""

    runs: int = 0

    def bg_updater(self, event: dict) -> None:
        jobs = schedule.Scheduler()
        jobs.every().day.do(self._count)
        jobs.run_all(delay_seconds=0)

    def _count(self) -> None:
        self.runs += 1

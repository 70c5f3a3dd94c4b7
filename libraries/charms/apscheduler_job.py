"""apscheduler: a job within a run.

What it has started has to be shut down: a run ends after its threads.
"""

from threading import Event

from apscheduler.schedulers.background import BackgroundScheduler

from bg_charm_service import Charm


class ApschedulerJob(Charm):
    """Waits for a job."""

    runs: int = 0

    def bg_updater(self, event: dict) -> None:
        is_done = Event()
        scheduler = BackgroundScheduler()
        scheduler.add_job(is_done.set)
        scheduler.start()
        self.runs += is_done.wait(10)
        scheduler.shutdown()

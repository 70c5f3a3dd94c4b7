"""gevent: greenlets after `monkey.patch_all()`.

It changes the whole process, threads and locks too: each run costs a worker.
"""

import time

import gevent
from gevent import monkey

from bg_charm_service import Charm

monkey.patch_all()


class GeventPatched(Charm):
    """Waits side by side."""

    total: int = 0

    def bg_updater(self, event: dict) -> None:
        def wait(number: int) -> int:
            time.sleep(0.01)
            return number

        jobs = [gevent.spawn(wait, number) for number in range(10)]
        self.total = sum(job.value for job in gevent.joinall(jobs))

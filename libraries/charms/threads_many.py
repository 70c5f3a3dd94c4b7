"""Python: a hundred threads."""

import time
from concurrent.futures import ThreadPoolExecutor

from bg_charm_service import Charm


class ThreadsMany(Charm):
    """Starts more threads than it may."""

    def bg_updater(self, event: dict) -> None:
        with ThreadPoolExecutor(100) as threads:
            list(threads.map(time.sleep, [0.5] * 100))

"""tqdm: a bar of progress in the log.

Its monitor is a thread that goes on: each run costs a worker. `tqdm.monitor_interval = 0` has none.
"""

from tqdm import tqdm

from bg_charm_service import Charm


class TqdmBar(Charm):
    """Counts with a bar."""

    count: int = 0

    def bg_updater(self, event: dict) -> None:
        self.count = sum(1 for _ in tqdm(range(1000)))

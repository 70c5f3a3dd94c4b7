"""pandas: a poll that takes the time of its handler.

By the clock of its thread: that of a process is not exact while its processor time has a limit.
"""

import time

import pandas as pd

from bg_charm_service import Charm


class PandasPoll(Charm):
    """Sums sales by shop and day, and notes how long that takes the processor."""

    best: str = ""
    seconds: float = 0.0

    def bg_updater(self, event: dict) -> None:
        begun = time.thread_time()
        days = pd.date_range("2026-01-01", periods=4000, freq="h")
        sales = pd.DataFrame({"day": days, "shop": list("abca") * 1000, "sum": range(4000)})
        by_day = sales.groupby(["shop", sales["day"].dt.date])["sum"].sum().reset_index()
        self.best = str(by_day.pivot(index="day", columns="shop", values="sum").sum().idxmax())
        self.seconds += time.thread_time() - begun

"""pandas: a time of it that is stored.

A `pd.Timestamp` is a `datetime`.
"""

from datetime import datetime

import pandas as pd

from bg_charm_service import Charm


class PandasTimeStored(Charm):
    """Stores a time."""

    when: datetime | None = None

    def bg_updater(self, event: dict) -> None:
        self.when = pd.Timestamp("2026-11-30 09:00")

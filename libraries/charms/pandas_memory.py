"""pandas: a CSV that is larger than it may hold."""

import io

import pandas as pd

from bg_charm_service import Charm


class PandasMemory(Charm):
    """Reads a long file."""

    rows: int = 0

    def bg_updater(self, event: dict) -> None:
        self.rows = len(pd.read_csv(io.BytesIO(b"1,2,3,4,5,6\n" * 15_000_000)))

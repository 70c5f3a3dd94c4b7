"""pandas: a table written as Parquet into scratch, and read again.

With pyarrow, whose pools have as many threads as the charm has processors.
"""

import pandas as pd

from bg_charm_service import Charm


class PandasParquet(Charm):
    """Writes a file and reads one column of it."""

    rows: int = 0

    def bg_updater(self, event: dict) -> None:
        path = self.context.scratch / "numbers.parquet"
        pd.DataFrame({"n": range(10_000), "m": range(10_000)}).to_parquet(path)
        self.rows = len(pd.read_parquet(path, columns=["m"]))

"""polars: more numbers than it may hold."""

import polars as pl

from bg_charm_service import Charm


class PolarsMemory(Charm):
    """Takes 800 MB, twice."""

    total: int = 0

    def bg_updater(self, event: dict) -> None:
        self.total = pl.select(pl.int_range(100_000_000)).to_series().sort(descending=True).sum()

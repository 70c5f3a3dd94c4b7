"""polars: a lazy query over a CSV text.

Its pool keeps idle threads, which is fine. A lack of memory ends its process: cause `memory`.
"""

import polars as pl

from bg_charm_service import Charm


class PolarsTable(Charm):
    """Sums numbers by group."""

    sums: dict[str, int] = {}

    def bg_updater(self, event: dict) -> None:
        lines = "\n".join(f"{'abc'[n % 3]},{n}" for n in range(3000))
        frame = pl.read_csv(f"group,n\n{lines}".encode()).lazy()
        found = frame.group_by("group").agg(pl.col("n").sum()).sort("group").collect()
        self.sums = dict(found.iter_rows())

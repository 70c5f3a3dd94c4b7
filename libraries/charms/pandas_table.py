"""pandas: a table grouped by a column, and a rolling mean.

Store plain values: `float(x)`, `.tolist()`, `.isoformat()`.
"""

import pandas as pd

from bg_charm_service import Charm


class PandasTable(Charm):
    """Sums sales by shop."""

    best: str = ""
    mean: float = 0.0

    def bg_updater(self, event: dict) -> None:
        sales = pd.DataFrame(
            {"shop": ["a", "b", "a", "c"] * 500, "sum": [float(n) for n in range(2000)]}
        )
        self.best = str(sales.groupby("shop")["sum"].sum().idxmax())
        self.mean = float(sales["sum"].rolling(10).mean().iloc[-1])

"""numexpr: an expression over arrays."""

import numexpr
import numpy as np

from bg_charm_service import Charm


class NumexprExpression(Charm):
    """Works out a polynomial."""

    total: float = 0.0

    def bg_updater(self, event: dict) -> None:
        x = np.linspace(0, 1, 100_000)
        self.total = float(numexpr.evaluate("3 * x ** 2 + 2 * x", {"x": x}).sum())

"""xgboost-cpu: boosted trees.

The distribution `xgboost` is the same library with what graphics cards need.
"""

import numpy as np
import xgboost

from bg_charm_service import Charm


class XgboostTrees(Charm):
    """Learns a sum."""

    error: float = 1.0

    def bg_updater(self, event: dict) -> None:
        points = np.random.default_rng(1).random((500, 3))
        sums = points.sum(axis=1)
        model = xgboost.XGBRegressor(n_estimators=20, max_depth=3).fit(points, sums)
        self.error = float(np.abs(model.predict(points) - sums).mean())

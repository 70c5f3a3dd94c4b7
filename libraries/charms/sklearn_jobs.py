"""scikit-learn: a grid of parameters with `n_jobs=2`.

joblib cannot start processes here: it says so once a run, and works serially.
"""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from bg_charm_service import Charm


class SklearnJobs(Charm):
    """Tries three parameters."""

    limits = {"processors": 2}
    best: float = 0.0

    def bg_updater(self, event: dict) -> None:
        points = np.random.default_rng(1).random((200, 2))
        above = points[:, 0] > points[:, 1]
        grid = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0, 10.0]}, cv=2, n_jobs=2)
        self.best = float(grid.fit(points, above).best_score_)

"""scikit-learn: a random forest and KMeans."""

import numpy as np
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestClassifier

from bg_charm_service import Charm


class SklearnForest(Charm):
    """Learns which points lie above a line."""

    score: float = 0.0
    groups: int = 0

    def bg_updater(self, event: dict) -> None:
        points = np.random.default_rng(1).random((300, 2))
        above = points[:, 0] > points[:, 1]
        forest = RandomForestClassifier(n_estimators=10, random_state=1).fit(points, above)
        self.score = float(forest.score(points, above))
        self.groups = len(set(KMeans(3, n_init=1, random_state=1).fit(points).labels_))

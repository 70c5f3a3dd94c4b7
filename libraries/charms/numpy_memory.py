"""numpy: more numbers than it may hold."""

import numpy as np

from bg_charm_service import Charm


class NumpyMemory(Charm):
    """Takes 600 MB."""

    total: float = 0.0

    def bg_updater(self, event: dict) -> None:
        self.total = float(np.ones(600 * 1024 * 1024 // 8).sum())

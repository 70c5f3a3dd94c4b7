"""numpy: a system of linear equations.

Store plain values: `float(x)`, `.tolist()`.
"""

import numpy as np

from bg_charm_service import Charm


class NumpyLinear(Charm):
    """Solves 200 equations."""

    error: float = 1.0

    def bg_updater(self, event: dict) -> None:
        random = np.random.default_rng(1)
        matrix, right = random.random((200, 200)), random.random(200)
        self.error = float(np.abs(matrix @ np.linalg.solve(matrix, right) - right).max())

"""numpy: a number of it that is stored as a float.

A `np.float64` is a `float`; the others are not: `float(x)`, `int(x)`, `.tolist()`.
"""

import numpy as np

from bg_charm_service import Charm


class NumpyFloatStored(Charm):
    """Stores a number."""

    value: float = 0.0

    def bg_updater(self, event: dict) -> None:
        self.value = np.float64(1.5)

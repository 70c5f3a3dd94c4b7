"""numpy: a field that is an array."""

import numpy as np

from bg_charm_service import Charm


class NumpyField(Charm):
    """Would store an array."""

    values: np.ndarray

    def bg_updater(self, event: dict) -> None:
        self.values = np.ones(3)

"""numpy: an array where a list is stored."""

import numpy as np

from bg_charm_service import Charm


class NumpyArrayStored(Charm):
    """Stores numbers."""

    values: list[float] = []

    def bg_updater(self, event: dict) -> None:
        self.values = np.ones(3)

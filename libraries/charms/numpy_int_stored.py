"""numpy: a number of it among plain values."""

from typing import Any

import numpy as np

from bg_charm_service import Charm


class NumpyIntStored(Charm):
    """Stores a number."""

    values: dict[str, Any] = {}

    def bg_updater(self, event: dict) -> None:
        self.values = {"count": np.int64(3)}

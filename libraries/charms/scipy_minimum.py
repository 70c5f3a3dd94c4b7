"""scipy: a minimum, and a filtered signal."""

import numpy as np
from scipy import optimize, signal

from bg_charm_service import Charm


class ScipyMinimum(Charm):
    """Finds the minimum of a function."""

    at: list[float] = []
    peak: float = 0.0

    def bg_updater(self, event: dict) -> None:
        found = optimize.minimize(lambda x: (x[0] - 1) ** 2 + (x[1] + 2) ** 2, [0, 0])
        self.at = [round(float(each), 3) for each in found.x]
        wave = np.sin(np.linspace(0, 20, 1000))
        self.peak = float(signal.medfilt(wave, 5).max())

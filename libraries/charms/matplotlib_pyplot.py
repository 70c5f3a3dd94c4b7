"""matplotlib: a plot by `pyplot`.

Its figures are closed after each run.
"""

import io

import matplotlib.pyplot as plt

from bg_charm_service import Charm


class MatplotlibPyplot(Charm):
    """Draws a line."""

    size: int = 0

    def bg_updater(self, event: dict) -> None:
        plt.figure(figsize=(3, 2))
        plt.plot([1, 4, 2, 3])
        picture = io.BytesIO()
        plt.savefig(picture, format="png")
        self.size = len(picture.getvalue())

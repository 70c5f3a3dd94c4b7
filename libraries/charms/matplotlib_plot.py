"""matplotlib: a plot as PNG.

Use `Figure`, not `pyplot`, which keeps figures. It looks for fonts once in each worker.
"""

import io

from matplotlib.figure import Figure

from bg_charm_service import Charm


class MatplotlibPlot(Charm):
    """Draws a line."""

    size: int = 0

    def bg_updater(self, event: dict) -> None:
        figure = Figure(figsize=(3, 2))
        figure.subplots().plot([1, 4, 2, 3])
        picture = io.BytesIO()
        figure.savefig(picture, format="png")
        self.size = len(picture.getvalue())

"""dask: an array in pieces.

The scheduler of threads is the default one; those of processes cannot start here.
"""

import dask.array as da

from bg_charm_service import Charm


class DaskArray(Charm):
    """Sums a million numbers."""

    total: int = 0

    def bg_updater(self, event: dict) -> None:
        self.total = int(da.arange(1_000_000, chunks=100_000).sum().compute())

"""gevent: greenlets without monkey patches.

Without `monkey.patch_all()` its worker stays.
"""

import gevent.pool

from bg_charm_service import Charm


class GeventPool(Charm):
    """Works things out side by side."""

    total: int = 0

    def bg_updater(self, event: dict) -> None:
        self.total = sum(gevent.pool.Pool(10).map(lambda number: number**2, range(100)))

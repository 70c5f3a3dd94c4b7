"""pyarrow: columns that are filtered and summed."""

import pyarrow as pa
import pyarrow.compute as pc

from bg_charm_service import Charm


class PyarrowCompute(Charm):
    """Sums even numbers."""

    total: int = 0

    def bg_updater(self, event: dict) -> None:
        table = pa.table({"n": list(range(10_000))})
        even = table.filter(pc.equal(pc.bit_wise_and(table["n"], 1), 0))
        self.total = pc.sum(even["n"]).as_py()

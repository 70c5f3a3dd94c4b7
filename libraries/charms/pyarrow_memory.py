"""pyarrow: more memory than it may hold."""

import pyarrow as pa

from bg_charm_service import Charm


class PyarrowMemory(Charm):
    """Takes 700 MB."""

    size: int = 0

    def bg_updater(self, event: dict) -> None:
        self.size = pa.allocate_buffer(700 * 1024 * 1024).size

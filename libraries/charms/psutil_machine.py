"""psutil: how the machine is doing.

Of the machine as a whole; other processes are not shown.
"""

import psutil

from bg_charm_service import Charm


class PsutilMachine(Charm):
    """Reads load and memory."""

    processors: int = 0
    memory: int = 0

    def bg_updater(self, event: dict) -> None:
        psutil.cpu_percent()
        self.processors = psutil.cpu_count() or 0
        self.memory = psutil.virtual_memory().total

"""Notes when its handler began, first of all."""

import time

from bg_charm_service import Charm


class Stamp(Charm):
    """Has the moment of its last run, by the clock that all processes of a machine share."""

    began_ns: int = 0

    async def bg_updater(self, event: dict[str, object]) -> None:
        self.began_ns = time.monotonic_ns()

"""anyio: tasks side by side."""

import anyio

from bg_charm_service import Charm


class AnyioGroup(Charm):
    """Adds numbers."""

    total: int = 0

    async def bg_updater(self, event: dict) -> None:
        async def add(number: int) -> None:
            await anyio.sleep(0.001)
            self.total += number

        async with anyio.create_task_group() as group:
            for number in range(10):
                group.start_soon(add, number)

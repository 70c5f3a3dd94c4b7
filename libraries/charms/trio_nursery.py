"""trio: tasks side by side."""

import trio

from bg_charm_service import Charm


class TrioNursery(Charm):
    """Adds numbers."""

    total: int = 0

    def bg_updater(self, event: dict) -> None:
        async def add(number: int) -> None:
            await trio.sleep(0.001)
            self.total += number

        async def add_all() -> None:
            async with trio.open_nursery() as nursery:
                for number in range(10):
                    nursery.start_soon(add, number)

        trio.run(add_all)

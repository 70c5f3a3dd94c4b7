"""The task that every contender does: count."""

from bg_charm_service import Charm


class Counter(Charm):
    """Counts its polls."""

    counter: int = 0

    async def bg_updater(self, event: dict[str, object]) -> None:
        self.counter += 1

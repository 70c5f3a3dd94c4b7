"""The smallest charm there is, to see the service work."""

from typing import Any

from bg_charm_service import Charm


class Counter(Charm):
    """Counts its polls; set `error` to see how a failing charm is treated."""

    counter: int = 0
    error: str = ""

    async def bg_updater(self, event: dict[str, Any]) -> None:
        if self.error:
            raise ValueError(self.error)
        self.counter += event.get("delta", 1)

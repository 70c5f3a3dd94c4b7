"""loguru: lines by a queue."""

from loguru import logger

from bg_charm_service import Charm


class LoguruQueue(Charm):
    """Logs by another process."""

    def bg_updater(self, event: dict) -> None:
        logger.add("some.log", enqueue=True)

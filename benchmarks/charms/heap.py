"""Takes in messages as the collector does, and keeps them in one field."""

from bg_charm_service import Charm

PORTION = 2000
TEXT = "x" * 1500


def key(number: int) -> str:
    """Name a message; the names of those that follow each other are in no order."""
    return f"{number * 2654435761 % 2**32:08x}"


class Heap(Charm):
    """Has all messages in one field."""

    mails: dict[str, str] = {}  # noqa: RUF012 - the default of a field
    target: int = 0
    taken: int = 0

    async def bg_updater(self, event: dict[str, object]) -> None:
        until = max(self.taken + 1, min(self.target, self.taken + PORTION))
        for number in range(self.taken, until):
            self.mails[key(number)] = TEXT
        self.taken = until
        if self.taken < self.target:
            self.again(after=0)

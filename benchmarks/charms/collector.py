"""Takes in messages: as many as it is to have, some a run, then one more with each run.

`Collector` keeps them in a collection, `Heap` in one field.
"""

from bg_charm_service import Charm, Items

#: Messages that one run takes in, and how long each is, in bytes.
PORTION = 2000
TEXT = "x" * 1500


def key(number: int) -> str:
    """Name a message; the names of those that follow each other are in no order."""
    return f"{number * 2654435761 % 2**32:08x}"


class Collector(Charm):
    """Has an item for each message."""

    mails: Items[str]
    target: int = 0
    taken: int = 0

    async def bg_updater(self, event: dict[str, object]) -> None:
        until = max(self.taken + 1, min(self.target, self.taken + PORTION))
        for number in range(self.taken, until):
            self.mails[key(number)] = TEXT
        self.taken = until
        if self.taken < self.target:
            self.again(after=0)

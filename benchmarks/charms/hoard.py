"""Has a field that it never touches, of any size, and changes another."""

from bg_charm_service import Charm


class Hoard(Charm):
    """Counts its polls beside what it keeps."""

    kept: str = ""
    counter: int = 0

    async def bg_updater(self, event: dict[str, object]) -> None:
        self.counter += 1

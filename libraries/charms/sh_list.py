"""sh: a command."""

import sh

from bg_charm_service import Charm


class ShList(Charm):
    """Starts a program."""

    names: str = ""

    def bg_updater(self, event: dict) -> None:
        self.names = str(sh.Command("/bin/ls")())

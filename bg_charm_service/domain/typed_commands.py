"""How a reader types a command of ours that a text names: by which program, for which service.

Wherever a text is made, it names a command as `bg-charm-service …` in backquotes. Only who shows it
knows who reads it: so the command line, the log and the pages pass what they show through
`typeable`. Who a reader is, is found out in `daemon/readers.py`.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Final

PROGRAM: Final = "bg-charm-service"

#: A command in a text, up to where its options begin; one that says whose it is keeps its word.
_COMMAND = re.compile(rf"`((?:sudo )?){PROGRAM}(?= )(?! --(?:config|data-dir|url)\b)")
_COMMAND_OF_ITS_OWN = re.compile(rf"`((?:sudo )?){PROGRAM}(?= --(?:config|data-dir|url)\b)")


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody who reads texts: how they start the program, and the options that they need."""

    program: str = PROGRAM
    options: tuple[str, ...] = ()

    @property
    def typed(self) -> str:
        """What stands before the name of a command."""
        return shlex.join((self.program, *self.options))

    def typeable(self, text: str) -> str:
        """Give a text in which each command can be typed as it stands."""
        if f"{PROGRAM} " not in text:
            return text
        program, whole = shlex.quote(self.program), self.typed
        text = _COMMAND_OF_ITS_OWN.sub(lambda found: f"`{found[1]}{program}", text)
        return _COMMAND.sub(lambda found: f"`{found[1]}{whole}", text)

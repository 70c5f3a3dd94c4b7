"""The walls of a process that speaks to one address and is gone: no files, few ports, an end.

Put up by the processes that ask providers and send notices, before they load what speaks for them.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable
from typing import Final

from bg_charm_service.workers.sandbox.walls import Wall, allow_ports, raise_walls

#: So much memory has to be enough, in bytes.
_MOST_MEMORY_BYTES: Final = 512 * 1024 * 1024


def raise_client_walls(ports: Iterable[int], missing: Iterable[str], *, has_walls: bool) -> None:
    """Take away files, and all ports but these; `missing` are walls that cannot be had here.

    Without walls there are limits all the same. Raises OSError, SandboxError.
    """
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (_MOST_MEMORY_BYTES, _MOST_MEMORY_BYTES))
    if not has_walls:
        return
    # The system's resolver reads it at its first question: UDP is not allowed, TCP is.
    os.environ["RES_OPTIONS"] = "use-vc"
    lacking = frozenset(map(Wall, missing))
    raise_walls("", lacking)
    allow_ports(ports, lacking)

"""A disk of its own for a kill loop, small enough to be filled: where root can mount one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: The database, its log, scratch directories and what an audit copies have room, and little more.
SIZE_MB = 256


@contextmanager
def small_disk(place: Path) -> Iterator[str]:
    """Mount one there, and unmount it at the end; gives why there is none, empty where there is."""
    why_not = _why_not(place)
    try:
        yield why_not
    finally:
        if not why_not:
            subprocess.run(["umount", "--lazy", str(place)], check=False)


def _why_not(place: Path) -> str:
    if os.geteuid() != 0 or sys.platform != "linux":
        return "only root can mount a small disk: none is filled"
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m,mode=700", "none", str(place)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return f"no small disk can be mounted: {done.stderr.strip()}" if done.returncode else ""

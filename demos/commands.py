"""Runs commands of the service for the demonstrations that people start by `make`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
SERVICE: Final = (sys.executable, "-m", "bg_charm_service")


class Refused(Exception):
    """A command failed; the text is what it said."""


def run(command: Sequence[str], flags: Sequence[str], given: str = "") -> str:
    """Run a command of the service; gives what it prints; raises Refused."""
    done = subprocess.run(
        [*SERVICE, *flags, *command],
        cwd=ROOT,
        check=False,
        text=True,
        input=given,
        capture_output=True,
    )
    if done.returncode and not done.stdout.startswith("{"):
        raise Refused(done.stderr.strip() or done.stdout.strip())
    return done.stdout

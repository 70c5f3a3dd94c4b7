"""The programs of peers: where they are installed, and what environment they get."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from benchmarks.service_process import ROOT


def installed(name: str) -> str:
    """Give the path of a program of the Python that runs this."""
    return str(Path(sys.executable).parent / name)


def environ(**more: str) -> dict[str, str]:
    """Give an environment in which a peer's program finds its module of tasks."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}

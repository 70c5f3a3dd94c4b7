"""Where this package lies on disk: counted from this file, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Final

#: The package's folder. Symbolic links on the way to it are kept as they are.
PACKAGE_FOLDER: Final = Path(__file__).parents[1]

#: The charms that ship with the service, as source texts.
CHARMS_FOLDER: Final = PACKAGE_FOLDER / "charms"

"""The version of this package, which setup.cfg reads from here."""

from __future__ import annotations

from typing import Final

VERSION: Final = "0.1.0"

"""The version of this package, which setup.cfg reads from here."""

from __future__ import annotations

VERSION = "0.1.0"

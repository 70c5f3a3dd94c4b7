"""Addresses that feeds name: made absolute, and only those that lead somewhere. Pure."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urljoin, urlsplit

#: What a browser can open; and what else a file may be fetched by.
_PAGES: Final = {"http", "https"}
_FILES: Final = {"http", "https", "ftp", "magnet"}

#: Longer ones are no addresses.
_MOST_CHARACTERS: Final = 4000

_CONTROLS: Final = re.compile(r"[\0-\x20\x7f]+")


def web_link(written: str, base: str) -> str:
    """Give the address of a page; empty for none."""
    return _address(written, base, _PAGES)


def file_link(written: str, base: str) -> str:
    """Give the address of a file; empty for none."""
    return _address(written, base, _FILES)


def _address(written: str, base: str, schemes: set[str]) -> str:
    written = written.strip()
    if not written or len(written) > _MOST_CHARACTERS:
        return ""
    try:
        found = urljoin(base, written)
        parts = urlsplit(found)
    except ValueError:
        # No host can have such a name: http://[
        return ""
    if parts.scheme.lower() not in schemes or not (parts.netloc or parts.scheme == "magnet"):
        return ""
    return _CONTROLS.sub("%20", found)

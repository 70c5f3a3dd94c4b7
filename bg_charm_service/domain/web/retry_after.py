"""When a provider wants to be asked again: what the headers of its answer say.

Pure but for the wall clock, against which a moment is counted. Used by `self.http`, and by the
worker for the answers that other clients raise.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

#: A number of seconds above this is a moment, in seconds since the epoch.
_EPOCH_SECONDS: Final = 1_000_000_000


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Read the header Retry-After: seconds, or a moment (RFC 9110, 10.2.3); None without one.

    The names of the headers are in small letters, or found in any.
    """
    text = headers.get("retry-after", "").strip()
    seconds = _number(text)
    if seconds is not None or not text:
        return seconds
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment.timestamp() - time.time()


def named_seconds(headers: Mapping[str, str]) -> float | None:
    """In how many seconds a provider wants to be asked again; None when it does not say so."""
    seconds = retry_after_seconds(headers)
    if seconds is not None:
        return seconds
    reset = _number(headers.get("x-ratelimit-reset", "").strip())
    if reset is not None and reset >= _EPOCH_SECONDS:
        return reset - time.time()
    return reset


def _number(text: str) -> float | None:
    is_plain = text.isascii() and text.replace(".", "", 1).isdigit() and len(text) < 20
    return float(text) if is_plain else None

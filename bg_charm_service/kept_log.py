"""What is kept of what a run logged, in the supervisor, up to a limit that its worker keeps too.

Belongs to a worker's handle.
"""

from __future__ import annotations

#: What a log may hold beyond the limit that the worker keeps itself, in characters.
_SLACK = 8192


class KeptLog:
    """The text so far."""

    def __init__(self, limit: int = 0) -> None:
        self._left = limit + _SLACK
        self._pieces: list[str] = []

    def add(self, text: str) -> None:
        """Keep a text, or what still fits of it."""
        if self._left <= 0:
            return
        kept = text[: self._left]
        self._left -= len(kept)
        self._pieces.append(kept)
        if self._left <= 0:
            self._pieces.append("\n… the rest was dropped\n")

    @property
    def is_full(self) -> bool:
        """Whether nothing more is kept."""
        return self._left <= 0

    @property
    def text(self) -> str:
        """All that was kept."""
        return "".join(self._pieces)

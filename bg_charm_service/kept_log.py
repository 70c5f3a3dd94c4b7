"""What is kept of what a run logged, in the supervisor, up to a limit that its worker keeps too.

Belongs to a worker's handle.
"""

from __future__ import annotations

#: What a log may hold beyond the limit that the worker keeps itself.
_SLACK_BYTES = 8192


class KeptLog:
    """The text so far."""

    def __init__(self, limit_bytes: int = 0) -> None:
        self._left_bytes = limit_bytes + _SLACK_BYTES
        self._pieces: list[str] = []

    def add(self, text: str) -> None:
        """Keep a text, or what still fits of it."""
        if self.is_full:
            return
        # Most text takes a byte a letter, which costs no counting.
        size_bytes = len(text) if text.isascii() else len(text.encode())
        if size_bytes >= self._left_bytes:
            text = text.encode()[: self._left_bytes].decode(errors="ignore")
            text += "\n… the rest was dropped\n"
        self._left_bytes -= size_bytes
        self._pieces.append(text)

    @property
    def is_full(self) -> bool:
        """Whether nothing more is kept."""
        return self._left_bytes <= 0

    @property
    def text(self) -> str:
        """All that was kept."""
        return "".join(self._pieces)

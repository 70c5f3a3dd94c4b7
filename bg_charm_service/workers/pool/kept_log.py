"""What is kept of what a run logged, in the supervisor, up to a limit that its worker keeps too.

Belongs to a worker's handle.
"""

from __future__ import annotations

import codecs

_Decoder = codecs.getincrementaldecoder("utf-8")

#: What a log may hold beyond the limit that the worker keeps itself.
_SLACK_BYTES = 8192


class KeptLog:
    """The text so far."""

    def __init__(self, limit_bytes: int = 0) -> None:
        self._left_bytes = limit_bytes + _SLACK_BYTES
        self._pieces: list[str] = []
        self._decoder: codecs.IncrementalDecoder | None = None

    def add_raw(self, data: bytes) -> None:
        """Keep bytes as text, also where one piece ends within a letter; show what is no text."""
        if self._decoder is None:
            self._decoder = _Decoder("backslashreplace")
        self.add(self._decoder.decode(data))

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
        if self._decoder is not None:
            self.add(self._decoder.decode(b"", final=True))
        return "".join(self._pieces)

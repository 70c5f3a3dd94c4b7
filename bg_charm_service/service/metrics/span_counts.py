"""What became of the spans of runs, for the metrics; all zero where none are made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class SpanCounts:
    """Counts of this life of the service: taken by a receiver, refused or not reached, no room."""

    exported: int = 0
    failed: int = 0
    dropped: int = 0

"""When a worker is looked at next, and what it used when its files were counted last.

Kept with the worker's handle by the watch, which alone uses it.
"""

from __future__ import annotations

from dataclasses import dataclass

from bg_charm_service.workers.pool.process_usage import Usage


@dataclass(slots=True)
class Looks:
    """Moments of the steady clock; each look is not made before its own."""

    usage_after: float = 0.0
    exact_after: float = 0.0
    files_after: float = 0.0
    hidden_after: float = 0.0
    #: What it used just before all its files were counted; a run that stands still has no others.
    counted_at: Usage | None = None

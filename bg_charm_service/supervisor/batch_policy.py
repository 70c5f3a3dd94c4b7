"""Which runs one worker is given together: those of charms that were short lately. Pure.

A batch saves what a run costs besides its work, and holds up the runs behind a slow one: so only
charms that are known to be quick take part. Used by the preparation of claims.
"""

from __future__ import annotations

#: So many runs go to a worker at once, at most.
MOST_RUNS = 100

#: So long may they take together, as far as anybody knows, in seconds.
MOST_SECONDS = 0.05

#: So much may their values take together, in bytes.
MOST_BYTES = 1024 * 1024

#: Where each run of a space took longer than that lately, so many are looked at at once: to read
#: more of them costs more than the few that are quick could save.
_FEW_RUNS = 8

#: A charm whose runs take no longer than this may share a batch, in milliseconds.
SHORT_MS = 10.0


def most_runs(typical_seconds: float | None) -> int:
    """How many runs of a space may go together, by what one took lately; None when none did."""
    return _FEW_RUNS if (typical_seconds or 0.0) > MOST_SECONDS else MOST_RUNS

"""Which charms cost workers by what their runs leave behind; in memory, since the start.

Told of each such run by the status board. A library's pool that goes on working, or a thread that
nobody joins, makes every run pay for a new worker, and for all imports anew: somebody should see.
"""

from __future__ import annotations

from dataclasses import dataclass

from bg_charm_service.domain.model import CharmRef

#: So many charms are told apart, those that did it last; and so many are shown.
_MOST_KNOWN = 1000
MOST_SHOWN = 10


@dataclass(slots=True)
class RetiringCharm:
    """A charm after runs of which workers were replaced: how often, and what the last one did."""

    ref: CharmRef
    workers: int = 0
    run_id: str = ""
    why: str = ""


class RetiredWorkers:
    """Counts workers that were replaced for what a run did."""

    def __init__(self) -> None:
        self._charms: dict[CharmRef, RetiringCharm] = {}

    def note(self, ref: CharmRef, run_id: str, why: str) -> None:
        """Count a worker."""
        charm = self._charms.pop(ref, None) or RetiringCharm(ref)
        charm.workers += 1
        charm.run_id, charm.why = run_id, why
        self._charms[ref] = charm
        if len(self._charms) > _MOST_KNOWN:
            del self._charms[next(iter(self._charms))]

    def most(self) -> list[RetiringCharm]:
        """Those that cost the most workers, up to as many as are shown."""
        return sorted(self._charms.values(), key=lambda charm: -charm.workers)[:MOST_SHOWN]

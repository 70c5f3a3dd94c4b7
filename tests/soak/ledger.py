"""What the service promised while it was beaten: accepted events, and runs it told of.

Filled by the traffic, compared with the data directory by the audit. Kept by several threads.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from threading import Lock


@dataclass
class Sends:
    """The numbers that were sent to one charm; one whose request broke off may have come or not."""

    last: int = 0
    accepted: set[int] = field(default_factory=set)
    unknown: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class ToldRun:
    """A run whose end the service told somebody: it must be on disk."""

    number: int
    run_id: str
    status: str


class Ledger:
    """The promises, by the id of the charm."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._sends: dict[str, Sends] = defaultdict(Sends)
        self._told: dict[str, list[ToldRun]] = defaultdict(list)
        self.runs_told = 0
        #: How many events the service said it did not take.
        self.refused = 0

    def next_number(self, charm_id: str) -> int:
        """Give the number of the next event; its fate is unknown until somebody tells."""
        with self._lock:
            sends = self._sends[charm_id]
            sends.last += 1
            sends.unknown.add(sends.last)
            return sends.last

    def accept(self, charm_id: str, number: int) -> None:
        """Note that the service took an event."""
        with self._lock:
            self._sends[charm_id].unknown.remove(number)
            self._sends[charm_id].accepted.add(number)

    def refuse(self, charm_id: str, number: int) -> None:
        """Note that the service did not take an event."""
        with self._lock:
            self.refused += 1
            self._sends[charm_id].unknown.remove(number)

    def tell(self, charm_id: str, run: ToldRun) -> None:
        """Note a run that the service told of."""
        with self._lock:
            self._told[charm_id].append(run)
            self.runs_told += 1

    def sends(self, charm_id: str) -> Sends:
        """What was sent to a charm."""
        with self._lock:
            sends = self._sends[charm_id]
            return Sends(sends.last, set(sends.accepted), set(sends.unknown))

    def told(self, charm_id: str) -> list[ToldRun]:
        """The runs of a charm that the service told of."""
        with self._lock:
            return list(self._told[charm_id])

    @property
    def accepted(self) -> int:
        """How many events the service took."""
        with self._lock:
            return sum(len(sends.accepted) for sends in self._sends.values())


def numbers_in(spans: Iterable[Iterable[int]]) -> set[int]:
    """Write runs of numbers, as a charm keeps them, out."""
    return {number for first, last in spans for number in range(first, last + 1)}

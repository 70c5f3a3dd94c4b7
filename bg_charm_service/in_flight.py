"""The runs that are out with workers: what each was given, so that its answer can be judged.

In memory only; a claim that is lost with the process is rescued from the queue.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from bg_charm_service.job_queue import Claim
from bg_charm_service.store.charms import CharmRecord
from bg_charm_service.store.links import Link


@dataclass(frozen=True, slots=True)
class InFlight:
    """One run under way: its claim, and the versions of the values it started from."""

    claim: Claim
    charm: CharmRecord
    versions: dict[str, int]
    links: dict[str, Link]
    lag_seconds: float
    #: Texts that must not show in the log or in an error of this run.
    secrets: tuple[str, ...] = ()
    is_alone: bool = False
    #: What each field of the charm itself took when the run went out, in bytes.
    sizes: dict[str, int] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        return self.claim.job.run_id


class RunsInFlight:
    """The runs under way, by run id and by charm.

    Of those that use a worker it is known how many each space and each integration has.
    """

    def __init__(self) -> None:
        self._by_run: dict[str, InFlight] = {}
        self._by_charm: dict[int, InFlight] = {}
        self._begun: dict[int, dict[str, float]] = {}
        self.by_integration: Counter[str] = Counter()

    def add(self, run: InFlight, now: float) -> None:
        """Remember a run that is about to go out."""
        self.drop(run)
        self._by_run[run.run_id] = run
        self._by_charm[run.claim.charm_key] = run
        self._begun.setdefault(run.claim.space_key, {})[run.run_id] = now
        self.by_integration[run.claim.integration] += 1

    def note_end(self, run_id: str) -> None:
        """Note that a run uses no worker any more, though it is not settled; twice is fine."""
        run = self._by_run.get(run_id)
        begun = self._begun.get(run.claim.space_key, {}) if run else {}
        if run is None or begun.pop(run_id, None) is None:
            return
        if not begun:
            del self._begun[run.claim.space_key]
        self.by_integration[run.claim.integration] -= 1
        if not self.by_integration[run.claim.integration]:
            del self.by_integration[run.claim.integration]

    def drop(self, run: InFlight) -> None:
        """Forget a run that is settled; forgetting twice is fine."""
        self.note_end(run.run_id)
        self._by_run.pop(run.run_id, None)
        self._by_charm.pop(run.claim.charm_key, None)

    def find(self, run_id: str) -> InFlight | None:
        """The run of that id."""
        return self._by_run.get(run_id)

    def of_charm(self, charm_key: int) -> InFlight | None:
        """The run of a charm: there is at most one."""
        return self._by_charm.get(charm_key)

    def of_space(self, space_key: int) -> int:
        """How many runs of a space use a worker."""
        return len(self._begun.get(space_key, ()))

    def longest_seconds(self, space_key: int, now: float) -> float:
        """For how long the longest of a space's runs has been under way; 0 without any."""
        return now - min(self._begun.get(space_key, {}).values(), default=now)

    @property
    def is_exclusive(self) -> bool:
        """Whether a suspect is out, which runs alone."""
        return len(self._by_run) == 1 and next(iter(self)).is_alone

    def __iter__(self) -> Iterator[InFlight]:
        return iter(self._by_run.values())

    def __len__(self) -> int:
        return len(self._by_run)

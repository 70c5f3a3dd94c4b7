"""What a kill loop found, as a value: for people, as JSON, and for the page about reliability."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from tests.soak.gauges import Reading


@dataclass(frozen=True)
class SoakReport:
    """Figures of one kill loop; `faults` counts each kind of blow, `kills` the KILLs of them."""

    seed: int
    seconds: float
    faults: Mapping[str, int]
    kills: int
    restarts: int
    runs_checked: int
    events_checked: int
    refusals_checked: int
    answers_checked: int
    refreshes_checked: int
    sign_ins: int
    notices_taken: int
    highest: Reading
    limits: Reading
    violations: tuple[str, ...]

    def to_json(self) -> str:
        """Write it as one JSON object."""
        return json.dumps(asdict(self), indent=2)

    def lines(self) -> Iterator[str]:
        """Say it to people."""
        blows = ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items()))
        yield f"seed {self.seed}, {self.seconds:.0f} s: {blows}"
        yield f"{self.kills} kills, {self.restarts} restarts"
        yield (
            f"{self.runs_checked} runs, {self.events_checked} accepted and {self.refusals_checked}"
            f" refused events and {self.answers_checked} answers compared with the data directory"
        )
        yield (
            f"{self.refreshes_checked} refreshes, {self.sign_ins} sign-ins,"
            f" {self.notices_taken} notices taken"
        )
        allowed = asdict(self.limits)
        for name, value in asdict(self.highest).items():
            yield f"  {name}: {value:,} at most, allowed {allowed[name]:,}"
        yield f"violations: {len(self.violations)}"
        yield from (f"  {violation}" for violation in self.violations)

"""What the service recorded about a sample of its charms, asked for as anybody asks.

Used by the scenarios that need more than the status tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from benchmarks.service_process import ServiceProcess

#: Charms asked for in one request.
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Period:
    """From one moment to another, in seconds since the epoch."""

    since: float
    until: float

    def has(self, moment: float) -> bool:
        """Whether a moment lies in it."""
        return self.since <= moment < self.until


def some_charms(service: ServiceProcess, per_space: int) -> Iterator[str]:
    """Give the paths of so many charms of each space: spaces are due at different times."""
    for space in service.ask("GET", "/api/spaces"):
        found = service.ask("GET", f"/api/charms?space={quote(space['did'])}&limit={per_space}")
        for charm in found["charms"]:
            yield f"/api/charms/{charm['space']}/{charm['charm_id']}"


def all_charms(service: ServiceProcess) -> Iterator[dict[str, Any]]:
    """Give every charm as lists show it."""
    cursor = ""
    while True:
        found = service.ask("GET", f"/api/charms?limit={_PAGE}&cursor={quote(cursor)}")
        yield from found["charms"]
        if found["next"] is None:
            return
        cursor = found["next"]


def runs_of(service: ServiceProcess, path: str, period: Period) -> list[dict[str, Any]]:
    """Give the newest recorded runs of a charm that ended in a period."""
    runs = service.ask("GET", f"{path}/runs?limit=20")
    return [run for run in runs if period.has(run["finished_at"])]

"""Promises of a run's output: kept up to its limit, attributed, and stopped when it is a flood."""

from __future__ import annotations

from bg_charm_service.domain.limits import Limits
from bg_charm_service.workers.runtime.log_capture import LogCapture

FLOOD_FACTOR = 256


class Desk:
    """An output whose texts are kept, and which counts how often a run is to be stopped."""

    def __init__(self, limit_bytes: int) -> None:
        self.texts: list[tuple[str, str]] = []
        self.stops = 0
        self.output = LogCapture()
        self.output.connect(lambda run_id, text: self.texts.append((run_id, text)))
        self.begin("1.1", limit_bytes)

    def begin(self, run_id: str, limit_bytes: int) -> None:
        """Begin a run."""
        self.output.begin(run_id, Limits(log_bytes=limit_bytes), self._stop)

    def _stop(self) -> None:
        self.stops += 1


def test_what_is_beyond_the_limit_is_dropped_with_a_notice() -> None:
    """A run that writes too much goes on, and its log says that something is missing."""
    desk = Desk(10)
    for _ in range(20):
        desk.output.write("line\n")

    assert [("1.1", "line\n"), ("1.1", "line\n")] == desk.texts[:2]
    assert desk.texts[2][1].endswith("the rest was dropped\n")
    assert (3, 0) == (len(desk.texts), desk.stops)


def test_a_flood_stops_its_run_once() -> None:
    """One who writes 256 times what is kept is stopped, and told so once."""
    desk = Desk(10)
    for _ in range(FLOOD_FACTOR):
        desk.output.write("x" * 10)
    assert 0 == desk.stops

    for _ in range(100):
        desk.output.write("x")
    assert 1 == desk.stops


def test_each_run_has_a_flood_of_its_own() -> None:
    """What one run wrote does not count against the next; what is written between, against none."""
    desk = Desk(10)
    desk.output.write("x" * 10 * FLOOD_FACTOR)
    desk.output.end()
    desk.output.write("x" * 100 * FLOOD_FACTOR)
    desk.begin("2.1", 10)
    desk.output.write("x" * 10 * FLOOD_FACTOR)
    assert 0 == desk.stops

    desk.output.write("x")
    assert 1 == desk.stops

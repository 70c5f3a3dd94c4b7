"""Collections: one message more beside many, and the first 10,000, beside the same in one field.

Messages of 1.5 kB, each written by a run that is asked for when those before are there. What is
written and used is that of the supervisor's process, over some runs; so the log of the database is
folded in now and then, as it is in use.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.bench import Bench
from benchmarks.history import some_charms
from benchmarks.populations import Population
from benchmarks.rows import Asked, Row
from benchmarks.sampling import wait_until_more
from benchmarks.service_process import ServiceProcess
from benchmarks.usage import bytes_written, peak_resident_bytes, processor_time_of

#: So many messages are taken in by one run, until there are enough.
PORTION = 2000

#: As many messages as a field of 16 MB takes.
FIRST = 10_000


@dataclass(frozen=True, slots=True)
class _Found:
    """What one message more costs, and what taking in the others did."""

    written_bytes: float
    cpu_ms: float
    peak_bytes: int
    walls: str


def run(bench: Bench) -> list[Row]:
    """Measure a collection of many, and one as large as a field, beside that field."""
    many = bench.pick(100_000, 10_000)
    first = bench.pick(FIRST, 2000)
    beside_many = _measure(bench, "collector.py", many)
    collection = _measure(bench, "collector.py", first)
    field = _measure(bench, "heap.py", first)
    return [
        Row(
            f"written for a message beside {many:,}",
            beside_many.written_bytes / 1e3,
            "kB",
            asked=Asked("under", 100),
            walls=beside_many.walls,
        ),
        Row(
            f"supervisor's processor time for a message beside {many:,}",
            beside_many.cpu_ms,
            "ms",
            asked=Asked("under", 10),
        ),
        Row(f"written for a message beside {first:,}", collection.written_bytes / 1e3, "kB"),
        Row("the same in one field", field.written_bytes / 1e3, "kB"),
        Row(f"supervisor's processor time for one beside {first:,}", collection.cpu_ms, "ms"),
        Row("the same time in one field", field.cpu_ms, "ms"),
        Row(
            f"supervisor's memory at the most, taking in {first:,}",
            collection.peak_bytes / 1e6,
            "MB",
            asked=Asked("under", 150),
        ),
        Row("the same memory in one field", field.peak_bytes / 1e6, "MB"),
    ]


def _measure(bench: Bench, charm: str, count: int) -> _Found:
    """Let a charm take in so many messages, and then one at a time."""
    population = Population(1, 1, charm, {"target": count})
    with bench.service(population, "--interval=86400") as service:
        # It takes in its first messages by itself.
        wait_until_more(service.executions, -(-count // PORTION) - 1)
        path = next(some_charms(service, 1))
        peak_bytes = peak_resident_bytes(service.pid)
        runs = bench.pick(100, 20)
        written, used = bytes_written(service.pid), _cpu_seconds(service)
        with bench.measuring(service):
            for _ in range(runs):
                service.fetch("POST", f"{path}/run")
        return _Found(
            (bytes_written(service.pid) - written) / runs,
            (_cpu_seconds(service) - used) * 1000 / runs,
            peak_bytes,
            service.walls(),
        )


def _cpu_seconds(service: ServiceProcess) -> float:
    return processor_time_of(service.pid).supervisor_seconds

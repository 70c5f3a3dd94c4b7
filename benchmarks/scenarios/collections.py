"""Collections: one message more beside many, and the first 10,000, beside the same in one field.

Messages of 1.5 kB, one charm. Processor time is that of the supervisor's process for a run that is
asked for, the request with it; what is written is that of a poll, once a second.
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
    with bench.directory(population) as data_dir:
        with bench.start(data_dir, "--interval=86400") as service:
            # It takes in its first messages without a break.
            wait_until_more(service.executions, -(-count // PORTION) - 1)
            peak_bytes = peak_resident_bytes(service.pid)
            path, walls = next(some_charms(service, 1)), service.walls()
            runs = bench.pick(20, 5)
            used = _cpu_seconds(service)
            with bench.measuring(service):
                for _ in range(runs):
                    service.fetch("POST", f"{path}/run")
            cpu_ms = (_cpu_seconds(service) - used) * 1000 / runs
        with bench.start(data_dir, "--interval=1") as service:
            wait_until_more(service.executions, service.executions() + 1)
            before, written = service.executions(), bytes_written(service.pid)
            wait_until_more(service.executions, before + bench.pick(20, 5), every_seconds=0.2)
            polls = service.executions() - before
            written_bytes = (bytes_written(service.pid) - written) / polls
    return _Found(written_bytes, cpu_ms, peak_bytes, walls)


def _cpu_seconds(service: ServiceProcess) -> float:
    return processor_time_of(service.pid).supervisor_seconds

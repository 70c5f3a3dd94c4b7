"""Point 3: 10,000 charms in 100 spaces, each of which awaits one second of network every minute.

The server that they ask is a process of the benchmark's own; it is not counted.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from benchmarks.bench import Bench
from benchmarks.history import all_charms
from benchmarks.populations import Population
from benchmarks.rows import Asked, Row
from benchmarks.usage import usage_of

#: After this the server answers, in seconds.
ANSWER_SECONDS = 1.0

#: A run may end somewhat later in its interval than the one before it.
TOLERANCE = 1.1


def run(bench: Bench) -> list[Row]:
    """Measure one interval, once everything that was due at the start is over."""
    seconds = bench.pick(60.0, 10.0)
    with _server() as port:
        file, values = "caller.py", {"port": port}
        many = bench.pick(
            Population(100, 100, file, values),
            Population(10, 20, file, values),
        )
        flags = (
            f"--interval={seconds:g}",
            f"--max-concurrent={bench.pick(200, 40)}",
            f"--charm-network={port}",
        )
        with bench.service(many, *flags) as service:
            walls = service.walls()
            time.sleep(seconds * 1.5)
            before, usage = service.status(), usage_of([service.pid])
            began = time.monotonic()
            with bench.measuring(service):
                time.sleep(seconds)
            elapsed = time.monotonic() - began
            after, used = service.status(), usage_of([service.pid])
            since = time.time() - seconds * TOLERANCE
            in_time = sum(charm["last_run"] >= since for charm in all_charms(service))
    done = (after["executions"] - before["executions"]) / many.size / elapsed * seconds
    skipped = after["skipped_polls"] - before["skipped_polls"]
    failures = after["failures"] - before["failures"]
    cpu_percent = (used.cpu_seconds - usage.cpu_seconds) / elapsed / 2 * 100
    note = f"{many.size:,} charms, {many.spaces} spaces, every {seconds:g} s"
    return [
        Row(
            f"charms that ran in the last {TOLERANCE} intervals",
            in_time / many.size * 100,
            "%",
            asked=Asked("at least", 100),
            note=note,
        ),
        Row("runs of a charm in an interval", done, ""),
        Row("polls skipped", skipped, "", asked=Asked("at most", 0), walls=walls),
        Row("failures", failures, "", asked=Asked("at most", 0)),
        Row("start lag, most", after["lag_ms_max_last_minute"], "ms"),
        Row(
            "memory of all processes (PSS)", used.pss_bytes / 1e6, "MB", asked=Asked("under", 1500)
        ),
        Row("processor time, all processes, of two cores", cpu_percent, "%"),
    ]


@contextmanager
def _server() -> Iterator[int]:
    """Run the server in a process of its own; gives its port."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(there,))
    process.start()
    try:
        yield here.recv()
    finally:
        process.terminate()
        process.join()


def _serve(there: Connection) -> None:
    asyncio.run(_answer_late(there))


async def _answer_late(there: Connection) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(ANSWER_SECONDS)
        writer.write(b"ok")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", backlog=1024)
    there.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()

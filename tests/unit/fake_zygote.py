"""Workers played by a test, on real sockets, to a pool that cannot tell the difference.

Each has a process of its own that does nothing, so that the pool has something to kill.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace

import msgspec

from bg_charm_service.domain.limits import Limits
from bg_charm_service.workers.pool.contract import PoolLimits
from bg_charm_service.workers.pool.events import IdleDeath, PoolEvent, RunFinished
from bg_charm_service.workers.pool.pool import Pool
from bg_charm_service.workers.pool.process_usage import Processes
from bg_charm_service.workers.protocol.messages import (
    FROM_WORKER,
    TO_WORKER,
    Answer,
    Exited,
    FromWorker,
    FromZygote,
    Inspect,
    Ready,
    RunSpec,
    Spawned,
    ToWorker,
    WorkerSettings,
)

#: The longest that anything is waited for, in seconds.
PATIENCE_SECONDS = 20.0

LIMITS = Limits(timeout_seconds=5.0, state_bytes=64 * 1024, log_bytes=1024)

INSPECTION = Inspect(
    request_id=1,
    source="source",
    file_name="some.py",
    class_name=None,
    values=(),
    limits=LIMITS,
)


class FakeWorker:
    """The worker's end of everything."""

    def __init__(self, worker_no: int, fds: list[int]) -> None:
        connection, out, _, tickets = (os.dup(fd) for fd in fds)
        self.worker_no = worker_no
        self.connection = socket.socket(fileno=connection)
        self.connection.setblocking(False)
        self.tickets = socket.socket(fileno=tickets)
        self.out_fd = out
        os.set_blocking(out, False)
        self.process = subprocess.Popen(["/bin/sleep", "600"], start_new_session=True)
        self.is_reported = False
        self._decoder = TO_WORKER.decoder()

    def say(self, *messages: FromWorker) -> None:
        """Send messages as a worker would."""
        self.write(b"".join(FROM_WORKER.encode(message) for message in messages))

    def write(self, data: bytes) -> int:
        """Send any bytes, as many as fit; gives how many did."""
        with contextlib.suppress(BlockingIOError, OSError):
            return self.connection.send(data)
        return 0

    def print(self, data: bytes) -> int:
        """Write to the raw output, as much as fits."""
        with contextlib.suppress(BlockingIOError, OSError):
            return os.write(self.out_fd, data)
        return 0

    def begin(self) -> int:
        """Take the next ticket, where there is one: the run that it is for has begun."""
        with contextlib.suppress(OSError):
            return int.from_bytes(self.tickets.recv(4, socket.MSG_DONTWAIT), "little")
        return 0

    def read_and_begin(self) -> list[ToWorker]:
        """Read what the pool has sent, and begin with all of it."""
        while self.begin():
            pass
        return self.read()

    def read(self) -> list[ToWorker]:
        """Read what the pool has sent."""
        messages: list[ToWorker] = []
        with contextlib.suppress(BlockingIOError, OSError):
            while data := self.connection.recv(1024 * 1024):
                messages += self._decoder.feed(data)
        return messages

    def hang_up(self) -> None:
        """Close everything, and live on."""
        self.connection.close()
        self.tickets.close()
        if self.out_fd >= 0:
            os.close(self.out_fd)
            self.out_fd = -1

    def die(self) -> None:
        """End by oneself."""
        self.hang_up()
        self.process.kill()

    @property
    def is_dead(self) -> bool:
        """Whether its process is over."""
        return self.process.poll() is not None


class FakeZygote:
    """Makes fake workers; reports their ends when it is asked to look."""

    def __init__(self, workers: list[FakeWorker]) -> None:
        self.control, self._bell = socket.socketpair()
        self.control.setblocking(False)
        self.processes = Processes()
        self.is_lost = False
        self.has_room = True
        self._workers = workers
        self._reports: list[FromZygote] = []

    def spawn(self, worker_no: int, settings: WorkerSettings, fds: list[int]) -> bool:
        if not self.has_room:
            self._report(Exited(worker_no, os.EX_OSERR))
            return True
        worker = FakeWorker(worker_no, fds)
        self._workers.append(worker)
        self._report(Spawned(worker_no, worker.process.pid))
        worker.say(Ready())
        return True

    def look(self) -> None:
        """Report those that have ended."""
        for worker in self._workers:
            if worker.is_dead and not worker.is_reported:
                worker.is_reported = True
                worker.hang_up()
                self._report(Exited(worker.worker_no, worker.process.returncode))

    def lose(self) -> None:
        """Be gone."""
        self.is_lost = True
        self._bell.send(b"!")

    def read(self) -> list[FromZygote] | None:
        with contextlib.suppress(BlockingIOError):
            self.control.recv(4096)
        reports, self._reports = self._reports, []
        return None if self.is_lost else reports

    def close(self) -> None:
        self.control.close()
        self._bell.close()

    def _report(self, report: FromZygote) -> None:
        self._reports.append(report)
        self._bell.send(b"!")


class Time:
    """The machine's clock, with a hand that moves it."""

    def __init__(self) -> None:
        self.ahead_seconds = 0.0
        #: For how long the machine slept.
        self.asleep_seconds = 0.0

    def now(self) -> float:
        return time.time()

    def steady(self) -> float:
        return self.awake() + self.asleep_seconds

    def awake(self) -> float:
        return time.monotonic() + self.ahead_seconds


class PoolBench:
    """A pool of fake workers."""

    def __init__(self, limits: PoolLimits) -> None:
        self.clock = Time()
        self.workers: list[FakeWorker] = []
        self.zygotes: list[FakeZygote] = []
        self.events: list[PoolEvent] = []
        self.idle_deaths: list[IdleDeath] = []
        self.faults: list[str] = []
        self.pool = Pool(limits, self.clock, lambda: None, lambda: 0.5, self._open_zygote)
        self.pool.on_idle_death.append(self.idle_deaths.append)
        self._run_no = 0

    def _open_zygote(self) -> FakeZygote:
        self.zygotes.append(FakeZygote(self.workers))
        return self.zygotes[-1]

    async def turn(self) -> None:
        """Let the loop and the pool take one turn each."""
        if not self.zygotes[-1].is_lost:
            self.zygotes[-1].look()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.pool.tick()
        self.events += self.pool.collect()

    async def until(self, condition: Callable[[], object]) -> None:
        """Take turns until something is true."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                await self.turn()

    def run_spec(
        self, *, limits: Limits = LIMITS, large: tuple[str, ...] = (), size: int = 0
    ) -> RunSpec:
        """Make a run with a number of its own."""
        self._run_no += 1
        return RunSpec(
            run_id=f"{self._run_no}.1",
            job_id=self._run_no,
            attempt=1,
            space="did:key:here",
            charm_id="charm",
            source_hash="hash",
            source="source",
            file_name="some.py",
            class_name="Some",
            stream="bgUpdater",
            event=b"{}",
            values={"x": bytes(size)},
            large=large,
            links={},
            last_success=None,
            limits=limits,
        )

    def out(self, space_key: int = 1, **about: object) -> RunSpec:
        """Give a run out."""
        run = self.run_spec(**about)  # type: ignore[arg-type]
        assert self.pool.dispatch(space_key, [run])
        return run

    def out_together(self, count: int = 3, space_key: int = 1, **about: object) -> list[RunSpec]:
        """Give runs out as one batch."""
        runs = [self.run_spec(**about) for _ in range(count)]  # type: ignore[arg-type]
        assert self.pool.dispatch(space_key, runs)
        return runs

    async def bind_all(self) -> list[FakeWorker]:
        """Let every worker make a run of a space of its own, so that none is fresh.

        Gives them in that order.
        """
        makers = []
        await self.until(lambda: self.pool.workers.is_complete and self.pool.workers.is_at_rest)
        for space_key in range(1, len(self.pool.workers) + 1):
            run = self.out(space_key, limits=other_walls(100 + space_key))
            makers.append(self.maker(run))
            await self.answered(run)
        return makers

    def maker(self, run: RunSpec) -> FakeWorker:
        """The worker that was given a run."""
        handle = self.pool.workers.running(run.run_id)
        assert handle is not None
        return next(one for one in self.workers if one.worker_no == handle.worker_no)

    async def end_of(self, run: RunSpec) -> RunFinished:
        """Wait for the end of a run."""
        await self.until(lambda: self.ended(run))
        (end,) = self.ended(run)
        return end

    @property
    def ends(self) -> list[RunFinished]:
        """The ends of runs that were reported."""
        return [event for event in self.events if isinstance(event, RunFinished)]

    def ended(self, run: RunSpec) -> list[RunFinished]:
        """The ends of a run that were reported: never more than one."""
        return [event for event in self.ends if event.run.run_id == run.run_id]

    def how(self, runs: Iterable[RunSpec]) -> list[str]:
        """How runs ended: answered, given back, cancelled, or what they paid for."""
        return [_how(end) for run in runs for end in self.ended(run)]

    async def answered(self, run: RunSpec) -> None:
        """Let a run be made as it should be."""
        maker = self.maker(run)
        await self.until(lambda: run in maker.read_and_begin())
        await self.answered_by(maker, run)

    async def answered_by(self, maker: FakeWorker, run: RunSpec) -> None:
        """Let a worker answer a run that it has read."""
        maker.say(Answer(run.run_id, 0.1))
        assert (await self.end_of(run)).answer is not None


def with_fake_workers(work: Callable[[PoolBench], Awaitable[None]], **limits: object) -> None:
    """Do something with a pool whose workers are ready; nothing may fail in its loop."""

    async def run() -> None:
        wanted = replace(PoolLimits(max_concurrent=2), **limits)  # type: ignore[arg-type]
        bench = PoolBench(wanted)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: bench.faults.append(str(context)))
        bench.pool.start()
        try:
            await bench.until(lambda: bench.pool.free_workers().count == 2)
            await work(bench)
        finally:
            bench.pool.stop()
            for worker in bench.workers:
                worker.die()
                worker.process.wait()
        assert [] == bench.faults

    asyncio.run(run())


def _how(end: RunFinished) -> str:
    if end.answer is not None:
        return "answered"
    if end.death is not None:
        return end.death.cause.value
    if end.is_cancelled:
        return "cancelled"
    return "orphaned" if end.is_orphaned else "given back"


def other_walls(number: int) -> Limits:
    """Limits that need a worker of their own."""
    return msgspec.structs.replace(LIMITS, ports=(443, 1000 + number))

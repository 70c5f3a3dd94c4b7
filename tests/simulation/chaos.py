"""What goes wrong around the service, drawn from the seed: processes, clocks, disk, tempers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from bg_charm_service.service.bootstrap import Service
from tests.simulation.cast import HOSTS
from tests.simulation.disk import Armed, Fault
from tests.simulation.plan import FAVOURED_SHARE, draw_temper
from tests.simulation.provider import Stage
from tests.simulation.world import World

_HOUR = 3600.0

#: So long a disk stays full, or no worker starts. Meanwhile the service tries each second.
_LONGEST_TROUBLE_SECONDS = 300.0

#: Faults of single statements and commits, as often as they are armed.
_DISK_FAULTS = (
    Fault.BUSY,
    Fault.STATEMENT,
    Fault.ROLLED_BACK,
    Fault.READ,
    Fault.COMMIT,
    Fault.COMMIT,
    Fault.COMMIT_FOUND,
    Fault.COMMIT_FOUND,
    Fault.COMMIT_LIES,
    Fault.COMMIT_LIES,
)
_KILLS = (Fault.KILL_STATEMENT, Fault.KILL_BEFORE, Fault.KILL_AFTER, Fault.KILL_AFTER)

#: The commit of an event that somebody sends.
_SEND = "PollingCommands.send"


class Chaos:
    """The one who breaks things, over all lives of the service."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = random.Random(f"chaos {world.plan.seed}")
        #: How long nobody starts the service after the death that comes, where that is known.
        self._downtime_seconds: float | None = None
        world.disk.on_written = self._kill_in_doubt
        self._tricks: list[tuple[int, Callable[[], None]]] = [
            (6, self._kill_at_commit),
            (4, self._kill_at_await),
            (4, self._kill_at_retry),
            (4, self._deploy),
            (4, self._kill_worker),
            (2, self._kill_zygote),
            (2, self._bad_starts),
            (3, self._set_clock),
            (1, self._suspend),
            (5, self._stall),
            (6, self._break_disk),
            (3, self._leave_in_doubt),
            (2, self._lock_disk),
            (2, self._fill_disk),
            (4, self._change_temper),
            (2, self._fail_provider),
        ]
        if world.plan.readers:
            self._tricks.append((8, self._kill_at_refresh))
        if world.plan.tellers:
            self._tricks.append((8, self._kill_at_send))

    async def work(self, world: World, service: Service) -> None:
        """Break things until it is calm."""
        while not world.is_calm:
            await world.bad_moment(self._random)
            for _ in range(self._random.choice([1, 1, 2, 3])):
                if not world.is_calm:
                    self.strike()
        await asyncio.Event().wait()

    def strike(self) -> None:
        """Let one thing go wrong, now or soon."""
        weights = [weight for weight, _ in self._tricks]
        (_, trick), *_ = self._random.choices(self._tricks, weights)
        favourite = self._world.bug.trick
        if favourite and self._random.random() < FAVOURED_SHARE:
            trick = next(one for _, one in self._tricks if one.__name__ == f"_{favourite}")
        name = trick.__name__.strip("_").replace("_", " ")
        self._world.report.faults[name] += 1
        self._world.note(name)
        trick()

    def downtime_seconds(self) -> float:
        """Draw how long nobody starts the service again."""
        drawn, self._downtime_seconds = self._downtime_seconds, None
        if drawn is not None:
            return drawn
        interval = self._world.plan.interval_seconds
        return self._random.choice([0.0, 1.0, 1.0, 5.0, interval / 2, 3 * interval])

    def _kill_at_commit(self) -> None:
        self._arm(self._random.choice(_KILLS), self._random.choice([0, 0, 1, 2, 5]))

    def _kill_at_await(self) -> None:
        assert self._world.loop is not None
        self._world.loop.kill_after(self._random.choice([0, 1, 3, 10, 50, 200]))

    def _deploy(self) -> None:
        self._world.deploy.set()

    def _kill_worker(self) -> None:
        assert self._world.processes is not None
        workers = list(self._world.processes.workers.values())
        busy = [worker for worker in workers if worker.spec is not None]
        if workers:
            self._random.choice(busy or workers).be_killed()

    def _kill_zygote(self) -> None:
        assert self._world.processes is not None
        self._world.processes.end_all()

    def _bad_starts(self) -> None:
        manners = self._world.manners
        manners.boot_death_rate = self._random.choice([0.0, 0.2, 0.6])
        manners.boot_hang_rate = self._random.choice([0.0, 0.0, 0.1])
        self._later(self._good_starts)

    def _good_starts(self) -> None:
        self._world.manners.boot_death_rate = self._world.manners.boot_hang_rate = 0.0

    def _set_clock(self) -> None:
        self._world.timeline.jump(self._random.uniform(-48, 48) * _HOUR)

    def _suspend(self) -> None:
        self._world.timeline.sleep(self._random.uniform(0, 24) * _HOUR)

    def _stall(self) -> None:
        # After an interval every charm is due at once.
        interval = self._world.plan.interval_seconds
        seconds = self._random.choice([1.0, 30.0, interval, 2 * interval])
        self._world.timeline.advance(seconds)
        assert self._world.processes is not None
        for worker in list(self._world.processes.workers.values()):
            worker.catch_up(seconds)

    def _leave_in_doubt(self) -> None:
        """Let commits fail once they are written, of an event that is sent or of whatever comes."""
        point = self._random.choice([None, _SEND, _SEND])
        for _ in range(self._random.choice([1, 1, 2, 8])):
            self._world.disk.armed.append(Armed(Fault.COMMIT_FOUND, 0, point))
        if point is not None:
            self._world.wanted_commands += ["send"] * 3

    def _kill_in_doubt(self) -> None:
        """Kill the process soon after a commit failed once it was written, more often than not."""
        if not self._world.is_calm and self._random.random() < 0.7:
            self._kill_at_await()

    def _kill_at_refresh(self) -> None:
        """Kill the process when a provider is asked, has rotated, or has answered."""
        wanted = self._random.choice([*Stage])
        self._world.provider.on_stage = lambda stage: self._kill_at_stage(stage, wanted)

    def _kill_at_stage(self, stage: Stage, wanted: Stage) -> None:
        if stage is wanted and not self._world.is_calm:
            self._world.provider.on_stage = lambda _: None
            assert self._world.loop is not None
            self._world.loop.kill_after(self._random.choice([0, 0, 1, 2, 5]))

    def _kill_at_send(self) -> None:
        """Kill the process when a notice is on its way, or was taken."""
        self._world.receiver.on_stage = self._kill_at_notice

    def _kill_at_notice(self) -> None:
        if not self._world.is_calm and self._random.random() < 0.5:
            self._world.receiver.on_stage = lambda: None
            assert self._world.loop is not None
            self._world.loop.kill_after(self._random.choice([0, 0, 1, 2, 5]))

    def _kill_at_retry(self) -> None:
        """Kill the process while a job waits between two attempts."""
        self._world.ledger.on_retry = self._kill_between_attempts

    def _kill_between_attempts(self) -> None:
        world = self._world
        world.ledger.on_retry = None
        if not world.is_calm:
            world.is_to_die = "between two attempts"
            self._downtime_seconds = self._random.choice([0.0, 0.0, 0.3, 5.0])

    def _break_disk(self) -> None:
        for _ in range(self._random.choice([1, 1, 3])):
            self._arm(self._random.choice(_DISK_FAULTS), self._random.choice([0, 0, 1, 3, 10]))

    def _lock_disk(self) -> None:
        for _ in range(self._random.choice([5, 50])):
            self._arm(Fault.BUSY, 0)

    def _fill_disk(self) -> None:
        self._world.disk.fill()
        self._later(self._world.disk.empty)

    def _change_temper(self) -> None:
        members = list(self._world.members.values())
        if members:
            self._random.choice(members).temper = draw_temper(self._random, self._world.plan)

    def _fail_provider(self) -> None:
        """Let a provider be down, or come back."""
        self._world.down ^= {self._random.choice(HOSTS)}

    def _arm(self, fault: Fault, after: int) -> None:
        self._world.disk.armed.append(Armed(fault, after))

    def _later(self, call: Callable[[], None]) -> None:
        """Let something be over in a while."""
        assert self._world.loop is not None
        self._world.loop.call_later(self._random.uniform(0.0, _LONGEST_TROUBLE_SECONDS), call)

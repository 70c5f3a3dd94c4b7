"""What the status says of a service in which jobs wait and nothing begins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bg_charm_service.domain.identity import Identity
from bg_charm_service.domain.limits import Limits
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.domain.views import NewCharm
from bg_charm_service.service.bootstrap import Service, ServiceConfig, open_service
from bg_charm_service.service.dependencies import Dependencies
from bg_charm_service.workers.pool.contract import PoolLimits
from tests.unit.fake_zygote import PATIENCE_SECONDS, FakeWorker, FakeZygote, Time

COUNTER = Path(__file__).parents[2] / "charms/counter.py"


def counter(space: str) -> NewCharm:
    """Describe a counter in a space of its own."""
    text = COUNTER.read_text()
    return NewCharm(text, "counter.py", space, None, {}, {}, {}, "counter", True, "manual")


async def turn() -> None:
    """Let the service take a turn."""
    await asyncio.sleep(0)


async def step(service: Service) -> None:
    """Let the loop of a service take a step."""
    turns = service.supervisor.turns
    service.supervisor.wake()
    await until(lambda: service.supervisor.turns > turns)


async def until(condition: Callable[[], object]) -> None:
    """Let the service go on until something is true."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await turn()


def test_jobs_that_nobody_begins_make_the_service_unhealthy(tmp_path: Path) -> None:
    """While one run holds the only worker for long, what waits behind it is not hidden."""
    config = ServiceConfig(tmp_path, Identity.from_passphrase("a test"), is_polling=False)
    polling = replace(
        config,
        is_polling=True,
        limits=Limits(timeout_seconds=3600.0),
        pool=PoolLimits(max_concurrent=1),
    )
    clock, workers = Time(), list[FakeWorker]()

    async def work() -> None:
        async with open_service(config, Dependencies(clock=clock)) as service:
            for space in ("one", "two"):
                await service.commands.charms.add(counter(space))
        dependencies = Dependencies(clock=clock, open_zygote=lambda: FakeZygote(workers))
        async with open_service(polling, dependencies) as service:
            status = service.commands.queries.status
            await until(lambda: status().workers_busy == 1 and status().jobs_pending == 1)
            assert () == status().problems

            def is_unhealthy_later() -> bool:
                clock.ahead_seconds += 0.1
                return not status().healthy

            await until(is_unhealthy_later)
            (problem,) = status().problems
            assert problem.startswith("Jobs wait, but none has begun for 6")
            assert "long runs keep the workers busy" in problem
            # A machine that sleeps for a night: no run has taken that long.
            clock.asleep_seconds += 8 * 3600.0
            for _ in range(3):
                turns = service.supervisor.turns
                service.supervisor.wake()
                await until(lambda: service.supervisor.turns > turns)  # noqa: B023 - at once
            assert 1 == status().workers_busy

    try:
        asyncio.run(work())
    finally:
        for worker in workers:
            worker.die()


def test_events_that_waited_for_a_resume_are_not_late(tmp_path: Path) -> None:
    """They waited for a person: more workers would not have helped, and nothing is unhealthy."""
    clock = Time()
    config = ServiceConfig(
        tmp_path, Identity.from_passphrase("a test"), is_polling=True, interval_seconds=86400.0
    )

    async def work() -> None:
        async with open_service(config, Dependencies(clock=clock)) as service:
            added = await service.commands.charms.add(replace(counter("one"), register=False))
            ref = CharmRef(added.space, added.charm_id)
            await service.commands.pauses.pause_all()
            service.commands.polling.send(ref, None, b"{}")
            for _ in range(20):
                # In short steps, or the loop takes it for a sleep.
                clock.ahead_seconds += 5
                await step(service)
            await service.commands.pauses.resume_all()
            status = service.commands.queries.status
            await until(lambda: status().tasks_completed)
            assert (0, True) == (status().lag_ms_last_minute, status().healthy)

    asyncio.run(work())

"""The service as a process: signals, the socket, systemd, the log. Decides nothing about runs.

Started by the command line when no command is given.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from typing import Any, Final

import tenacity
from loguru import logger

from bg_charm_service.api import create_app
from bg_charm_service.api.large_bodies import LargeBodies
from bg_charm_service.api.server import is_answering, serve, serve_hooks
from bg_charm_service.daemon.demo_charm import add_demo
from bg_charm_service.daemon.descriptors import allow_many_files, connection_limits
from bg_charm_service.daemon.key_rotation import finish_rotation, next_identity
from bg_charm_service.daemon.logs import Logs, open_logs
from bg_charm_service.daemon.node import active_node
from bg_charm_service.daemon.operator_identity import operator_identity
from bg_charm_service.daemon.ports import HookPorts, Ports, open_hook_ports, open_ports
from bg_charm_service.daemon.readers import reader_of_log
from bg_charm_service.daemon.run_log import RunLog
from bg_charm_service.daemon.service_config import service_config
from bg_charm_service.daemon.settings import Settings
from bg_charm_service.daemon.start_checks import check_integration, check_spans
from bg_charm_service.daemon.start_signals import (
    ended_by_signals,
    hold_signals,
    release_signals,
)
from bg_charm_service.daemon.startup_log import (
    log_address,
    log_closed_ports,
    log_hooks,
    log_started,
    warn_of_default_identity,
    warn_of_missing_walls,
)
from bg_charm_service.daemon.status_log import log_slow_steps, log_status, many, one_line
from bg_charm_service.daemon.systemd import is_listening, notify, watchdog_interval_seconds
from bg_charm_service.domain.errors import DataDirectoryBusy, ServiceError
from bg_charm_service.domain.identity import Identity
from bg_charm_service.domain.outcomes.policy import RunStatus, Step
from bg_charm_service.service.bootstrap import Service, ServiceConfig, open_service
from bg_charm_service.service.dependencies import Dependencies
from bg_charm_service.storage.data_directory import SOCKET_NAME
from bg_charm_service.storage.node_contract import Lease
from bg_charm_service.supervisor.completer import Settled
from bg_charm_service.supervisor.loop_steps import LoopSteps

#: How long a command may have the data directory open before a start gives up, in seconds.
_BUSY_WAIT_SECONDS = 5.0

#: Asked of its enum, a member takes many times as long (Python 3.11), and this is for each run.
_SUCCESS: Final = RunStatus.SUCCESS

#: Slow steps of the loop are told of so often at most, in seconds.
_SLOW_STEP_SECONDS = 1.0

#: How often systemd is told the status, in seconds.
_NOTIFY_SECONDS = 10.0


def run_service(settings: Settings) -> None:
    """Run until a signal stops it; raises ServiceError when it cannot start or go on.

    Signals are held when it is called, and from its end on.
    """
    with ended_by_signals():
        logs = open_logs(settings, sys.stdout)
    allow_many_files()
    try:
        with ended_by_signals():
            identity = operator_identity(settings, os.environ)
            check_spans(settings)
        steps = LoopSteps()
        with asyncio.Runner(loop_factory=steps.new_loop) as runner:
            runner.run(_Daemon(settings, identity, logs, steps).run())
    except ServiceError:
        raise
    except Exception:
        logger.bind(event="crashed").exception("The service ended by a fault of its own")
        raise
    finally:
        logs.close()


class _Daemon:
    """One life of the service."""

    def __init__(
        self, settings: Settings, identity: Identity, logs: Logs, steps: LoopSteps
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._logs = logs
        self._steps = steps
        self._stop_asked = asyncio.Event()
        self._stop_now = asyncio.Event()
        self._service: Service | None = None
        #: What a signal cancels until the service is up.
        self._start: asyncio.Task[Any] | None = None

    async def run(self) -> None:
        with self._signals():
            try:
                self._start = asyncio.current_task()
                await self._live()
            except asyncio.CancelledError:
                if not self._stop_asked.is_set():
                    raise
                logger.bind(event="stopped").info("Stopped before it was up")

    async def _live(self) -> None:
        async with active_node(self._settings) as lease:
            await self._be_active(lease)

    async def _be_active(self, lease: Lease | None) -> None:
        settings = self._settings
        config = service_config(
            settings, self._identity, is_polling=True, next_identity=next_identity(settings)
        )
        dependencies = Dependencies.of_node(lease, steps=self._steps)
        async with (
            _opened(config, dependencies) as service,
            LargeBodies() as large_bodies,
            _sending_spans(settings, service),
        ):
            self._service = service
            finish_rotation(settings, config.next_identity, service.operator)
            # First, because runs that waited for this start are settled from here on.
            run_log = RunLog(service.parts.clock.steady)
            service.supervisor.on_settled.append(_SettledRunLogger(service, run_log))
            service.parts.waiting.on_down.append(run_log.host_is_down)
            service.parts.waiting.on_up.append(run_log.host_answers)
            await check_integration(service.scanner, settings.integration)
            has_token = service.commands.tokens.has_valid()
            with ExitStack() as stack:
                ports = stack.enter_context(open_ports(settings, has_token=has_token))
                hook_ports = stack.enter_context(open_hook_ports(settings))
                _close_ports(service, ports, hook_ports)
                app = create_app(
                    service.commands,
                    ports.service_address,
                    large_bodies,
                    reader_of_log(settings),
                )
                limits = connection_limits(
                    settings.max_connections,
                    settings.max_per_peer,
                    workers=config.pool.workers,
                )
                async with (
                    serve(app, service.directory.socket_path, ports.sockets, limits),
                    _taking_hooks(service, hook_ports, reserved=limits.reserved),
                ):
                    log_address(ports, app.state.login_codes, has_reader=self._logs.has_reader)
                    await self._serve(service, run_log, lease)
            run_log.flush()

    async def _serve(self, service: Service, run_log: RunLog, lease: Lease | None) -> None:
        if self._settings.demo:
            await add_demo(service)
        # The step that began with opening the data directory ends here.
        await asyncio.sleep(0)
        self._steps.forget()
        # From here on a stop lets work finish.
        self._start = None
        if lease is not None:
            lease.begin()
        log_started(service)
        warn_of_default_identity(service)
        warn_of_missing_walls(service.sandboxing)
        notify(READY=1, STATUS="running")
        await self._until_stopped(
            service,
            service.maintenance.cycle.run(),
            service.maintenance.backups.run(),
            service.telling.run(),
            _every(self._settings.log_interval_seconds, lambda: _log_status(service)),
            _every(1.0, run_log.tick),
            _every(_SLOW_STEP_SECONDS, lambda: log_slow_steps(self._steps)),
            _every(_NOTIFY_SECONDS, lambda: _notify_systemd(service)),
            _feed_watchdog(service),
        )
        notify(STOPPING=1, STATUS="stopping")
        service.commands.events.close()
        logger.bind(event="stopping").info(
            "Stopping: {} under way may finish within {:g} s; signal again to stop at once",
            many(len(service.parts.dispatcher.runs), "run"),
            self._settings.drain_timeout_seconds,
        )
        limit_seconds = self._settings.drain_timeout_seconds
        draining = asyncio.create_task(service.supervisor.drain(limit_seconds))
        hurry = asyncio.create_task(self._stop_now.wait())
        await asyncio.wait([draining, hurry], return_when=asyncio.FIRST_COMPLETED)
        for task in (draining, hurry):
            task.cancel()
        await asyncio.gather(draining, hurry, return_exceptions=True)
        _log_status(service)
        await service.supervisor.stop_now()
        log_slow_steps(self._steps)
        logger.bind(event="stopped").info("Stopped")

    async def _until_stopped(self, service: Service, *works: Coroutine[Any, Any, None]) -> None:
        """Keep the side works going until a stop is asked for; raises what ends one of them."""
        tasks = [asyncio.create_task(work) for work in works]
        asked = asyncio.create_task(self._stop_asked.wait())
        try:
            done, _ = await asyncio.wait(
                [asked, service.loop, *tasks], return_when=asyncio.FIRST_COMPLETED
            )
            for task in done - {asked}:
                task.result()
        finally:
            for task in [asked, *tasks]:
                task.cancel()
            await asyncio.gather(asked, *tasks, return_exceptions=True)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Turn signals into events, those too that were held until now."""
        loop = asyncio.get_running_loop()
        calls: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGTERM: self._ask_to_stop,
            signal.SIGINT: self._ask_to_stop,
            signal.SIGHUP: self._logs.reopen,
            signal.SIGUSR1: self._ask_for_status,
            # It means nothing, and would end the service.
            signal.SIGUSR2: _do_nothing,
        }
        for number, call in calls.items():
            loop.add_signal_handler(number, call)
        release_signals()
        try:
            yield
        finally:
            # Until the process is gone: there is nothing left for them to do.
            hold_signals()
            for number in calls:
                loop.remove_signal_handler(number)
                signal.signal(number, signal.SIG_IGN)

    def _ask_to_stop(self) -> None:
        if self._stop_asked.is_set():
            self._stop_now.set()
        elif self._start is not None:
            self._start.cancel()
        self._stop_asked.set()

    def _ask_for_status(self) -> None:
        if self._service is not None:
            _log_status(self._service)


def _do_nothing() -> None:
    pass


@asynccontextmanager
async def _opened(config: ServiceConfig, dependencies: Dependencies) -> AsyncIterator[Service]:
    """Open the service; a directory that a command has open for a moment is waited for.

    Raises DataDirectoryBusy at once when a service answers on the directory's socket.
    """
    async with AsyncExitStack() as stack:
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(lambda error: _is_held_by_a_command(config, error)),
            wait=tenacity.wait_fixed(0.1),
            stop=tenacity.stop_after_delay(_BUSY_WAIT_SECONDS),
            reraise=True,
        )

        async def enter() -> Service:
            return await stack.enter_async_context(open_service(config, dependencies))

        yield await retrying(enter)


@asynccontextmanager
async def _sending_spans(settings: Settings, service: Service) -> AsyncIterator[None]:
    """Send a span of each run, where that is wanted; the last ones at the end."""
    if not settings.otel_enabled:
        yield
        return
    from bg_charm_service.daemon.run_spans import open_spans

    counts = service.commands.monitoring.spans
    spans = open_spans(settings, counts, service.polled_charms.label)
    spans.start()
    service.supervisor.on_settled.append(spans)
    try:
        yield
    finally:
        await asyncio.to_thread(spans.close)


@asynccontextmanager
async def _taking_hooks(
    service: Service, ports: HookPorts, *, reserved: int
) -> AsyncIterator[None]:
    """Take what senders outside deliver, where that is wanted."""
    if not ports.sockets:
        yield
        return
    from bg_charm_service.api.hooks.listener import TELL_SECONDS, HookListener

    service.hooks.addresses.base_url = ports.url
    listener = HookListener(service.hooks.intake, service.commands.monitoring.hooks)
    async with serve_hooks(listener, ports.sockets, reserved=reserved):
        telling = asyncio.create_task(_every(TELL_SECONDS, listener.tell))
        log_hooks(ports)
        try:
            yield
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
            listener.tell()


def _is_held_by_a_command(config: ServiceConfig, error: BaseException) -> bool:
    return isinstance(error, DataDirectoryBusy) and not is_answering(config.data_dir / SOCKET_NAME)


class _SettledRunLogger:
    """Writes a line about each settled run."""

    def __init__(self, service: Service, run_log: RunLog) -> None:
        self._service = service
        self._run_log = run_log

    def __call__(self, settled: Sequence[Settled]) -> None:
        self._run_log.tick()
        for one in settled:
            self._log(one)
            if one.record.retired:
                job, worker = one.run.claim.job, one.record.worker
                self._run_log.retired(job, one.record.retired, worker=worker)

    def _log(self, settled: Settled) -> None:
        job, outcome, decision = settled.run.claim.job, settled.outcome, settled.decision
        duration, worker = outcome.duration_seconds, settled.record.worker
        if decision.status is _SUCCESS:
            self._run_log.succeeded(job, duration_seconds=duration, worker=worker)
            return
        if outcome.failure is None:
            return
        clock = self._service.parts.clock
        if decision.status is not RunStatus.FAILURE:
            until = decision.waiting.until if decision.waiting is not None else 0.0
            self._run_log.waits(
                job,
                decision.status,
                decision.health.status,
                until=until - clock.steady() + clock.now() if until else None,
                duration_seconds=duration,
                worker=worker,
            )
            return
        is_retried = decision.step is Step.RETRY
        self._run_log.failed(
            job,
            outcome.failure,
            retry_at=decision.run_at - clock.steady() + clock.now() if is_retried else None,
            duration_seconds=duration,
            worker=worker,
        )
        if decision.disables:
            self._run_log.disabled(
                job.ref,
                outcome.failure,
                consecutive_failures=decision.health.consecutive_failures,
                back_at=clock.now() + self._service.config.disabled_retry_seconds,
            )


async def _every(seconds: float, call: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(seconds)
        call()


async def _feed_watchdog(service: Service) -> None:
    """Tell systemd that the service lives, as long as its loop advances."""
    interval_seconds = watchdog_interval_seconds()
    if interval_seconds is None:
        await asyncio.Event().wait()
        return
    while True:
        turns = service.supervisor.turns
        await asyncio.sleep(interval_seconds)
        # A database that fails is told of; a start anew would not make room on a disk.
        with service.supervisor.storage_health.noting():
            service.parts.database.probe(write=False)
        if service.supervisor.turns > turns:
            notify(WATCHDOG=1)


def _close_ports(service: Service, ports: Ports, hook_ports: HookPorts) -> None:
    """Keep charms from the service's own ports, also where the system chose them."""
    limits = service.limits
    limits.closed_ports |= ports.numbers
    service.telling.sender.closed_ports |= ports.numbers
    limits.closed_ports |= {each.getsockname()[1] for each in hook_ports.sockets}
    log_closed_ports(service, limits.closed_ports)


def _log_status(service: Service) -> None:
    log_status(service.commands.queries.status())


def _notify_systemd(service: Service) -> None:
    if is_listening():
        notify(STATUS=one_line(service.commands.queries.status()))

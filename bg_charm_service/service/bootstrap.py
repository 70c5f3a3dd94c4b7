"""Puts the service together over a data directory, and takes it apart again.

Used by the daemon, which polls, and by the command line while no daemon runs, which does not.
The only place where the parts meet.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from bg_charm_service.domain.backoff import MAX_DELAY_SECONDS
from bg_charm_service.domain.errors import AuthorizationError
from bg_charm_service.domain.identity import SYSTEM_SPACE_NAME, Identity, space_did
from bg_charm_service.domain.limits import Limits
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.domain.outcome_policy import FailurePolicy
from bg_charm_service.domain.package_folder import CHARMS_FOLDER
from bg_charm_service.domain.sandbox_mode import Sandboxing, SandboxMode, choose_walls
from bg_charm_service.scanning.scanner import ScanLimits, Scanner
from bg_charm_service.service.commands import Commands, Office
from bg_charm_service.service.dependencies import Dependencies
from bg_charm_service.service.event_feed import Events
from bg_charm_service.service.maintenance.backups import BackupPlan, Backups
from bg_charm_service.service.maintenance.cycle import Upkeep, UpkeepLimits
from bg_charm_service.service.maintenance.health_checks import HealthChecks
from bg_charm_service.service.status.board import About, StatusBoard
from bg_charm_service.storage.contract import Storage, Store
from bg_charm_service.storage.data_directory import DataDirectory
from bg_charm_service.supervisor.fair_share import Caps
from bg_charm_service.supervisor.limit_resolver import LimitResolver
from bg_charm_service.supervisor.loop import Parts, Supervisor
from bg_charm_service.supervisor.polled_charms import PolledCharms
from bg_charm_service.supervisor.source_inspections import SourceInspections
from bg_charm_service.workers.pool.contract import PoolLimits
from bg_charm_service.workers.sandbox import Wall, folder_around, probe


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """All that a service is made from; durations in seconds, sizes in bytes."""

    data_dir: Path
    identity: Identity
    is_polling: bool
    interval_seconds: float = 60.0
    limits: Limits = field(default_factory=Limits)
    sandbox: SandboxMode = SandboxMode.AUTO
    #: Ports that lead to this service, and that no charm may connect to.
    closed_ports: frozenset[int] = frozenset()
    policy: FailurePolicy = field(default_factory=FailurePolicy)
    pool: PoolLimits = field(default_factory=PoolLimits)
    caps: Caps = field(default_factory=Caps)
    scans: ScanLimits = field(default_factory=ScanLimits)
    history_runs: int = 100
    history_seconds: float = 86400.0
    history_jobs: int = 1000
    watch_seconds: float = 0.1
    disabled_retry_seconds: float = 86400.0
    maintenance_timeout_seconds: float = 60.0
    integrations: tuple[str, ...] = ()
    integrations_dir: Path | None = None
    manual_charms: tuple[CharmRef, ...] = ()
    backups: BackupPlan = field(default_factory=BackupPlan)


@dataclass(frozen=True, slots=True)
class Service:
    """A service that is open."""

    config: ServiceConfig
    directory: DataDirectory
    parts: Parts
    supervisor: Supervisor
    upkeep: Upkeep
    scanner: Scanner
    backups: Backups
    board: StatusBoard
    commands: Commands
    sandboxing: Sandboxing
    #: The supervisor's loop; it ends early only with an error.
    loop: asyncio.Task[None]


@asynccontextmanager
async def open_service(
    config: ServiceConfig, dependencies: Dependencies | None = None
) -> AsyncIterator[Service]:
    """Open a data directory and start what is needed; everything is stopped at the end.

    Raises DataDirectoryError, DataDirectoryBusy, SchemaTooNew, AuthorizationError, and
    ServiceError when walls are required that cannot be had.
    """
    world = dependencies or Dependencies()
    sandboxing = _choose_walls(config)
    with DataDirectory.open(config.data_dir) as directory:
        storage = world.engine.open(directory.database_path, keep_done=config.history_jobs)
        try:
            with storage.database.transaction():
                _enter(storage.store, config.identity, directory.path, world.clock.now())
            service = _assemble(config, sandboxing, directory, storage, world)
            try:
                yield service
            finally:
                await service.scanner.stop()
                await service.backups.stop()
                await service.supervisor.stop_now()
                await asyncio.gather(service.loop, return_exceptions=True)
        finally:
            storage.close()


def _choose_walls(config: ServiceConfig) -> Sandboxing:
    """Find out which walls can be had; raises ServiceError when one that is required cannot."""
    missing: dict[str, str] = {}
    if config.sandbox is not SandboxMode.OFF:
        missing = {wall.value: why for wall, why in probe().items()}
        outer = folder_around(config.data_dir)
        if outer is not None:
            missing.setdefault(
                Wall.FILES, f"the data directory lies in {outer}, which charms read libraries from"
            )
    return choose_walls(config.sandbox, config.pool.isolation, [*map(str, Wall)], missing)


def _enter(store: Store, identity: Identity, path: Path, now: float) -> None:
    """Open the store as an identity: the first one owns it, others must have been granted it."""
    did = identity.did()
    system = store.spaces.find(space_did(SYSTEM_SPACE_NAME))
    if system is None:
        store.spaces.ensure(
            space_did(SYSTEM_SPACE_NAME), name=SYSTEM_SPACE_NAME, owner=did, now=now
        )
        store.secrets.create(did)
        return
    if not store.spaces.is_owner(system.space_key, did):
        owner = store.spaces.owners(system.space_key)[0]
        raise AuthorizationError(
            f"{did} may not act on the system space of {path}: {owner} owns it. Start with that "
            "identity (OPERATOR_PASS or IDENTITY), or let its owner run: "
            f"bg-charm-service --data-dir {path} add-admin-charm --grant {did}"
        )
    store.secrets.unlock(identity)


def _assemble(
    config: ServiceConfig,
    sandboxing: Sandboxing,
    directory: DataDirectory,
    storage: Storage,
    world: Dependencies,
) -> Service:
    wake = asyncio.Event()
    clock, kinds = world.clock, world.parts
    database, store, queue = storage.database, storage.store, storage.queue
    if config.caps.per_integration:
        with database.transaction():
            queue.note_integrations()
    polled_charms = PolledCharms(store)
    planner = kinds.planner(
        database,
        store,
        queue,
        clock,
        interval_seconds=config.interval_seconds,
        max_concurrent=config.pool.max_concurrent,
    )
    pool_limits = replace(
        config.pool,
        has_walls=sandboxing.has_walls,
        missing_walls=tuple(wall.name for wall in sandboxing.missing),
        scratch_root=directory.path / "scratch",
    )
    pool = kinds.pool(pool_limits, clock, wake.set, world.random, world.open_zygote)
    limits = LimitResolver(config.limits, store.limits)
    limits.closed_ports = config.closed_ports
    dispatcher = kinds.dispatcher(database, store, queue, pool, clock, limits, config.caps)
    completer = kinds.completer(
        database,
        store,
        queue,
        planner,
        config.policy,
        clock,
        world.random,
        limits=limits,
        history_runs=config.history_runs,
        label=polled_charms.label,
    )
    inspections = SourceInspections(pool, limits)
    parts = Parts(database, store, queue, pool, planner, dispatcher, completer, inspections, clock)
    supervisor = kinds.supervisor(
        parts, polling=config.is_polling, watch_seconds=config.watch_seconds, wake=wake
    )
    scanner = kinds.scanner(
        read_cell=store.spaces.document,
        read_charm=lambda ref: _shown_state(commands, ref),
        clock=clock,
        integrations_dir=config.integrations_dir,
        manual_charms=config.manual_charms,
        limits=config.scans,
    )
    backups = Backups(database, directory, config.backups, clock)
    health_checks = HealthChecks(
        storage.doctor, dispatcher, planner, backups, clock, directory.path
    )
    upkeep = Upkeep(
        database,
        store,
        queue,
        planner,
        polled_charms,
        scanner,
        clock,
        UpkeepLimits(
            config.interval_seconds,
            config.maintenance_timeout_seconds,
            config.history_seconds,
            config.disabled_retry_seconds,
        ),
        integrations=config.integrations,
        measure=lambda: board.measure(),
        wake=supervisor.wake,
        storage=supervisor.storage,
        checkup=health_checks.run_if_due,
    )
    about = About(
        config.identity.did(),
        str(directory.path),
        config.interval_seconds,
        config.is_polling,
        sandboxing,
    )
    board = StatusBoard(
        about,
        store,
        queue,
        planner,
        pool,
        polled_charms,
        upkeep,
        clock,
        supervisor.storage,
        backups,
        health_checks,
        dispatcher,
    )
    events = Events(clock.now())
    supervisor.on_settled += [board.settled, events.settled]
    pool.on_idle_death.append(events.idle_worker_died)
    office = Office(
        operator=config.identity.did(),
        supervisor=supervisor,
        parts=parts,
        polled_charms=polled_charms,
        upkeep=upkeep,
        scanner=scanner,
        backups=backups,
        health_checks=health_checks,
        board=board,
        events=events,
        limits=limits,
        interval_seconds=config.interval_seconds,
        admin_source=(CHARMS_FOLDER / "admin.py").read_text(),
    )
    commands = Commands(office)
    queue.bring_near(clock.steady() + MAX_DELAY_SECONDS)
    supervisor.rescue()
    if config.is_polling:
        planner.load()
        pool.start()
    loop = asyncio.create_task(supervisor.run())
    return Service(
        config,
        directory,
        parts,
        supervisor,
        upkeep,
        scanner,
        backups,
        board,
        commands,
        sandboxing,
        loop,
    )


def _shown_state(commands: Commands, ref: CharmRef) -> bytes | None:
    charm = commands.store.charms.find(ref)
    return commands.shown_state(charm) if charm is not None else None

"""Puts the service together over a data directory, and takes it apart again.

Used by the daemon, which polls, and by the command line while no daemon runs, which does not.
The only place where the parts meet.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from bg_charm_service.domain.clock import AwakeClock
from bg_charm_service.domain.errors import AuthorizationError, DataDirectoryError
from bg_charm_service.domain.identity import SYSTEM_SPACE_NAME, Identity, space_did
from bg_charm_service.domain.limits import DEFAULT_PROCESSORS, Limits
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.domain.outcomes.backoff import MAX_DELAY_SECONDS
from bg_charm_service.domain.outcomes.policy import FailurePolicy
from bg_charm_service.domain.package_folder import CHARMS_FOLDER
from bg_charm_service.domain.sandbox_mode import Isolation, Sandboxing, SandboxMode, choose_walls
from bg_charm_service.notices.notice_client import NoticeClient
from bg_charm_service.packages.folders import PackageFolders
from bg_charm_service.packages.installer import Installer, PackageRules
from bg_charm_service.scanning.scanner import ScanLimits, Scanner
from bg_charm_service.service.charm_packages import CharmPackages, PackagePauses
from bg_charm_service.service.commands import CommandContext, Commands
from bg_charm_service.service.commands.charms import CharmCommands
from bg_charm_service.service.commands.hooks import HookCommands
from bg_charm_service.service.commands.items import ItemCommands
from bg_charm_service.service.commands.jobs import JobCommands
from bg_charm_service.service.commands.letters import LetterCommands
from bg_charm_service.service.commands.limits import LimitCommands
from bg_charm_service.service.commands.monitoring import MonitoringCommands
from bg_charm_service.service.commands.notices import NoticeCommands
from bg_charm_service.service.commands.pausing import PauseCommands
from bg_charm_service.service.commands.polling import PollingCommands
from bg_charm_service.service.commands.queries import Queries
from bg_charm_service.service.commands.reminders import ReminderCommands
from bg_charm_service.service.commands.rotation import OperatorCommands
from bg_charm_service.service.commands.sending import SendCommands
from bg_charm_service.service.commands.sign_ins import SignInCommands
from bg_charm_service.service.commands.system import SystemCommands
from bg_charm_service.service.commands.tokens import TokenCommands
from bg_charm_service.service.commands.updates import UpdateCommands
from bg_charm_service.service.dependencies import Dependencies
from bg_charm_service.service.event_feed import EventFeed
from bg_charm_service.service.hooks.intake import HookIntake
from bg_charm_service.service.maintenance.backups import BackupPlan, Backups
from bg_charm_service.service.maintenance.cycle import CycleLimits, Maintenance, MaintenanceCycle
from bg_charm_service.service.maintenance.health_checks import HealthChecks
from bg_charm_service.service.maintenance.integration_scans import IntegrationScans
from bg_charm_service.service.notices.telling import NoticeRules, Telling
from bg_charm_service.service.state_reader import StateReader
from bg_charm_service.service.status.board import About, StatusBoard
from bg_charm_service.service.token_keeper import TokenKeeper
from bg_charm_service.sign_in.provider_client import ProviderClient
from bg_charm_service.storage.contract import Storage, Store
from bg_charm_service.storage.data_directory import DataDirectory
from bg_charm_service.storage.disk_reserve import DiskReserve
from bg_charm_service.supervisor.charm_switch import CharmSwitch
from bg_charm_service.supervisor.completer import CompletionRules
from bg_charm_service.supervisor.events.hook_addresses import HookAddresses
from bg_charm_service.supervisor.fair_share import Caps
from bg_charm_service.supervisor.held_writers import HeldWriters
from bg_charm_service.supervisor.in_flight import RunsInFlight
from bg_charm_service.supervisor.limit_resolver import LimitResolver
from bg_charm_service.supervisor.loop import Parts, Supervisor
from bg_charm_service.supervisor.planning.polled_charms import PolledCharms
from bg_charm_service.supervisor.refusal_advice import RefusalAdvice
from bg_charm_service.supervisor.run_inputs import RunInputs
from bg_charm_service.supervisor.run_items import ItemQuotas
from bg_charm_service.supervisor.source_inspections import SourceInspections
from bg_charm_service.supervisor.suspects import SuspectTrial
from bg_charm_service.supervisor.waiting_charms import WaitingCharms
from bg_charm_service.workers.pool.contract import PoolLimits
from bg_charm_service.workers.pool.placement import available_processors
from bg_charm_service.workers.pool.pool import Pool
from bg_charm_service.workers.pool.scratch.directory import ScratchRoot
from bg_charm_service.workers.sandbox import Wall, folder_around, probe

#: So long a start waits for what an earlier life's charms have left to be removed, in seconds.
_CLEAR_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """All that a service is made from; durations in seconds, sizes in bytes."""

    data_dir: Path
    identity: Identity
    is_polling: bool
    #: The key that a rotation had made ready when it was cut off: the data may be its own already.
    next_identity: Identity | None = None
    interval_seconds: float = 60.0
    #: More often no class may ask to run, unless the service's own interval is shorter.
    min_interval_seconds: float = 10.0
    limits: Limits = field(default_factory=lambda: Limits(processors=DEFAULT_PROCESSORS))
    sandbox: SandboxMode = SandboxMode.AUTO
    #: Ports that lead to this service, and that no charm may connect to.
    closed_ports: frozenset[int] = frozenset()
    items: ItemQuotas = field(default_factory=ItemQuotas)
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
    packages: PackageRules = field(default_factory=PackageRules)
    #: How long asking a provider for a token may take.
    token_refresh_seconds: float = 10.0
    #: Where providers send people back to.
    public_url: str = "http://localhost:8000"
    notices: NoticeRules = field(default_factory=NoticeRules)
    #: What senders outside call the listener of hooks; empty where there is none.
    hook_url: str = ""


@dataclass(frozen=True, slots=True)
class ServiceHooks:
    """What a listener of hooks works with."""

    addresses: HookAddresses
    intake: HookIntake


@dataclass(frozen=True, slots=True)
class Service:
    """A service that is open."""

    config: ServiceConfig
    directory: DataDirectory
    parts: Parts
    supervisor: Supervisor
    polled_charms: PolledCharms
    limits: LimitResolver
    scanner: Scanner
    maintenance: Maintenance
    commands: Commands
    packages: CharmPackages
    tokens: TokenKeeper
    telling: Telling
    hooks: ServiceHooks
    sandboxing: Sandboxing
    #: The supervisor's loop; it ends early only with an error.
    loop: asyncio.Task[None]

    @property
    def operator(self) -> str:
        """The DID that the service acts as."""
        return self.commands.operator.did


@asynccontextmanager
async def open_service(
    config: ServiceConfig, dependencies: Dependencies | None = None
) -> AsyncIterator[Service]:
    """Open a data directory and start what is needed; everything is stopped at the end.

    Raises DataDirectoryError, DataDirectoryBusy, SchemaTooNew, AuthorizationError, and
    ServiceError when walls are required that cannot be had.
    """
    dependencies = dependencies or Dependencies()
    sandboxing = find_walls(config.sandbox, config.pool.isolation, config.data_dir)
    with DataDirectory.open(config.data_dir) as directory:
        _make_room(directory)
        storage = dependencies.engine.open(directory.database_path, keep_done=config.history_jobs)
        try:
            storage.database.guards.append(directory.keep_lock)
            with storage.database.transaction():
                did = _enter(storage.store, config, directory.path, dependencies.clock.now())
            service = _assemble(config, did, sandboxing, directory, storage, dependencies)
            try:
                yield service
            finally:
                await service.telling.stop()
                await service.tokens.stop()
                await service.packages.stop()
                await service.scanner.stop()
                await service.maintenance.backups.stop()
                await service.supervisor.stop_now()
                await asyncio.gather(service.loop, return_exceptions=True)
        finally:
            storage.close()


def _make_room(directory: DataDirectory) -> None:
    """Remove what charms have left, and the reserve on a full disk: to open may take room."""
    ScratchRoot(directory.scratch_path).clear(_CLEAR_SECONDS)
    DiskReserve(directory.path).make_room()


def find_walls(mode: SandboxMode, isolation: Isolation, data_dir: Path) -> Sandboxing:
    """Find out which walls can be had; raises ServiceError when one that is required cannot."""
    missing: dict[str, str] = {}
    if mode is not SandboxMode.OFF:
        missing = {wall.value: why for wall, why in probe().items()}
        outer = folder_around(data_dir)
        if outer is not None:
            missing.setdefault(
                Wall.FILES, f"the data directory lies in {outer}, which charms read libraries from"
            )
    return choose_walls(mode, isolation, [*map(str, Wall)], missing)


def _enter(store: Store, config: ServiceConfig, path: Path, now: float) -> str:
    """Open the store as an identity: the first one owns it, others must have been granted it.

    Gives the DID. A rotation that was cut off leaves two keys, of which one was granted it.
    """
    did = config.identity.did()
    system = store.spaces.find(space_did(SYSTEM_SPACE_NAME))
    if system is None:
        store.spaces.ensure(
            space_did(SYSTEM_SPACE_NAME), name=SYSTEM_SPACE_NAME, owner=did, now=now
        )
        store.secrets.create(did)
        return did
    for identity in filter(None, (config.identity, config.next_identity)):
        if store.spaces.is_owner(system.space_key, identity.did()):
            store.secrets.unlock(identity)
            return identity.did()
    owner = store.spaces.owners(system.space_key)[0]
    raise AuthorizationError(
        f"{did} may not act on the system space of {path}: {owner} owns it. Start with that "
        "identity (OPERATOR_PASS or IDENTITY), or let its owner run: "
        f"`bg-charm-service --data-dir {path} add-admin-charm --grant {did}`"
    )


def _assemble(
    config: ServiceConfig,
    operator: str,
    sandboxing: Sandboxing,
    directory: DataDirectory,
    storage: Storage,
    dependencies: Dependencies,
) -> Service:
    wake = asyncio.Event()
    clock, kinds = dependencies.clock, dependencies.parts
    store, queue = storage.store, storage.queue
    if config.caps.per_integration:
        with storage.database.transaction():
            queue.note_integrations()
    polled_charms = PolledCharms(store)
    planner = kinds.planner(
        storage,
        clock,
        interval_seconds=config.interval_seconds,
        max_concurrent=config.pool.max_concurrent,
        min_interval_seconds=config.min_interval_seconds,
    )
    folders = _open_folders(directory)
    packages = _packages(config, storage, dependencies, folders, sandboxing, wake)
    pool_limits = replace(
        config.pool,
        has_walls=sandboxing.has_walls,
        missing_walls=tuple(wall.name for wall in sandboxing.missing),
        scratch_root=directory.scratch_path,
        processors=available_processors(),
        packages_root=folders.packages_root,
    )
    # A run that was under way while the machine slept has not used that time.
    awake = AwakeClock(clock)
    pool = kinds.pool(pool_limits, awake, wake.set, dependencies.random, dependencies.open_zygote)
    limits = LimitResolver(config.limits, store.limits, packages.folder_of)
    limits.closed_ports = config.closed_ports
    runs = RunsInFlight()
    items = kinds.run_items(store, config.items)
    providers = dependencies.providers or ProviderClient(
        config.token_refresh_seconds,
        sandboxing.has_walls,
        tuple(wall.name for wall in sandboxing.missing),
    )
    tokens = kinds.tokens(
        storage,
        clock,
        providers,
        config.token_refresh_seconds,
        wake.set,
        polled_charms.label,
    )
    addresses = HookAddresses(store, secrets.token_bytes, config.hook_url)
    inputs = RunInputs(
        storage, limits, runs.durations, items, packages.problem_of, tokens, addresses
    )
    held = HeldWriters(PackagePauses(store.pauses, packages, storage), store, queue, clock)
    trial = SuspectTrial(storage, clock)
    waiting = WaitingCharms(storage, clock, planner)
    switch = CharmSwitch(storage, clock, planner, polled_charms, waiting)
    notices = kinds.notices(storage, clock)
    rules = CompletionRules(config.policy, limits, config.history_runs)
    parts = Parts(
        storage=storage,
        clock=clock,
        pool=pool,
        runs=runs,
        inputs=inputs,
        planner=planner,
        dispatcher=kinds.dispatcher(queue, held, pool, clock, runs, inputs, trial, config.caps),
        completer=kinds.completer(
            storage,
            clock,
            dependencies.random,
            runs,
            planner,
            polled_charms,
            waiting,
            switch,
            rules,
            items,
            notices,
            held,
        ),
        inspections=SourceInspections(pool, RefusalAdvice(store, limits)),
        trial=trial,
        reminders=kinds.reminders(storage, clock, waiting),
        waiting=waiting,
        switch=switch,
        steps=dependencies.steps,
        tokens=tokens,
    )
    supervisor = kinds.supervisor(
        parts,
        polling=config.is_polling,
        watch_seconds=config.watch_seconds,
        wake=wake,
        reserve=DiskReserve(directory.path),
    )
    tokens.begin(switch, supervisor.storage_health)
    states = StateReader(store)
    scanner = kinds.scanner(
        read_cell=store.spaces.document,
        read_charm=states.find_redacted_state,
        clock=clock,
        integrations_dir=config.integrations_dir,
        manual_charms=config.manual_charms,
        limits=config.scans,
    )
    about = About(
        data_dir=str(directory.path),
        interval_seconds=config.interval_seconds,
        is_polling=config.is_polling,
        sandboxing=sandboxing,
        holder=dependencies.lease.holder if dependencies.lease is not None else None,
    )
    events = EventFeed(clock.now())
    context = CommandContext(supervisor, events, operator)
    polling = PollingCommands(context, polled_charms, scanner, states, packages)
    charms = CharmCommands(context, polling, polled_charms, limits, packages, items, addresses)
    scans = IntegrationScans(
        supervisor, polled_charms, scanner, config.integrations, charms.add_many
    )
    maintenance = _maintenance(config, directory, supervisor, pool, polled_charms, scans, packages)
    board = StatusBoard(
        about, parts, pool, polled_charms, maintenance, supervisor, lambda: context.operator
    )
    sender = dependencies.sender or NoticeClient(
        config.notices.timeout_seconds,
        sandboxing.has_walls,
        tuple(wall.name for wall in sandboxing.missing),
        config.notices.may_be_local,
        config.closed_ports,
    )
    telling = Telling(
        supervisor,
        notices,
        sender,
        board.problems,
        dependencies.random,
        config.notices,
        delivery=kinds.delivery,
        watch=kinds.watch,
    )
    pokes = kinds.pokes(supervisor, polled_charms)
    supervisor.on_settled += [board.settled, events.settled, pokes.settled]
    supervisor.on_spent.append(board.spent)
    pool.on_idle_death.append(events.idle_worker_died)
    admin_source = (CHARMS_FOLDER / "admin.py").read_text()
    jobs = JobCommands(context, packages)
    commands = Commands(
        charms=charms,
        updates=UpdateCommands(context, polled_charms, limits, packages, items, addresses),
        items=ItemCommands(context),
        polling=polling,
        sending=SendCommands(
            context, polling, jobs, limits, packages, is_polling=config.is_polling
        ),
        pauses=PauseCommands(context),
        reminders=ReminderCommands(context, limits),
        jobs=jobs,
        letters=LetterCommands(context),
        hooks=HookCommands(context, addresses),
        limits=LimitCommands(context, limits),
        tokens=TokenCommands(context),
        sign_ins=SignInCommands(context, polling, tokens, providers, config.public_url),
        notices=NoticeCommands(context, telling),
        queries=Queries(
            context,
            polled_charms,
            limits,
            states,
            board,
            packages,
            interval_seconds=config.interval_seconds,
            max_failures=config.policy.max_failures,
        ),
        system=SystemCommands(context, charms, scanner, maintenance, board, admin_source),
        monitoring=MonitoringCommands(supervisor, pool, board, packages, telling),
        operator=OperatorCommands(context),
        events=events,
        about=about,
        clock=clock,
        steps=parts.steps,
    )
    queue.bring_near(clock.steady(), clock.steady() + MAX_DELAY_SECONDS)
    waiting.recover()
    supervisor.recover()
    if config.is_polling:
        supervisor.storage_health.take_reserve()
        pokes.recover()
        planner.load()
        pool.start()
        packages.start()
        telling.delivery.recover()
        telling.take_given(config.notices.targets, _space_keys(context))
    return Service(
        config=config,
        directory=directory,
        parts=parts,
        supervisor=supervisor,
        polled_charms=polled_charms,
        limits=limits,
        scanner=scanner,
        maintenance=maintenance,
        commands=commands,
        packages=packages,
        tokens=tokens,
        telling=telling,
        hooks=ServiceHooks(addresses, kinds.hook_intake(supervisor, pokes)),
        sandboxing=sandboxing,
        loop=asyncio.create_task(supervisor.run()),
    )


def _space_keys(context: CommandContext) -> Callable[[str], int]:
    """What finds the spaces that targets of the settings are of, or makes them."""
    return lambda name: context.ensure_owned(name).space_key


def _open_folders(directory: DataDirectory) -> PackageFolders:
    folders = PackageFolders(directory.packages_path)
    try:
        folders.open()
    except OSError as error:
        where = directory.packages_path
        raise DataDirectoryError(f"{where} cannot be read: {error.strerror}.") from None
    return folders


def _packages(
    config: ServiceConfig,
    storage: Storage,
    dependencies: Dependencies,
    folders: PackageFolders,
    sandboxing: Sandboxing,
    wake: asyncio.Event,
) -> CharmPackages:
    """What looks after the packages of charms; what fetches them is behind the walls there are."""
    missing = {wall.name for wall in sandboxing.missing}
    installer = Installer(
        folders,
        config.packages,
        has_file_wall=sandboxing.has_walls and Wall.FILES.value not in missing,
        has_port_wall=sandboxing.has_walls and Wall.NETWORK.value not in missing,
    )
    return CharmPackages(storage, dependencies.clock, folders, installer, wake.set)


def _maintenance(
    config: ServiceConfig,
    directory: DataDirectory,
    supervisor: Supervisor,
    pool: Pool,
    polled_charms: PolledCharms,
    scans: IntegrationScans,
    packages: CharmPackages,
) -> Maintenance:
    database, clock = supervisor.parts.database, supervisor.parts.clock
    backups = Backups(database, directory, config.backups, clock)
    health_checks = HealthChecks(supervisor.parts, backups, packages, directory.path)
    limits = CycleLimits(
        interval_seconds=config.interval_seconds,
        maintenance_timeout_seconds=config.maintenance_timeout_seconds,
        history_seconds=config.history_seconds,
        disabled_retry_seconds=config.disabled_retry_seconds,
    )
    cycle = MaintenanceCycle(
        supervisor, polled_charms, scans, health_checks, packages, pool.workers, limits
    )
    return Maintenance(cycle, scans, backups, health_checks)

"""What a service is made from besides its settings: time, chance, disk, processes, its parts.

The real ones, unless a simulation brings others. Decides nothing. Used by `bootstrap`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bg_charm_service.domain.clock import Clock, SystemClock
from bg_charm_service.notices.notice_client import SendsNotices
from bg_charm_service.scanning.scanner import Scanner
from bg_charm_service.service.hooks.intake import HookIntake
from bg_charm_service.service.hooks.pokes import Pokes
from bg_charm_service.service.notices.delivery import NoticeDelivery
from bg_charm_service.service.notices.watch import NoticeWatch
from bg_charm_service.service.token_keeper import TokenKeeper
from bg_charm_service.sign_in.provider_client import AsksProviders
from bg_charm_service.storage.contract import Engine
from bg_charm_service.storage.engines import SQLiteEngine, engine_of
from bg_charm_service.storage.node_contract import Lease
from bg_charm_service.supervisor.completer import Completer
from bg_charm_service.supervisor.dispatcher import Dispatcher
from bg_charm_service.supervisor.loop import Supervisor
from bg_charm_service.supervisor.loop_steps import LoopSteps
from bg_charm_service.supervisor.notices import NoticeBook
from bg_charm_service.supervisor.planning.poll_planner import PollPlanner
from bg_charm_service.supervisor.reminders import ReminderSchedule
from bg_charm_service.supervisor.run_items import RunItems
from bg_charm_service.workers.pool.pool import Pool
from bg_charm_service.workers.pool.zygote_client import ZygoteClient, ZygoteLink


@dataclass(frozen=True, slots=True)
class PartTypes:
    """The classes of the parts that a simulation plants its bugs in."""

    planner: type[PollPlanner] = PollPlanner
    reminders: type[ReminderSchedule] = ReminderSchedule
    dispatcher: type[Dispatcher] = Dispatcher
    completer: type[Completer] = Completer
    supervisor: type[Supervisor] = Supervisor
    pool: type[Pool] = Pool
    scanner: type[Scanner] = Scanner
    run_items: type[RunItems] = RunItems
    tokens: type[TokenKeeper] = TokenKeeper
    notices: type[NoticeBook] = NoticeBook
    delivery: type[NoticeDelivery] = NoticeDelivery
    watch: type[NoticeWatch] = NoticeWatch
    pokes: type[Pokes] = Pokes
    hook_intake: type[HookIntake] = HookIntake


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What the service gets from outside; `random` gives numbers in [0, 1)."""

    clock: Clock = field(default_factory=SystemClock)
    random: Callable[[], float] = random.Random().random  # noqa: S311 - jitter, no secret
    open_zygote: Callable[[], ZygoteLink] = ZygoteClient
    engine: Engine = field(default_factory=SQLiteEngine)
    parts: PartTypes = field(default_factory=PartTypes)
    #: Measures the loop that the service runs in, if anything does.
    steps: LoopSteps = field(default_factory=LoopSteps)
    #: Asks providers of sign-ins; None for processes of their own.
    providers: AsksProviders | None = None
    #: Sends notices; None for processes of their own.
    sender: SendsNotices | None = None
    #: Held by the active one of several nodes; None where a database is not shared.
    lease: Lease | None = None

    @classmethod
    def of_node(cls, lease: Lease | None, **others: Any) -> Dependencies:
        """The real ones, with the engine of a database that is shared, if one is."""
        if lease is None:
            return cls(**others)
        return cls(engine=engine_of(lease), lease=lease, **others)

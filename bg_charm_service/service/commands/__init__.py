"""What a person can ask of the service: each request checked, then one transaction.

The API and the command line are thin over this. No rule about runs lives here; those are the
policy's.
"""

from dataclasses import dataclass

from bg_charm_service.domain.clock import Clock
from bg_charm_service.service.commands.charms import CharmCommands
from bg_charm_service.service.commands.context import ACTOR, CommandContext
from bg_charm_service.service.commands.hooks import HookCommands
from bg_charm_service.service.commands.items import ItemCommands
from bg_charm_service.service.commands.jobs import JobCommands, JobQuery
from bg_charm_service.service.commands.letters import LetterCommands
from bg_charm_service.service.commands.limits import LimitCommands
from bg_charm_service.service.commands.monitoring import MonitoringCommands
from bg_charm_service.service.commands.notices import NoticeCommands
from bg_charm_service.service.commands.pausing import PauseCommands
from bg_charm_service.service.commands.polling import PollingCommands
from bg_charm_service.service.commands.queries import CharmQuery, Queries
from bg_charm_service.service.commands.reminders import ReminderCommands
from bg_charm_service.service.commands.rotation import OperatorCommands
from bg_charm_service.service.commands.sending import SendCommands
from bg_charm_service.service.commands.sign_ins import SignInCommands
from bg_charm_service.service.commands.system import SystemCommands
from bg_charm_service.service.commands.tokens import TokenCommands
from bg_charm_service.service.commands.updates import UpdateCommands
from bg_charm_service.service.event_feed import EventFeed
from bg_charm_service.service.status.board import About
from bg_charm_service.supervisor.loop_steps import LoopSteps


@dataclass(frozen=True, slots=True)
class Commands:
    """All requests, in groups, and what those who ask follow beside them."""

    charms: CharmCommands
    updates: UpdateCommands
    items: ItemCommands
    polling: PollingCommands
    sending: SendCommands
    hooks: HookCommands
    pauses: PauseCommands
    reminders: ReminderCommands
    jobs: JobCommands
    letters: LetterCommands
    limits: LimitCommands
    tokens: TokenCommands
    sign_ins: SignInCommands
    notices: NoticeCommands
    queries: Queries
    system: SystemCommands
    monitoring: MonitoringCommands
    operator: OperatorCommands
    events: EventFeed
    about: About
    clock: Clock
    steps: LoopSteps


__all__ = ["ACTOR", "CharmQuery", "CommandContext", "Commands", "JobQuery"]

"""What a person can ask of the service: each request checked, then one transaction.

The API and the command line are thin over this. No rule about runs lives here; those are the
policy's.
"""

from bg_charm_service.service.commands.backup import BackupCommands
from bg_charm_service.service.commands.base import ACTOR, Office
from bg_charm_service.service.commands.limits import LimitCommands
from bg_charm_service.service.commands.queries import CharmQuery, ShownCommands
from bg_charm_service.service.commands.system import SystemCommands
from bg_charm_service.service.commands.tokens import TokenCommands


class Commands(SystemCommands, ShownCommands, TokenCommands, LimitCommands, BackupCommands):
    """All requests, over one office."""


__all__ = ["ACTOR", "CharmQuery", "Commands", "Office"]

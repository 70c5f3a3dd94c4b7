"""The program's root: its options, what it does without a command, and its commands."""

from __future__ import annotations

import click

from bg_charm_service.cli import charm_changes, charm_reports, charm_runs, charm_transfer
from bg_charm_service.cli.audit import audit
from bg_charm_service.cli.backup import backup, doctor, restore
from bg_charm_service.cli.identities import identity
from bg_charm_service.cli.integration_commands import initialize_integration, integration
from bg_charm_service.cli.limits import limits
from bg_charm_service.cli.login import open_page
from bg_charm_service.cli.registration import register, unregister
from bg_charm_service.cli.service_reports import dead_letters, status
from bg_charm_service.cli.session import Session
from bg_charm_service.cli.setting_options import click_options
from bg_charm_service.cli.spaces import add_admin_charm, space
from bg_charm_service.cli.tokens import token
from bg_charm_service.cli.usage import OrderedGroup, ProgramGroup, available_integrations


def _run(ctx: click.Context, session: Session) -> None:
    if ctx.invoked_subcommand is not None:
        return
    if session.settings.initialize:
        initialize_integration(session, session.settings.integration)
        return
    from bg_charm_service.daemon.process import run_service

    run_service(session.settings)


@click.pass_context
def _begin(ctx: click.Context, /, **flags: object) -> None:
    ctx.obj = Session(flags)
    _run(ctx, ctx.obj)


def _options() -> list[click.Parameter]:
    options: list[click.Parameter] = list(click_options(available_integrations))
    for option in options:
        # Read before --help is obeyed, since help lists what lies there.
        option.is_eager = option.name == "integrations_dir"
    return options


#: In the order in which a newcomer needs them.
_charm = OrderedGroup(
    "charm",
    help="Add, look at, run and change charms.",
    commands=[
        charm_changes.add,
        charm_changes.update,
        charm_reports.list_charms,
        charm_reports.show,
        charm_reports.get,
        charm_changes.set_field,
        charm_changes.send,
        charm_runs.run,
        charm_runs.logs,
        charm_changes.enable,
        charm_changes.disable,
        charm_changes.interval,
        charm_changes.requeue,
        charm_changes.remove,
        charm_transfer.import_charms,
        charm_transfer.export_charms,
    ],
)

root = ProgramGroup(
    "bg-charm-service",
    help="A robust service for running charms in the background with health monitoring",
    callback=_begin,
    params=_options(),
    invoke_without_command=True,
    context_settings={"max_content_width": 100},
    commands=[
        _charm,
        register,
        unregister,
        space,
        limits,
        identity,
        integration,
        status,
        dead_letters,
        backup,
        restore,
        doctor,
        open_page,
        token,
        audit,
        add_admin_charm,
    ],
)

"""The program's root: its options, what it does without a command, and its commands."""

from __future__ import annotations

import click

from bg_charm_service.cli.audit import audit
from bg_charm_service.cli.backup import backup, doctor, restore
from bg_charm_service.cli.charms import changes, items, reports, runs, schedules, transfer
from bg_charm_service.cli.charms.limits import limits
from bg_charm_service.cli.charms.pausing import pause, resume
from bg_charm_service.cli.charms.registration import register, unregister
from bg_charm_service.cli.charms.shipped import list_shipped
from bg_charm_service.cli.configuration import config
from bg_charm_service.cli.dead_letters import dead_letters
from bg_charm_service.cli.hooks import hooks
from bg_charm_service.cli.identities import identity
from bg_charm_service.cli.integration_commands import initialize_integration, integration
from bg_charm_service.cli.jobs import jobs, purge
from bg_charm_service.cli.login import open_page, sessions
from bg_charm_service.cli.notices import notify
from bg_charm_service.cli.output.json_output import wants_json
from bg_charm_service.cli.service_reports import status
from bg_charm_service.cli.session import Session
from bg_charm_service.cli.setting_options import click_options
from bg_charm_service.cli.sign_ins import auth
from bg_charm_service.cli.spaces import add_admin_charm, space
from bg_charm_service.cli.tokens import token
from bg_charm_service.cli.usage import OrderedGroup, ProgramGroup, available_integrations
from bg_charm_service.daemon.start_signals import ended_by_signals, release_signals
from bg_charm_service.domain.version import VERSION


def _run(ctx: click.Context, session: Session) -> None:
    if ctx.invoked_subcommand is not None or session.flags.get("initialize"):
        release_signals()
    if ctx.invoked_subcommand is not None:
        return
    if session.flags.get("initialize"):
        initialize_integration(session, session.settings.integration)
        return
    if wants_json(ctx):
        raise click.UsageError("--json is for commands; --log-format=json makes the log JSON.", ctx)
    from bg_charm_service.daemon.process import run_service

    with ended_by_signals():
        settings = session.settings
    run_service(settings)


@click.pass_context
def _begin(ctx: click.Context, /, **flags: object) -> None:
    is_service = ctx.invoked_subcommand is None and not flags.get("initialize")
    ctx.obj = Session(flags, is_service=is_service)
    _run(ctx, ctx.obj)


def _options() -> list[click.Parameter]:
    options: list[click.Parameter] = list(click_options(available_integrations))
    for option in options:
        # Read before --help is obeyed, since help lists what lies there.
        option.is_eager = option.name == "integrations_dir"
    version = click.version_option(VERSION, message="%(prog)s %(version)s", help="Show the version")
    version(root_options := click.Command(None))
    return [*options, *root_options.params]


#: In the order in which a newcomer needs them.
_charm = OrderedGroup(
    "charm",
    help="Add, look at, run and change charms.",
    commands=[
        changes.add,
        list_shipped,
        changes.update,
        reports.list_charms,
        reports.show,
        reports.get,
        items.items,
        changes.set_field,
        changes.send,
        changes.forget,
        runs.run,
        runs.logs,
        changes.enable,
        changes.disable,
        changes.interval,
        schedules.schedule,
        changes.requeue,
        purge,
        changes.remove,
        transfer.import_charms,
        transfer.export_charms,
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
        pause,
        resume,
        space,
        limits,
        identity,
        config,
        integration,
        status,
        jobs,
        dead_letters,
        backup,
        restore,
        doctor,
        open_page,
        sessions,
        token,
        auth,
        notify,
        hooks,
        audit,
        add_admin_charm,
    ],
)

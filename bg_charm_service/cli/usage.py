"""What help looks like: the original's usage first, then the commands in a chosen order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from bg_charm_service.cli.output.error_output import one_line_errors
from bg_charm_service.cli.output.json_output import check_json, json_before
from bg_charm_service.daemon.start_signals import release_signals


class OrderedGroup(click.Group):
    """A group that lists its commands in the order in which it was given them.

    `--json` may stand before a command as well as behind it.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.params.append(json_before())

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and not isinstance(command, click.Group):
            check_json(ctx, command)
        return name, command, rest


class ProgramGroup(OrderedGroup):
    """The program itself: its name and purpose, its usage, its options, its commands."""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write("Background Charm Service\n")
        formatter.write(f"{self.help}\n\n")
        formatter.write_usage(ctx.command_path, "[options] [command]")

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_paragraph()
        formatter.write_text(
            "Without a command it runs the service. Options stand before the command."
        )

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        option = super().get_help_option(ctx)
        if option is not None:
            option.help = "Show this help message"
        return option

    def invoke(self, ctx: click.Context) -> Any:
        with one_line_errors():
            return super().invoke(ctx)


def available_integrations() -> Iterable[str]:
    """Give the ids of the integrations that can be run, as the service would find them."""
    import asyncio

    # They run, for as long as they like: Ctrl-C has to end that.
    release_signals()

    from bg_charm_service.domain.clock import SystemClock
    from bg_charm_service.scanning.scanner import Scanner

    directory = click.get_current_context().params.get("integrations_dir")

    async def find() -> list[str]:
        scanner = Scanner(
            read_cell=lambda _space, _cell: None,
            read_charm=lambda _ref: None,
            clock=SystemClock(),
            integrations_dir=directory,
        )
        try:
            catalogue = await scanner.describe()
        finally:
            await scanner.stop()
        return [found.id for found in catalogue.integrations]

    return asyncio.run(find())
